package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"gcr/internal/account"
)

// maxPasswd bounds /etc/passwd and /etc/group of a root filesystem, in bytes: 50,000 users' worth.
const maxPasswd = 4 << 20

// readAccounts reads passwd or group. A root filesystem without one is fine.
func (b *builder) readAccounts(path string) ([]byte, error) {
	data, err := b.files.ReadFile(path, maxPasswd)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return data, nil
	}
	return nil, &Error{
		Op: "read", Object: path + " of the root filesystem", Cause: cause(err),
		Hint: "it has to be a regular file that gcr may read",
	}
}

// buildUser decides whom the command runs as.
func (b *builder) buildUser() error {
	flag, value := "--user", b.o.User
	if value == "" && b.image != nil && b.image.User != "" {
		flag, value = "User of "+b.image.file, b.image.User
	}
	spec := account.Spec{User: account.Ref{Numeric: true}}
	if b.o.UserNS == "keep-id" && b.o.User == "" {
		// Whoever keeps his id wants to be himself; root is at hand with --user 0.
		value = ""
		spec = account.Spec{User: account.Ref{Numeric: true, ID: b.h.UID}, Group: account.Ref{Numeric: true, ID: b.h.GID}, HasGroup: true}
	}
	if value != "" {
		var err error
		if spec, err = account.ParseSpec(value); err != nil {
			return &Error{Op: "parse", Object: quote(value), Flag: flag, Cause: err, Hint: "write USER or USER:GROUP, each a name or a number"}
		}
	}
	passwd, err := b.readAccounts("/etc/passwd")
	if err != nil {
		return err
	}
	group, err := b.readAccounts("/etc/group")
	if err != nil {
		return err
	}
	if b.who, err = account.Resolve(spec, passwd, group); err != nil {
		if value == "" {
			flag, value = "", "0"
		}
		return &Error{Op: "find", Object: "user " + quote(value), Flag: flag, Cause: err, Hint: "names are those of the root filesystem; numbers need no entry"}
	}
	if err := b.checkMapped(flag, value); err != nil {
		return err
	}
	p := b.spec.Process
	p.User.UID, p.User.GID = b.who.UID, b.who.GID
	umask := uint32(0o022)
	if b.o.Umask != "" {
		n, err := strconv.ParseUint(b.o.Umask, 8, 16)
		if err != nil || n > 0o777 || !digits(b.o.Umask) {
			return badValue("--umask", b.o.Umask, "is not an octal mask", "for instance 0022 or 077")
		}
		umask = uint32(n)
	}
	p.User.Umask = &umask
	return b.buildGroups(group)
}

// checkMapped refuses ids that do not exist in the container's user namespace.
func (b *builder) checkMapped(flag, value string) error {
	what, id := "user", b.who.UID
	if b.ids.hasUID(id) {
		if what, id = "group", b.who.GID; b.ids.hasGID(id) {
			return nil
		}
	}
	hint := "use one from 0 to " + fmt.Sprint(lastID(&b.ids))
	if !b.ids.setgroups {
		hint = "only root (0) does without subordinate ids; see uidmap and /etc/subuid in gcr's documentation, or run gcr as root"
	}
	return &Error{
		Op: "become", Object: "user " + quote(value), Flag: flag,
		Cause: fmt.Errorf("%s id %d does not exist in the container's user namespace", what, id), Hint: hint,
	}
}

// lastID is the highest id up to which both maps have every one.
func lastID(m *idMaps) uint32 {
	last := func(id uint64, has func(uint32) bool) uint64 {
		for _, r := range append(slices.Clone(m.uid), m.gid...) {
			if end := uint64(r.ContainerID) + uint64(r.Size) - 1; has(uint32(end)) && end > id {
				id = end
			}
		}
		return id
	}
	return uint32(min(last(0, m.hasUID), last(0, m.hasGID)))
}

// buildGroups sets the supplementary groups: the primary one, so that a process cannot shed it (a file may
// deny its group what it grants others), those of the group file, and --group-add.
func (b *builder) buildGroups(group []byte) error {
	gids := []uint32{b.who.GID}
	dropped := 0
	for _, g := range b.who.Groups {
		if !b.ids.hasGID(g) {
			dropped++
			continue
		}
		gids = append(gids, g)
	}
	for _, value := range b.o.GroupAdd {
		ref, err := account.ParseRef(value)
		if err != nil {
			return &Error{Op: "parse", Object: quote(value), Flag: "--group-add", Cause: err, Hint: "write a group's name or number"}
		}
		gid, err := account.FindGroup(ref, group)
		if err != nil {
			return &Error{Op: "find", Object: "group " + quote(value), Flag: "--group-add", Cause: err, Hint: "names are those of the root filesystem; numbers need no entry"}
		}
		if !b.ids.setgroups || !b.ids.hasGID(gid) {
			return &Error{
				Op: "add", Object: "group " + quote(value), Flag: "--group-add",
				Cause: fmt.Errorf("group id %d does not exist in the container's user namespace", gid),
				Hint:  "supplementary groups need subordinate ids (/etc/subgid), or gcr run as root",
			}
		}
		if !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	if !b.ids.setgroups {
		return nil // the kernel denies setgroups(2); the note of the id maps says what that means
	}
	if dropped > 0 {
		b.note("%d groups of the root filesystem's /etc/group are left out: their ids do not exist in the container", dropped)
	}
	b.spec.Process.User.AdditionalGids = gids
	return nil
}
