package plan

import (
	"slices"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// postponeReadonly makes a tmpfs that shall be read-only so when all else is in its place: it is empty, and only then have devices
// and the mounts below it their directories. runc and crun do the same.
func (s *fsMount) postponeReadonly(b *builder) {
	if s.fstype != "tmpfs" || (s.o.attr.Set|s.o.rec.Set)&unix.MOUNT_ATTR_RDONLY == 0 {
		return
	}
	s.late = true
	s.o.attr.Set &^= unix.MOUNT_ATTR_RDONLY
	s.o.rec.Set &^= unix.MOUNT_ATTR_RDONLY
	s.options = slices.DeleteFunc(slices.Clone(s.options), func(o string) bool { return o == "ro" || o == "rro" })
	b.readonly = append(b.readonly, readonlyMount{s.target})
}

// readonlyMounts adds the steps that were postponed.
func (b *builder) readonlyMounts() error {
	for _, s := range b.readonly {
		b.add(s)
	}
	return nil
}

// readonlyMount makes one of the container's mounts read-only.
type readonlyMount struct{ target }

func (s readonlyMount) Info() Info {
	return Info{
		What: "make " + s.dst + " read-only", Field: s.field, Man: "mount_setattr(2)",
		Why: "only now, for what lies in it and on it had to be made first",
	}
}

func (s readonlyMount) Emit(e *emitter) {
	mnt := e.late[s.field]
	e.MountSetattr(mnt, false, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	e.Close(mnt)
}

func (s readonlyMount) Shell() []string {
	return []string{`mount -o remount,bind,ro "$ROOT"` + shellQuote(s.dst)}
}
