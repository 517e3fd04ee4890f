package plan

import (
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// remount changes a mount that an earlier entry has made, or that came with a recursive bind mount. As with "mount -o
// remount DIRECTORY" (mount(8)), what is not named stays as it is.
type remount struct {
	target
	o       mountOptions
	options []string
}

func (s remount) Info() Info {
	return Info{
		What: "change the mount on " + s.dst, Field: s.field,
		Why: "the option remount makes no new mount: it gives the one that is there other options",
		Man: "mount_setattr(2)",
	}
}

func (s remount) Emit(e *emitter) {
	mnt := e.Openat2(e.root, s.dst, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	// With bind only the mount is changed, and not the file system, which others may see as well (mount(8)).
	if !s.o.bind && len(s.o.data)+len(s.o.superblock) > 0 {
		fs := e.Fspick(mnt)
		s.o.configure(e, fs)
		e.FsconfigReconfigure(fs)
		e.Close(fs)
	}
	if s.o.attr.Set|s.o.attr.Clear != 0 {
		e.MountSetattr(mnt, false, s.o.attr)
	}
	if s.o.rec.Set|s.o.rec.Clear != 0 {
		e.MountSetattr(mnt, true, s.o.rec)
	}
	for _, p := range s.o.propagation {
		e.MountSetattr(mnt, p.recursive, program.MountAttr{Propagation: p.flag})
	}
	e.Close(mnt)
}

func (s remount) Shell() []string {
	dst := `"$ROOT"` + shellQuote(s.dst)
	opts := s.o.shell(s.options)
	if opts == "" {
		return nil
	}
	if s.o.bind {
		opts = "bind," + opts
	}
	return []string{"mount -o remount," + shellQuote(opts) + " " + dst}
}
