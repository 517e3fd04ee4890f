package cgroup

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"gcr/internal/hostfile"

	"golang.org/x/sys/unix"
)

// Host says what this machine offers. Detect finds it; tests make it up.
type Host struct {
	// Version is 2 when the unified hierarchy carries the controllers, 1 for cgroup v1 and for hybrid
	// hosts (v1 controllers beside a unified hierarchy without controllers).
	Version int
	// Mounts are the mounted hierarchies, in the order of /proc/self/mountinfo: exactly one on v2; on v1
	// one for each hierarchy, named ones included, and on a hybrid host the unified one last.
	Mounts []Mount
	// User is the effective user id of the caller, 0 for root (also root of a user namespace).
	User int
	// UserNamespace tells that the caller is not in the initial user namespace.
	UserNamespace bool
}

// Mount is one mounted hierarchy.
type Mount struct {
	Point string // directory where it is mounted
	// Controllers of the hierarchy: v1 as in the mount options ("cpu", "cpuacct" or "name=systemd"), v2
	// what cgroup.controllers of the mounted root lists, for an ordinary user that of the delegated subtree.
	Controllers []string
	Unified     bool
	// Self is the cgroup of this process as seen below Point, such as "/user.slice".
	Self string
	// Parent is where a group with a relative path goes, "" if nothing here may be written by the caller.
	// v1: Self. v2: the nearest ancestor of Self that the caller may write and that holds no process
	// itself (cgroups(7), "no internal processes" rule; the real root is exempt).
	Parent string
}

// Key names the hierarchy: its v1 controllers joined by commas, "" for the unified one. The same keys
// are used in State.
func (m Mount) Key() string {
	if m.Unified {
		return ""
	}
	return strings.Join(m.Controllers, ",")
}

// Has tells whether the hierarchy carries the controller.
func (m Mount) Has(controller string) bool { return slices.Contains(m.Controllers, controller) }

// find gives the mount that carries a v1 controller.
func (h Host) find(controller string) (Mount, bool) {
	for _, m := range h.Mounts {
		if m.Has(controller) {
			return m, true
		}
	}
	return Mount{}, false
}

// Detect reads /proc/self/mountinfo and /proc/self/cgroup (cgroups(7), proc(5)) and looks where the
// caller may create groups. The error says what to mount when there is no cgroup file system at all.
func Detect() (Host, error) {
	mountinfo, err := hostfile.Read("/proc/self/mountinfo", 64<<20)
	if err != nil {
		return Host{}, &Error{Op: "read", Object: "/proc/self/mountinfo", Cause: err, Hint: "is /proc mounted?"}
	}
	membership, err := hostfile.Read("/proc/self/cgroup", 1<<20)
	if err != nil {
		return Host{}, &Error{Op: "read", Object: "/proc/self/cgroup", Cause: err, Hint: "is the kernel built with CONFIG_CGROUPS?"}
	}
	h, err := parseHost(mountinfo, membership)
	if err != nil {
		return Host{}, err
	}
	h.User = unix.Geteuid()
	h.UserNamespace = inUserNamespace()
	for i := range h.Mounts {
		m := &h.Mounts[i]
		if m.Unified {
			// The file is there at the root of every v2 mount (cgroup-v2.rst, "Core Interface Files").
			list, _ := hostfile.Read(m.Point+"/cgroup.controllers", 1<<16)
			if h.Version == 2 {
				m.Controllers = strings.Fields(string(list))
			}
		}
		m.Parent = writableParent(*m)
		if h.Version == 2 && h.User != 0 && m.Parent != "" {
			m.Controllers = delegatedControllers(*m)
		}
	}
	return h, nil
}

// inUserNamespace reads the id map: only the initial user namespace maps all ids to themselves.
func inUserNamespace() bool {
	m, err := hostfile.Read("/proc/self/uid_map", 1<<16)
	return err == nil && !slices.Equal(strings.Fields(string(m)), []string{"0", "0", "4294967295"})
}

