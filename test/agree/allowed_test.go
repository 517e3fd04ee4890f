package agree

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// allowed are the differences that may be. docs/oci-conformance.md gives each its reason, under the same name. Where
// crun does not do what the configuration says, gcrun must do just that.
var allowed = []struct {
	name string
	is   func(d difference, s *specs.Spec) bool
}{
	{"session keyring", func(d difference, _ *specs.Spec) bool {
		return d.key == "SessionKeys" && strings.HasSuffix(d.gcrun, `_ses"`)
	}},
	{"supplementary groups", func(d difference, s *specs.Spec) bool {
		u := s.Process.User
		ours, theirs := strings.Fields(d.gcrun), strings.Fields(d.crun)
		return d.key == "status Groups" && !slices.Contains(u.AdditionalGids, u.GID) && len(ours) == len(theirs)+1
	}},
	{"HOME of a user without an account", func(d difference, _ *specs.Spec) bool {
		return d.key == "Env" && d.gcrun == d.crun+" | HOME=/"
	}},
	{"allowed devices", func(d difference, _ *specs.Spec) bool {
		return d.key == "cgroup devices.list" && slices.Equal(rules(d.gcrun, "c 10:200 rwm"), rules(d.crun, "c 5:1 rwm"))
	}},
	{"device access without rules", func(d difference, s *specs.Spec) bool {
		if s.Linux.Resources != nil && len(s.Linux.Resources.Devices) > 0 {
			return false
		}
		_, what := about(d)
		return d.key == "cgroup devices.list" && d.crun == "a *:* rwm" || what == "place" && strings.Replace(d.gcrun, `"EPERM"`, `"ok"`, 1) == d.crun
	}},
	{"cgroup of a container without cgroupsPath", func(d difference, s *specs.Spec) bool {
		if s.Linux.CgroupsPath != "" {
			return false
		}
		return d.key == "Cgroup" || strings.HasPrefix(d.key, "cgroup path ") && strings.HasSuffix(d.gcrun, "/ID") && d.crun == "/ID"
	}},
	{"/dev/core", func(d difference, _ *specs.Spec) bool {
		return d.key == "device /dev/core" && d.gcrun == "" || d.key == "place /dev" && strings.Replace(d.crun, `"core",`, "", 1) == d.gcrun
	}},
	{"owner of /dev/null", func(d difference, s *specs.Spec) bool {
		p, _ := about(d)
		return d.key == "device /dev/null" || strings.HasSuffix(p, "/null") || slices.Contains(s.Linux.MaskedPaths, p) && strings.Contains(d.gcrun, "1:3") && strings.Contains(d.crun, "1:3")
	}},
	{"devices in a user namespace", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		if p == "" {
			p = strings.TrimPrefix(d.key, "device ")
		}
		return mapped(s) && filepath.Dir(p) == "/dev" && isDevice(p, s) && what != "propagation"
	}},
	{"owner of /dev/mqueue in a user namespace", func(d difference, s *specs.Spec) bool {
		return mapped(s) && strings.HasSuffix(d.key, " /dev/mqueue") && strings.Contains(d.gcrun, "65534")
	}},
	{"clock offsets", func(d difference, _ *specs.Spec) bool {
		return d.key == "Clocks" && strings.HasPrefix(d.crun, `"monotonic 0 0 boottime 0 0`)
	}},
	{"cover of a masked path", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		if !slices.ContainsFunc(s.Linux.MaskedPaths, func(m string) bool { return m == p }) {
			return false
		}
		return what == "options" || what == "source" || what == "super" || what == "place" && strings.NewReplacer("41777 ", "40755 ", "EROFS", "EACCES").Replace(d.crun) == strings.Replace(d.gcrun, "EROFS", "EACCES", 1)
	}},
	{"attributes of a read-only path", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		inside := slices.ContainsFunc(s.Linux.ReadonlyPaths, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
		return inside && (what == "options" && has(d.gcrun, "ro") || what == "place" && strings.Contains(d.gcrun, "EROFS"))
	}},
	{"mounts without options", func(d difference, s *specs.Spec) bool {
		_, what := about(d)
		return len(mountsAt(d, s)) > 0 && len(mountsAt(d, s)[0].Options) == 0 && what != "type" && what != "source"
	}},
	{"attributes of /dev/console", func(d difference, _ *specs.Spec) bool { return d.key == "mount /dev/console options" }},
	{"cgroup mount of version 1", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		if p != "/sys/fs/cgroup" && !strings.HasPrefix(p, "/sys/fs/cgroup/") {
			return false
		}
		for _, m := range mountsAt(d, s) {
			if what == "options" && !asked(m, d.gcrun) {
				return false
			}
		}
		return what != "type"
	}},
	{"options that crun does not apply", func(d difference, s *specs.Spec) bool {
		_, what := about(d)
		for _, m := range mountsAt(d, s) {
			switch {
			case what == "options" && asked(m, d.gcrun) && !asked(m, d.crun),
				what == "place" && (slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro")) && strings.Contains(d.gcrun, "EROFS"):
				return true
			}
		}
		return false
	}},
	{"attributes of what is bound", func(d difference, s *specs.Spec) bool {
		_, what := about(d)
		for _, m := range mountsAt(d, s) {
			if what == "options" && bound(m) && asked(m, d.gcrun) && asked(m, d.crun) && contains(d.gcrun, without1(d.crun, "rw", "relatime")) {
				return true
			}
		}
		return false
	}},
	{"propagation of mounts", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		// With slave, not rslave, crun makes a slave of the root alone; what is mounted below it stays shared.
		shared := strings.HasSuffix(s.Linux.RootfsPropagation, "shared") || s.Linux.RootfsPropagation == "slave"
		if shared && filepath.Base(p) == "below" && (what == "place" || d.gcrun == "" && strings.Contains(d.key, " #")) {
			return true // mounted on another bind of the same directory of the host
		}
		return what == "propagation" && (propagated(d.gcrun, mountsAt(d, s)) || strings.HasSuffix(s.Linux.RootfsPropagation, "shared") && d.gcrun == "shared,master" || onShared(d, s))
	}},
	{"tmpcopyup", func(d difference, s *specs.Spec) bool {
		_, what := about(d)
		for _, m := range mountsAt(d, s) {
			if slices.Contains(m.Options, "tmpcopyup") && (what == "source" || what == "place" || what == "super" && mapped(s)) {
				return true
			}
		}
		return false
	}},
	{"mounts below what is bound", func(d difference, s *specs.Spec) bool {
		p, what := about(d)
		if filepath.Base(p) != "below" {
			return false
		}
		// Lost in a user namespace; taken along without being asked for with options such as rprivate.
		return mapped(s) && len(mountsAt(d, s)) > 0 || (d.gcrun == "" || what == "place") && slices.ContainsFunc(mountsAt(difference{key: "place " + filepath.Dir(p)}, s), func(m specs.Mount) bool {
			return slices.Contains(m.Options, "bind") && slices.ContainsFunc(m.Options, func(o string) bool {
				return slices.Contains([]string{"rprivate", "rslave", "rshared"}, o)
			})
		})
	}},
	{"mounts on top of each other", func(d difference, s *specs.Spec) bool {
		// Which is on top shows in what the probe finds at the place.
		_, what := about(d)
		return len(mountsAt(d, s)) > 1 && (mapped(s) && what != "place" || shares(s)) || mapped(s) && d.gcrun == "" && strings.Contains(d.key, " #")
	}},
	{"mounts below a read-only bind", func(d difference, s *specs.Spec) bool {
		return d.key == "refused" && d.crun == "" && strings.Contains(d.gcrun, "read-only file system (mounts[") && slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
			return bound(m) && (slices.Contains(m.Options, "ro") || slices.Contains(m.Options, "rro"))
		})
	}},
	{"configurations that crun refuses", func(d difference, s *specs.Spec) bool {
		if d.key != "refused" || d.gcrun != "" {
			return false
		}
		return strings.HasSuffix(s.Linux.RootfsPropagation, "unbindable") && strings.Contains(d.crun, "Invalid argument") ||
			hasNamespace(s, specs.TimeNamespace) && strings.Contains(d.crun, "sync socket")
	}},
}

