package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"gcr/test/vm/wire"
)

const (
	bootTries = 3
	// bootLimit is generous: an emulated guest beside a busy compiler takes its time.
	bootLimit = 3 * time.Minute
)

// An errNotBooted says that the guest did not come up; unlike a guest that dies later this is worth a retry,
// for emulated machines hang at boot once in a long while.
var errNotBooted = errors.New("the guest did not boot")

// boot runs the tasks of a job on a fresh machine. It gives each event to handle, in order. files is a
// directory whose content becomes the guest's wire.InputDir.
func (m machine) boot(ctx context.Context, img image, job wire.Job, files string, handle func(wire.Event)) error {
	job.Init, job.Cgroup = m.Init, m.Cgroup
	for try := 1; ; try++ {
		err := m.bootOnce(ctx, img, job, files, handle)
		if !errors.Is(err, errNotBooted) || try == bootTries || ctx.Err() != nil {
			return err
		}
		logf("%s: try %d: %v; trying again", m.Name, try, err)
	}
}

func (m machine) bootOnce(ctx context.Context, img image, job wire.Job, files string, handle func(wire.Event)) error {
	dir, err := os.MkdirTemp("", "gcr-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "initrd"), img.initrd, 0o644); err != nil {
		return err
	}
	if err := packInput(filepath.Join(dir, "input"), files, job); err != nil {
		return fmt.Errorf("pack the guest's files: %w", err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "events"))
	if err != nil {
		return err
	}
	defer listener.Close()
	args, err := m.commandLine(img, dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limitOf(job), fmt.Errorf("the tasks' time limits, %v together, are over", limitOf(job)))
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	// No qemu outlives the bench, however the bench ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// Pdeathsig looks at the thread that started the process: keep it.
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go startPinned(cmd, started, ended)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	guest := make(chan verdict, 1)
	go func() { guest <- listen(listener, cancel, handle) }()

	err = <-ended
	listener.Close()
	v := <-guest
	switch {
	case v.done:
		return nil
	case v.err != nil:
		return v.err
	case v.started && ctx.Err() != nil:
		return fmt.Errorf("machine %s ended: %w", m.Name, context.Cause(ctx))
	case v.started:
		return fmt.Errorf("machine %s died while it ran tasks (%w)\n%s%s", m.Name, orExit(err), said.String(), tail(filepath.Join(dir, "console")))
	default:
		return fmt.Errorf("%w: machine %s (%w)\n%s%s", errNotBooted, m.Name, orExit(err), said.String(), tail(filepath.Join(dir, "console")))
	}
}

func orExit(err error) error {
	if err == nil {
		return errors.New("it switched itself off")
	}
	return err
}

// startPinned starts cmd from a thread that lives as long as the process does.
func startPinned(cmd *exec.Cmd, started, ended chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		ended <- cmd.Wait()
	}
}

// limitOf is the longest that a guest may take.
func limitOf(job wire.Job) time.Duration {
	limit := bootLimit
	for _, t := range job.Tasks {
		limit += t.Limit + 15*time.Second
	}
	return limit
}

// A verdict is how far a guest came.
type verdict struct {
	started, done bool
	err           error
}

// listen reads the guest's events until it is done or gone; it calls giveUp when the guest does not come up.
func listen(l net.Listener, giveUp func(), handle func(wire.Event)) (v verdict) {
	conn, err := l.Accept()
	if err != nil {
		return v // qemu ended before it connected
	}
	defer conn.Close()
	overdue := time.AfterFunc(bootLimit, giveUp)
	defer overdue.Stop()
	events := json.NewDecoder(conn)
	for {
		var e wire.Event
		if err := events.Decode(&e); err != nil {
			return v // the guest is gone
		}
		switch {
		case e.Started:
			v.started = overdue.Stop() || v.started
		case e.Done:
			v.done = true
			_, _ = conn.Write([]byte{1})
			continue
		}
		handle(e)
	}
}

// packInput writes the guest's input archive.
func packInput(name, files string, job wire.Job) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	text, err := json.Marshal(job)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: wire.JobFile, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if files != "" {
		if err := addTree(w, files); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	// A disk is a number of whole sectors.
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return f.Truncate((end + 4095) &^ 4095)
}

// addTree adds a directory's files, directories and symbolic links, readable by everyone.
func addTree(w *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(name); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = rel, 0, 0, "", ""
		h.Mode |= 0o444
		if h.Mode&0o100 != 0 {
			h.Mode |= 0o111
		}
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// tail returns the end of a console log.
func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 40 {
		lines = lines[len(lines)-40:]
	}
	return "the end of its console:\n" + strings.Join(lines, "\n")
}
