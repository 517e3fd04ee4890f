package agree

import (
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// generator makes one random configuration. It is valid: what the specification or the kernel forbids is in the
// tests of refusals.
type generator struct {
	*rand.Rand
	b *bench
	s *specs.Spec
	// watch are the paths that the probe looks at.
	watch []string
}

func generate(b *bench, seed uint64) *specs.Spec {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), b: b}
	g.s = &specs.Spec{
		Version: "1.0.2", Process: &specs.Process{Cwd: "/"}, Root: &specs.Root{Path: "rootfs"},
		Linux: &specs.Linux{},
	}
	for _, part := range []func(){
		g.namespaces, g.users, g.root, g.mounts, g.paths, g.process, g.capabilities, g.rlimits, g.names, g.sysctls, g.devices, g.seccomp, g.resources,
	} {
		part()
	}
	g.s.Process.Args = append([]string{"/probe", "report"}, g.watch...)
	return g.s
}

func ptr[T any](v T) *T { return &v }

// chance is true in one of n cases.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// some picks a random part, in the order of the list.
func some[T any](g *generator, from ...T) []T {
	var out []T
	for _, v := range from {
		if g.chance(2) {
			out = append(out, v)
		}
	}
	return out
}

func (g *generator) has(kind specs.LinuxNamespaceType) bool {
	for _, n := range g.s.Linux.Namespaces {
		if n.Type == kind {
			return true
		}
	}
	return false
}

// own reports whether the container gets a new namespace, and does not share or join one.
func (g *generator) own(kind specs.LinuxNamespaceType) bool {
	for _, n := range g.s.Linux.Namespaces {
		if n.Type == kind {
			return n.Path == ""
		}
	}
	return false
}

func (g *generator) namespaces() {
	l := g.s.Linux
	user := g.chance(4)
	for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace} {
		n := specs.LinuxNamespace{Type: kind}
		switch {
		case g.chance(8) && !user:
			continue // shared with the host
		case g.chance(10) && !user:
			n.Path = g.b.namespace(kind)
		}
		l.Namespaces = append(l.Namespaces, n)
	}
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.MountNamespace})
	// crun 1.8 makes a time namespace only inside a new user namespace.
	if user && g.chance(2) || g.chance(40) {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		if g.chance(2) {
			l.TimeOffsets = map[string]specs.LinuxTimeOffset{}
			for _, clock := range some(g, "monotonic", "boottime") {
				l.TimeOffsets[clock] = specs.LinuxTimeOffset{Secs: int64(g.IntN(100000)), Nanosecs: uint32(g.IntN(999999999))}
			}
		}
	}
	if user {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	g.Shuffle(len(l.Namespaces), func(i, j int) { l.Namespaces[i], l.Namespaces[j] = l.Namespaces[j], l.Namespaces[i] })
}

func (g *generator) users() {
	l, u := g.s.Linux, &g.s.Process.User
	if g.has(specs.UserNamespace) {
		l.UIDMappings = pick(g, idMap(100000, 65536), idMap(200000, 1000), []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 10, HostID: 300000, Size: 2000}})
		l.GIDMappings = pick(g, l.UIDMappings, idMap(100000, 65536))
	}
	if g.chance(2) {
		u.UID, u.GID = pick[uint32](g, 0, 1, 7, 33, 999), pick[uint32](g, 0, 1, 5, 8, 999)
	}
	if !g.has(specs.UserNamespace) && g.chance(10) {
		u.UID, u.GID = 65534, 4000000000
	}
	for range g.IntN(4) {
		u.AdditionalGids = append(u.AdditionalGids, pick[uint32](g, 0, 1, 5, 10, 100, 998))
	}
	if g.chance(3) {
		u.Umask = ptr(pick[uint32](g, 0, 0o2, 0o22, 0o27, 0o77, 0o777))
	}
}

func idMap(host, size uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: size}}
}

func (g *generator) root() {
	g.s.Root.Readonly = g.chance(3)
	if g.chance(2) {
		g.s.Linux.RootfsPropagation = pick(g, "private", "rprivate", "slave", "rslave", "shared", "rshared")
	}
	if g.chance(40) {
		g.s.Linux.RootfsPropagation = pick(g, "unbindable", "runbindable")
	}
}

