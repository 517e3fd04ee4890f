package plan

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// This file holds the configurations that the golden files are made from.

// base is a container as most are: five namespaces, the usual mounts, few capabilities.
func base() Input {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	umask := uint32(0o022)
	return Input{
		StateDir: "/run/gcr/c1",
		Root:     Root{Path: "/srv/rootfs"},
		Host:     Host{LastCap: 40, Capabilities: 1<<41 - 1, Keyring: true},
		Spec: &specs.Spec{
			Version:  "1.3.0",
			Hostname: "72741c42c0d4",
			Process: &specs.Process{
				Args: []string{"sh", "-c", "echo $$"}, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin", "HOME=/root"},
				User:         specs.User{Umask: &umask},
				Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			},
			Root: &specs.Root{Path: "/srv/rootfs"},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
				{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			},
			Linux: &specs.Linux{Namespaces: namespaces("pid", "mount", "uts", "ipc", "network")},
		},
	}
}

// bare is the smallest container: no namespace, so no root filesystem of its own either.
func bare() Input {
	in := base()
	in.StateDir = ""
	in.Spec = &specs.Spec{
		Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
		Linux:   &specs.Linux{},
	}
	return in
}

func namespaces(types ...string) []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	for _, t := range types {
		out = append(out, specs.LinuxNamespace{Type: specs.LinuxNamespaceType(t)})
	}
	return out
}

// rootless makes the configuration that of user 1000 with the given maps.
func rootless(in Input, uids, gids []specs.LinuxIDMapping) Input {
	in.Host.UID, in.Host.GID = 1000, 1000
	in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("user")...)
	in.Spec.Linux.UIDMappings, in.Spec.Linux.GIDMappings = uids, gids
	return in
}

func ownID() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}
}

func idRange() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}
}

func ptr[T any](v T) *T { return &v }

func mount(m specs.Mount) func(*Input) {
	return func(in *Input) { in.Spec.Mounts = append(in.Spec.Mounts, m) }
}

// variant is base with a change.
func variant(change func(*Input)) func() Input {
	return func() Input {
		in := base()
		change(&in)
		return in
	}
}

func seccompProfile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"reboot", "kexec_load"}, Action: specs.ActErrno}},
	}
}

