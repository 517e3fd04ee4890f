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
	written chan struct{} // closed when there is no more output
	stop    [2]*os.File   // a pipe whose end stops the reading of keys
	stopped chan struct{}
}

// Connect starts copying. The master is non-blocking. Call Close at the end, or the terminal stays raw.
func Connect(master, in, out *os.File) (*Terminal, error) {
	t := &Terminal{
		master: master, in: in, out: out,
		resize: make(chan os.Signal, 1), written: make(chan struct{}), stopped: make(chan struct{}),
	}
	var err error
	if t.stop[0], t.stop[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	t.copySize()
	signal.Notify(t.resize, unix.SIGWINCH)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		if t.state, err = term.MakeRaw(fd); err != nil {
			return nil, err
		}
	}
	go func() {
		for range t.resize {
			t.copySize()
		}
	}()
	go t.copyKeys()
	go func() {
		defer close(t.written)
		// The read ends with EIO when the last process has closed the other side (pty(7)).
		_, _ = io.Copy(t.out, t.master)
	}()
	return t, nil
}

// copyKeys reads the caller's side until it ends or the terminal is closed. It asks poll(2) first, for a read
// that waits for a key would take the key from whoever reads next.
func (t *Terminal) copyKeys() {
	defer close(t.stopped)
	buf := make([]byte, 4096)
	fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}, {Fd: int32(t.stop[0].Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil || fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(int(t.in.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			t.hangUp()
			return
		}
		if _, err := t.master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hangUp passes the end of the caller's side on: a terminal that is gone hangs the container's up, as a modem
// line would; the end of a pipe is, for a terminal, the end-of-file character at the start of a line.
func (t *Terminal) hangUp() {
	if t.state != nil {
		t.master.Close()
		return
	}
	_, _ = t.master.Write([]byte{4})
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
	t.stop[1].Close()
	<-t.stopped
	t.stop[0].Close()
	select {
	case <-t.written:
	case <-time.After(drainTime):
		_ = t.master.SetReadDeadline(time.Now())
		<-t.written
	}
	signal.Stop(t.resize)
	close(t.resize)
	var err error
	if t.state != nil {
		if err = term.Restore(int(t.in.Fd()), t.state); errors.Is(err, unix.EIO) {
			err = nil // the terminal is gone
		}
	}
	if cerr := t.master.Close(); !errors.Is(cerr, os.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// openTerminal makes a pseudo-terminal of the host: its master, non-blocking, and the other side.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		master.Close()
		return nil, nil, os.NewSyscallError("unlock terminal", err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		master.Close()
		return nil, nil, os.NewSyscallError("open terminal", errno)
	}
	return master, os.NewFile(peer, "terminal"), nil
}
