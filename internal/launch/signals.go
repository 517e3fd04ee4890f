package launch

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// ForwardSignals hands signals that reach the caller on to the process, from now until stop is called. Signals
// that come before the process is there wait for it: call it with the process once it has started.
//
// Those that the caller needs itself stay with it: SIGCHLD, SIGURG (the Go runtime's), SIGPIPE, SIGWINCH (the
// terminal's) and the three that stop a job. A request to end, SIGTERM, reaches the process as the signal term:
// an image may say that its command wants to be asked in another way (OCI image-spec config.md, "StopSignal").
func ForwardSignals(term syscall.Signal) (to func(*Process), stop func()) {
	ch := make(chan os.Signal, 64)
	var list []os.Signal
	for n := syscall.Signal(1); n < 32; n++ {
		switch n {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGWINCH, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGKILL, unix.SIGSTOP,
			// Mistakes of the program itself, which the runtime turns into panics.
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGABRT, unix.SIGTRAP, unix.SIGSYS, unix.SIGPROF:
			continue
		}
		if n == unix.SIGHUP && signal.Ignored(n) {
			continue // started by nohup(1)
		}
		list = append(list, n)
	}
	signal.Notify(ch, list...)
	to = func(p *Process) {
		go func() {
			for s := range ch {
				if sig, ok := s.(syscall.Signal); ok {
					if sig == unix.SIGTERM && term != 0 {
						sig = term
					}
					_ = p.Signal(sig)
				}
			}
		}()
	}
	return to, func() {
		signal.Stop(ch)
		close(ch)
	}
}