// goldenConfigs are named after their file in testdata/golden.
var goldenConfigs = []struct {
	name string
	in   func() Input
}{
	{"bare", bare},
	{"base", base},
	{"ns-pid", func() Input { in := bare(); in.Spec.Linux.Namespaces = namespaces("pid"); return in }},
	{"ns-uts", func() Input {
		in := bare()
		in.Spec.Linux.Namespaces = namespaces("uts")
		in.Spec.Hostname, in.Spec.Domainname = "box", "example"
		return in
	}},
	{"ns-ipc-network", func() Input { in := bare(); in.Spec.Linux.Namespaces = namespaces("ipc", "network"); return in }},
	{"ns-all", variant(func(in *Input) {
		in.Spec.Linux.Namespaces = namespaces("pid", "mount", "uts", "ipc", "network", "cgroup", "time")
		in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 7, Nanosecs: 5}, "monotonic": {Secs: -3}}
	})},
	{"ns-joined", variant(func(in *Input) {
		in.Spec.Linux.Namespaces = append(namespaces("pid", "mount"), specs.LinuxNamespace{Type: "network", Path: "/run/netns/blue"}, specs.LinuxNamespace{Type: "ipc", Path: "/proc/77/ns/ipc"})
		in.Spec.Hostname = ""
	})},
	{"root-overlay", variant(func(in *Input) { in.Root = Root{Lower: []string{"/srv/rootfs"}} })},
	{"root-overlay-layers", variant(func(in *Input) {
		in.Root = Root{Lower: []string{"/l/top:1", "/l/a,b", `/l/back\slash`}, Upper: "/up", Work: "/work dir"}
	})},
	{"root-overlay-image", variant(func(in *Input) {
		in.Root = Root{Lower: []string{"top", "base"}, LowerDir: "/store/l", Upper: "/store/c/upper", Work: "/store/c/work", Volatile: true}
		in.Volumes = []string{"/var/lib/data", "/log"}
		in.Spec.Root.Readonly = true
	})},
	{"root-overlay-user", func() Input {
		in := rootless(base(), ownID(), ownID())
		in.Root = Root{Lower: []string{"/srv/rootfs"}}
		return in
	}},
	{"landlock", variant(func(in *Input) {
		in.Spec.Process.NoNewPrivileges = true
		in.Host.Landlock = 5
		in.Landlock = []LandlockRule{{Path: "/usr"}, {Path: "/tmp", Write: true}}
	})},
	{"root-mapped", func() Input {
		in := base()
		in.Host.SysAdmin = true
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("user")...)
		in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 524288, Size: 65536}}
		in.Spec.Linux.GIDMappings = in.Spec.Linux.UIDMappings
		in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/src", Type: "bind", Source: "/home/me/src", Options: []string{"rbind", "idmap"}})
		in.Root.IDMap = true
		return in
	}},
	{"root-host", variant(func(in *Input) {
		in.Root = Root{Host: HostDirs([]string{"bin", "dev", "etc", "home", "lost+found", "proc", "root", "run", "sys", "tmp", "usr"}, []string{"/", "/home/me"}, false), Links: map[string]string{"lib": "usr/lib", "lib64": "usr/lib64"}}
	})},
	{"root-host-user", func() Input {
		in := rootless(base(), ownID(), ownID())
		in.Root = Root{Host: HostDirs([]string{"dev", "etc", "home", "lost+found", "root", "usr"}, []string{"/", "/home/me"}, true), Links: map[string]string{"lib": "usr/lib"}}
		return in
	}},
	{"root-readonly", variant(func(in *Input) { in.Spec.Root.Readonly = true })},
	{"root-private", variant(func(in *Input) { in.Spec.Linux.RootfsPropagation = "private" })},
	{"root-shared", variant(func(in *Input) { in.Spec.Linux.RootfsPropagation = "rshared" })},
	{"root-unbindable", variant(func(in *Input) { in.Spec.Linux.RootfsPropagation = "unbindable" })},
	{"user-single-id", func() Input { return rootless(base(), ownID(), ownID()) }},
	{"user-id-range", func() Input {
		in := rootless(base(), idRange(), idRange())
		in.Spec.Process.User.UID, in.Spec.Process.User.GID = 33, 33
		in.Spec.Process.User.AdditionalGids = []uint32{33, 4}
		return in
	}},
	{"root-in-user-namespace", func() Input {
		in := base()
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("user")...)
		in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 4294967295}}
		in.Spec.Linux.GIDMappings = in.Spec.Linux.UIDMappings
		return in
	}},
	{"terminal", variant(func(in *Input) {
		in.Spec.Process.Terminal = true
		in.Spec.Process.ConsoleSize = &specs.Box{Height: 24, Width: 80}
	})},
	{"terminal-host-devpts", func() Input { in := bare(); in.Spec.Process.Terminal = true; return in }},
	{"mount-bind", variant(func(in *Input) {
		mount(specs.Mount{Destination: "/src", Type: "bind", Source: "/home/me/src", Options: []string{"rbind", "rprivate", "ro", "nosuid"}})(in)
		mount(specs.Mount{Destination: "etc/relative/to/root", Source: "/etc/hosts", Options: []string{"bind", "rslave"}})(in)
		mount(specs.Mount{Destination: "/rec", Type: "bind", Source: "/mnt", Options: []string{"rbind", "rro", "rnoexec", "rw", "exec"}})(in)
	})},
	{"mount-tmpfs", variant(func(in *Input) {
		mount(specs.Mount{Destination: "/tmp/a b", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777", "size=1m", "noatime", "noswap"}})(in)
		mount(specs.Mount{Destination: "/dev/mqueue", Type: "mqueue"})(in)
	})},
	{"mount-cgroup-v1", variant(func(in *Input) {
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("cgroup")...)
		in.Spec.Linux.CgroupsPath = "/gcr/c1"
		in.Cgroup = Cgroup{
			Version: 1, TaskFiles: 2, Mounts: []CgroupMount{{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/gcr/c1"}, {"pids", "/sys/fs/cgroup/pids/gcr/c1"}},
			Writes: []string{"mkdir /sys/fs/cgroup/pids/gcr/c1", "write pids.max: 5"}, Shell: []string{"mkdir -p /sys/fs/cgroup/pids/gcr/c1", "echo 5 >/sys/fs/cgroup/pids/gcr/c1/pids.max"},
		}
		mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}})(in)
	})},
	{"mount-cgroup-v2", variant(func(in *Input) {
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("cgroup")...)
		in.Cgroup = Cgroup{
			Version: 2, Into: true, Mounts: []CgroupMount{{"", "/sys/fs/cgroup/gcr/c1"}},
			Writes: []string{"mkdir /sys/fs/cgroup/gcr/c1", "write memory.max: 1048576"}, Shell: []string{"mkdir -p /sys/fs/cgroup/gcr/c1"},
		}
		mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup", Options: []string{"ro"}})(in)
	})},
	{"mount-cgroup-none", variant(mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"}))},
	{"devices", variant(func(in *Input) {
		in.Spec.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: ptr(os.FileMode(0o660)), UID: ptr(uint32(0)), GID: ptr(uint32(44))},
			{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
			{Path: "/opt/pipes/fifo", Type: "p"},
			{Path: "/dev/loop0", Type: "b", Major: 7, Minor: 0},
		}
	})},
	{"devices-user", func() Input {
		in := rootless(base(), ownID(), ownID())
		in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}}
		return in
	}},
	{"devices-bound-dev", variant(func(in *Input) {
		in.Spec.Mounts[1] = specs.Mount{Destination: "/dev", Type: "bind", Source: "/dev", Options: []string{"rbind"}}
		in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}}
	})},
	{"capabilities-unset", variant(func(in *Input) { in.Spec.Process.Capabilities = nil })},
	{"capabilities-none", variant(func(in *Input) { in.Spec.Process.Capabilities = &specs.LinuxCapabilities{} })},
	{"capabilities-ambient", variant(func(in *Input) {
		c := []string{"cap_net_raw", "NET_ADMIN"}
		in.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: c, Effective: c, Permitted: c, Inheritable: c, Ambient: c[:1]}
		in.Spec.Process.User.UID = 1000
	})},
	{"capabilities-of-the-caller", variant(func(in *Input) { in.Host.Capabilities = 1 << 5 })},
	{"user-and-groups", variant(func(in *Input) {
		in.Spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{27, 1000}, Umask: ptr(uint32(0o077))}
	})},
	{"rlimits", variant(func(in *Input) {
		in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}, {Type: "RLIMIT_CORE", Soft: 0, Hard: ^uint64(0)}}
	})},
	{"sysctls", variant(func(in *Input) {
		in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536", "net/ipv4/conf/eth0.100/rp_filter": "0", "kernel.domainname": "x y"}
	})},
	{"sysctls-without-proc", variant(func(in *Input) {
		in.Spec.Mounts = in.Spec.Mounts[1:]
		in.Spec.Linux.Sysctl = map[string]string{"net.core.somaxconn": "1024"}
		in.Spec.Process.OOMScoreAdj = ptr(100)
	})},
	{"masked-and-readonly-paths", variant(func(in *Input) {
		in.Spec.Linux.MaskedPaths = []string{"/proc/kcore", "/sys/firmware"}
		in.Spec.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/sysrq-trigger"}
	})},
	{"scheduling", variant(func(in *Input) {
		in.Spec.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_BATCH", Nice: 5, Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_RESET_ON_FORK"}}
		in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 4}
		in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX32"}
		in.Spec.Process.OOMScoreAdj = ptr(-5)
	})},
	{"oom-score-on-the-host", func() Input { in := bare(); in.Spec.Process.OOMScoreAdj = ptr(1000); return in }},
	{"no-new-privileges", variant(func(in *Input) { in.Spec.Process.NoNewPrivileges = true })},
	{"seccomp", variant(func(in *Input) {
		in.Spec.Linux.Seccomp = seccompProfile()
		in.Spec.Process.NoNewPrivileges = true
	})},
	{"seccomp-with-privileges", variant(func(in *Input) { in.Spec.Linux.Seccomp = seccompProfile() })},
	{"init", variant(func(in *Input) { in.Init = true })},
	{"init-terminal", variant(func(in *Input) { in.Init, in.Spec.Process.Terminal = true, true })},
	{"wait", variant(func(in *Input) { in.Wait, in.PreserveFDs = true, 2 })},
	{"announce-narrate", variant(func(in *Input) { in.Announce, in.Narrate, in.DieWithParent = true, true, true })},
	{"steps", variant(func(in *Input) { in.Stops, in.Announce = true, true })},
	{"cwd-made", variant(func(in *Input) { in.CreateCwd, in.Spec.Process.Cwd = true, "/home/me/new" })},
	{"path-search", variant(func(in *Input) {
		in.Spec.Process.Env = []string{"PATH=/a::rel", "PATH=/last:/wins"}
		in.Spec.Process.Args = []string{"it's", "a b", "$x"}
	})},
	{"files", variant(func(in *Input) {
		in.Files = []File{{"hosts", "127.0.0.1\tlocalhost\n"}, {"hostname", "it's\n"}}
		mount(specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/run/gcr/c1/hosts", Options: []string{"rbind", "rprivate"}})(in)
	})},
}

func clone(t *testing.T, s *specs.Spec) *specs.Spec {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out specs.Spec
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}
