package unpack

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// touched knows what the layer at hand has made, since its whiteouts are for the layers below only (OCI image-spec
// layer.md, "Whiteouts"). Files are kept as keyed hashes, to hold millions of them in little memory; directories by
// inode, because the same directory may be reached by several paths.
type touched struct {
	seed  maphash.Seed
	files map[uint64]struct{}
	dirs  map[[2]uint64]struct{}
}

func newTouched(root *dir) *touched {
	s := &touched{seed: maphash.MakeSeed(), files: map[uint64]struct{}{}, dirs: map[[2]uint64]struct{}{}}
	s.dir(root.dev, root.ino)
	return s
}

func (s *touched) key(dev, ino uint64, name string) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], dev)
	binary.LittleEndian.PutUint64(b[8:], ino)
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.Write(b[:])
	h.WriteString(name)
	return h.Sum64()
}

func (s *touched) file(d *dir, name string) {
	if s != nil {
		s.files[s.key(d.dev, d.ino, name)] = struct{}{}
	}
}

func (s *touched) dir(dev, ino uint64) {
	if s != nil {
		s.dirs[[2]uint64{dev, ino}] = struct{}{}
	}
}

// whiteout carries out, or writes down, the whiteout base in the directory at dirPath.
func (t *Tree) whiteout(dirPath, base string) error {
	if err := t.drain(); err != nil {
		return err
	}
	if base == whiteoutOpaque {
		return t.opaque(dirPath)
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil // bookkeeping of AUFS (.wh..wh.plnk and the like), which no image means
	}
	name := base[len(whiteoutPrefix):]
	if name == "" || name == "." || name == ".." {
		return errors.New("whiteout names no file; the archive is refused")
	}
	if t.opt.Form == Applied {
		d, err := t.open(dirPath, false)
		if err == unix.ENOENT || err == errNotDirectory {
			return nil
		}
		if err != nil {
			return err
		}
		d.refs.Add(1)
		defer d.release()
		return t.clear(d.fd, d.dev, d.ino, name, path.Join(dirPath, name))
	}
	d, err := t.open(dirPath, true)
	if err != nil {
		return err
	}
	err = unix.Mknodat(d.fd, name, unix.S_IFCHR, 0)
	if err != unix.EEXIST {
		return err
	}
	// The layer itself has something of that name, which stays; a directory must not merge with the one below.
	fd, err := openat2(d.fd, name, howChild)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.setOpaque(fd)
}

func (t *Tree) opaque(dirPath string) error {
	if t.opt.Form == Applied {
		d, err := t.open(dirPath, false)
		if err == unix.ENOENT || err == errNotDirectory {
			return nil
		}
		if err != nil {
			return err
		}
		fd, err := openat2(d.fd, ".", howChild)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return t.clearChildren(fd, dirPath)
	}
	d, err := t.open(dirPath, true)
	if err != nil {
		return err
	}
	fd, err := openat2(d.fd, ".", howChild)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.setOpaque(fd)
}

// clear removes name in the directory fd but for what the layer at hand has made.
func (t *Tree) clear(fd int, dev, ino uint64, name, p string) error {
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, ok := t.touched.files[t.touched.key(dev, ino, name)]; ok {
			return nil
		}
		return unix.Unlinkat(fd, name, 0)
	}
	if _, ok := t.touched.dirs[[2]uint64{uint64(st.Dev), st.Ino}]; !ok {
		t.forget(p)
		return removeAt(fd, name)
	}
	child, err := openat2(fd, name, howChild)
	if err != nil {
		return err
	}
	defer unix.Close(child)
	return t.clearChildren(child, p)
}

func (t *Tree) clearChildren(fd int, p string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := t.clear(fd, uint64(st.Dev), st.Ino, n, path.Join(p, n)); err != nil {
			return err
		}
	}
	return nil
}
