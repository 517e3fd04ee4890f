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

// clone starts the first process. Its descriptors are put where the plan wants them by the child itself; those
// that are in the way are moved up first, in the parent, as the child cannot know. Files of a cgroup that is still being
// made come later, over the socket (handOverCgroup).
func (s *starter) clone() error {
	if err := s.awaitBirthplace(); err != nil {
		return err
	}
	tasks := s.taskFiles()
	s.late = s.making != nil && s.plan.MakesCgroupMeanwhile() && tasks > 0
	if !s.late {
		if err := s.cgroupDone(); err != nil {
			return err
		}
	}
	type move struct{ from, to int }
	var moves []move
	for i, f := range s.o.Stdio {
		if f != nil {
			moves = append(moves, move{int(f.Fd()), i})
		}
	}
	top := 2
	for _, fd := range s.plan.FDs {
		top = max(top, fd.Num)
		switch fd.Kind {
		case plan.FDSync:
			moves = append(moves, move{int(s.guest.Fd()), fd.Num})
		case plan.FDTasks:
			if !s.late {
				moves = append(moves, move{int(s.tasks[fd.Index].Fd()), fd.Num})
			}
		case plan.FDListen:
			moves = append(moves, move{int(s.o.Listener.Fd()), fd.Num})
		case plan.FDTarget:
			moves = append(moves, move{int(s.o.Target.Fd()), fd.Num})
		case plan.FDResctrl:
			moves = append(moves, move{int(s.o.Resctrl.Fd()), fd.Num})
		case plan.FDTree:
			moves = append(moves, move{int(s.trees[fd.Index].Fd()), fd.Num})
		case plan.FDProc:
			f, err := procfs.OpenRoot()
			if err != nil {
				return err
			}
			s.open = append(s.open, f)
			moves = append(moves, move{int(f.Fd()), fd.Num})
		case plan.FDNamespace:
			f, err := openNamespace(fd.Path)
			if err != nil {
				return err
			}
			s.open = append(s.open, f)
			moves = append(moves, move{int(f.Fd()), fd.Num})
		}
	}
	image := int(s.image.Fd())
	first := top + 1 - tasks
	top++ // for the program
	var raised []int
	// They are closed as soon as the child has them: a copy of the child's end of the socket would hide that the
	// child's own has been closed.
	defer func() {
		for _, fd := range raised {
			unix.Close(fd)
		}
	}()
	raise := func(fd int) (int, error) {
		up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, top+1)
		if err != nil {
			return -1, fmt.Errorf("duplicate descriptor: %w", err)
		}
		raised = append(raised, up)
		return up, nil
	}
	// The child has a copy of our end of the socket as well. Were it open while the child waits, our death would
	// not end the wait.
	calls := []clone.Call{clone.Close(int(s.host.Fd()))}
	for i := range moves {
		if moves[i].from <= top && moves[i].from != moves[i].to {
			up, err := raise(moves[i].from)
			if err != nil {
				return err
			}
			moves[i].from = up
		}
	}
	if image <= top {
		up, err := raise(image)
		if err != nil {
			return err
		}
		image = up
	}
	for _, m := range moves {
		if m.from == m.to {
			// dup3 refuses equal numbers; clearing the flag does the same.
			calls = append(calls, clone.ClearCloexec(m.from))
			continue
		}
		calls = append(calls, clone.Dup3(m.from, m.to))
	}
	var keep []any
	if s.late {
		calls = append(calls, clone.Dup3Cloexec(image, top))
		image = top
		receive, refs := receiveFiles(s.plan.Sync(), first, tasks)
		calls, keep = append(calls, receive...), append(keep, refs...)
	}
	if len(s.plan.UIDMap) > 0 {
		s.waits = new(byte)
		keep = append(keep, s.waits)
		calls = append(calls, clone.Read(s.plan.Sync(), s.waits), clone.Setresgid(0), clone.Setresuid(0))
	}
	run, refs := clone.ExecImage(image, "gcr")
	child, err := s.startIn(clone.Attr{Flags: s.plan.CloneFlags, Cgroup: s.into, Calls: append(calls, run), Keep: append(keep, refs...)})
	runtime.KeepAlive(s)
	if err != nil {
		var known *plan.Error
		if errors.As(err, &known) {
			return err
		}
		return cloneError(err, s.plan.CloneFlags)
	}
	s.child = child
	s.pidfd = os.NewFile(uintptr(child.PIDFD), "pidfd")
	// The child's copy is the only one now, so its end shows here.
	s.guest.Close()
	s.guest = nil
	return nil
}
