package cgroup

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// This file reads and writes by descriptor, below a directory that is open, so that a group renamed,
// removed or made anew under the same path is never mistaken for the one that was opened.

// openDir opens a directory; flags are O_PATH or O_RDONLY.
func openDir(at int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(at, name, flags|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openFile opens one file of a group.
func openFile(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// writeFile writes the value in one write call, which is how cgroup files tell values apart.
func writeFile(dir *os.File, name, value string) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return writeOnce(fd, value)
}

func writeOnce(fd int, value string) error {
	for {
		if _, err := unix.Pwrite(fd, []byte(value), 0); err != unix.EINTR {
			return err
		}
	}
}

// readFile reads a whole file of a group.
func readFile(dir *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var all []byte
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case n == 0:
			return string(all), nil
		}
		all = append(all, buf[:n]...)
	}
}

// exists tells whether the group has the file.
func exists(dir *os.File, name string) bool {
	return unix.Faccessat(int(dir.Fd()), name, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// children lists the names of the groups directly below.
func children(dir *os.File) ([]string, error) {
	d, err := openDir(int(dir.Fd()), ".", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var names []string
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// errnoOf gives the plain reason out of an os.PathError and its like, which repeat what Error says already.
func errnoOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// gone tells that a file or group went away: ENOENT by name, ENODEV through a descriptor of a removed group.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// denied tells that the caller lacks the right.
func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}

// components splits a clean absolute path.
func components(p string) []string {
	return strings.Split(strings.TrimPrefix(path.Clean(p), "/"), "/")
}