func (g *generator) process() {
	p := g.s.Process
	p.Env = []string{"PATH=/bin:/usr/bin"}
	p.Env = append(p.Env, some(g, "A=1", "B=two words", "C=", "HOME=/somewhere", "TERM=xterm", "X=a=b", "CONTAINER=oci")...)
	p.Cwd = pick(g, "/", "/", "/", "/tmp", "/etc", "/dev", "/link/inside", "/proc/self", "/data/made")
	if p.Cwd == "/proc/self" && !g.own(specs.PIDNamespace) {
		p.Cwd = "/" // it would be the number
	}
	if g.s.Root.Readonly && p.Cwd == "/data/made" {
		p.Cwd = "/"
	}
	p.NoNewPrivileges = g.chance(2)
	if g.chance(3) {
		p.OOMScoreAdj = ptr(g.b.oomScore + g.IntN(1001-g.b.oomScore))
	}
	if g.chance(4) && g.mounted("/dev/pts") {
		p.Terminal = true
		if g.chance(2) {
			p.ConsoleSize = &specs.Box{Height: uint(1 + g.IntN(200)), Width: uint(1 + g.IntN(200))}
		}
	}
	if g.chance(6) {
		g.s.Linux.Personality = &specs.LinuxPersonality{Domain: pick(g, specs.PerLinux, specs.PerLinux32)}
	}
}

func (g *generator) capabilities() {
	if g.chance(8) {
		return
	}
	all := g.b.capabilities
	c := &specs.LinuxCapabilities{}
	g.s.Process.Capabilities = c
	switch g.IntN(4) {
	case 0: // as engines have it
		for _, n := range all {
			if g.chance(3) {
				c.Bounding = append(c.Bounding, n)
			}
		}
		c.Permitted, c.Effective = c.Bounding, c.Bounding
		if g.chance(3) {
			c.Inheritable = c.Bounding
			if g.chance(2) {
				c.Ambient = c.Bounding
			}
		}
	case 1: // everything
		c.Bounding, c.Permitted, c.Effective = all, all, all
	case 2: // nothing
	case 3:
		c.Bounding = some(g, all...)
		c.Permitted = some(g, c.Bounding...)
		c.Effective = some(g, c.Permitted...)
		c.Inheritable = some(g, c.Bounding...)
		for _, n := range c.Inheritable {
			for _, m := range c.Permitted {
				if n == m && g.chance(2) {
					c.Ambient = append(c.Ambient, n)
				}
			}
		}
	}
}

func (g *generator) rlimits() {
	for _, name := range []string{
		"RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE",
		"RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
	} {
		if !g.chance(8) {
			continue
		}
		// Small enough for any caller, big enough for the probe.
		hard := uint64(1<<20 + g.IntN(1<<20))
		switch name {
		case "RLIMIT_AS", "RLIMIT_DATA":
			hard += 1 << 40
		case "RLIMIT_CPU", "RLIMIT_CORE", "RLIMIT_LOCKS":
			hard = uint64(1000 + g.IntN(1000))
		case "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_SIGPENDING", "RLIMIT_RTTIME":
			hard = uint64(1000 + g.IntN(1000))
		case "RLIMIT_NICE", "RLIMIT_RTPRIO":
			hard = 0
		case "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE":
			hard = uint64(g.IntN(1 << 16))
		}
		soft := hard
		if g.chance(2) && name != "RLIMIT_AS" && name != "RLIMIT_DATA" {
			soft -= hard / 4
		}
		g.s.Process.Rlimits = append(g.s.Process.Rlimits, specs.POSIXRlimit{Type: name, Soft: soft, Hard: hard})
	}
}

func (g *generator) mounted(dst string) bool {
	for _, m := range g.s.Mounts {
		if m.Destination == dst {
			return true
		}
	}
	return false
}

func (g *generator) names() {
	if g.own(specs.UTSNamespace) && g.chance(2) {
		g.s.Hostname = pick(g, "a", "host.example", "x-1")
		if g.chance(2) {
			g.s.Domainname = pick(g, "domain", "example.org")
		}
	}
}

func (g *generator) sysctls() {
	l := g.s.Linux
	set := func(chance int, key, value string) {
		if g.chance(chance) {
			if l.Sysctl == nil {
				l.Sysctl = map[string]string{}
			}
			l.Sysctl[key] = value
		}
	}
	if g.own(specs.NetworkNamespace) {
		set(4, "net.ipv4.ip_forward", "1")
		set(4, "net.ipv4.ip_unprivileged_port_start", "80")
		set(6, "net.ipv4.ping_group_range", "0 500")
		set(6, "net/core/somaxconn", "777")
	}
	if g.own(specs.IPCNamespace) && !g.has(specs.UserNamespace) {
		set(4, "kernel.msgmax", "4242")
		set(4, "kernel.shmmni", "1111")
		set(6, "kernel.sem", "250 32000 32 128")
		set(6, "fs.mqueue.msg_max", "20")
	}
}