// about splits a fact about a path: "mount /a options" is about /a and options, "place /a" about /a and place.
func about(d difference) (at, what string) {
	if p, ok := strings.CutPrefix(d.key, "place "); ok {
		return p, "place"
	}
	rest, ok := strings.CutPrefix(d.key, "mount ")
	if !ok {
		return "", ""
	}
	i := strings.LastIndex(rest, " ")
	at, what = rest[:i], rest[i+1:]
	at, _, _ = strings.Cut(at, " #")
	return at, what
}

// mountsAt are the mounts of the configuration that a fact is about. In the image /link leads to /real.
func mountsAt(d difference, s *specs.Spec) []specs.Mount {
	at, _ := about(d)
	var out []specs.Mount
	for _, m := range s.Mounts {
		p := filepath.Clean("/" + m.Destination)
		if rest, ok := strings.CutPrefix(p, "/link/"); ok {
			p = "/real/" + rest
		}
		at := strings.Replace(at, "/link/", "/real/", 1)
		if p == at || strings.HasPrefix(at, p+"/") && slices.Contains(m.Options, "rbind") {
			out = append(out, m)
		}
	}
	return out
}

func bound(m specs.Mount) bool {
	return slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// asked reports whether the attributes of a mount are those that its options ask for.
func asked(m specs.Mount, attributes string) bool {
	want := map[string]bool{}
	for _, o := range m.Options {
		switch o {
		case "ro", "nosuid", "nodev", "noexec", "nodiratime", "noatime", "relatime":
			want[o] = true
		case "rw":
			want["ro"] = false
		case "strictatime":
			want["noatime"], want["relatime"] = false, false
		case "rro", "rnosuid", "rnodev", "rnoexec":
			want[o[1:]] = true
		}
	}
	for o, on := range want {
		if has(attributes, o) != on {
			return false
		}
	}
	return true
}

// propagated reports whether the propagation of a mount is what one of the options asks for; without one nothing
// may reach the host.
func propagated(got string, mounts []specs.Mount) bool {
	want := ""
	for _, m := range mounts {
		for _, o := range m.Options {
			switch o = strings.TrimPrefix(o, "r"); o {
			case "shared", "slave", "private", "unbindable":
				want = o
			}
		}
		switch want {
		case "shared":
			if has(got, "shared") {
				return true
			}
		case "unbindable":
			if got == "unbindable" {
				return true
			}
		}
	}
	return !has(got, "shared")
}

// onShared reports whether a mount lies on one that asks to be shared: then it is shared as well (mount_namespaces(7)).
func onShared(d difference, s *specs.Spec) bool {
	at, _ := about(d)
	return slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		p := filepath.Clean("/" + m.Destination)
		return (slices.Contains(m.Options, "shared") || slices.Contains(m.Options, "rshared")) && strings.HasPrefix(at+"/", p+"/")
	})
}

