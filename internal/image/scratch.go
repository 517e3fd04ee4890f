package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gcr/internal/image/fault"
	"gcr/internal/image/flock"
	"gcr/internal/image/unpack"
)

// Scratch is where a container's changes to an image go: the upper and the work directory of an overlay, on the disk
// of the store. It lives as long as the hold that it belongs to; what a killed process leaves is removed by the next
// one that makes a scratch directory, removes an image or prunes.
type Scratch struct {
	s    *Store
	name string
}

// Scratch names the directories for the container behind a hold. They are made by Make.
func (h *Hold) Scratch(s *Store) *Scratch { return &Scratch{s, filepath.Base(h.path)} }

// Upper is the directory for overlayfs's option upperdir.
func (c *Scratch) Upper() string { return c.s.path("containers", c.name, "upper") }

// Work is the directory for overlayfs's option workdir.
func (c *Scratch) Work() string { return c.s.path("containers", c.name, "work") }

// Make makes the directories, after it has removed those of containers that were killed.
func (c *Scratch) Make(ctx context.Context) error {
	if err := c.s.sweepScratch(ctx); err != nil {
		return fault.New("remove what killed containers left", c.s.root, err)
	}
	// The mode of the upper directory is that of the container's "/".
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{{c.s.path("containers", c.name), 0o700}, {c.Upper(), 0o755}, {c.Work(), 0o700}} {
		err := os.Mkdir(d.path, 0o700)
		if err == nil {
			err = os.Chmod(d.path, d.mode)
		}
		if err != nil {
			return fault.New("make directory for the container's files", d.path, err)
		}
	}
	return nil
}

// Remove removes the directories and all that the container has left in them. The container must have ended.
func (c *Scratch) Remove(ctx context.Context) error {
	if err := c.s.removeScratch(ctx, c.name); err != nil {
		return fault.New("remove the container's files", c.s.path("containers", c.name), err)
	}
	return nil
}

func (s *Store) removeScratch(ctx context.Context, name string) error {
	d, err := os.Open(s.path("containers"))
	if err != nil {
		return err
	}
	defer d.Close()
	// Nearly always everything belongs to the caller, and the copy of the program in a user namespace, which can
	// remove files of subordinate ids, is not needed.
	err = unpack.RemoveAt(d, name)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = s.worker.Remove(ctx, d, name)
	}
	return err
}

// sweepScratch removes the directories of containers whose holder is dead. A directory is made by whoever has its
// hold locked, so one without such a hold is nobody's.
func (s *Store) sweepScratch(ctx context.Context) error {
	var errs []error
	for _, e := range s.names("containers") {
		hold := s.path("holds", e.Name())
		l, err := flock.TryExclusive(hold)
		if errors.Is(err, flock.ErrBusy) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("look at %s: %w", hold, err))
			continue
		}
		err = s.removeScratch(ctx, e.Name())
		if l != nil {
			_ = os.Remove(hold)
			l.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Kinds of file systems that overlayfs takes no upper directory on (overlayfs.rst, "Upper layer"; statfs(2)).
const (
	magicOverlay = 0x794c7630
	magicNFS     = 0x6969
	magicFuse    = 0x65735546
	magicCIFS    = 0xff534d42
	magicSMB2    = 0xfe534d42
	magicVFAT    = 0x4d44
	magic9P      = 0x01021997
	magicEcrypt  = 0xf15f
)

// TakesUpper says whether the store lies on a file system that can hold an upper directory, and which it is if not.
func (s *Store) TakesUpper() (bool, string) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil {
		return false, err.Error()
	}
	name := map[int64]string{
		magicOverlay: "overlay", magicNFS: "NFS", magicFuse: "FUSE", magicCIFS: "CIFS", magicSMB2: "SMB", magicVFAT: "FAT",
		magic9P: "9P", magicEcrypt: "eCryptfs",
	}[int64(st.Type)&0xffffffff]
	return name == "", name
}
