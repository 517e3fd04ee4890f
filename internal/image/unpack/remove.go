package unpack

import (
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// holdDepth is how many directories a removal keeps open. An archive may nest far deeper than paths can be long; what
// lies deeper is moved up first, so that neither descriptors nor the stack run out.
const holdDepth = 100

// RemoveAt removes name and everything below it in the directory that parent has open, by descriptor and without
// following symlinks or crossing into a mount. Directories that their owner has closed to himself are opened. What is not there is no error.
func RemoveAt(parent *os.File, name string) error {
	if err := removeAt(int(parent.Fd()), name); err != nil {
		return fmt.Errorf("remove %s: %w", strconv.Quote(name), err)
	}
	return nil
}

func removeAt(fd int, name string) error {
	r := remover{top: -1}
	err := r.remove(fd, name, 0)
	r.closeLate()
	return err
}

// closeTogether is how many directories are let go of side by side at the end.
const closeTogether = 16

type remover struct {
	top   int // the outermost directory being removed, open
	moved int
	late  []int // directories that are closed at the end
}

// close closes a directory that is being removed. The last to close it gives its blocks back, and where the file system is
// mounted with discard waits for the disk, 0.1 to 4 ms for each. Side by side they take as long as one: so the
// first few, which are all that most containers leave, wait for the end.
func (r *remover) close(fd int) {
	if len(r.late) < closeTogether {
		r.late = append(r.late, fd)
		return
	}
	unix.Close(fd)
}

func (r *remover) closeLate() {
	var done sync.WaitGroup
	for _, fd := range r.late {
		done.Go(func() { unix.Close(fd) })
	}
	done.Wait()
}

func (r *remover) remove(fd int, name string, depth int) error {
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	// unlink(2) of a directory is EISDIR on Linux; EPERM on some file systems.
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	if unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	if depth > holdDepth {
		r.moved++
		return unix.Renameat(fd, name, r.top, ".removed-"+strconv.Itoa(r.moved))
	}
	child, err := openat2(fd, name, howChild)
	if err == unix.EACCES {
		if e := openUp(fd, name); e != nil {
			return e
		}
		child, err = openat2(fd, name, howChild)
	}
	if err != nil {
		return err
	}
	defer r.close(child)
	if os.Geteuid() != 0 {
		_ = unix.Fchmod(child, 0o700)
	}
	if depth == 0 {
		r.top = child
	}
	for {
		names, err := readNames(child)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
		}
		for _, n := range names {
			if err := r.remove(child, n, depth+1); err != nil {
				return err
			}
		}
		if depth > 0 {
			return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
		}
	}
}

// openUp gives the owner of a directory the right to enter it.
func openUp(fd int, name string) error {
	how := howChild
	how.Flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	c, err := openat2(fd, name, how)
	if err != nil {
		return err
	}
	defer unix.Close(c)
	return unix.Chmod(fdPath(c), 0o700)
}

// readNames lists an open directory. The descriptor stays with the caller.
func readNames(fd int) ([]string, error) {
	d, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(d), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}
