package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits into struct sockaddr_un together with its NUL, in bytes (unix(7)).
const maxSocketPath = 107

// SocketAddress makes an address of the path. One that is too long is reached through a descriptor of its directory,
// which stays open until the returned function is called: after bind or connect.
func SocketAddress(path string) (*unix.SockaddrUnix, func(), error) {
	if len(path) <= maxSocketPath {
		return &unix.SockaddrUnix{Name: path}, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	if len(short) > maxSocketPath {
		unix.Close(dir)
		return nil, nil, unix.ENAMETOOLONG
	}
	return &unix.SockaddrUnix{Name: short}, func() { unix.Close(dir) }, nil
}

// Dial connects to the socket at path; kind is unix.SOCK_STREAM or one of its like.
func Dial(path string, kind int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	sa, done, err := SocketAddress(path)
	if err == nil {
		for {
			if err = unix.Connect(fd, sa); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		done()
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// SendFiles passes descriptors on to the stream socket at path, in one message with text.
func SendFiles(path string, text []byte, files ...*os.File) error {
	conn, err := Dial(path, unix.SOCK_STREAM)
	if err != nil {
		return fmt.Errorf("connect to socket %s: %w", path, err)
	}
	defer conn.Close()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if err := unix.Sendmsg(int(conn.Fd()), text, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send descriptor to socket %s: %w", path, err)
	}
	return nil
}

// OpenProcess opens a pidfd (pidfd_open(2)). Whose it is must be looked at afterwards, unless the process is a child
// of the caller that has not been waited for, or waits for the caller: the number is its own then.
func OpenProcess(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// SendListener hands the listener that seccomp(2) has returned to the agent whose socket is at path, with a message of
// seccomp.ProcessState that names seccomp.PidFD, and with that pidfd (config-linux.md, "Seccomp", listenerPath). The
// process has just been made or waits for the agent's answers.
func SendListener(path string, message []byte, pid int, listener *os.File) error {
	pidfd, err := OpenProcess(pid)
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := SendFiles(path, message, listener, pidfd); err != nil {
		return fmt.Errorf("send seccomp listener (linux.seccomp.listenerPath): %w", err)
	}
	return nil
}