// writableParent finds where a relative group path can go (see Mount.Parent).
func writableParent(m Mount) string {
	if !m.Unified {
		if unix.Access(m.Point+m.Self, unix.W_OK) != nil {
			return ""
		}
		return m.Self
	}
	fallback := ""
	for p := m.Self; ; p = path.Dir(p) {
		dir := path.Join(m.Point, p)
		if unix.Access(dir, unix.W_OK) == nil && unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil {
			// Only the real root has no cgroup.type; it may hold processes and children at once.
			if unix.Access(dir+"/cgroup.type", unix.F_OK) != nil {
				return p
			}
			if procs, err := hostfile.Read(dir+"/cgroup.procs", 64<<20); err == nil && len(procs) == 0 {
				return p
			}
			// A cgroup namespace whose root holds processes: groups can be made there, controllers
			// cannot be enabled. Better than none, and Create's error says what to do.
			fallback = p
		}
		if p == "/" {
			return fallback
		}
	}
}

// delegatedControllers gives what the topmost group of the caller's subtree has to hand down.
func delegatedControllers(m Mount) []string {
	top := m.Parent
	for p := m.Parent; ; p = path.Dir(p) {
		if unix.Access(path.Join(m.Point, p, "cgroup.subtree_control"), unix.W_OK) != nil {
			break
		}
		top = p
		if p == "/" {
			break
		}
	}
	list, _ := hostfile.Read(path.Join(m.Point, top, "cgroup.controllers"), 1<<16)
	return strings.Fields(string(list))
}

// parseHost is the pure part of Detect.
func parseHost(mountinfo, membership []byte) (Host, error) {
	self := parseMembership(membership)
	var h Host
	var v2 *Mount
	seen := map[string]bool{}
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		// 36 35 98:0 /root /point opts [tags...] - type source superopts   (proc_pid_mountinfo(5))
		before, after, ok := strings.Cut(sc.Text(), " - ")
		fields, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(fs) < 3 || (fs[0] != "cgroup" && fs[0] != "cgroup2") {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if fs[0] == "cgroup2" {
			if v2 == nil {
				v2 = &Mount{Point: point, Unified: true, Self: below(root, self[""])}
			}
			continue
		}
		m := Mount{Point: point}
		for _, o := range strings.Split(fs[2], ",") {
			// What is not an option of the file system is a controller; a named hierarchy says name=.
			if _, known := self[o]; known {
				m.Controllers = append(m.Controllers, o)
			}
		}
		if len(m.Controllers) == 0 || seen[m.Key()] {
			continue
		}
		seen[m.Key()] = true
		m.Self = below(root, self[m.Controllers[0]])
		h.Mounts = append(h.Mounts, m)
	}
	// Named hierarchies alone (name=systemd beside a full v2) carry no controllers: that is v2.
	hasController := slices.ContainsFunc(h.Mounts, func(m Mount) bool { return !strings.HasPrefix(m.Key(), "name=") })
	switch {
	case v2 != nil && !hasController:
		h.Version, h.Mounts = 2, []Mount{*v2}
	case len(h.Mounts) > 0:
		h.Version = 1
		if v2 != nil {
			h.Mounts = append(h.Mounts, *v2)
		}
	default:
		return Host{}, &Error{
			Op: "find", Object: "a cgroup file system", Cause: fmt.Errorf("none in /proc/self/mountinfo"),
			Hint: "mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
		}
	}
	return h, nil
}

// parseMembership reads /proc/PID/cgroup: "4:memory:/path" for v1, "0::/path" for v2 (cgroups(7)).
func parseMembership(b []byte) map[string]string {
	self := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			self[c] = parts[2]
		}
	}
	return self
}

// below turns a path of /proc/self/cgroup into one below a mount whose root is the given cgroup. A path
// outside of it (a bind mount of another subtree, "/.." across a cgroup namespace) counts as the root.
func below(root, p string) string {
	if root == "/" {
		if p == "" || strings.HasPrefix(p, "/..") {
			return "/"
		}
		return p
	}
	if p == root {
		return "/"
	}
	if rest, ok := strings.CutPrefix(p, root+"/"); ok {
		return "/" + rest
	}
	return "/"
}

// unescape undoes the octal escapes of mountinfo: \040 is a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
