// Package hostfile reads and writes small files of the host with the system calls that this takes and no more.
//
//	data, err := hostfile.Read("/proc/self/cgroup", 1<<20)
//
// An os.File is made for files that are waited for: opening one asks for its flags, tries to make it non-blocking and
// to register it with epoll, and undoes that for a file on disk, some eight system calls in all. For the pseudo files
// of /proc and /sys/fs/cgroup the registration even succeeds, and wakes up another thread. A container runtime
// reads and writes a dozen such files in its three milliseconds.
//
// The paths are those of the host, never of a root filesystem. Errors are of type *fs.PathError.
package hostfile

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrTooLarge says that a file is larger than the caller wants to read.
var ErrTooLarge = errors.New("the file is too large")

// Read reads a file of at most most bytes.
func Read(path string, most int) ([]byte, error) {
	fd, err := Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data, err := ReadFD(fd, most)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return data, nil
}

// ReadFD reads from a descriptor to its end; the error is bare.
func ReadFD(fd, most int) ([]byte, error) {
	// Pseudo files do not tell their size. A read that fills less than there is room for is not yet the end. The stack is
	// there already; a new page of the heap for each file is not.
	var room [4096]byte
	var data []byte
	for {
		to := room[:]
		if free := data[len(data):cap(data)]; len(free) > len(room) {
			to = free
		}
		n, err := unix.Read(fd, to)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return data, nil
		case n == len(room) && cap(data) == 0:
			data = make([]byte, 0, 16*len(room)) // there is more to come
		}
		if data = append(data, to[:n]...); len(data) > most {
			return nil, ErrTooLarge
		}
	}
}

// Write makes a file with the permissions perm, or empties the one that is there, and writes the data.
func Write(path string, data []byte, perm uint32) error {
	fd, err := Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, perm)
	if err != nil {
		return err
	}
	for len(data) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, data); err == nil {
			data = data[n:]
		} else if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// Open opens a file, close-on-exec; flags and perm are those of open(2). The descriptor belongs to the caller.
func Open(path string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, perm)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
