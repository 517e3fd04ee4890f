package engine

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/account"
)

// idMaps says which ids exist in the container's user namespace.
type idMaps struct {
	own      bool // the container has a user namespace of its own
	uid, gid []specs.LinuxIDMapping
	tool     bool // newuidmap and newgidmap write them, since the kernel would not let gcr
	// setgroups is false where the kernel wants setgroups(2) denied before a caller without CAP_SETGID
	// writes gid_map (user_namespaces(7)).
	setgroups bool
	// shifted: the container's ids stand for others on the host, which own no files there, so that gcr, as root, shows
	// the files of the root filesystem and of volumes through the same map (idmapped mounts).
	shifted bool
	note    string
}

// mapIDs makes the id maps.
//
//   - Root maps every id that it has to itself: the user namespace takes away its power over the host, not
//     its ownership of files.
//   - An ordinary user is root in the container; ids from 1 on are the subordinate ones, one range after the
//     other.
//   - Without subordinate ids, or without newuidmap, there is root and nobody else.
//
// --userns=auto, keep-id and maps by hand are in userns.go.
func (o *Options) mapIDs(h *Host, own bool) (idMaps, error) {
	m := idMaps{own: own, setgroups: true}
	if !own {
		return m, nil
	}
	switch {
	case o.UserNS == "auto" && h.UID == 0:
		return autoIDs(h)
	case o.UserNS == "keep-id":
		return keepIDs(h)
	case isIDMap(o.UserNS):
		return handIDs(h, o.UserNS)
	}
	var uids, gids []account.Range
	if h.UID == 0 && h.can(capSetuid) && h.can(capSetgid) && h.can(capSetfcap) {
		uids, gids = h.OwnIDs()
	}
	switch {
	case len(uids) > 0 && len(gids) > 0:
		m.uid, m.gid = identity(uids), identity(gids)
	case h.UID != 0 && h.HasNewIDMap && len(h.SubUIDs) > 0 && len(h.SubGIDs) > 0:
		m.uid, m.gid, m.tool = subordinate(h.UID, h.SubUIDs), subordinate(h.GID, h.SubGIDs), true
	default:
		m.uid = []specs.LinuxIDMapping{{ContainerID: 0, HostID: h.UID, Size: 1}}
		m.gid = []specs.LinuxIDMapping{{ContainerID: 0, HostID: h.GID, Size: 1}}
		m.setgroups = false
		m.note = "only one user id exists in the container, root's: chown to other users, other users' daemons and most package managers fail; "
		switch {
		case h.UID == 0:
			m.note += "gcr lacks CAP_SETUID, CAP_SETGID or CAP_SETFCAP here"
		case !h.HasNewIDMap:
			m.note += "install newuidmap and newgidmap (package uidmap or shadow-utils)" + missingLine(h)
		default:
			m.note += "ask root for subordinate ids" + missingLine(h)
		}
	}
	return m, nil
}

func missingLine(h *Host) string {
	if len(h.SubUIDs) > 0 && len(h.SubGIDs) > 0 {
		return ""
	}
	name := h.Username
	if name == "" {
		name = "$(id -un)"
	}
	return "; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name
}

func identity(ranges []account.Range) []specs.LinuxIDMapping {
	out := make([]specs.LinuxIDMapping, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, specs.LinuxIDMapping{ContainerID: r.Start, HostID: r.Start, Size: r.Count})
	}
	return out
}

// maxMapLines is the kernel's limit on lines of uid_map since Linux 4.15.
const maxMapLines = 340

// subordinate maps 0 to the caller and 1, 2, 3, … to the ranges.
func subordinate(self uint32, ranges []account.Range) []specs.LinuxIDMapping {
	out := []specs.LinuxIDMapping{{ContainerID: 0, HostID: self, Size: 1}}
	next := uint64(1)
	for _, r := range ranges {
		if len(out) == maxMapLines {
			break
		}
		count := min(uint64(r.Count), account.MaxID+1-next)
		if overlaps(out, r) || count == 0 {
			continue // the kernel refuses maps that name an id twice
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: r.Start, Size: uint32(count)})
		next += count
	}
	return out
}

func overlaps(maps []specs.LinuxIDMapping, r account.Range) bool {
	for _, m := range maps {
		if uint64(r.Start) < uint64(m.HostID)+uint64(m.Size) && uint64(m.HostID) < uint64(r.Start)+uint64(r.Count) {
			return true
		}
	}
	return false
}

// hasUID and hasGID tell whether an id exists in the container.
func (m *idMaps) hasUID(id uint32) bool { return !m.own || mapped(m.uid, id) }
func (m *idMaps) hasGID(id uint32) bool { return !m.own || mapped(m.gid, id) }

func mapped(maps []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range maps {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return true
		}
	}
	return false
}
