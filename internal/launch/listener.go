package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SendListener hands the listener that seccomp(2) has returned to the agent whose socket is at path, with a message of
// seccomp.ProcessState that names seccomp.PidFD, and with that pidfd. The process must be a child of the caller that has
// not been waited for, so that the number is still its own.
func SendListener(path string, message []byte, pid int, listener *os.File) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open pidfd of process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("connect to the seccomp agent at %s (listenerPath): %w", path, err)
	}
	if err := unix.Sendmsg(fd, message, unix.UnixRights(int(listener.Fd()), pidfd), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send the seccomp listener to %s (listenerPath): %w", path, err)
	}
	return nil
}
