package plan

import "slices"

// MountOptions lists the options of mounts that are not handed on to the file system, sorted.
func MountOptions() []string {
	plain := []string{
		"async", "bind", "defaults", "dirsync", "idmap", "iversion", "lazytime", "loud", "mand", "noiversion", "nolazytime", "nomand",
		"private", "rbind", "remount", "ridmap", "rprivate", "rshared", "rslave", "runbindable", "shared", "silent", "slave", "sync", "tmpcopyup", "unbindable",
	}
	for _, name := range []string{
		"atime", "dev", "diratime", "exec", "noatime", "nodev", "nodiratime", "noexec", "norelatime", "nostrictatime", "nosuid", "nosymfollow",
		"relatime", "ro", "rw", "strictatime", "suid", "symfollow",
	} {
		plain = append(plain, name, "r"+name)
	}
	slices.Sort(plain)
	return plain
}

// CapabilityNames lists the capabilities that can be named, by number.
func CapabilityNames() []string {
	out := make([]string, len(capabilityNames))
	for i, n := range capabilityNames {
		out[i] = "CAP_" + n
	}
	return out
}

// MemoryPolicyModes lists the modes of linux.memoryPolicy.
func MemoryPolicyModes() []string {
	var out []string
	for _, m := range memoryModes {
		out = append(out, m.name)
	}
	slices.Sort(out)
	return out
}

// MemoryPolicyFlags lists the flags of linux.memoryPolicy.
func MemoryPolicyFlags() []string {
	var out []string
	for _, f := range memoryFlags {
		out = append(out, f.name)
	}
	return out
}
