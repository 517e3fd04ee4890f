package plan

import (
	"strings"
)

// HostDirs chooses what of the host's file system the rootfs "host" shows: the directories at its top, without
// those that the container gets for itself. In a user namespace mounts below a directory are locked together
// with it, so an overlay over such a directory is refused by the kernel; mountPoints lists all mounts of the host.
func HostDirs(names, mountPoints []string, userNS bool) []HostDir {
	var out []HostDir
	for _, name := range names {
		if skipped(name, userNS) {
			continue
		}
		out = append(out, HostDir{Name: name, Overlay: !userNS || !hasMountsBelow("/"+name, mountPoints)})
	}
	return out
}

func skipped(name string, userNS bool) bool {
	for _, d := range emptyDirs {
		if d.Name == name {
			return true
		}
	}
	// The home directory of the host's root cannot be read by anybody else: the container's root gets its own.
	return name == "lost+found" || name == "root" && userNS
}

func hasMountsBelow(dir string, mountPoints []string) bool {
	for _, m := range mountPoints {
		if strings.HasPrefix(m, dir+"/") {
			return true
		}
	}
	return false
}
