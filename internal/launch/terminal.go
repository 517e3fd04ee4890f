package launch

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Terminal connects the caller's terminal with the container's: keys go in, output comes out, and the size
// follows. The caller's terminal is raw meanwhile, so that Ctrl-C, Ctrl-Z and the like are keys for the container.
type Terminal struct {
	master  *os.File
	in, out *os.File
	state   *term.State // of in before it was made raw, nil when in is no terminal
	resize  chan os.Signal
	done    chan struct{}
}

// Connect starts copying. Call Close at the end, or the terminal stays raw.
func Connect(master, in, out *os.File) (*Terminal, error) {
	t := &Terminal{
		master: master, in: in, out: out,
		resize: make(chan os.Signal, 1), done: make(chan struct{}),
	}
	t.copySize()
	signal.Notify(t.resize, unix.SIGWINCH)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		state, err := term.MakeRaw(fd)
		if err != nil {
			return nil, err
		}
		t.state = state
	}
	go func() {
		for range t.resize {
			t.copySize()
		}
	}()
	go func() {
		_, err := io.Copy(t.master, t.in)
		if err == nil && t.state == nil {
			// The end of a pipe is, for a terminal, the end-of-file character at the start of a line.
			_, _ = t.master.Write([]byte{4})
		}
	}()
	go func() {
		defer close(t.done)
		// The read ends with EIO when the last process has closed the other side (pty(7)).
		_, _ = io.Copy(t.out, t.master)
	}()
	return t, nil
}

// copySize gives the container's terminal the size of the caller's.
func (t *Terminal) copySize() {
	ws, err := unix.IoctlGetWinsize(int(t.in.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		if ws, err = unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ); err != nil {
			return
		}
	}
	raw, err := t.master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, ws) })
}

// drainTime bounds the wait for output after the command has ended: a process that it left behind may hold the
// terminal open for ever.
const drainTime = 200 * time.Millisecond

// Close copies what output there is, and gives the caller's terminal back.
func (t *Terminal) Close() error {
	select {
	case <-t.done:
	case <-time.After(drainTime):
		_ = t.master.SetReadDeadline(time.Now())
		<-t.done
	}
	signal.Stop(t.resize)
	close(t.resize)
	var err error
	if t.state != nil {
		err = term.Restore(int(t.in.Fd()), t.state)
	}
	return errors.Join(err, t.master.Close())
}
