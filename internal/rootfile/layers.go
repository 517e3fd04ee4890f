package rootfile

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Layers reads files of a root filesystem that is still in layers, as they will look once overlayfs has laid them
// over each other: whiteouts hide what lies below, opaque directories hide what lies below them, and symbolic
// links lead from one layer into another (Documentation/filesystems/overlayfs.rst).
//
//	layers, err := rootfile.OpenLayers(topmost, …, lowest)
//	defer layers.Close()
//	passwd, err := layers.ReadFile("/etc/passwd", 4<<20)
//
// The layers must not change meanwhile: each step of a path is looked at before it is taken.
type Layers struct{ roots []*Root }

// OpenLayers opens the directories of the layers, topmost first.
func OpenLayers(dirs ...string) (*Layers, error) {
	l := &Layers{}
	for _, d := range dirs {
		r, err := Open(d)
		if err != nil {
			l.Close()
			return nil, err
		}
		l.roots = append(l.roots, r)
	}
	return l, nil
}

// Close gives up the directories.
func (l *Layers) Close() error {
	var errs []error
	for _, r := range l.roots {
		errs = append(errs, r.Close())
	}
	l.roots = nil
	return errors.Join(errs...)
}

// ReadFile is [Root.ReadFile] of the topmost layer that has the file.
func (l *Layers) ReadFile(name string, max int64) ([]byte, error) {
	r, p, _, err := l.find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return r.ReadFile(p, max)
}

// Stat is [Root.Stat] of the topmost layer that has the file.
func (l *Layers) Stat(name string) (Info, error) {
	_, _, st, err := l.find(name)
	if err != nil {
		return Info{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return info(st), nil
}

// maxLinks bounds the symbolic links on the way to a file (path_resolution(7)).
const maxLinks = 40

// find says in which layer a file is, at which path free of symbolic links, and what it is.
func (l *Layers) find(name string) (*Root, string, unix.Stat_t, error) {
	var st unix.Stat_t
	// A stack of directories, for ".."; each is the layers that take part in it, at the same path.
	type dir struct {
		path  string
		roots []*Root
	}
	stack := []dir{{"/", l.roots}}
	rest := strings.Split(name, "/")
	for links := 0; ; {
		at := stack[len(stack)-1]
		if len(rest) == 0 {
			if len(at.roots) == 0 {
				return nil, "", st, unix.ENOENT
			}
			top := at.roots[0]
			err := top.lstat(at.path, &st)
			return top, at.path, st, err
		}
		c := rest[0]
		rest = rest[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		p := path.Join(at.path, c)
		next := dir{path: p}
		for _, r := range at.roots {
			var here unix.Stat_t
			err := r.lstat(p, &here)
			if err == unix.ENOENT {
				continue
			}
			if err != nil {
				return nil, "", st, err
			}
			if here.Mode&unix.S_IFMT != unix.S_IFDIR {
				if len(next.roots) > 0 {
					break // a directory above hides it
				}
				if whiteout(&here) {
					return nil, "", st, unix.ENOENT
				}
				if here.Mode&unix.S_IFMT != unix.S_IFLNK {
					if len(rest) > 0 {
						return nil, "", st, unix.ENOTDIR
					}
					return r, p, here, nil
				}
				if links++; links > maxLinks {
					return nil, "", st, unix.ELOOP
				}
				to, err := r.readlink(p)
				if err != nil {
					return nil, "", st, err
				}
				if strings.HasPrefix(to, "/") {
					stack = stack[:1]
				}
				rest = append(strings.Split(to, "/"), rest...)
				next.path = ""
				break
			}
			next.roots = append(next.roots, r)
			if r.opaque(p) {
				break
			}
		}
		switch {
		case next.path == "": // a symbolic link
		case len(next.roots) == 0:
			return nil, "", st, unix.ENOENT
		default:
			stack = append(stack, next)
		}
	}
}

// whiteout: a character device 0:0.
func whiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// here opens a path on which there is no symbolic link, the last component possibly excepted.
func (r *Root) here(p string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(r.fd, p, &how)
		if err == unix.EINTR || err == unix.EAGAIN && try < 128 {
			continue
		}
		return fd, err
	}
}

func (r *Root) lstat(p string, st *unix.Stat_t) error {
	fd, err := r.here(p)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}

func (r *Root) readlink(p string) (string, error) {
	fd, err := r.here(p)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// opaque: the attribute is under trusted for root, under user for user namespaces.
func (r *Root) opaque(p string) bool {
	fd, err := r.here(p)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var value [2]byte
	for _, name := range [...]string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		// An O_PATH descriptor takes no fgetxattr(2).
		if n, err := unix.Getxattr(fdPath(fd), name, value[:]); err == nil && n == 1 && value[0] == 'y' {
			return true
		}
	}
	return false
}
