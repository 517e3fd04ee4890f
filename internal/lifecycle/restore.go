package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/criu"
	"gcr/internal/launch"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Restore makes a container of processes that Checkpoint wrote to disk. The configuration is that of the bundle, which
// must fit the images.
func (s Store) Restore(o CreateOptions, k CheckpointOptions) (*Running, error) {
	cr := &creation{o: o}
	if err := checkID(o.ID); err != nil {
		return nil, err
	}
	if err := cr.load(); err != nil {
		return nil, err
	}
	program, err := k.program()
	if err != nil {
		return nil, err
	}
	r, done, err := k.request(criu.Restore, "restore.log", false)
	if err != nil {
		return nil, err
	}
	defer done()
	if cr.c, err = s.make(o.ID); err != nil {
		return nil, err
	}
	if err := cr.restore(program, r, &k); err != nil {
		cr.undo()
		return nil, err
	}
	run := &Running{Process: cr.process, Master: cr.master, cr: cr}
	cr.c.unlock()
	return run, nil
}

// restore brings the processes back in the container's directory.
func (cr *creation) restore(program string, r *criu.Request, k *CheckpointOptions) error {
	c := cr.c
	c.rec.OCIVersion, c.rec.Bundle, c.rec.Rootfs = specs.Version, cr.bundle, cr.spec.Root.Path
	c.rec.Created, c.rec.Annotations, c.rec.Owner = time.Now().UTC(), cr.spec.Annotations, os.Getuid()
	if err := writeWhole(filepath.Join(c.dir, configName), cr.data); err != nil {
		return err
	}
	facts := readFacts()
	if facts.err != nil {
		return facts.err
	}
	cr.cgroups = facts.cgroups
	defer func() {
		if cr.release != nil {
			cr.release()
		}
	}()
	// Later commands find the parts of the host in it as in one that was made from nothing.
	var err error
	if cr.placed, err = cr.planCgroup(facts.host); err != nil {
		return err
	}
	if err := c.setInput(plan.Input{Cgroup: cr.placed}); err != nil {
		return err
	}
	c.know(cr.spec)
	if c.rec.Cgroup != nil {
		if _, err := cr.makeCgroup(nil); err != nil {
			return err
		}
	}
	r.LSMProfile, r.LSMMountContext, r.ConfigFile = k.LSMProfile, k.LSMMountContxt, criuConfig(cr.spec.Annotations)
	sess := criu.Session{Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}}
	opened, err := cr.external(r, &sess)
	defer func() {
		for _, f := range opened {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if err := inheritStreams(r); err != nil {
		return err
	}
	sess.Started = func(pid int) error { return cr.enterGroup(r, pid) }
	sess.Notify = cr.heed
	pid, err := cr.withRoot(r, func() (int, error) { return criu.Run(program, r, sess) })
	if err != nil {
		if pid != 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return fmt.Errorf("restore container %s: %w", cr.o.ID, err)
	}
	if cr.process, err = launch.Adopt(pid); err != nil {
		return err
	}
	if cr.o.PidFile != "" {
		return writePidFile(cr.o.PidFile, pid)
	}
	return nil
}

// heed does what is due at each step that CRIU tells of.
func (cr *creation) heed(script string, pid int, file *os.File) error {
	if script == "orphan-pts-master" && file != nil {
		// The container's terminal has a new master: that of before is gone with the engine that held it.
		cr.master = file
		if cr.o.ConsoleSocket == "" {
			return nil
		}
		err := sendConsole(cr.o.ConsoleSocket, file)
		file.Close()
		cr.master = nil
		return err
	}
	if file != nil {
		file.Close()
	}
	switch script {
	case "setup-namespaces":
		if cr.spec.Hooks == nil {
			return nil
		}
		st := cr.c.hookState(specs.StateCreating)
		st.Pid = pid
		//lint:ignore SA1019 deprecated, but Docker up to 26 uses it
		if err := runHooks("prestart", cr.spec.Hooks.Prestart, st); err != nil {
			return err
		}
		return runHooks("createRuntime", cr.spec.Hooks.CreateRuntime, st)
	case "post-restore":
		// Written down before the processes run on.
		_, start, err := processStat(pid)
		if err != nil {
			return err
		}
		cr.c.rec.PID, cr.c.rec.StartTime, cr.c.rec.Image, cr.c.rec.Ready = pid, start, 0, true
		cr.exists = true
		return cr.c.save()
	}
	return nil
}

// enterGroup puts CRIU into the container's cgroup, where the processes that it makes are then, and names the place for
// the groups in the images.
func (cr *creation) enterGroup(r *criu.Request, pid int) error {
	if cr.group == nil || cr.group.Empty() {
		return nil
	}
	if err := cr.group.AddProcess(pid); err != nil {
		return err
	}
	h, err := cgroup.Detect()
	if err != nil {
		return err
	}
	for key, dir := range cr.group.State().Paths {
		for _, m := range h.Mounts {
			if m.Key() == key {
				r.CgroupRoots = append(r.CgroupRoots, criu.CgroupRoot{Controllers: key, Path: strings.TrimPrefix(dir, m.Point)})
			}
		}
	}
	if cr.release != nil {
		cr.release()
		cr.release = nil
	}
	return nil
}

// external names what takes the place of the host's parts of the container, and opens the namespaces among them.
func (cr *creation) external(r *criu.Request, sess *criu.Session) ([]*os.File, error) {
	add := func(name, source string) { r.External = append(r.External, "mnt["+name+"]:"+source) }
	for _, m := range cr.spec.Mounts {
		if bindMount(m) {
			add(path.Clean("/"+m.Destination), m.Source)
		}
	}
	for _, m := range cgroupMounts(cr.spec, cr.placed) {
		add(m.Destination, m.Source)
	}
	if cr.spec.Linux == nil {
		return nil, nil
	}
	add("/dev/null", "/dev/null") // the cover of masked files
	for _, d := range boundDevices(cr.spec) {
		if d != "/dev/null" {
			add(d, d)
		}
	}
	var opened []*os.File
	for _, ns := range cr.spec.Linux.Namespaces {
		key := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: externalNet, specs.PIDNamespace: externalPID}[ns.Type]
		if ns.Path == "" || key == "" {
			continue
		}
		f, err := os.Open(ns.Path)
		if err != nil {
			return opened, fmt.Errorf("open namespace (linux.namespaces): %w", err)
		}
		opened = append(opened, f)
		r.Inherit = append(r.Inherit, criu.Inherited{Key: key, FD: criu.FirstFile + len(sess.Files)})
		sess.Files = append(sess.Files, f)
	}
	return opened, nil
}