func (g *generator) devices() {
	l := g.s.Linux
	owner := func() (mode *os.FileMode, uid, gid *uint32) {
		if g.chance(2) {
			mode = ptr(os.FileMode(pick(g, 0o600, 0o640, 0o666, 0o444)))
		}
		if g.chance(2) {
			uid, gid = ptr(pick[uint32](g, 0, 7)), ptr(pick[uint32](g, 0, 5))
		}
		return mode, uid, gid
	}
	add := func(chance int, kind, path string, major, minor int64) {
		if !g.chance(chance) {
			return
		}
		d := specs.LinuxDevice{Path: path, Type: kind, Major: major, Minor: minor}
		d.FileMode, d.UID, d.GID = owner()
		l.Devices = append(l.Devices, d)
		g.watch = append(g.watch, path)
	}
	add(6, "c", "/dev/fuse", 10, 229)
	if !g.has(specs.UserNamespace) { // there the host's nodes are bound, and these need not exist
		add(6, "c", "/dev/deep/zero", 1, 5)
		add(6, "b", "/dev/disk0", 7, 0)
		add(6, "u", "/dev/unbuffered", 1, 7)
		add(6, "p", "/dev/pipe", 0, 0)
		add(8, "c", "/dev/null", 1, 3)
		if !g.s.Root.Readonly {
			add(8, "c", "/data/node", 1, 3)
		}
	}
}

// paths hides paths and makes them read-only: of the kernel, of the image, and some that do not exist.
func (g *generator) paths() {
	l := g.s.Linux
	l.MaskedPaths = some(g, "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/nowhere", "/etc/secret", "/data/private")
	l.ReadonlyPaths = some(g, "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/missing", "/etc/fixed", "/data/shared")
	g.watch = append(g.watch, l.MaskedPaths...)
	g.watch = append(g.watch, l.ReadonlyPaths...)
	g.watch = append(g.watch, "/", "/etc", "/data", "/dev", "/tmp", "/dev/null", "/dev/ptmx", "/dev/console", "/proc/self/attr")
}

func (g *generator) resources() {
	l := g.s.Linux
	switch g.IntN(4) {
	case 0:
		l.CgroupsPath = "/agree-gcr/" + g.b.id
	case 1:
		l.CgroupsPath = "/agree-gcr/deeper/" + g.b.id
	}
	if g.chance(3) {
		return
	}
	r := &specs.LinuxResources{}
	l.Resources = r
	if g.chance(2) {
		r.Pids = &specs.LinuxPids{Limit: ptr(int64(pick(g, 50, 100, 1000)))}
	}
	if g.chance(2) {
		limit := int64(64+g.IntN(100)) << 20
		r.Memory = &specs.LinuxMemory{Limit: ptr(limit)}
		if g.chance(3) {
			r.Memory.Reservation = ptr(limit / 2)
		}
		if g.chance(4) {
			r.Memory.DisableOOMKiller = ptr(g.chance(2))
		}
	}
	if g.chance(2) {
		r.CPU = &specs.LinuxCPU{}
		if g.chance(2) {
			r.CPU.Shares = ptr(uint64(pick(g, 2, 100, 512, 1024, 5000)))
		}
		if g.chance(2) {
			r.CPU.Period, r.CPU.Quota = ptr(uint64(pick(g, 50000, 100000))), ptr(int64(pick(g, 100000, 150000)))
		}
		if g.chance(3) {
			r.CPU.Cpus, r.CPU.Mems = "0", "0"
		}
	}
	if g.chance(3) {
		r.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
		if g.chance(2) {
			r.Devices = append(r.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr[int64](10), Minor: ptr[int64](229), Access: pick(g, "rwm", "rw", "r")})
		}
		if g.chance(3) {
			r.Devices = append(r.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "b", Major: ptr[int64](7), Access: "rw"})
		}
	}
	if g.chance(4) {
		r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
	}
}

// makeRoot makes what the configurations find in their root filesystem, owned by the container's root.
func makeRoot(dir string, owner int, probe string) error {
	for _, d := range []string{"", "proc", "dev", "sys", "tmp", "etc", "etc/secret", "data", "data/private", "data/shared", "real/inside", "mnt", "var", "run", "copy/up"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o1777); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nseven:x:7:8::/home/seven:/bin/sh\n", "etc/fixed": "fixed", "data/private/key": "key", "data/shared/file": "shared", "etc/hosts": "",
		"copy/file": "copied", "copy/up/file": "deeper",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		return err
	}
	if err := os.Link(probe, filepath.Join(dir, "probe")); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if filepath.Base(path) == "probe" {
			return nil
		}
		return os.Lchown(path, owner, owner)
	})
}
