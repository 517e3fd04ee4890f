package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

const createFlags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// regular writes a regular file: from the buffer of the job, or from r where it is larger.
func (t *Tree) regular(j job, r io.Reader) error {
	mode := uint32(j.h.Mode & 0o7777)
	// With a plain mode that the umask lets through, the file is born with it and needs no chmod.
	plain := mode&0o7000 == 0 && mode&t.umask == 0 && mode&0o200 != 0
	birth := uint32(0o600)
	if plain {
		birth = mode
	}
	fd, err := t.create(j.d, j.name, birth)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch {
	case j.buf != nil && isSparse(j.h):
		err = writeSparse(fd, bytes.NewReader((*j.buf)[:j.h.Size]), j.h.Size, t)
	case j.buf != nil:
		err = writeAll(fd, (*j.buf)[:j.h.Size])
	case r != nil && isSparse(j.h):
		err = writeSparse(fd, r, j.h.Size, t)
	case r != nil:
		err = t.stream(fd, r, j.h.Size)
	}
	if err != nil {
		return err
	}
	if err := t.chownFd(fd, j.h.Uid, j.h.Gid, mode|unix.S_IFREG, ""); err != nil {
		return err
	}
	// Attributes before the mode: user attributes need a file that its owner may write (xattr(7)).
	if err := t.attributes(fd, j.h); err != nil {
		return err
	}
	if !plain {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("set mode %04o: %w", mode, err)
		}
	}
	at, mt := times(j.h)
	return futimens(fd, at, mt)
}

func (t *Tree) attributes(fd int, h *tar.Header) error {
	xs, dropped, err := xattrsOf(h)
	if err != nil {
		return err
	}
	t.stats.dropped.Add(dropped)
	return t.setXattrs(fd, xs)
}

// create makes a new file, replacing what has its name: the last entry of an archive wins.
func (t *Tree) create(d *dir, name string, mode uint32) (int, error) {
	for range 3 {
		fd, err := unix.Openat(d.fd, name, createFlags, mode)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EEXIST {
			return fd, err
		}
		if err := t.displace(d, name); err != nil {
			return -1, err
		}
	}
	return -1, unix.EEXIST
}

// displace removes what has the name of a new entry that is no directory.
func (t *Tree) displace(d *dir, name string) error { return removeAt(d.fd, name) }

// special makes a symlink, FIFO or device.
func (t *Tree) special(j job) error {
	h := j.h
	mode := uint32(h.Mode & 0o7777)
	var kind uint32
	switch h.Typeflag {
	case tar.TypeSymlink:
		return t.symlink(j)
	case tar.TypeFifo:
		kind = unix.S_IFIFO
	case tar.TypeChar:
		kind = unix.S_IFCHR
	case tar.TypeBlock:
		kind = unix.S_IFBLK
	}
	dev := uint64(0)
	if kind != unix.S_IFIFO {
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return fmt.Errorf("device number %d:%d is not one that Linux has", h.Devmajor, h.Devminor)
		}
		dev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		if kind == unix.S_IFCHR && dev == 0 {
			return errors.New("character device 0:0 is how overlayfs marks a removed file; a layer says that with a \".wh.\" entry")
		}
		if t.opt.PlaceDevices {
			return t.placeDevice(j, kind, mode)
		}
	}
	err := unix.Mknodat(j.d.fd, j.name, kind|mode, int(dev))
	if err == unix.EEXIST {
		if err := t.displace(j.d, j.name); err != nil {
			return err
		}
		err = unix.Mknodat(j.d.fd, j.name, kind|mode, int(dev))
	}
	if err != nil {
		return err
	}
	if err := t.chownAt(j.d, j.name, h.Uid, h.Gid); err != nil {
		return err
	}
	if mode&(t.umask|0o7000) != 0 {
		// The entry was made a moment ago in a directory that is ours alone, and it is no symlink.
		if err := unix.Fchmodat(j.d.fd, j.name, mode, 0); err != nil {
			return err
		}
	}
	return t.finishAt(j)
}

func (t *Tree) symlink(j job) error {
	target := j.h.Linkname
	switch {
	case target == "":
		return errors.New("symlink has no target")
	case len(target) >= maxPath:
		return fmt.Errorf("symlink target of %d bytes is longer than Linux allows", len(target))
	}
	err := unix.Symlinkat(target, j.d.fd, j.name)
	if err == unix.EEXIST {
		if err := t.displace(j.d, j.name); err != nil {
			return err
		}
		err = unix.Symlinkat(target, j.d.fd, j.name)
	}
	if err != nil {
		return err
	}
	if err := t.chownAt(j.d, j.name, j.h.Uid, j.h.Gid); err != nil {
		return err
	}
	return t.finishAt(j)
}

func (t *Tree) finishAt(j job) error {
	xs, dropped, err := xattrsOf(j.h)
	if err != nil {
		return err
	}
	t.stats.dropped.Add(dropped)
	if err := t.linkXattrs(j.d, j.name, xs); err != nil {
		return err
	}
	at, mt := times(j.h)
	if err := unix.UtimesNanoAt(j.d.fd, j.name, []unix.Timespec{at, mt}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// placeDevice leaves an empty file, with a note, where a device cannot be made.
func (t *Tree) placeDevice(j job, kind, mode uint32) error {
	fd, err := t.create(j.d, j.name, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	note := "char"
	if kind == unix.S_IFBLK {
		note = "block"
	}
	note = fmt.Sprintf("%s-%d-%d", note, j.h.Devmajor, j.h.Devminor)
	if err := t.chownFd(fd, j.h.Uid, j.h.Gid, mode|kind, note); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode&0o777); err != nil {
		return err
	}
	at, mt := times(j.h)
	return futimens(fd, at, mt)
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// stream copies a large file and starts its way to the disk early, so that the sync at the end finds little to do.
func (t *Tree) stream(fd int, r io.Reader, size int64) error {
	const kick = 8 << 20
	buf := t.pool.Get().(*[]byte)
	defer t.pool.Put(buf)
	var off, kicked int64
	for off < size {
		n, err := io.ReadFull(r, (*buf)[:min(int64(len(*buf)), size-off)])
		if err != nil {
			return noEOF(err)
		}
		if err := writeAll(fd, (*buf)[:n]); err != nil {
			return err
		}
		off += int64(n)
		if off-kicked >= kick {
			_ = unix.SyncFileRange(fd, kicked, off-kicked, unix.SYNC_FILE_RANGE_WRITE)
			kicked = off
		}
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, paxGNUSpars) {
			return true
		}
	}
	return false
}

var zeros [4096]byte

// writeSparse leaves holes for blocks of zeros; the reader expands the holes of the archive to zeros.
func writeSparse(fd int, r io.Reader, size int64, t *Tree) error {
	buf := t.pool.Get().(*[]byte)
	defer t.pool.Put(buf)
	for off := int64(0); off < size; {
		n, err := io.ReadFull(r, (*buf)[:min(int64(len(*buf)), size-off)])
		if err != nil {
			return noEOF(err)
		}
		for b := (*buf)[:n]; len(b) > 0; {
			k := min(len(b), len(zeros))
			if !bytes.Equal(b[:k], zeros[:k]) {
				if _, err := unix.Pwrite(fd, b[:k], off); err != nil {
					return err
				}
			}
			off += int64(k)
			b = b[k:]
		}
	}
	return unix.Ftruncate(fd, size)
}
