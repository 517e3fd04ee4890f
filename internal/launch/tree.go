package launch

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/clone"
	"gcr/internal/plan"
	"gcr/internal/procfs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// makeTrees makes the detached mounts of the plan.
func (s *starter) makeTrees() error {
	for _, t := range s.plan.Trees {
		if t.CopyUp != "" {
			f, err := copyUp(t)
			if err != nil {
				return err
			}
			s.open = append(s.open, f)
			s.trees = append(s.trees, f)
			continue
		}
		if t.Overlay != nil {
			f, err := s.overlayTree(t)
			if err != nil {
				return err
			}
			s.open = append(s.open, f)
			s.trees = append(s.trees, f)
			continue
		}
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if t.Recursive {
			flags |= unix.AT_RECURSIVE
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, t.Source, flags)
		if err != nil {
			return &plan.Error{What: "mount " + t.Source, Field: t.Field, Cause: err, Client: fmt.Sprintf("failed to fulfil mount request: open %s: %v", t.Source, err)}
		}
		f := os.NewFile(uintptr(fd), t.Source)
		s.open = append(s.open, f)
		s.trees = append(s.trees, f)
		// A copy of a shared mount is its peer: what the container mounts on it would appear on the host. Copies that
		// the program makes are slaves already, since it has cut the tie of all of its mounts before.
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_SLAVE}); err != nil {
			return &plan.Error{What: "cut the tie of the copy of " + t.Source, Field: t.Field, Cause: err, Call: "mount_setattr(MS_SLAVE)"}
		}
		if len(t.UIDMap) == 0 {
			continue
		}
		ns, err := mapNamespace(s.o.Host, t.UIDMap, t.GIDMap)
		if err != nil {
			return err
		}
		err = mapOwners(f, ns, t)
		ns.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// mapOwners shows the owners of a detached mount through the id map of a user namespace.
func mapOwners(mount, ns *os.File, t plan.Tree) error {
	at := uint(unix.AT_EMPTY_PATH)
	if t.IDMapRecursive {
		at |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(int(mount.Fd()), "", at, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	if err == nil {
		return nil
	}
	hint := ""
	if errors.Is(err, unix.EINVAL) {
		hint = "the file system at the source cannot show its owners through an id map, or is mounted with one already"
	}
	return &plan.Error{What: "map the owners of " + t.Source, Field: t.Field, Cause: err, Hint: hint, Call: "mount_setattr(MOUNT_ATTR_IDMAP)"}
}

// mapNamespace makes a user namespace that carries an id map and holds no process: one is made in it, which only
// waits, and ends once the namespace has been opened.
func mapNamespace(host plan.Host, uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	defer r.Close()
	defer w.Close()
	b := new(byte)
	// Without its copy of our end the process ends when we do.
	child, err := clone.Start(clone.Attr{Flags: unix.CLONE_NEWUSER, Calls: []clone.Call{clone.Close(int(w.Fd())), clone.Read(int(r.Fd()), b)}, Keep: []any{b}})
	if err != nil {
		return nil, cloneError(err, unix.CLONE_NEWUSER)
	}
	defer func() {
		_ = unix.PidfdSendSignal(child.PIDFD, unix.SIGKILL, nil, 0)
		_, _ = wait(child.PID)
		unix.Close(child.PIDFD)
	}()
	if err := writeIDMaps(child.PID, host, uids, gids); err != nil {
		return nil, err
	}
	return procfs.OpenNamespace(child.PID, "user")
}
