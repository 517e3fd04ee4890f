package launch

import (
	"fmt"
	"os"
	"unsafe"

	"gcr/internal/clone"
	"gcr/internal/plan"

	"golang.org/x/sys/unix"
)

// making is a cgroup that is being made while the container's program is compiled and its first process started.
type making struct {
	// born gets the v2 directory that the process may be born into, and is closed when the making is over.
	born chan int
	// broken is closed when the cgroup cannot be made and the process, if there is one, must end; gone when it has.
	broken, gone chan struct{}
	// done gets the end.
	done chan madeCgroup
}

// madeCgroup is a cgroup with its files open.
type madeCgroup struct {
	into  int
	tasks []*os.File
	err   error
}

// makeCgroup begins to make the cgroup.
func (s *starter) makeCgroup() error {
	m := &making{born: make(chan int, 1), broken: make(chan struct{}), gone: make(chan struct{}), done: make(chan madeCgroup, 1)}
	s.making = m
	work := func() {
		early := false
		made := openTasks(s.o.MakeCgroup(func(dir int) func() {
			m.born <- dir
			early = true
			return func() {
				close(m.broken)
				<-m.gone
			}
		}))
		if !early && made.err == nil {
			m.born <- made.into
		}
		close(m.born)
		m.done <- made
	}
	if !s.plan.MakesCgroupMeanwhile() {
		close(m.gone) // there is no process yet
		work()
		return s.cgroupDone()
	}
	go work()
	return nil
}

func openTasks(g Cgroup, err error) madeCgroup {
	if err != nil {
		return madeCgroup{err: err}
	}
	m := madeCgroup{into: g.CgroupFD()}
	m.tasks, m.err = g.TaskFiles()
	return m
}

// cgroupDone waits for the cgroup that is being made, if one is. A process that stands in the way of taking it back
// ends.
func (s *starter) cgroupDone() error {
	m := s.making
	if m == nil {
		return nil
	}
	s.making = nil
	var made madeCgroup
	select {
	case made = <-m.done:
	case <-m.broken:
		s.kill()
		close(m.gone)
		made = <-m.done
	}
	s.into, s.tasks = made.into, made.tasks
	s.open = append(s.open, s.tasks...)
	if want := s.taskFiles(); made.err == nil && len(s.tasks) != want {
		return fmt.Errorf("enter the cgroup: %d hierarchies are planned, and %d could be made; run gcr where all of them can be written, or without limits", want, len(s.tasks))
	}
	return made.err
}

// awaitBirthplace waits until there is the v2 directory that the process is born into, if the plan has one.
func (s *starter) awaitBirthplace() error {
	if s.making == nil || s.plan.CloneFlags&unix.CLONE_INTO_CGROUP == 0 {
		return nil
	}
	dir, ok := <-s.making.born
	if !ok {
		return s.cgroupDone()
	}
	s.into = dir
	return nil
}

func (s *starter) taskFiles() int {
	n := 0
	for _, fd := range s.plan.FDs {
		if fd.Kind == plan.FDTasks {
			n++
		}
	}
	return n
}

// handOverCgroup gives the first process the files through which it enters its cgroup.
func (s *starter) handOverCgroup() error {
	if !s.late {
		return nil
	}
	if err := s.cgroupDone(); err != nil {
		return err
	}
	fds := make([]int, len(s.tasks))
	for i, f := range s.tasks {
		fds[i] = int(f.Fd())
	}
	if err := unix.Sendmsg(int(s.host.Fd()), []byte{1}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return s.gone(fmt.Errorf("hand the files of the cgroup to the first process: %w", err))
	}
	return nil
}

// receiveFiles makes the calls by which the child takes n descriptors from the socket, to be numbered from first on:
// the kernel gives each the lowest number that is free. Should the socket end instead, because its other end is gone
// with us, what comes next finds no such descriptors.
func receiveFiles(socket, first, n int) ([]clone.Call, []any) {
	word := new(byte)
	iov := &unix.Iovec{Base: word, Len: 1}
	control := make([]byte, unix.CmsgSpace(4*n))
	hdr := &unix.Msghdr{Iov: iov, Iovlen: 1, Control: &control[0], Controllen: uint64(len(control))}
	return []clone.Call{
		clone.CloseRange(first, first+n-1),
		clone.Recvmsg(socket, unsafe.Pointer(hdr)),
	}, []any{word, iov, control, hdr}
}
