package engine

import (
	"encoding/binary"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/account"
)

// This file holds the user namespaces that are asked for by name: --userns=auto, keep-id and CONTAINER:HOST:COUNT.

// hasIDs tells whether a value of --userns says what the ids of the new namespace are.
func hasIDs(value string) bool { return value == "auto" || value == "keep-id" || isIDMap(value) }

// isIDMap tells a map from a word: words have no colon and no digit in front.
func isIDMap(value string) bool { return value != "" && value[0] >= '0' && value[0] <= '9' }

const (
	// autoCount is the number of ids of a container of --userns=auto: those that programs expect to exist.
	autoCount = 65536
	// The ids from autoFirst on, up to the last whole range below autoEnd, are those that systemd sets aside for
	// containers (systemd's UIDS-GIDS.md, "container UIDs"), so login services and NSS modules leave them alone.
	autoFirst = 524288
	autoEnd   = 1879048192
)

// autoIDs gives the container ids of its own, which no other container of gcr has now.
func autoIDs(h *Host) (idMaps, error) {
	if h.rootless() {
		return idMaps{}, &Error{Op: "map", Object: "ids", Flag: "--userns=auto", Cause: text("gcr's root lacks CAP_SYS_ADMIN here"), Hint: "use --userns=private"}
	}
	const ranges = (autoEnd - autoFirst) / autoCount
	n := binary.LittleEndian.Uint32(h.Random[len(h.Random)-4:]) % ranges
	for range ranges {
		first := autoFirst + n*autoCount
		if h.ClaimIDs == nil {
			return sameIDs([]specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: autoCount}}), nil
		}
		ok, err := h.ClaimIDs(first)
		if err != nil {
			return idMaps{}, &Error{Op: "claim", Object: fmt.Sprintf("ids from %d on", first), Flag: "--userns=auto", Cause: err}
		}
		if ok {
			return sameIDs([]specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: autoCount}}), nil
		}
		n = (n + 1) % ranges
	}
	return idMaps{}, &Error{Op: "claim", Object: "ids", Flag: "--userns=auto", Cause: fmt.Errorf("all of %d ranges are taken", ranges)}
}

// sameIDs maps users and groups alike.
func sameIDs(m []specs.LinuxIDMapping) idMaps {
	return idMaps{own: true, setgroups: true, shifted: true, uid: m, gid: m}
}

// keepIDs maps an ordinary user to the same id in the container; the ids below and above it are subordinate ones.
func keepIDs(h *Host) (idMaps, error) {
	const flag = "--userns=keep-id"
	if h.UID == 0 {
		return idMaps{}, &Error{Op: "keep", Object: "the caller's id", Flag: flag, Cause: text("the caller is root"), Hint: "keep-id is for ordinary users; for root there are auto, host and private"}
	}
	if !h.HasNewIDMap || len(h.SubUIDs) == 0 || len(h.SubGIDs) == 0 {
		return idMaps{}, &Error{
			Op: "keep", Object: "the caller's id", Flag: flag, Cause: text("the container needs a root beside the caller, and there are no subordinate ids for it"),
			Hint: "install newuidmap and newgidmap (package uidmap or shadow-utils)" + missingLine(h),
		}
	}
	return idMaps{own: true, setgroups: true, tool: true, uid: kept(h.UID, h.SubUIDs), gid: kept(h.GID, h.SubGIDs)}, nil
}

// kept maps self to itself and the other ids, from 0 on, to the ranges.
func kept(self uint32, ranges []account.Range) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	own := specs.LinuxIDMapping{ContainerID: self, HostID: self, Size: 1}
	next := uint64(0)
	add := func(host, count uint64) {
		if count > 0 {
			out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: uint32(host), Size: uint32(count)})
			next += count
		}
	}
	for _, r := range ranges {
		if len(out)+3 > maxMapLines {
			break
		}
		if overlaps(append(out, own), r) {
			continue
		}
		host, count := uint64(r.Start), min(uint64(r.Count), account.MaxID+1-next)
		if next <= uint64(self) {
			below := min(count, uint64(self)-next)
			add(host, below)
			host, count = host+below, count-below
			if next == uint64(self) {
				out = append(out, own)
				next++
			}
		}
		add(host, min(count, account.MaxID+1-next))
	}
	if next <= uint64(self) {
		out = append(out, own)
	}
	return out
}

// handIDs reads CONTAINER:HOST:COUNT, several with commas; the map is that of users and of groups.
func handIDs(h *Host, value string) (idMaps, error) {
	const flag = "--userns"
	maps, err := parseIDMap(value)
	if err != nil {
		return idMaps{}, badValue(flag, value, err.Error(), "write CONTAINER:HOST:COUNT, for instance 0:100000:65536; several with commas")
	}
	if !mapped(maps, 0) {
		return idMaps{}, badValue(flag, value, "does not map id 0", "the container is set up by its root user: begin with 0:HOST:COUNT")
	}
	m := sameIDs(maps)
	if h.UID != 0 {
		m.shifted, m.tool = false, true
		if !h.HasNewIDMap {
			return idMaps{}, &Error{Op: "map", Object: "ids " + value, Flag: flag, Cause: text("newuidmap and newgidmap are missing"), Hint: "install package uidmap or shadow-utils"}
		}
		return m, nil
	}
	if !h.can(capSetuid) || !h.can(capSetgid) || h.rootless() {
		return idMaps{}, &Error{Op: "map", Object: "ids " + value, Flag: flag, Cause: text("gcr lacks CAP_SETUID, CAP_SETGID or CAP_SYS_ADMIN here")}
	}
	m.shifted = false
	for _, r := range maps {
		m.shifted = m.shifted || r.ContainerID != r.HostID
	}
	return m, nil
}

// parseIDMap reads a map strictly: decimal ids, no range beyond the last id, no id named twice on either side.
func parseIDMap(value string) ([]specs.LinuxIDMapping, error) {
	var out []specs.LinuxIDMapping
	for part := range strings.SplitSeq(value, ",") {
		f := strings.Split(part, ":")
		if len(f) != 3 {
			return nil, fmt.Errorf("%q has not three numbers", part)
		}
		var n [3]uint32
		for i := range f {
			if i == 2 && f[i] == "4294967295" {
				n[i] = 1<<32 - 1 // as many as there are ids, which is no id itself
				continue
			}
			var err error
			if n[i], err = account.ParseID(f[i]); err != nil {
				return nil, fmt.Errorf("%q %w", f[i], err)
			}
		}
		m := specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]}
		last := uint64(account.MaxID)
		if m.Size == 0 {
			return nil, fmt.Errorf("%q maps no id", part)
		}
		if uint64(m.ContainerID)+uint64(m.Size)-1 > last || uint64(m.HostID)+uint64(m.Size)-1 > last {
			return nil, fmt.Errorf("%q goes beyond the last id, %d", part, last)
		}
		for _, o := range out {
			if overlaps([]specs.LinuxIDMapping{o}, account.Range{Start: m.HostID, Count: m.Size}) ||
				overlaps([]specs.LinuxIDMapping{{HostID: o.ContainerID, Size: o.Size}}, account.Range{Start: m.ContainerID, Count: m.Size}) {
				return nil, fmt.Errorf("%q names an id again", part)
			}
		}
		if len(out) == maxMapLines {
			return nil, fmt.Errorf("has more than %d ranges", maxMapLines)
		}
		out = append(out, m)
	}
	return out, nil
}
