package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits into struct sockaddr_un together with its NUL, in bytes (unix(7)).
const maxSocketPath = 107

// address makes an address of the path. One that is too long is reached through a descriptor of its directory,
// which must stay open until the address has been used.
func address(path string) (*unix.SockaddrUnix, func(), error) {
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

// listenAt makes the socket on which a created container waits.
func listenAt(dir string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make start socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "start socket")
	sa, done, err := address(filepath.Join(dir, socketName))
	if err == nil {
		err = errors.Join(unix.Bind(fd, sa), unix.Listen(fd, 1))
		done()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make start socket: %w", err)
	}
	return f, nil
}

// DialJournal connects to systemd's journal (systemd.journal-fields(7), native protocol): each write is an entry.
func DialJournal() (*os.File, error) {
	return dial("/run/systemd/journal/socket", unix.SOCK_DGRAM)
}

// dial connects to a socket.
func dial(path string, kind int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	sa, done, err := address(path)
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

// sendFile passes a descriptor on to the socket at path, in one message whose text is name (as runc's
// docs/terminals.md describes).
func sendFile(path string, f *os.File, name string) error {
	return sendMessage(path, []byte(name), f)
}

func sendMessage(path string, text []byte, files ...*os.File) error {
	conn, err := dial(path, unix.SOCK_STREAM)
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
