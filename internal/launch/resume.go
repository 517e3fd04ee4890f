package launch

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// ResumeOptions say what to do with what the program tells.
type ResumeOptions struct {
	// Failure puts into words that a call of the program failed.
	Failure func(call int, errno unix.Errno) error
	// OnNotify is called with the listener of a seccomp filter.
	OnNotify func(listener *os.File) error
}

// Resume tells a program that listens to go on, over a connection to its socket, and returns when the user's command
// has taken over.
func Resume(conn *os.File, o ResumeOptions) error {
	fd := int(conn.Fd())
	if err := unix.Sendto(fd, []byte{1}, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("let the container go on: %w", err)
	}
	buf, oob := make([]byte, program.MessageSize+1), make([]byte, unix.CmsgSpace(4))
	for {
		n, got, err := receive(fd, buf, oob)
		if errors.Is(err, unix.ECONNRESET) {
			return errors.New("start container: its process was killed meanwhile")
		}
		if err != nil {
			return fmt.Errorf("read from the container: %w", err)
		}
		if n == 0 {
			return nil
		}
		m, err := program.Decode(buf[:n])
		if err != nil {
			return err
		}
		switch {
		case m.Kind == program.Failed:
			return o.Failure(int(m.Arg), unix.Errno(m.Errno))
		case m.Kind == program.Notify && got >= 0:
			if err := o.OnNotify(os.NewFile(uintptr(got), "seccomp listener")); err != nil {
				return err
			}
		}
	}
}
