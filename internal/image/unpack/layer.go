package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of whiteouts, OCI image-spec layer.md "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// Layer unpacks one uncompressed tar stream into the tree and reads it to its end, padding included, so that a
// digest computed by the reader covers all of it. After an error the tree is of no use but to be removed.
func (t *Tree) Layer(ctx context.Context, r io.Reader) (Stats, error) {
	t.stats.reset()
	if t.opt.Form == Applied {
		t.touched = newTouched(t.dirs.root)
		t.dirs.flush() // what is open counts as part of the layer before
	}
	err := t.layer(ctx, r)
	if e := t.drain(); err == nil {
		err = e
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return t.stats.sum(), err
}

func (t *Tree) layer(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	budget := t.opt.Limits.Bytes
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
				return fmt.Errorf("read layer: entry %d is not a valid tar header: %w", n+1, err)
			}
			return fmt.Errorf("read layer: %w", err)
		}
		if n >= t.opt.Limits.Entries {
			return fmt.Errorf("read layer: more than %d entries, the limit against archive bombs", t.opt.Limits.Entries)
		}
		if h.Size < 0 || h.Size > budget {
			return entryError(h.Name, kindOf(h), fmt.Errorf("with its %d bytes the layer is larger than %d bytes, the limit against archive bombs", h.Size, t.opt.Limits.Bytes))
		}
		budget -= h.Size
		t.stats.entries.Add(1)
		if err := t.entry(h, tr); err != nil {
			return entryError(h.Name, kindOf(h), err)
		}
		if err := t.wait.failed(); err != nil {
			return err
		}
	}
}

// entryPath turns the name of an entry into a path below the root without leading slash, "." or empty component; the
// root itself is "". A name with ".." is refused: no image builder writes one.
func entryPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("name of %d bytes is longer than Linux allows (%d)", len(name), maxPath)
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("name holds a NUL byte")
	}
	for rest := name; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if c == ".." {
			return "", errors.New(`name leads out of its directory with ".."; the archive is refused`)
		}
		if len(c) > 255 {
			return "", fmt.Errorf("a component of %d bytes is longer than Linux allows (255)", len(c))
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func (t *Tree) entry(h *tar.Header, tr *tar.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil // git archive writes one; the reader has no use for its records
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo,
		tar.TypeGNUSparse, tar.TypeCont:
	case 0: // V7 regular file; the reader gives TypeReg, or TypeDir for a name that ends in "/"
	default:
		return fmt.Errorf("entries of type %q are not part of an image layer", h.Typeflag)
	}
	p, err := entryPath(h.Name)
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return fmt.Errorf("owner %d:%d is not a valid id; ids go from 0 to 4294967294", h.Uid, h.Gid)
	}
	if p == "" {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root of a layer must be a directory; the archive is refused")
		}
		return t.noteDir("", h)
	}
	dirPath, base := path.Split(p)
	dirPath = strings.TrimSuffix(dirPath, "/")
	if strings.HasPrefix(base, whiteoutPrefix) {
		return t.whiteout(dirPath, base)
	}
	d, err := t.open(dirPath, true)
	if err != nil {
		return err
	}
	d.refs.Add(1)
	j := job{d: d, name: base, h: h}
	if h.Typeflag == tar.TypeDir {
		defer d.release()
		return t.directory(j, p)
	}
	t.touched.file(d, base)
	if _, ok := t.pending[p]; ok {
		// A directory seen before is replaced: at once, since what is open below it is no longer part of the tree.
		if err = t.drain(); err == nil {
			err = t.displace(d, base)
		}
		if err != nil {
			d.release()
			return err
		}
		t.forget(p)
	}
	if t.wait.has(j.key()) {
		if err := t.drain(); err != nil {
			d.release()
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeLink:
		defer d.release()
		if err := t.drain(); err != nil {
			return err
		}
		return t.hardLink(j)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeSymlink:
		return t.submit(j)
	}
	t.stats.bytes.Add(h.Size)
	if h.Size <= smallFile {
		if h.Size > 0 {
			buf := t.pool.Get().(*[]byte)
			if _, err := io.ReadFull(tr, (*buf)[:h.Size]); err != nil {
				t.pool.Put(buf)
				d.release()
				return noEOF(err)
			}
			j.buf = buf
		}
		return t.submit(j)
	}
	defer d.release()
	return t.regular(j, tr)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// directory makes a directory or takes over the one that is there.
func (t *Tree) directory(j job, p string) error {
	err := t.makeDir(j.d, j.name)
	if err == unix.EEXIST || t.wait.has(j.key()) {
		if err := t.drain(); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(j.d.fd, j.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err := unix.Unlinkat(j.d.fd, j.name, 0); err != nil {
				return err
			}
			t.dirs.flush()
			if err := t.makeDir(j.d, j.name); err != nil {
				return err
			}
		}
	} else if err != nil {
		return err
	}
	if err := t.noteDir(p, j.h); err != nil {
		return err
	}
	_, err = t.open(p, true) // in the cache for what follows, and known as touched
	return err
}

// noteDir remembers what a directory is to look like in the end.
func (t *Tree) noteDir(p string, h *tar.Header) error {
	xs, dropped, err := xattrsOf(h)
	if err != nil {
		return err
	}
	t.stats.dropped.Add(dropped)
	a := dirAttr{mode: uint32(h.Mode & 0o7777), uid: h.Uid, gid: h.Gid, own: true, xattrs: xs}
	a.atime, a.mtime = times(h)
	t.pending[p] = a
	return nil
}

func (t *Tree) hardLink(j job) error {
	target, err := entryPath(j.h.Linkname)
	if err != nil {
		return fmt.Errorf("link target %q: %w", shorten(j.h.Linkname), err)
	}
	if target == "" {
		return errors.New("link target is the root of the layer")
	}
	parent, base := path.Split(target)
	from := t.dirs.root
	if parent != "" {
		fd, err := openat2(t.root, parent, howDir)
		if err != nil {
			return fmt.Errorf("link target %q: %w", shorten(j.h.Linkname), notThere(err))
		}
		defer unix.Close(fd)
		from = &dir{fd: fd}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("link target %q: %w", shorten(j.h.Linkname), notThere(err))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("link target %q is a directory", shorten(j.h.Linkname))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return fmt.Errorf("link target %q was removed by a whiteout", shorten(j.h.Linkname))
	}
	err = unix.Linkat(from.fd, base, j.d.fd, j.name, 0)
	if err == unix.EEXIST {
		var old unix.Stat_t
		if unix.Fstatat(j.d.fd, j.name, &old, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Ino == st.Ino && old.Dev == st.Dev {
			return nil // a link to itself, or the same entry twice
		}
		if err := t.displace(j.d, j.name); err != nil {
			return err
		}
		err = unix.Linkat(from.fd, base, j.d.fd, j.name, 0)
	}
	return err
}

func notThere(err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return errors.New("no such file in the image")
	}
	return err
}

func kindOf(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "symlink"
	case tar.TypeLink:
		return "hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "FIFO"
	}
	return "file"
}
