package launch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"gcr/internal/plan"

	"golang.org/x/sys/unix"
)

// copyUp makes a tmpfs that starts with the contents of a directory of the root filesystem (the mount option
// tmpcopyup). It is done by the host side, since the program that sets the container up has no means to walk a tree.
func copyUp(t plan.Tree) (*os.File, error) {
	mnt, err := newTmpfs(t)
	if err != nil {
		return nil, &plan.Error{What: "mount tmpfs on " + t.CopyUp, Field: t.Field, Cause: err}
	}
	root, err := unix.Open(t.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		mnt.Close()
		return nil, &plan.Error{What: "open root filesystem " + t.Source, Field: "root.path", Cause: err, Client: fmt.Sprintf("invalid rootfs: stat %s: %v", t.Source, err)}
	}
	defer unix.Close(root)
	dir, err := unix.Openat2(root, t.CopyUp[1:], &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return mnt, nil // nothing to copy
	}
	if err == nil {
		src := os.NewFile(uintptr(dir), t.CopyUp)
		// The descriptor of the mount is a bare one (O_PATH), with which a mode cannot be changed.
		var top int
		if top, err = unix.Openat(int(mnt.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			if err = copyDir(src, top); err == nil {
				err = copyOwner(src, top, t.Data)
			}
			unix.Close(top)
		}
		src.Close()
	}
	if err != nil {
		mnt.Close()
		return nil, &plan.Error{What: "copy " + t.CopyUp + " to its tmpfs", Field: t.Field, Cause: err}
	}
	return mnt, nil
}

// copyOwner gives the tmpfs itself the owner and the mode of the directory, where the options name none.
func copyOwner(src *os.File, dst int, data [][2]string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return err
	}
	uid, gid, mode := int(st.Uid), int(st.Gid), true
	for _, o := range data {
		switch o[0] {
		case "uid":
			uid = -1
		case "gid":
			gid = -1
		case "mode":
			mode = false
		}
	}
	if err := unix.Fchownat(dst, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if mode {
		return unix.Fchmod(dst, st.Mode&0o7777)
	}
	return nil
}

// newTmpfs makes a detached tmpfs (fsopen(2), Linux 5.2).
func newTmpfs(t plan.Tree) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, o := range t.Data {
		if o[1] == "" {
			err = unix.FsconfigSetFlag(fs, o[0])
		} else {
			err = unix.FsconfigSetString(fs, o[0], o[1])
		}
		if err != nil {
			return nil, fmt.Errorf("option %s: %w", o[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// copyDir copies what is in a directory, with modes, owners and times. Nothing is followed: each entry is opened by
// name relative to its directory.
func copyDir(src *os.File, dst int) error {
	names, err := src.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(int(src.Fd()), dst, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func copyEntry(src, dst int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	mode := st.Mode & 0o7777
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		from, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(from), name)
		defer f.Close()
		if err := unix.Mkdirat(dst, name, mode); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		to, err := unix.Openat(dst, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(to)
		if err := copyDir(f, to); err != nil {
			return err
		}
		return copyOwner(f, to, nil)
	case unix.S_IFREG:
		if err := copyFile(src, dst, name, mode); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(src, name, target)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(target[:n]), dst, name); err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	if err := unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// A change of owner takes the set-user-ID bit away.
		if err := unix.Fchmodat(dst, name, mode, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(dst, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyFile(src, dst int, name string, mode uint32) error {
	from, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(from), name)
	defer f.Close()
	to, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	g := os.NewFile(uintptr(to), name)
	_, err = io.Copy(g, f)
	return errors.Join(err, g.Close())
}
