package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"gcr/internal/clone"
	"gcr/internal/plan"

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

// startIn makes the child from a thread that has entered the namespaces of the plan's HostJoins. The thread is
// never used again: the runtime ends it together with its goroutine.
func (s *starter) startIn(a clone.Attr) (*clone.Child, error) {
	if len(s.plan.HostJoins) == 0 {
		return clone.Start(a)
	}
	type result struct {
		child *clone.Child
		err   error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := s.join(); err != nil {
			done <- result{nil, err}
			return
		}
		child, err := clone.Start(a)
		done <- result{child, err}
	}()
	r := <-done
	return r.child, r.err
}

// join moves the calling thread into the namespaces that exist already.
func (s *starter) join() error {
	for _, j := range s.plan.HostJoins {
		f := s.o.Target
		what := "join the namespaces of the container"
		if j.Path != "" {
			var err error
			if f, err = openNamespace(j.Path); err != nil {
				return err
			}
			defer f.Close()
			what = "join the namespace at " + j.Path
		}
		if err := unix.Setns(int(f.Fd()), int(j.Flags)); err != nil {
			hint := ""
			if errors.Is(err, unix.EINVAL) {
				hint = "the file is a namespace of another type"
			}
			return &plan.Error{What: what, Field: j.Field, Cause: err, Hint: hint}
		}
	}
	return nil
}

// follow goes on with the process that the first one has split off inside a PID namespace.
func (s *starter) follow(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the process in the PID namespace: %w", err)
	}
	if _, err := wait(s.child.PID); err != nil {
		unix.Close(fd)
		return fmt.Errorf("wait for the first process: %w", err)
	}
	s.pidfd.Close()
	s.pidfd = os.NewFile(uintptr(fd), "pidfd")
	s.child.PID = pid
	return s.letGo()
}
