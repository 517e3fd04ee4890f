package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gcr/test/vm/wire"

	"golang.org/x/sys/unix"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// agent runs the tasks of the job, reports to the host, and switches the machine off.
func agent() error {
	defer powerOff()
	port, err := openPort()
	if err != nil {
		return err
	}
	job, err := readJob(wire.InputDir)
	if err != nil {
		return err
	}
	// The modules that a desktop or server would have loaded by the time someone runs a container, and that
	// an ordinary user cannot have loaded by using them.
	if out, err := exec.Command("modprobe", "-a", "overlay", "tun", "fuse", "loop").CombinedOutput(); err != nil {
		return fmt.Errorf("modprobe: %w: %s", err, out)
	}
	// What the rules of a device manager would set: these check their users' rights themselves.
	for _, dev := range []string{"/dev/net/tun", "/dev/fuse"} {
		if err := os.Chmod(dev, 0o666); err != nil {
			return err
		}
	}
	say := &sender{enc: json.NewEncoder(port)}
	say.event(wire.Event{Started: true})
	for i, task := range job.Tasks {
		end := runTask(i, task, job.Init, say)
		end.Task, end.Ended = i, true
		say.event(end)
	}
	sendOutput(say)
	say.event(wire.Event{Done: true})
	// What is still on its way to the host when the machine ends is lost: wait for the host's word.
	ack := make(chan struct{})
	go func() {
		_, _ = port.Read(make([]byte, 1))
		close(ack)
	}()
	select {
	case <-ack:
	case <-time.After(10 * time.Second):
	}
	return nil
}

// openPort finds the virtio-serial port by its name.
func openPort() (*os.File, error) {
	for range 1000 {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range names {
			name, _ := os.ReadFile(file)
			if strings.TrimSpace(string(name)) == wire.Port {
				// Opened blocking, through unix.Open: the driver's read returns 0 ("end of file") on
				// a descriptor that Go's poller would have made non-blocking.
				dev := "/dev/" + filepath.Base(filepath.Dir(file))
				fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					return nil, fmt.Errorf("open %s: %w", dev, err)
				}
				return os.NewFile(uintptr(fd), dev), nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("find virtio port %s: it did not appear within 10 s", wire.Port)
}

// A sender says events, one at a time.
type sender struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (s *sender) event(e wire.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enc.Encode(e); err != nil {
		fmt.Fprintln(os.Stderr, "guest: tell the host:", err)
	}
}

// A stream is a writer whose every write is an event.
type stream struct {
	say  *sender
	task int
	name wire.Stream
}

func (s stream) Write(p []byte) (int, error) {
	s.say.event(wire.Event{Task: s.task, Stream: s.name, Data: p})
	return len(p), nil
}

// runTask runs one task to its end.
func runTask(i int, t wire.Task, init string, say *sender) wire.Event {
	if !filepath.IsAbs(t.Dir) {
		t.Dir = filepath.Join(wire.InputDir, t.Dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.Limit)
	defer cancel()
	cmd, err := command(ctx, t, init)
	if err != nil {
		return wire.Event{Error: err.Error()}
	}
	cmd.Stdout, cmd.Stderr = stream{say, i, wire.Stdout}, stream{say, i, wire.Stderr}
	// A process left behind may hold the pipes open: its output is of no interest.
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err = cmd.Run()
	if ctx.Err() != nil {
		return wire.Event{Error: fmt.Sprintf("time limit of %v", t.Limit)}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return wire.Event{Status: 128 + int(ws.Signal())}
		}
		return wire.Event{Status: ws.ExitStatus()}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return wire.Event{Error: err.Error()}
	}
	return wire.Event{}
}

// command makes the command that runs t as the identity it asks for.
func command(ctx context.Context, t wire.Task, init string) (*exec.Cmd, error) {
	env := append([]string{"PATH=" + searchPath, "LANG=C.UTF-8", "TERM=dumb"}, t.Env...)
	asUser := &syscall.Credential{Uid: wire.UserID, Gid: wire.UserID}
	// In its own process group, so that the time limit ends all of it.
	attr := &syscall.SysProcAttr{Setpgid: true}
	args := t.Args
	switch {
	case t.As == wire.Root:
		env = append(env, "HOME=/root", "USER=root", "LOGNAME=root")
		if init == "systemd" {
			args = transient("--system", t, env)
		}
	case t.As == wire.User:
		// Without systemd there is neither a session bus nor a delegated cgroup.
		env = append(env, userEnv()[:4]...)
		attr.Credential = asUser
	case t.As == wire.Manager && init == "systemd":
		env = append(env, userEnv()...)
		attr.Credential = asUser
		args = transient("--user", t, env)
	case t.As == wire.Login && init == "systemd":
		// su goes through PAM, whose systemd module opens a session as it does for ssh.
		args = []string{"su", "--login", wire.UserName, "--command", shellLine(t, env)}
		env = []string{"PATH=" + searchPath}
	default:
		return nil, fmt.Errorf("run as %q with init %q: no such identity there", t.As, init)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = t.Dir, env, attr
	return cmd, nil
}

// transient is the systemd-run line that runs t as a service with a cgroup of its own.
func transient(manager string, t wire.Task, env []string) []string {
	args := []string{
		"systemd-run", manager, "--wait", "--pipe", "--quiet", "--collect", "--working-directory=" + t.Dir,
		"--property=Delegate=yes", "--property=TasksMax=infinity",
		fmt.Sprintf("--property=RuntimeMaxSec=%d", int(t.Limit.Seconds())),
	}
	if manager == "--system" {
		args = append(args, "--property=LimitNOFILE=524288")
	}
	for _, e := range env {
		args = append(args, "--setenv="+e)
	}
	return append(append(args, "--"), t.Args...)
}

// shellLine is t as one line for a shell.
func shellLine(t wire.Task, env []string) string {
	words := []string{"cd", quote(t.Dir), "&&", "exec", "env"}
	for _, e := range env {
		words = append(words, quote(e))
	}
	for _, a := range t.Args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// sendOutput sends what the tasks left in OutputDir, when there is something.
func sendOutput(say *sender) {
	entries, err := os.ReadDir(wire.OutputDir)
	if err != nil || len(entries) == 0 {
		return
	}
	buf := &chunks{w: stream{say, 0, wire.Output}}
	w := tar.NewWriter(buf)
	err = w.AddFS(os.DirFS(wire.OutputDir))
	if err := errors.Join(err, w.Close(), buf.flush()); err != nil {
		fmt.Fprintln(os.Stderr, "guest: send output files:", err)
	}
}

// chunks gathers small writes into large ones.
type chunks struct {
	w   io.Writer
	buf []byte
}

func (c *chunks) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	if len(c.buf) < 256<<10 {
		return len(p), nil
	}
	return len(p), c.flush()
}

func (c *chunks) flush() error {
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}
