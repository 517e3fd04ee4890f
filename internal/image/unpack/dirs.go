package unpack

import (
	"container/list"
	"errors"
	"path"
	"sort"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dir is an open directory below the root. Workers hold a reference while they write into it, so that the cache may
// forget it in the meantime.
type dir struct {
	path string
	fd   int
	dev  uint64
	ino  uint64
	refs atomic.Int32
	// used says that the layer at hand has, or will have, something in it.
	used bool
}

func (d *dir) release() {
	if d.refs.Add(-1) == 0 {
		unix.Close(d.fd)
	}
}

// dirCache keeps the most recently used directories open: archives are sorted by directory, so nearly every entry
// finds its parent here.
type dirCache struct {
	max  int
	byID map[string]*list.Element
	lru  *list.List // of *dir, most recent first
	root *dir
}

func (c *dirCache) init(root int, st *unix.Stat_t) {
	c.max = 64
	c.byID = map[string]*list.Element{}
	c.lru = list.New()
	c.root = &dir{fd: root, dev: uint64(st.Dev), ino: st.Ino}
	c.root.refs.Store(1) // never released by the cache: Tree.root is closed by Close
}

func (c *dirCache) get(p string) *dir {
	if p == "" {
		return c.root
	}
	e := c.byID[p]
	if e == nil {
		return nil
	}
	c.lru.MoveToFront(e)
	return e.Value.(*dir)
}

func (c *dirCache) put(d *dir) {
	d.refs.Store(1)
	c.byID[d.path] = c.lru.PushFront(d)
	for c.lru.Len() > c.max {
		c.drop(c.lru.Back())
	}
}

func (c *dirCache) drop(e *list.Element) {
	d := e.Value.(*dir)
	delete(c.byID, d.path)
	c.lru.Remove(e)
	d.release()
}

// flush forgets everything; after a removal or a new symlink a path may mean another directory.
func (c *dirCache) flush() {
	for c.lru.Len() > 0 {
		c.drop(c.lru.Back())
	}
}

func (c *dirCache) closeAll() { c.flush() }

// how for a directory of the archive: symlinks in it are followed as the container would, with the target as "/".
var howDir = unix.OpenHow{
	Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
	Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
}

// openat2 repeats the call when the kernel asks for it: EAGAIN means that a rename elsewhere raced with the walk.
func openat2(fd int, p string, how unix.OpenHow) (int, error) {
	for i := 0; ; i++ {
		r, err := unix.Openat2(fd, p, &how)
		if (err == unix.EINTR || err == unix.EAGAIN) && i < 1000 {
			continue
		}
		return r, err
	}
}

var errNotDirectory = errors.New("its parent is not a directory")

// open gives the directory at p ("" is the root), which has been cleaned by entryPath. With create, what is missing
// is made with mode 0755. The descriptor is O_PATH.
func (t *Tree) open(p string, create bool) (*dir, error) {
	if d := t.dirs.get(p); d != nil {
		if create && !d.used && p != "" {
			// Opened before for a whiteout only; it and those above it now count as part of the layer.
			d.used = true
			t.touched.dir(d.dev, d.ino)
			d.refs.Add(1)
			_, err := t.open(strings.TrimSuffix(path.Dir("/" + p)[1:], "/"), true)
			d.refs.Add(-1)
			return d, err
		}
		return d, nil
	}
	// A symlink on the way may still be with the workers.
	if t.wait.links.Load() > 0 {
		if err := t.drain(); err != nil {
			return nil, err
		}
	}
	parent, name := path.Split(p)
	up, err := t.open(strings.TrimSuffix(parent, "/"), create)
	if err != nil {
		return nil, err
	}
	up.refs.Add(1)
	defer up.release()
	fd, err := openat2(t.root, p, howDir)
	made := false
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		if err := t.drain(); err != nil {
			return nil, err
		}
		fd, err = openat2(t.root, p, howDir)
		if (err == unix.ENOENT || (err == unix.ENOTDIR && t.isWhiteout(up, name))) && create {
			if err = t.makeDir(up, name); err == nil {
				made = true
				fd, err = openat2(t.root, p, howDir)
			}
		}
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return nil, errNotDirectory
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d := &dir{path: p, fd: fd, dev: uint64(st.Dev), ino: st.Ino, used: create}
	if create {
		t.touched.dir(d.dev, d.ino)
	}
	if _, ok := t.pending[p]; !ok {
		if made {
			t.pending[p] = dirAttr{mode: 0o755}
		} else {
			// A directory of a lower layer: writing below it must not change its times, and it must be
			// writable for a while where the caller is not root.
			t.pending[p] = dirAttr{mode: uint32(st.Mode & 0o7777), atime: st.Atim, mtime: st.Mtim, found: true}
			if t.me.uid != 0 && st.Mode&0o700 != 0o700 {
				_ = chmodFd(fd, uint32(st.Mode&0o7777)|0o700)
			}
		}
	}
	t.dirs.put(d)
	return d, nil
}

// makeDir makes a directory for an entry of its own or as the missing parent of one.
func (t *Tree) makeDir(up *dir, name string) error {
	opaque := false
	err := unix.Mkdirat(up.fd, name, 0o700)
	if err == unix.EEXIST {
		if t.isWhiteout(up, name) {
			// Whited out and made anew in one layer: what lies below must not show through.
			if err := unix.Unlinkat(up.fd, name, 0); err != nil {
				return err
			}
			opaque = true
			err = unix.Mkdirat(up.fd, name, 0o700)
		}
	}
	if err != nil {
		return err
	}
	if opaque {
		fd, err := openat2(up.fd, name, howChild)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := t.setOpaque(fd); err != nil {
			return err
		}
	}
	return nil
}

// howChild opens a directory entry itself, never through a symlink.
var howChild = unix.OpenHow{
	Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
	Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
}

// isWhiteout says whether name is a whiteout of overlayfs. In the Applied form there are none.
func (t *Tree) isWhiteout(up *dir, name string) bool {
	if t.opt.Form != Overlay {
		return false
	}
	var st unix.Stat_t
	if unix.Fstatat(up.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// dirAttr is what a directory gets at the end.
type dirAttr struct {
	mode         uint32
	uid, gid     int
	own          bool // uid and gid are to be set
	found        bool // of a lower layer: only mode and times are to be restored
	atime, mtime unix.Timespec
	xattrs       []xattr
}

// forget drops the notes about directories at and below p, which is gone.
func (t *Tree) forget(p string) {
	t.dirs.flush()
	for k := range t.pending {
		if k == p || strings.HasPrefix(k, p+"/") {
			delete(t.pending, k)
		}
	}
}

// finishDirs sets owner, attributes, mode and times of all directories, in this order: chown clears set-id bits, and
// every change of the others moves no mtime.
func (t *Tree) finishDirs() error {
	for _, p := range deepestFirst(t.pending) {
		a := t.pending[p]
		if err := t.finishDir(p, a); err != nil {
			return entryError(p, "directory", err)
		}
	}
	clear(t.pending)
	return nil
}

func (t *Tree) finishDir(p string, a dirAttr) error {
	fd := t.root
	if p != "" {
		var err error
		how := howDir
		how.Flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
		fd, err = openat2(t.root, p, how)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			return nil // replaced by a later entry
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	if a.own && !a.found {
		if err := t.chownFd(fd, a.uid, a.gid, a.mode|unix.S_IFDIR, ""); err != nil {
			return err
		}
	}
	if err := t.setXattrs(fd, a.xattrs); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return err
	}
	if a.mtime != (unix.Timespec{}) || a.found {
		return futimens(fd, a.atime, a.mtime)
	}
	return nil
}

// deepestFirst orders directories so that each comes before its parent: a parent may end up closed to its owner.
func deepestFirst(m map[string]dirAttr) []string {
	out := make([]string, 0, len(m))
	for p := range m {
		out = append(out, p)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(out)))
	return out
}