// inheritStreams gives the caller's standard streams to the place of those that the container had from outside.
func inheritStreams(r *criu.Request) error {
	data, err := os.ReadFile(filepath.Join(r.Images.Name(), descriptorsName))
	if err != nil {
		return fmt.Errorf("read the images: %w", err)
	}
	var streams []string
	if err := json.Unmarshal(data, &streams); err != nil {
		return fmt.Errorf("read %s of the images: %w", descriptorsName, err)
	}
	seen := map[string]bool{}
	for fd, name := range streams {
		if fd > 2 || seen[name] || !strings.HasPrefix(name, "pipe:[") && !strings.HasPrefix(name, "file[") && !strings.HasPrefix(name, "socket:[") {
			continue
		}
		seen[name] = true // several streams that were one are one again
		r.Inherit = append(r.Inherit, criu.Inherited{Key: name, FD: fd})
	}
	return nil
}

// withRoot runs f with the container's root filesystem mounted where CRIU wants it: a mount point of its own below
// mounts that nothing covers. It is in a mount namespace of this thread and of what the thread starts, and so gone with
// them, however they end.
func (cr *creation) withRoot(r *criu.Request, f func() (int, error)) (int, error) {
	if err := cr.mountPoints(); err != nil {
		return 0, err
	}
	type result struct {
		pid int
		err error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread has left the others' mount namespace, and ends with the goroutine. It must not end
		// before a restored child does, to which that would be the death of the parent, but only to one that asks.
		runtime.LockOSThread()
		done <- func() result {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return result{0, fmt.Errorf("make a mount namespace: %w", err)}
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
				return result{0, fmt.Errorf("make mounts slaves: %w", err)}
			}
			r.Root = filepath.Join(cr.c.dir, "criu-root")
			if err := os.Mkdir(r.Root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
				return result{0, err}
			}
			if err := unix.Mount(cr.spec.Root.Path, r.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return result{0, fmt.Errorf("mount root filesystem %s (root.path): %w", cr.spec.Root.Path, err)}
			}
			// CRIU mounts below its working directory, which it finds by these: they must be of the new namespace.
			for _, dir := range []**os.File{&r.Images, &r.Work} {
				if *dir == nil {
					continue
				}
				again, err := os.Open((*dir).Name())
				if err != nil {
					return result{0, err}
				}
				defer again.Close()
				old := *dir
				*dir = again
				defer func() { *dir = old }()
			}
			pid, err := f()
			return result{pid, err}
		}()
	}()
	res := <-done
	if r.Root != "" {
		_ = os.Remove(r.Root)
	}
	return res.pid, res.err
}

// mountPoints makes those places in the root filesystem that mounts need and that a fresh copy of it may lack; CRIU makes
// none itself. What lies in a file system of the container's own comes with the images.
func (cr *creation) mountPoints() error {
	root, err := os.OpenRoot(cr.spec.Root.Path)
	if err != nil {
		return fmt.Errorf("open root filesystem (root.path): %w", err)
	}
	defer root.Close()
	var own []string
	for i, m := range cr.spec.Mounts {
		place := strings.TrimPrefix(path.Clean("/"+m.Destination), "/")
		inside := false
		for _, o := range own {
			inside = inside || strings.HasPrefix(place, o+"/")
		}
		if !bindMount(m) {
			own = append(own, place)
		}
		if inside || place == "" {
			continue
		}
		if _, err := root.Stat(place); err == nil {
			continue
		}
		dir, file := place, false
		if bindMount(m) {
			if st, err := os.Stat(m.Source); err == nil && !st.IsDir() {
				dir, file = path.Dir(place), true
			}
		}
		err := root.MkdirAll(dir, 0o755)
		if err == nil && file {
			var f *os.File
			if f, err = root.OpenFile(place, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
				f.Close()
			}
		}
		if err != nil {
			return fmt.Errorf("make mount point (mounts[%d].destination): %w", i, err)
		}
	}
	return nil
}
