package launch

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/procfs"

	"golang.org/x/sys/unix"
)

// startNetwork opens the network namespace of the first process and has it connected in the background.
func (s *starter) startNetwork() error {
	if s.o.SetUpNetwork == nil {
		return errors.New("connect the container: nobody does it")
	}
	pid := s.child.PID
	dir, err := procfs.Open(pid, "ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return s.ended(fmt.Errorf("open the container's namespaces: %w", err))
	}
	defer dir.Close()
	// The last step is a magic link, not a path: it leads to the namespace itself (proc_pid_ns(5)).
	fd, err := unix.Openat(int(dir.Fd()), "net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s.ended(fmt.Errorf("open the container's network namespace: %w", err))
	}
	s.network = make(chan error, 1)
	go func() {
		netns := os.NewFile(uintptr(fd), "netns")
		defer netns.Close()
		s.network <- s.o.SetUpNetwork(pid, netns)
	}()
	return nil
}

// moveDevices has the host's network devices moved into the network namespace that the process is in now.
func (s *starter) moveDevices() error {
	if s.o.MoveDevices == nil {
		return errors.New("move network devices: nobody does it")
	}
	ns, err := procfs.OpenNamespace(s.child.PID, "net")
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	return s.o.MoveDevices(ns)
}

// ended looks for the reason of an error in what the first process has said: one that has failed meanwhile has no
// namespaces any more.
func (s *starter) ended(err error) error {
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) {
		return err
	}
	_ = unix.PidfdSendSignal(int(s.pidfd.Fd()), unix.SIGKILL, nil, 0)
	if told := s.listen(); told != nil {
		return told
	}
	return err
}

// networkDone waits for the end of what startNetwork has begun.
func (s *starter) networkDone() error {
	if s.network == nil {
		return nil
	}
	err := <-s.network
	s.network = nil
	return err
}
