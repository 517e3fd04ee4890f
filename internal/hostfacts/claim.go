package hostfacts

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Claim takes a name that only one process of the machine can have at a time, and keeps it until the process ends,
// however it ends: it is the name of a socket in the abstract namespace (unix(7)), from which nothing is ever read. It
// answers false when another process has the name.
func Claim(name string) (bool, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("make a socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name})
	if err == nil {
		return true, nil // left open on purpose
	}
	unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return false, nil
	}
	return false, fmt.Errorf("name a socket %s: %w", name, err)
}
