// Package unpack turns the tar streams of image layers into directories.
//
// The target directory is pinned by a descriptor and every path of the archive is resolved below it with
// openat2(RESOLVE_IN_ROOT), so that no entry, symlink or hard link can reach anything else. Names, types and
// attributes of an archive are data from strangers; package unpack never turns one into a path of the host.
//
//	dir, err := os.Open("rootfs.partial")
//	tree, err := unpack.New(dir, unpack.Options{Form: unpack.Applied})
//	for _, layer := range layers {
//		_, err = tree.Layer(ctx, layer) // an uncompressed tar stream
//	}
//	err = tree.Close() // modes and times of directories
//
// There are two forms. Applied carries whiteouts out: the result is a root file system. Overlay keeps one layer for
// itself, with whiteouts as overlayfs has them (a character device 0:0, and the "opaque" attribute), to be a
// lowerdir of an overlay mount.
//
// Sources: OCI image-spec v1.1 layer.md; tar(5), pax in POSIX.1-2017 (pax, "pax Interchange Format");
// Documentation/filesystems/overlayfs.rst; openat2(2).
package unpack

import (
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Form is how whiteouts come out.
type Form int

const (
	// Overlay writes whiteouts as overlayfs has them; the tree is one layer.
	Overlay Form = iota
	// Applied removes what a whiteout names; the tree is the sum of the layers.
	Applied
)

// Owners is what becomes of the user and group of an entry.
type Owners int

const (
	// Keep sets them with chown.
	Keep Owners = iota
	// Record leaves every file to the caller and notes owner, group and mode in the attribute
	// user.containers.override_stat ("uid:gid:0mode[:type]"), the form that containers/storage and
	// fuse-overlayfs use. For a user with one id only.
	Record
)

// OverrideStat is the attribute that Record writes.
const OverrideStat = "user.containers.override_stat"

// Options steers unpacking. The zero value is what root uses for the layers of a store.
type Options struct {
	Form   Form
	Owners Owners
	// UserXattr puts overlayfs's own attributes under "user.overlay." in place of "trusted.overlay.", as the mount
	// option userxattr expects (Linux 5.11). For user namespaces.
	UserXattr bool
	// PlaceDevices writes an empty file where the archive has a device, and notes the device in OverrideStat. A
	// user namespace may not make devices (mknod(2), EPERM).
	PlaceDevices bool
	// Limits against archives made to fill a disk or memory; zero fields mean the defaults.
	Limits Limits
	// Workers is how many goroutines write small files; 0 means one for each processor, up to 4.
	Workers int
}

// Limits bounds one layer.
type Limits struct {
	Bytes   int64 // sum of the sizes that the headers give, holes included; default 256 GiB
	Entries int64 // number of entries; default 10 million
}

// Default limits: an order of magnitude above the largest images in use.
const (
	DefaultBytes   = 256 << 30
	DefaultEntries = 10_000_000
)

// Limits of Linux and of this package for a single entry.
const (
	maxPath      = 4096      // PATH_MAX, limits.h
	maxXattrSize = 64 << 10  // XATTR_SIZE_MAX, xattr(7)
	maxXattrs    = 256       // for one entry
	smallFile    = 128 << 10 // files up to this size are written by the workers
)

// Stats is what a layer held.
type Stats struct {
	Entries  int64 // tar entries
	Bytes    int64 // size of regular files, in bytes
	Dropped  int64 // attributes, owners or devices that could not be kept
	Recorded int64 // owners or devices noted in OverrideStat
}

// Tree is a directory that layers are unpacked into. It is for one goroutine.
type Tree struct {
	root  int
	opt   Options
	me    ids
	umask uint32

	dirs    dirCache
	pending map[string]dirAttr // directories whose attributes are still to be set
	touched *touched           // what the layer at hand has made (Applied only)
	pool    sync.Pool

	seal func() // stops the workers
	jobs chan job
	wait *inflight

	stats counters
}

type ids struct{ uid, gid int }

// New prepares to unpack into the directory that dir has open. It should be on the way to be renamed: until Close,
// its mode is 0700. Where the archive has no entry for its root, mode and times are then what they were. The caller
// keeps dir.
func New(dir *os.File, o Options) (*Tree, error) {
	if o.Limits.Bytes == 0 {
		o.Limits.Bytes = DefaultBytes
	}
	if o.Limits.Entries == 0 {
		o.Limits.Entries = DefaultEntries
	}
	if o.Workers == 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	root, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t := &Tree{root: root, opt: o, me: ids{os.Geteuid(), os.Getegid()}, pending: map[string]dirAttr{}}
	t.umask = readUmask()
	t.pool.New = func() any { b := make([]byte, smallFile); return &b }
	// A default ACL or the set-group-id bit of the directory around would be inherited by everything below.
	_ = unix.Fremovexattr(root, aclDefault)
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		unix.Close(root)
		return nil, err
	}
	if err := unix.Fchmod(root, 0o700); err != nil {
		unix.Close(root)
		return nil, err
	}
	// What the archive does not say about its root is as the caller, or the layer before, has made it.
	t.pending[""] = dirAttr{mode: uint32(st.Mode & 0o7777), atime: st.Atim, mtime: st.Mtim, found: true}
	t.dirs.init(root, &st)
	t.startWorkers()
	return t, nil
}

// Close sets the attributes of directories, which had to wait until nothing more is written below them, and lets go
// of all descriptors. It must be called also after an error.
func (t *Tree) Close() error {
	err := t.drain()
	t.seal()
	if err == nil {
		err = t.finishDirs()
	}
	t.dirs.closeAll()
	unix.Close(t.root)
	return err
}

// Abandon lets go of all descriptors without finishing; for after an error.
func (t *Tree) Abandon() {
	_ = t.drain()
	t.seal()
	t.dirs.closeAll()
	unix.Close(t.root)
}
