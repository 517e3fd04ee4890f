// Package procfs opens files of /proc through a handle that is known to be procfs.
//
// Writing an id map or reading a process's state by a path like /proc/42/uid_map trusts whatever is mounted on
// /proc, and every component of the path. This package opens the root of procfs once, checks that it is one,
// and resolves the rest below that descriptor without following a link or crossing a mount (the class of
// CVE-2019-16884 and CVE-2025-52881):
//
//	err := procfs.Write(pid, "uid_map", "0 1000 1\n")
package procfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"gcr/internal/hostfile"

	"golang.org/x/sys/unix"
)

// rootInode is the inode number of the root of every procfs instance (PROC_ROOT_INO, include/linux/proc_ns.h).
const rootInode = 1

var (
	once    sync.Once
	rootFD  int
	rootErr error
)

// root returns a descriptor of the root of procfs, opened and checked by the first caller.
func root() (int, error) {
	once.Do(func() { rootFD, rootErr = openRoot() })
	return rootFD, rootErr
}

func openRoot() (int, error) {
	fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("check /proc: %w", err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != rootInode {
		unix.Close(fd)
		return -1, errors.New("check /proc: it is no procfs; mount one there: mount -t proc proc /proc")
	}
	return fd, nil
}

// Open opens a file below /proc/PID; name holds no symbolic links and flags are those of open(2).
func Open(pid int, name string, flags int) (*os.File, error) {
	return OpenPath(strconv.Itoa(pid)+"/"+name, flags)
}

// OpenPath opens a file below /proc.
func OpenPath(name string, flags int) (*os.File, error) {
	fd, err := openPath(name, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/proc/"+name), nil
}

func openPath(name string, flags int) (int, error) {
	dir, err := root()
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	return fd, nil
}

// OpenNamespace opens a namespace of a process: name is a file of /proc/PID/ns such as "net". These files are
// magic links, so the directory is opened as strictly as all else and the last step alone follows.
func OpenNamespace(pid int, name string) (*os.File, error) {
	dir, err := Open(pid, "ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

// Inode tells what file a magic link of /proc/PID leads to, such as "exe" or "ns/net": device and inode number.
func Inode(pid int, name string) (dev, ino uint64, err error) {
	dir, err := root()
	if err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	path := strconv.Itoa(pid) + "/" + name
	if err := unix.Fstatat(dir, path, &st, 0); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: "/proc/" + path, Err: err}
	}
	return uint64(st.Dev), st.Ino, nil
}

// Write writes data to a file of /proc/PID in a single write(2), as such files want it.
func Write(pid int, name, data string) error {
	path := strconv.Itoa(pid) + "/" + name
	fd, err := openPath(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(data))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "write", Path: "/proc/" + path, Err: err}
		}
	}
}

// Read reads a file of /proc whole; one of more than 64 MiB is an error.
func Read(name string) ([]byte, error) {
	fd, err := openPath(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data, err := hostfile.ReadFD(fd, 64<<20)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: "/proc/" + name, Err: err}
	}
	return data, nil
}

// OpenRoot opens the root of procfs, for those who pass it on.
func OpenRoot() (*os.File, error) {
	fd, err := openRoot()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "/proc"), nil
}
