package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gcr/internal/launch"

	"golang.org/x/sys/unix"
)

// listenAt makes the socket on which a created container waits.
func listenAt(dir string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make start socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "start socket")
	sa, done, err := launch.SocketAddress(filepath.Join(dir, socketName))
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
	return launch.Dial("/run/systemd/journal/socket", unix.SOCK_DGRAM)
}

// sendConsole passes the master of a terminal on to the socket at path (as runc's docs/terminals.md describes).
func sendConsole(path string, master *os.File) error {
	return launch.SendFiles(path, []byte("/dev/ptmx"), master)
}

// sendPidfd passes a pidfd of a process that cannot go on without the caller on to the socket at path.
func sendPidfd(path string, pid int) error {
	pidfd, err := launch.OpenProcess(pid)
	if err != nil {
		return err
	}
	defer pidfd.Close()
	return launch.SendFiles(path, []byte("pidfd"), pidfd)
}