// shares reports whether mounts of the container propagate to one another.
func shares(s *specs.Spec) bool {
	return strings.HasSuffix(s.Linux.RootfsPropagation, "shared") || slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return slices.Contains(m.Options, "shared") || slices.Contains(m.Options, "rshared")
	})
}

func mapped(s *specs.Spec) bool { return hasNamespace(s, specs.UserNamespace) }

func hasNamespace(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

// isDevice reports whether a path is one of the default devices or one of the configuration.
func isDevice(p string, s *specs.Spec) bool {
	for _, d := range s.Linux.Devices {
		if d.Path == p {
			return true
		}
	}
	return slices.Contains([]string{"null", "zero", "full", "random", "urandom", "tty"}, filepath.Base(p))
}

func has(list, option string) bool { return slices.Contains(strings.Split(list, ","), option) }

// contains reports whether the list has all of the options.
func contains(list string, options []string) bool {
	for _, o := range options {
		if !has(list, o) {
			return false
		}
	}
	return true
}

func without1(list string, but ...string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(o string) bool { return slices.Contains(but, o) })
}

// rules are the entries of devices.list, but for one.
func rules(list, but string) []string {
	var out []string
	f := strings.Fields(list)
	for i := 0; i+2 < len(f); i += 3 {
		if r := strings.Join(f[i:i+3], " "); r != but {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
