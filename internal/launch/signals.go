package launch

import (
	"errors"
	"fmt"

	"gcr/internal/sigpipe"

	"golang.org/x/sys/unix"
)

// Forwarder hands signals that reach the caller on to a container's process. Signals that come before the process
// is there wait for it, and those that come after its end are lost, so that they do not disturb the cleaning up. It
// lasts as long as the program: signals are not given back.
type Forwarder struct {
	// Term is the signal as which a request to end, SIGTERM, reaches the process; 0 for SIGTERM itself. An image may
	// say that its command wants to be asked in another way (OCI image-spec config.md, "StopSignal").
	Term unix.Signal

	caught *sigpipe.Caught
}

// forwarded are the signals that are handed on: all but those that the caller needs itself. These are SIGCHLD, SIGURG
// (the Go runtime's), SIGPIPE, SIGWINCH (the terminal's), the three that stop a job, and those that tell of mistakes
// of the program itself, which the runtime turns into panics.
var forwarded = []unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGSTKFLT,
	unix.SIGCONT, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR,
}

// ForwardSignals catches signals from now on. Call it before there is a process that somebody may mean with one.
func ForwardSignals() (*Forwarder, error) {
	caught, err := sigpipe.Catch(forwarded...)
	if err != nil {
		return nil, err
	}
	return &Forwarder{caught: caught}, nil
}

// Wait hands signals on until the process ends, and returns what [Process.Wait] does.
func (f *Forwarder) Wait(p *Process) (int, error) {
	fds := []unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}, {Fd: int32(f.caught.FD), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("wait for the container: %w", err)
		}
		// A pidfd is readable when the process has ended (pidfd_open(2)).
		if fds[0].Revents != 0 {
			return p.Wait()
		}
		for s, ok := f.caught.Next(); ok; s, ok = f.caught.Next() {
			if s == unix.SIGTERM && f.Term != 0 {
				s = f.Term
			}
			_ = p.Signal(s)
		}
	}
}
