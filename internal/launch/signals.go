package launch

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Forwarder hands signals that reach the caller on to a container's process. Signals that come before the process
// is there wait for it, and those that come after its end are lost, so that they do not disturb the cleaning up. It
// lasts as long as the program: giving signals back one by one costs as much as catching them.
type Forwarder struct {
	// Term is the signal as which a request to end, SIGTERM, reaches the process; 0 for SIGTERM itself. An image may
	// say that its command wants to be asked in another way (OCI image-spec config.md, "StopSignal").
	Term unix.Signal

	ch   chan os.Signal
	rest chan struct{} // closed when all signals are caught
}

// urgent are the signals that end jobs and sessions: they must not find the caller unprepared.
var urgent = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

// ForwardSignals begins to catch the signals that end jobs and sessions, and catches the others in the background,
// for each of which the Go runtime switches between two threads: two thirds of a millisecond for all. Call
// [Forwarder.Rest] before there is a process that somebody may mean with a signal.
func ForwardSignals() *Forwarder {
	f := &Forwarder{ch: make(chan os.Signal, 64), rest: make(chan struct{})}
	for _, s := range urgent {
		if s == unix.SIGHUP && signal.Ignored(s) {
			continue // started by nohup(1)
		}
		signal.Notify(f.ch, s)
	}
	go f.catchRest()
	return f
}

// Rest waits until all signals are caught. Those that the caller needs itself stay with it: SIGCHLD, SIGURG (the Go
// runtime's), SIGPIPE, SIGWINCH (the terminal's) and the three that stop a job.
func (f *Forwarder) Rest() { <-f.rest }

func (f *Forwarder) catchRest() {
	defer close(f.rest)
	var list []os.Signal
	for n := syscall.Signal(1); n < 32; n++ {
		switch n {
		case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
			continue
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGWINCH, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGKILL, unix.SIGSTOP,
			// Mistakes of the program itself, which the runtime turns into panics.
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGABRT, unix.SIGTRAP, unix.SIGSYS, unix.SIGPROF:
			continue
		}
		list = append(list, n)
	}
	signal.Notify(f.ch, list...)
}

// To names the process, and begins to hand on.
func (f *Forwarder) To(p *Process) {
	go func() {
		for s := range f.ch {
			if sig, ok := s.(syscall.Signal); ok {
				if sig == unix.SIGTERM && f.Term != 0 {
					sig = f.Term
				}
				_ = p.Signal(sig)
			}
		}
	}()
}
