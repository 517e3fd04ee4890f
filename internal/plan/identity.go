package plan

import (
	"fmt"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (b *builder) ids() error {
	u := b.spec.Process.User
	groups := u.AdditionalGids
	if b.plan.CloneFlags&unix.CLONE_NEWUSER != 0 {
		if !mapped(b.plan.UIDMap, u.UID) {
			return fieldError("process.user.uid", "plan user", fmt.Sprintf("user id %d is not mapped into the container's user namespace", u.UID), "map more ids: give the caller a range in /etc/subuid")
		}
		if !mapped(b.plan.GIDMap, u.GID) {
			return fieldError("process.user.gid", "plan user", fmt.Sprintf("group id %d is not mapped into the container's user namespace", u.GID), "map more ids: give the caller a range in /etc/subgid")
		}
		for i, g := range groups {
			if !mapped(b.plan.GIDMap, g) {
				return fieldError(fmt.Sprintf("process.user.additionalGids[%d]", i), "plan groups", fmt.Sprintf("group id %d is not mapped into the container's user namespace", g), "")
			}
		}
	}
	b.add(ids{
		user: u, groups: groups,
		// Without a range of ids of its own the process may not change its groups (user_namespaces(7),
		// /proc/PID/setgroups).
		setgroups: !b.setgroupsDenied() && !b.in.KeepGroups,
		caps:      b.spec.Process.Capabilities != nil,
	})
	return nil
}

// setgroupsDenied reports whether the group map is one that an unprivileged caller wrote for itself.
func (b *builder) setgroupsDenied() bool {
	if b.plan.CloneFlags&unix.CLONE_NEWUSER == 0 {
		return b.in.Host.NoSetgroups
	}
	return b.in.Host.NoSetgroups || b.in.Host.UID != 0 && OwnIDsOnly(b.plan.GIDMap, b.in.Host.GID)
}

// OwnIDsOnly reports whether the map holds nothing but the caller's own id, so that it can be written without
// newuidmap(1) or newgidmap(1).
func OwnIDsOnly(m []specs.LinuxIDMapping, id int) bool {
	return len(m) == 1 && m[0].Size == 1 && m[0].HostID == uint32(id)
}

// ids changes to the user and groups of the command.
type ids struct {
	user      specs.User
	groups    []uint32
	setgroups bool
	caps      bool
}

func (s ids) Info() Info {
	return Info{
		What: fmt.Sprintf("become user %d, group %d", s.user.UID, s.user.GID), Field: "process.user", Man: "credentials(7)",
		Why: "groups first, for after the user id has changed they cannot be; the supplementary groups are always set, so none of the caller's stay",
	}
}

func (s ids) Emit(e *emitter) {
	if s.setgroups {
		// The primary group belongs to the list as well, so that a file's "group" entry cannot be sidestepped
		// (CVE-2022-36109).
		e.Setgroups(withPrimary(s.user.GID, s.groups))
	}
	e.Setresgid(s.user.GID)
	if s.user.UID != 0 && s.caps {
		e.Prctl(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", program.Num(1))
	}
	e.Setresuid(s.user.UID)
	if s.user.UID != 0 && s.caps {
		e.Prctl(unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", program.Num(0))
	}
}

func withPrimary(gid uint32, groups []uint32) []uint32 {
	for _, g := range groups {
		if g == gid {
			return groups
		}
	}
	return append([]uint32{gid}, groups...)
}

func (s ids) Shell() []string {
	if s.user.UID == 0 && s.user.GID == 0 && len(s.groups) == 0 {
		return nil
	}
	groups := "--clear-groups"
	if len(s.groups) > 0 {
		groups = "--groups "
		for i, g := range s.groups {
			if i > 0 {
				groups += ","
			}
			groups += fmt.Sprint(g)
		}
	}
	return []string{fmt.Sprintf("IDS='--reuid %d --regid %d %s'", s.user.UID, s.user.GID, groups)}
}
