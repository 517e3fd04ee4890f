package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"gcr/internal/clone"
	"gcr/internal/plan"
	"gcr/internal/procfs"

	"golang.org/x/sys/unix"
)

// openNamespace opens the namespace file at a path, such as /proc/42/ns/net or /run/netns/x.
func openNamespace(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &plan.Error{What: "open namespace " + path, Field: "linux.namespaces", Cause: cause(err), Client: fmt.Sprintf("open %s: %v", path, cause(err))}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, &plan.Error{What: "open namespace " + path, Field: "linux.namespaces", Cause: errors.New("this file is no namespace")}
	}
	return f, nil
}

// ownNamespaces are those that a single thread may enter (plan.HostJoin), by their names in /proc/PID/ns.
var ownNamespaces = [...]struct {
	name string
	flag uint64
}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID}}

// startIn makes the child in the namespaces of the plan's HostJoins. The calling thread enters them, clones and
// returns. Where it could not return, because its own namespaces belong to a user namespace above, a thread that is
// never used again does it: the runtime ends it together with its goroutine.
func (s *starter) startIn(a clone.Attr) (*clone.Child, error) {
	joins := s.plan.HostJoins
	if len(joins) == 0 {
		return clone.Start(a)
	}
	// Calls that go nowhere find out whether the way back is open.
	back := true
	var home, enter []clone.Call
	for _, j := range joins {
		for _, n := range ownNamespaces {
			if j.Flags&n.flag == 0 {
				continue
			}
			own, err := openOwn(n.name, n.flag)
			if err != nil {
				return nil, fmt.Errorf("open own namespace: %w", err)
			}
			defer own.Close()
			back = back && unix.Setns(int(own.Fd()), int(n.flag)) == nil
			home = append(home, clone.Setns(int(own.Fd()), n.flag))
		}
		f := s.o.Target
		if j.Path != "" {
			var err error
			if f, err = openNamespace(j.Path); err != nil {
				return nil, err
			}
			defer f.Close()
		}
		enter = append(enter, clone.Setns(int(f.Fd()), j.Flags))
	}
	start := startApart
	a.Enter = enter
	if back {
		start, a.Leave = clone.Start, home
	}
	child, err := start(a)
	var refused *clone.EnterError
	if errors.As(err, &refused) {
		return nil, joinError(joins[refused.Index], refused.Errno)
	}
	return child, err
}

// openOwn opens what leads back to a namespace of this process.
func openOwn(name string, flag uint64) (*os.File, error) {
	if flag != unix.CLONE_NEWPID {
		return procfs.OpenNamespace(os.Getpid(), name)
	}
	// To enter the PID namespace of a process is to enter that in which it is itself, wherever its children will be. So a
	// pidfd of our own will do; it is made faster than a file of procfs is found.
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// startApart makes the child in a thread that does not come back.
func startApart(a clone.Attr) (*clone.Child, error) {
	type result struct {
		child *clone.Child
		err   error
	}
	a.Leave = nil
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		child, err := clone.Start(a)
		done <- result{child, err}
	}()
	r := <-done
	return r.child, r.err
}

func joinError(j plan.HostJoin, err error) error {
	e := &plan.Error{What: "join the namespaces of the container", Field: j.Field, Cause: err}
	if j.Path != "" {
		e.What = "join the namespace at " + j.Path
	}
	if errors.Is(err, unix.EINVAL) {
		e.Hint = "the file is a namespace of another type"
	}
	return e
}

// follow goes on with the process that the first one has split off inside a PID namespace.
func (s *starter) follow(pid int) error {
	pidfd, err := OpenProcess(pid)
	if err != nil {
		return fmt.Errorf("follow into the PID namespace: %w", err)
	}
	if _, err := wait(s.child.PID); err != nil {
		pidfd.Close()
		return fmt.Errorf("wait for the first process: %w", err)
	}
	s.pidfd.Close()
	s.pidfd = pidfd
	s.child.PID = pid
	return s.letGo()
}
