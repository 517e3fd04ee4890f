package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// overlayTree mounts an overlay over idmapped copies of its layers and returns a detached copy of it. It does so in
// a thread with a mount namespace of its own, which ends with the thread: nothing shows on the host, and nothing is
// left when gcr is killed.
func (s *starter) overlayTree(t plan.Tree) (*os.File, error) {
	ns, err := mapNamespace(s.o.Host, t.UIDMap, t.GIDMap)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	type result struct {
		tree *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		tree, err := mountOverlay(s.o.State, ns, t)
		done <- result{tree, err}
	}()
	r := <-done
	return r.tree, r.err
}

func mountOverlay(state string, ns *os.File, t plan.Tree) (*os.File, error) {
	fail := func(what string, err error) (*os.File, error) {
		return nil, &plan.Error{What: what, Field: t.Field, Cause: err}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fail("make a mount namespace for the overlay", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fail("make mounts private", err)
	}
	scratch, target := filepath.Join(state, plan.ScratchDir), filepath.Join(state, plan.RootDir)
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, "mode=755"); err != nil {
		return fail("mount a tmpfs for the overlay", err)
	}
	if err := unix.Chdir(scratch); err != nil {
		return fail("enter the tmpfs of the overlay", err)
	}
	names := make([]string, len(t.Overlay.Lower))
	for i, lower := range t.Overlay.Lower {
		if !filepath.IsAbs(lower) {
			lower = filepath.Join(t.Overlay.LowerDir, lower)
		}
		names[i] = strconv.Itoa(i)
		if err := mountMapped(lower, names[i], ns, t); err != nil {
			return nil, err
		}
	}
	// What the container writes gets its ids from the container's user namespace, so this layer needs no map; its top
	// belongs to the container's root.
	if err := errors.Join(unix.Mkdir("upper", 0o755), unix.Mkdir("work", 0o755), unix.Chown("upper", int(hostID(t.UIDMap, 0)), int(hostID(t.GIDMap, 0)))); err != nil {
		return fail("make the overlay's writable layer", err)
	}
	if err := unix.Mount("overlay", target, "overlay", 0, "lowerdir="+strings.Join(names, ":")+",upperdir=upper,workdir=work"); err != nil {
		e := &plan.Error{What: fmt.Sprintf("mount an overlay over %d layers with mapped owners", len(names)), Field: t.Field, Cause: err}
		if errors.Is(err, unix.EINVAL) {
			e.Hint = "an overlay over idmapped mounts needs Linux 5.19"
		}
		return nil, e
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, target, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fail("copy the mount of the overlay", err)
	}
	return os.NewFile(uintptr(fd), "overlay"), nil
}

// mountMapped mounts a directory on a new one in the working directory, its owners shown through the id map.
func mountMapped(dir, name string, ns *os.File, t plan.Tree) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &plan.Error{What: "mount layer " + dir, Field: t.Field, Cause: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	t.Source = dir
	if err := mapOwners(f, ns, t); err != nil {
		return err
	}
	if err := unix.Mkdir(name, 0o755); err != nil {
		return &plan.Error{What: "mount layer " + dir, Field: t.Field, Cause: err}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &plan.Error{What: "mount layer " + dir, Field: t.Field, Cause: err}
	}
	return nil
}

// hostID is what an id of the container is on the host; the plan has made sure that 0 is mapped.
func hostID(maps []specs.LinuxIDMapping, id uint32) uint32 {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return id
}
