package plan

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// LandlockRule opens what lies at a path, and below it, to a container that Landlock keeps from all other files.
type LandlockRule struct {
	Path  string // in the container, absolute
	Write bool   // else reading and executing only
}

func (r LandlockRule) String() string {
	if r.Write {
		return "rw:" + r.Path
	}
	return "ro:" + r.Path
}

// The rights of landlock(7) about files.
const (
	landlockRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// landlockFile are those that a rule about something other than a directory may have.
	landlockFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// landlockRights are all rights that a version of the interface knows (landlock(7), "Landlock ABI versions").
func landlockRights(abi int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_REFER - 1) // version 1: up to MAKE_SYM
	if abi >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

func (b *builder) landlock() error {
	rules := b.in.Landlock
	if len(rules) == 0 {
		return nil
	}
	const what = "plan Landlock rules"
	if b.in.Host.Landlock == 0 {
		return &Error{What: what, Cause: fmt.Errorf("this kernel has no Landlock"), Hint: "it needs Linux 5.13 with landlock among the security modules: see the boot option lsm="}
	}
	if !b.spec.Process.NoNewPrivileges {
		return fieldError("process.noNewPrivileges", what, "Landlock wants new privileges to be forbidden", "")
	}
	for _, r := range rules {
		if !path.IsAbs(r.Path) || strings.ContainsRune(r.Path, 0) {
			return &Error{What: what, Cause: fmt.Errorf("%q is not an absolute path", r.Path)}
		}
	}
	b.add(landlock{rules: rules, rights: landlockRights(b.in.Host.Landlock)})
	return nil
}

// landlock keeps the command from all files but those of the rules.
type landlock struct {
	rules  []LandlockRule
	rights uint64
}

func (s landlock) Info() Info {
	names := make([]string, len(s.rules))
	for i, r := range s.rules {
		names[i] = r.String()
	}
	return Info{
		What: "restrict files to " + strings.Join(names, ", "), Man: "landlock(7)",
		Why: "a process gives up rights to files that its user would have; neither it nor what it starts gets them back, and no mount or link leads around it",
	}
}

func (s landlock) Emit(e *emitter) {
	attr := binary.LittleEndian.AppendUint64(nil, s.rights)
	set := e.Call(program.SysLandlockCreateRuleset, e.Bytes(attr, func() string { return fmt.Sprintf("{handled_access_fs=%#x}", s.rights) }), program.Num(int64(len(attr))), program.Num(0))
	for _, r := range s.rules {
		rights := s.rights
		if !r.Write {
			rights &= landlockRead
		}
		// The kernel refuses rights that only directories can have in a rule about something else.
		file, done := e.NewLabel(), e.NewLabel()
		dir := e.Open(r.Path, unix.O_PATH|unix.O_DIRECTORY).OnError(unix.ENOTDIR, file)
		s.rule(e, set, dir, rights)
		e.Jump(done)
		e.Bind(file)
		s.rule(e, set, e.Open(r.Path, unix.O_PATH), rights&landlockFile)
		e.Bind(done)
	}
	e.Call(program.SysLandlockRestrictSelf, set, program.Num(0))
	e.Close(set)
}

func (s landlock) rule(e *emitter, set, at program.Ref, rights uint64) {
	// struct landlock_path_beneath_attr is packed: allowed_access, parent_fd.
	attr := e.BufferOf(append(binary.LittleEndian.AppendUint64(nil, rights), make([]byte, 4)...))
	e.Store32(attr, 8, at)
	e.Call(program.SysLandlockAddRule, set, program.Named(unix.LANDLOCK_RULE_PATH_BENEATH, "LANDLOCK_RULE_PATH_BENEATH"), attr.At(0), program.Num(0))
	e.Close(at)
}
func (s landlock) Shell() []string { return nil }
