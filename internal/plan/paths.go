package plan

import (
	"fmt"
	"path"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

func (b *builder) readonlyPaths() error {
	if paths := b.spec.Linux.ReadonlyPaths; len(paths) > 0 {
		if err := absolute("linux.readonlyPaths", paths); err != nil {
			return err
		}
		b.add(readonlyPaths{paths})
	}
	return nil
}

func (b *builder) maskedPaths() error {
	if paths := b.spec.Linux.MaskedPaths; len(paths) > 0 {
		if err := absolute("linux.maskedPaths", paths); err != nil {
			return err
		}
		b.add(maskedPaths{paths})
	}
	return nil
}

func absolute(field string, paths []string) error {
	for i, p := range paths {
		if !path.IsAbs(p) {
			return fieldError(fmt.Sprintf("%s[%d]", field, i), "plan paths", fmt.Sprintf("%q is not an absolute path", p), "")
		}
	}
	return nil
}

// readonlyPaths mounts parts of /proc and /sys on themselves, read-only.
type readonlyPaths struct{ paths []string }

func (s readonlyPaths) Info() Info {
	return Info{
		What: fmt.Sprintf("make %d paths read-only", len(s.paths)), Field: "linux.readonlyPaths",
		Why: "files such as /proc/sysrq-trigger act on the whole machine when they are written",
		Man: "mount_setattr(2)",
	}
}

func (s readonlyPaths) Emit(e *emitter) {
	for _, p := range s.paths {
		next := e.NewLabel()
		place := e.OpenInRoot(e.root, p, unix.O_PATH).OnError(unix.ENOENT, next)
		// The copy is made from the descriptor, so it is what was found and nothing that came there since.
		tree := e.Call(program.SysOpenTree, place, e.String(""), program.Named(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, "AT_EMPTY_PATH|AT_RECURSIVE|OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"))
		e.MountSetattr(tree, true, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
		e.MoveMount(tree, place)
		e.Close(tree)
		e.Close(place)
		e.Bind(next)
	}
}

func (s readonlyPaths) Shell() []string {
	var lines []string
	for _, p := range s.paths {
		q := `"$ROOT"` + shellQuote(p)
		lines = append(lines, fmt.Sprintf(`if [ -e %s ]; then mount --rbind %s %s; mount -o remount,bind,ro %s; fi`, q, q, q, q))
	}
	return lines
}

// maskedPaths hides parts of /proc and /sys.
type maskedPaths struct{ paths []string }

func (s maskedPaths) Info() Info {
	return Info{
		What: fmt.Sprintf("hide %d paths", len(s.paths)), Field: "linux.maskedPaths",
		Why: "these files tell about the host: its memory, keys, timers; a file is covered by /dev/null, a directory by an empty one",
		Man: "move_mount(2)",
	}
}

func (s maskedPaths) Emit(e *emitter) {
	// The cover is the host's /dev/null, and it is made sure that it is that device: the container's could be
	// anything (CVE-2025-31133).
	null := e.Open("/dev/null", unix.O_PATH|unix.O_NOFOLLOW)
	_, st := e.Statx(null, unix.STATX_TYPE|unix.STATX_MODE)
	good, bad := e.NewLabel(), e.NewLabel()
	e.IfNot(e.Load32(st, statxRdevMajor), 1, bad)
	e.If(e.Load32(st, statxRdevMajor+4), 3, good)
	e.Bind(bad)
	e.Fail(unix.ENODEV, "/dev/null is the device 1:3")
	e.Bind(good)
	// All hidden directories show one empty file system: the first that is found gets the mount, the others get copies.
	// A mount that was never attached could not be copied before Linux 6.15, and its end would wait for RCU.
	fs := e.Fsopen("tmpfs")
	e.FsconfigString(fs, "mode", "755")
	e.FsconfigCreate(fs)
	empty := e.Fsmount(fs, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	e.Close(fs)
	attached := e.Set(program.Num(0))
	for _, p := range s.paths {
		file, again, cover, done, next := e.NewLabel(), e.NewLabel(), e.NewLabel(), e.NewLabel(), e.NewLabel()
		place := e.OpenInRoot(e.root, p, unix.O_PATH|unix.O_DIRECTORY).OnError(unix.ENOENT, next).OnError(unix.ENOTDIR, file)
		e.If(attached, 1, again)
		e.MoveMount(empty, place)
		e.SetTo(attached, program.Num(1))
		e.Jump(done)
		e.Bind(again)
		tree := e.copyOf(empty)
		e.Jump(cover)
		e.Bind(file)
		e.OpenInRoot(e.root, p, unix.O_PATH).Into(place)
		e.copyOf(null).Into(tree)
		e.Bind(cover)
		e.MoveMount(tree, place)
		e.Close(tree)
		e.Bind(done)
		e.Close(place)
		e.Bind(next)
	}
	e.Close(empty)
	e.Close(null)
}

// copyOf makes a detached copy of the mount, or of the file, that a descriptor stands for.
func (e *emitter) copyOf(fd program.Ref) *program.Call {
	return e.Call(program.SysOpenTree, fd, e.String(""), program.Named(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, "AT_EMPTY_PATH|OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"))
}

// statxRdevMajor is the offset of stx_rdev_major in struct statx, statx(2).
const statxRdevMajor = 128

func (s maskedPaths) Shell() []string {
	var lines []string
	for _, p := range s.paths {
		q := `"$ROOT"` + shellQuote(p)
		lines = append(lines, fmt.Sprintf(`if [ -d %s ]; then mount -t tmpfs -o ro tmpfs %s; elif [ -e %s ]; then mount --bind /dev/null %s; fi`, q, q, q, q))
	}
	return lines
}
