// Package pack writes a directory tree as a tar stream: the reverse of package unpack, by descriptor, so that a file
// that is exchanged meanwhile cannot lead out of the tree.
//
//	dir, err := os.Open("rootfs/ubuntu")
//	err = pack.Tree(ctx, dir, w, pack.Options{})
//
// Owners and devices that package unpack noted in user.containers.override_stat come out as they were in the image.
package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gcr/internal/image/unpack"
)

var how = unix.OpenHow{
	Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
	Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
}

// Options for Tree.
type Options struct {
	// Noted says that the tree was unpacked by a user with one id: what is his was root's, unless a note says otherwise.
	Noted bool
}

// Tree writes everything below dir, and dir itself as "./", sorted by name. Sockets are left out. It ends the archive
// but does not close w.
func Tree(ctx context.Context, dir *os.File, w io.Writer, o Options) error {
	t := &tree{o: o, me: [2]int{os.Geteuid(), os.Getegid()}, ctx: ctx, w: tar.NewWriter(w), seen: map[[2]uint64]string{}}
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := t.dir(fd, "", &st); err != nil {
		return err
	}
	return t.w.Close()
}

type tree struct {
	o    Options
	me   [2]int
	ctx  context.Context
	w    *tar.Writer
	seen map[[2]uint64]string
}

func (t *tree) dir(fd int, p string, st *unix.Stat_t) error {
	h := t.header(p+"/", st, tar.TypeDir)
	if p == "" {
		h.Name = "./"
	}
	if err := t.xattrs(h, fd, fdPath(fd)); err != nil {
		return err
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	names, err := list(fd)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", strconv.Quote(p), err)
	}
	for _, n := range names {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		if err := t.entry(fd, n, path.Join(p, n)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) entry(up int, name, p string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(up, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("read %s: %w", strconv.Quote(p), err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		h := how
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			h.Flags |= unix.O_DIRECTORY
		}
		fd, err := unix.Openat2(up, name, &h)
		if err != nil {
			return fmt.Errorf("read %s: %w", strconv.Quote(p), err)
		}
		defer unix.Close(fd)
		// What was opened counts, not what was looked at before.
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return t.dir(fd, p, &st)
		case unix.S_IFREG:
			return t.file(fd, p, &st)
		}
		return fmt.Errorf("read %s: it changed while it was read", strconv.Quote(p))
	case unix.S_IFSOCK:
		return nil
	}
	if t.linked(p, &st) {
		return t.link(p, &st)
	}
	h := t.header(p, &st, 0)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		b := make([]byte, 4096)
		n, err := unix.Readlinkat(up, name, b)
		if err != nil {
			return fmt.Errorf("read symlink %s: %w", strconv.Quote(p), err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(b[:n])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if err := t.xattrs(h, -1, fdPath(up)+"/"+name); err != nil {
		return err
	}
	return t.w.WriteHeader(h)
}

func (t *tree) linked(p string, st *unix.Stat_t) bool {
	if st.Nlink < 2 {
		return false
	}
	k := [2]uint64{uint64(st.Dev), st.Ino}
	if _, ok := t.seen[k]; ok {
		return true
	}
	t.seen[k] = p
	return false
}

func (t *tree) link(p string, st *unix.Stat_t) error {
	h := t.header(p, st, tar.TypeLink)
	h.Linkname = t.seen[[2]uint64{uint64(st.Dev), st.Ino}]
	return t.w.WriteHeader(h)
}

func (t *tree) file(fd int, p string, st *unix.Stat_t) error {
	if t.linked(p, st) {
		return t.link(p, st)
	}
	h := t.header(p, st, tar.TypeReg)
	h.Size = st.Size
	if err := t.xattrs(h, fd, fdPath(fd)); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
		return t.w.WriteHeader(h)
	}
	if err := t.w.WriteHeader(h); err != nil {
		return err
	}
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(d), p)
	defer f.Close()
	n, err := io.Copy(t.w, io.LimitReader(f, st.Size))
	if err == nil && n < st.Size {
		err = errors.New("it became shorter while it was read")
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", strconv.Quote(p), err)
	}
	return nil
}

func (t *tree) header(p string, st *unix.Stat_t, kind byte) *tar.Header {
	h := &tar.Header{
		Name: p, Typeflag: kind, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	if t.o.Noted && h.Uid == t.me[0] {
		h.Uid = 0
	}
	if t.o.Noted && h.Gid == t.me[1] {
		h.Gid = 0
	}
	return h
}

// xattrs adds the attributes that belong to an image, and puts a noted owner back.
func (t *tree) xattrs(h *tar.Header, fd int, p string) error {
	names, err := listxattr(fd, p)
	if err != nil {
		return fmt.Errorf("read attributes of %s: %w", strconv.Quote(h.Name), err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "trusted.overlay.") || strings.HasPrefix(n, "user.overlay.") || n == "security.selinux" {
			continue
		}
		v, err := getxattr(fd, p, n)
		if err != nil {
			continue // gone, or not for this user to read
		}
		if n == unpack.OverrideStat {
			restore(h, string(v))
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+n] = string(v)
	}
	return nil
}

// restore reads "uid:gid:0mode[:type]". What it cannot read it leaves alone.
func restore(h *tar.Header, note string) {
	f := strings.SplitN(note, ":", 4)
	if len(f) < 3 {
		return
	}
	uid, e1 := strconv.ParseUint(f[0], 10, 32)
	gid, e2 := strconv.ParseUint(f[1], 10, 32)
	mode, e3 := strconv.ParseUint(f[2], 8, 12)
	if e1 != nil || e2 != nil || e3 != nil {
		return
	}
	h.Uid, h.Gid, h.Mode = int(uid), int(gid), int64(mode)
	if len(f) < 4 || h.Typeflag != tar.TypeReg {
		return
	}
	d := strings.Split(f[3], "-")
	if len(d) != 3 || (d[0] != "char" && d[0] != "block") {
		return
	}
	major, e1 := strconv.ParseUint(d[1], 10, 12)
	minor, e2 := strconv.ParseUint(d[2], 10, 20)
	if e1 != nil || e2 != nil {
		return
	}
	h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(major), int64(minor)
	if d[0] == "block" {
		h.Typeflag = tar.TypeBlock
	}
}

func listxattr(fd int, p string) ([]string, error) {
	b := make([]byte, 64<<10)
	var n int
	var err error
	if fd >= 0 {
		n, err = unix.Flistxattr(fd, b)
	} else {
		n, err = unix.Llistxattr(p, b)
	}
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := strings.FieldsFunc(string(b[:n]), func(r rune) bool { return r == 0 })
	sort.Strings(out)
	return out, nil
}

func getxattr(fd int, p, name string) ([]byte, error) {
	b := make([]byte, 64<<10)
	var n int
	var err error
	if fd >= 0 {
		n, err = unix.Fgetxattr(fd, name, b)
	} else {
		n, err = unix.Lgetxattr(p, name, b)
	}
	return b[:max(n, 0)], err
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func list(fd int) ([]string, error) {
	d, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(d), "directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}
