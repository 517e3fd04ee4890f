// Package state keeps what is on disk about the containers of gcr: one directory for each, in a directory that
// belongs to the caller alone.
//
//	dir, err := state.Create(root, "72741c42c0d4", cleanUp)
//	if err != nil {
//		return err
//	}
//	defer dir.Remove()
//
// A directory is alive as long as its creator holds the lock on it. The kernel takes the lock away when the
// creator ends, however it ends, so what a killed gcr has left is known for dead and removed by the next one
// with [Sweep].
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// Root returns the directory of all containers of the caller: /run/gcr for root, else a directory below
// XDG_RUNTIME_DIR or, where the session has none, one of its own in the directory for temporary files. Root in a
// user namespace, who may not write /run, is like anybody else.
func Root(uid int, runtimeDir, tmpDir string) string {
	switch {
	case uid == 0 && unix.Access("/run", unix.W_OK) == nil:
		return "/run/gcr"
	case runtimeDir != "":
		return filepath.Join(runtimeDir, "gcr")
	}
	return filepath.Join(tmpDir, fmt.Sprintf("gcr-%d", uid))
}

// Dir is the directory of one container, locked by this process.
type Dir struct {
	Path string
	lock *os.File
}

// ErrInUse says that a container of this name is alive.
var ErrInUse = errors.New("a container of this name is running")

// Create makes the directory of a container below root and locks it. One that a killed process has left under
// the same name is removed first, after clean, as [Sweep] does it.
func Create(root, name string, clean func(path string) error) (*Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := secureRoot(root); err != nil {
		return nil, err
	}
	path := filepath.Join(root, name)
	for range 100 {
		d, err := create(root, path)
		if errors.Is(err, errSwept) {
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return d, err
		}
		if err := removeDead(path, clean); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("make state directory %s: it keeps being made by somebody else", path)
}

// errSwept says that a sweep has taken a directory for that of a dead container before it was locked.
var errSwept = errors.New("swept away while it was made")

// create makes the directory under a name of its own and renames it once it is locked: so a container has a lock from
// the moment that it has its name.
func create(root, path string) (*Dir, error) {
	tmp, err := os.MkdirTemp(root, ".new-")
	if err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(tmp, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errSwept
	}
	if err != nil {
		os.Remove(tmp)
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close() // a sweep has it, and removes it
		return nil, errSwept
	}
	switch err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); {
	case errors.Is(err, unix.ENOENT): // a sweep was faster, and has let go of the lock
		lock.Close()
		return nil, errSwept
	case err != nil:
		os.RemoveAll(tmp)
		lock.Close()
		return nil, fmt.Errorf("make state directory %s: %w", path, err)
	}
	return &Dir{path, lock}, nil
}

// checkName refuses what would be a path or an option (the rule of runc and Docker for container names).
func checkName(name string) error {
	ok := name != "" && len(name) <= 128 && name != "." && name != ".."
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		ok = ok && (alnum || i > 0 && strings.ContainsRune("_.-", r))
	}
	if !ok {
		return fmt.Errorf("name container %q: a name has letters, digits and, after the first character, also _ . -; at most 128 characters", name)
	}
	return nil
}

// secureRoot makes the directory of all containers and refuses one that somebody else could write: below /tmp
// anybody might have made it first.
func secureRoot(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return fmt.Errorf("check state directory %s: %w", root, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("check state directory %s: it must be a directory that belongs to user %d and that nobody else can write", root, os.Geteuid())
	}
	return nil
}

// Remove removes the directory and lets go of the lock.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.Path)
	d.lock.Close()
	if err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// Sweep removes the directories of containers whose creator has ended. For each it first calls clean with the
// path, which may take away what else belongs to the container; an error keeps the directory.
func Sweep(root string, clean func(path string) error) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for left-over containers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, sweep(filepath.Join(root, e.Name()), clean))
		}
	}
	return errors.Join(errs...)
}

func sweep(path string, clean func(string) error) error {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Killed between mkdir and the lock, or being made this very moment: only an empty directory is
		// removed, and its maker makes another.
		_ = os.Remove(path)
		return nil
	case err != nil:
		return nil // somebody else's
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // alive
	}
	return cleanAll(path, clean)
}

// cleanAll removes a dead container that the caller has locked.
func cleanAll(path string, clean func(string) error) error {
	if clean != nil {
		if err := clean(path); err != nil {
			return fmt.Errorf("clean up after container %s: %w", filepath.Base(path), err)
		}
	}
	// The lock goes last: while it is there, a sweep that is killed half-way can be repeated.
	return removeAll(path)
}

func removeAll(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove left-over container: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return fmt.Errorf("remove left-over container: %w", err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove left-over container: %w", err)
	}
	return nil
}

// removeDead makes way for a new container of the same name.
func removeDead(path string, clean func(string) error) error {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open lock of container: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("make container %s: %w", filepath.Base(path), ErrInUse)
	}
	return cleanAll(path, clean)
}
