// Package rootfile reads small files of a root filesystem that nobody trusts.
//
// A container's image may hold anything where a file is expected: a symbolic link to the host's
// /etc/shadow, a FIFO that never answers, a device whose mere opening acts, a file of 100 GB. A Root is a
// directory, held by descriptor; paths below it are resolved by the kernel with openat2(2)
// RESOLVE_IN_ROOT (Linux 5.6), so that absolute symbolic links and ".." stay below it whoever renames
// what meanwhile. A file is looked at before it is opened for reading, and only a regular file is.
//
//	root, err := rootfile.Open("/srv/rootfs/ubuntu")
//	defer root.Close()
//	passwd, err := root.ReadFile("/etc/passwd", 4<<20)
package rootfile

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// resolve keeps a path below the root and off magic links such as /proc/self/fd/3.
const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// Root is a directory that paths are resolved below. It is safe for use by several goroutines until it
// is closed. It holds a bare descriptor: an os.File would bring the poller along, which one short read does
// not need.
type Root struct {
	fd   int
	path string
}

// Open opens the directory at path, which is the host's and may be reached through symbolic links.
func Open(path string) (*Root, error) {
	for {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			return &Root{fd, path}, nil
		}
		if err != unix.EINTR {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// Close releases the descriptor.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Kind is the type of a file.
type Kind byte

// The types that callers tell apart.
const (
	Regular Kind = 'f'
	Dir     Kind = 'd'
	Other   Kind = '?'
)

// Info is what Stat tells.
type Info struct {
	Kind       Kind
	Executable bool  // any of the three x bits
	Size       int64 // bytes
}

// Stat looks at the file that path leads to, symbolic links followed below the root. The error of
// a missing file matches fs.ErrNotExist.
func (r *Root) Stat(path string) (Info, error) {
	fd, st, err := r.open(path)
	if err != nil {
		return Info{}, err
	}
	unix.Close(fd)
	return info(st), nil
}

func info(st unix.Stat_t) Info {
	i := Info{Kind: Other, Executable: st.Mode&0o111 != 0, Size: st.Size}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		i.Kind = Regular
	case unix.S_IFDIR:
		i.Kind = Dir
	}
	return i
}

// open gets a descriptor that only names the file (O_PATH): nothing is opened in the driver's or the
// pipe's sense, so a device or a FIFO costs nothing and does nothing.
func (r *Root) open(path string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(r.fd, path, &how)
		// EAGAIN: a rename elsewhere on the machine during a ".." step (openat2(2)); bounded, since an
		// attacker may rename for ever.
		if err == unix.EINTR || err == unix.EAGAIN && try < 128 {
			continue
		}
		if err != nil {
			return -1, st, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, st, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		return fd, st, nil
	}
}

// ErrTooLarge is the cause when a file holds more than the reader allows.
var ErrTooLarge = errors.New("file is larger than allowed")

// ErrNotRegular is the cause when something else stands where a regular file should.
var ErrNotRegular = errors.New("not a regular file")

// ReadFile reads a regular file of at most max bytes. The error of a missing file matches
// fs.ErrNotExist; of a directory, FIFO, socket or device ErrNotRegular; of a larger one ErrTooLarge.
func (r *Root) ReadFile(path string, max int64) ([]byte, error) {
	named, st, err := r.open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(named)
	switch i := info(st); {
	case i.Kind != Regular:
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	case i.Size > max:
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, i.Size, max)}
	}
	// Through the descriptor the very same inode is opened; nothing is looked up again.
	fd, err := unix.Open(fdPath(named), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	// The size may grow or be a lie (procfs says 0): the reader is bounded as well.
	data := make([]byte, 0, st.Size+512)
	for int64(len(data)) <= max {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := unix.Read(fd, data[len(data):cap(data)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, max)}
}

// fdPath names what a descriptor has open.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Empty tells whether the root directory itself has no entry. It needs read permission on it.
func (r *Root) Empty() (bool, error) {
	fd, err := unix.Openat(r.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, &fs.PathError{Op: "open", Path: r.path, Err: err}
	}
	defer unix.Close(fd)
	// Each call returns at least one entry or the end; "." and ".." come somewhere among them.
	buf := make([]byte, 1024)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, &fs.PathError{Op: "read", Path: r.path, Err: err}
		}
		if n == 0 {
			return true, nil
		}
		if _, count, _ := unix.ParseDirent(buf[:n], 1, nil); count > 0 {
			return false, nil
		}
	}
}
