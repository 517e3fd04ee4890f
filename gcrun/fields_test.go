package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

// fields has one entry for each field of the configuration: a value, and what a process inside then sees.
var fields = map[string]struct {
	edit  func(*specs.Spec)
	check func(t *testing.T, r *report)
}{
	"process.args": {func(s *specs.Spec) { s.Process.Args = []string{"/probe", "report", "two words", ""} }, func(t *testing.T, r *report) {
		want(t, "args", strings.Join(r.Args, "|"), "/probe|report|two words|")
	}},
	"process.env": {func(s *specs.Spec) { s.Process.Env = []string{"A=1", "B=x y", "HOME=/h"} }, func(t *testing.T, r *report) {
		want(t, "env", strings.Join(r.Env, "|"), "A=1|B=x y|HOME=/h")
	}},
	"process.cwd": {func(s *specs.Spec) { s.Process.Cwd = "/tmp" }, func(t *testing.T, r *report) { want(t, "cwd", r.Cwd, "/tmp") }},
	"process.cwd that is missing": {func(s *specs.Spec) { s.Process.Cwd = "/tmp/a/b"; s.Root.Readonly = false }, func(t *testing.T, r *report) {
		want(t, "cwd", r.Cwd, "/tmp/a/b")
	}},
	"process.cwd that only root may enter": {func(s *specs.Spec) {
		s.Process.Cwd, s.Process.User.UID = "/private", 7
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/private", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=700"}})
		s.Root.Readonly = false
	}, func(t *testing.T, r *report) { want(t, "cwd", r.Cwd, "/private") }},
	"mounts, tmpcopyup with options": {func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "strictatime", "mode=700", "uid=7"}})
		s.Process.User.UID = 7
		s.Process.Args = []string{"/probe", "report", "/etc"}
	}, func(t *testing.T, r *report) {
		want(t, "mode and owner", r.Places["/etc"].Stat, "40700 7:0")
		want(t, "contents", strings.Join(r.Places["/etc"].Names, " "), "deep")
	}},
	"process.user": {func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9, 10}, Umask: ptr(uint32(0o027))}
	}, func(t *testing.T, r *report) {
		want(t, "uid", r.Status["Uid"], "7 7 7 7")
		want(t, "gid", r.Status["Gid"], "8 8 8 8")
		want(t, "groups", r.Status["Groups"], "8 9 10")
		want(t, "umask", r.Umask, 0o027)
	}},
	"process.capabilities": {func(s *specs.Spec) {
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}, Permitted: []string{"CAP_CHOWN", "CAP_KILL"}, Effective: []string{"CAP_CHOWN"},
			Inheritable: []string{"CAP_KILL"}, Ambient: []string{"CAP_KILL"},
		}
		s.Process.User.UID = 5
	}, func(t *testing.T, r *report) {
		// A program without file capabilities keeps the ambient ones only (capabilities(7)).
		want(t, "bounding", r.Status["CapBnd"], "0000000000002021")
		want(t, "permitted", r.Status["CapPrm"], "0000000000000020")
		want(t, "effective", r.Status["CapEff"], "0000000000000020")
		want(t, "inheritable", r.Status["CapInh"], "0000000000000020")
		want(t, "ambient", r.Status["CapAmb"], "0000000000000020")
	}},
	"process.capabilities, none": {func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{} }, func(t *testing.T, r *report) {
		for _, set := range []string{"CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"} {
			want(t, set, r.Status[set], "0000000000000000")
		}
	}},
	"process.capabilities, not named": {func(s *specs.Spec) {
		s.Process.Capabilities, s.Process.NoNewPrivileges = nil, false
		s.Process.User.UID = 7
		// The filter can be loaded all the same.
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"ptrace"}, Action: specs.ActErrno}}}
	}, func(t *testing.T, r *report) {
		for _, set := range []string{"CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"} {
			want(t, set, r.Status[set], "0000000000000000")
		}
		want(t, "mode", r.Status["Seccomp"], "2")
	}},
	"process.rlimits": {func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 5, Hard: 6}, {Type: "RLIMIT_NOFILE", Soft: 70, Hard: 80}}
	}, func(t *testing.T, r *report) {
		want(t, "core", r.Limits["4"], [2]uint64{5, 6})
		want(t, "nofile", r.Limits["7"][1], 80)
	}},
	"process.noNewPrivileges": {func(s *specs.Spec) { s.Process.NoNewPrivileges = true }, func(t *testing.T, r *report) {
		want(t, "NoNewPrivs", r.Status["NoNewPrivs"], "1")
	}},
	"process.oomScoreAdj": {func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(321) }, func(t *testing.T, r *report) {
		want(t, "oom score", r.OOMScore, "321")
	}},
	"process.scheduler": {func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7} }, func(t *testing.T, r *report) {
		want(t, "policy", r.Policy, 3)
		want(t, "nice", r.Nice, 7)
	}},
	"process.ioPriority": {func(s *specs.Spec) {
		s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
	}, func(t *testing.T, r *report) { want(t, "I/O priority", r.IOPrio, 2<<13|6) }},
	"root.readonly": {func(s *specs.Spec) { s.Root.Readonly = true }, func(t *testing.T, r *report) {
		wantOptions(t, r.mount("/").Options, "ro")
	}},
	"hostname": {func(s *specs.Spec) { s.Hostname, s.Domainname = "alpha", "beta" }, func(t *testing.T, r *report) {
		want(t, "hostname", r.Hostname, "alpha")
		want(t, "domainname", r.Domainname, "beta")
	}},
	"mounts": {func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "relative/dir", Type: "tmpfs", Source: "x", Options: []string{"nosuid", "nodev", "noexec", "size=64k", "mode=700"}},
			specs.Mount{Destination: "/tmp/null", Source: "/dev/null", Options: []string{"bind", "ro", "rslave"}},
		)
		s.Root.Readonly = false
	}, func(t *testing.T, r *report) {
		m := r.mount("/relative/dir")
		want(t, "type", m.Type, "tmpfs")
		wantOptions(t, m.Options, "nosuid", "nodev", "noexec")
		wantOptions(t, m.Super, "size=64k", "mode=700")
		wantOptions(t, r.mount("/tmp/null").Options, "ro")
	}},
	"mounts, recursive attributes": {func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp/sys", Source: "/sys", Options: []string{"rbind", "rro", "rnosuid"}})
		s.Root.Readonly = false
	}, func(t *testing.T, r *report) {
		n := 0
		for _, m := range r.Mounts {
			if strings.HasPrefix(m.Point, "/tmp/sys") {
				wantOptions(t, m.Options, "ro", "nosuid")
				n++
			}
		}
		if n < 2 {
			t.Errorf("%d mounts below /tmp/sys: the host should have some", n)
		}
	}},
	"mounts, tmpcopyup": {func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "x", Options: []string{"tmpcopyup"}})
		s.Process.Args = []string{"/probe", "cat", "/etc/deep/file"}
	}, nil},
	"linux.namespaces": {func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	}, func(t *testing.T, r *report) {
		for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "uts"} {
			own, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil || own == r.Namespaces[ns] {
				t.Errorf("%s namespace is %s, the host's is %s (%v)", ns, r.Namespaces[ns], own, err)
			}
		}
		want(t, "pid", r.PID, 1)
		want(t, "sid", r.SID, 1)
	}},
	"linux.uidMappings": {func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 1000}}
		s.Process.User.UID = 3
		s.Process.OOMScoreAdj = ptr(10)
	}, func(t *testing.T, r *report) {
		want(t, "uid", r.Status["Uid"], "3 3 3 3")
		want(t, "oom score", r.OOMScore, "10")
		own, _ := os.Readlink("/proc/self/ns/user")
		if own == r.Namespaces["user"] {
			t.Error("the user namespace is the host's")
		}
	}},
	"linux.timeOffsets": {func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000}, "monotonic": {Secs: 5}}
		s.Process.Args = []string{"/probe", "cat", "/proc/self/timens_offsets"}
	}, nil},
	"linux.devices": {func(s *specs.Spec) {
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, FileMode: ptr(os.FileMode(0o640)), UID: ptr(uint32(3)), GID: ptr(uint32(4))},
			{Path: "/dev/fifo", Type: "p", FileMode: ptr(os.FileMode(0o600))},
		}
	}, func(t *testing.T, r *report) {
		for _, w := range []string{
			"/dev/mine 20640 1:5 3:4 ", "/dev/fifo 10600 0:0 0:0 ", "/dev/null 20666 1:3 0:0 ", "/dev/full 20666 1:7 0:0 ",
			"/dev/ptmx 120777 0:0 0:0 pts/ptmx", "/dev/stdin 120777 0:0 0:0 /proc/self/fd/0", "/dev/fd 120777 0:0 0:0 /proc/self/fd",
		} {
			if !slices.Contains(r.Dev, w) {
				t.Errorf("there is no %q in %q", w, r.Dev)
			}
		}
	}},
	"linux.resources": {func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20))} }, func(t *testing.T, r *report) {
		for _, l := range strings.Split(strings.TrimSpace(r.Cgroup), "\n") {
			if !strings.HasSuffix(l, ":/") {
				t.Errorf("the process sees its cgroup as %q", l)
			}
		}
	}},
	"linux.rootfsPropagation": {func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" }, func(t *testing.T, r *report) {
		// Where the host's root is shared too, the container's is its slave besides.
		wantOptions(t, r.mount("/").Optional, "shared")
	}},
	"linux.maskedPaths": {func(s *specs.Spec) {
		s.Linux.MaskedPaths = []string{"/proc/version", "/proc/bus", "/proc/nothing"}
		s.Linux.ReadonlyPaths = nil
	}, func(t *testing.T, r *report) {
		want(t, "a file", r.mount("/proc/version").Root, "/null")
		want(t, "a directory", r.mount("/proc/bus").Type, "tmpfs")
		wantOptions(t, r.mount("/proc/bus").Options, "ro")
	}},
	"linux.readonlyPaths": {func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/nothing"} }, func(t *testing.T, r *report) {
		wantOptions(t, r.mount("/proc/sys").Options, "ro")
	}},
	"linux.sysctl": {func(s *specs.Spec) {
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
	}, func(t *testing.T, r *report) {
		want(t, "ip_forward", r.Sysctl["net/ipv4/ip_forward"], "1")
		want(t, "msgmax", r.Sysctl["kernel/msgmax"], "4242")
	}},
	"linux.seccomp": {func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getcwd"}, Action: specs.ActErrno}}}
	}, func(t *testing.T, r *report) {
		want(t, "mode", r.Status["Seccomp"], "2")
		want(t, "cwd, which getcwd refuses", r.Cwd, "")
	}},
	"linux.seccomp that knows few calls": {func(s *specs.Spec) {
		s.Process.NoNewPrivileges = false
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"close_range", "prctl", "sendto", "openat2"}, Action: specs.ActErrno},
		}}
	}, func(t *testing.T, r *report) { want(t, "mode", r.Status["Seccomp"], "2") }},
	"linux.personality": {func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }, func(t *testing.T, r *report) {
		want(t, "personality", r.Persona, 8)
	}},
	"linux.memoryPolicy": {func(s *specs.Spec) {
		s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}}
		s.Process.Args = []string{"/probe", "cat", "/proc/self/numa_maps"}
	}, nil},
	"linux.mountLabel without SELinux": {func(s *specs.Spec) {
		s.Linux.MountLabel, s.Process.SelinuxLabel = "system_u:object_r:x:s0", "system_u:system_r:x:s0"
		if _, err := os.Stat("/sys/kernel/security/apparmor"); err != nil {
			s.Process.ApparmorProfile = "x"
		}
	}, func(t *testing.T, r *report) { want(t, "pid", r.PID, 1) }},
	"unknown fields": {func(s *specs.Spec) { s.Annotations = map[string]string{"x.y": "z"} }, func(t *testing.T, r *report) { want(t, "pid", r.PID, 1) }},
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func wantOptions(t *testing.T, got string, want ...string) {
	t.Helper()
	have := strings.Split(got, ",")
	for _, w := range want {
		if !slices.Contains(have, w) {
			t.Errorf("options are %s, without %s", got, w)
		}
	}
}

func TestFields(t *testing.T) {
	for name, f := range fields {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, f.edit, "report")
			b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs/etc/deep"), 0o755))
			b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/etc/deep/file"), []byte("copied up"), 0o644))
			if b.spec.Linux.UIDMappings != nil {
				b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
			}
			if f.check == nil {
				// Seen in a file of /proc or of the image rather than in the report.
				out := b.ok("run", b.id)
				text := map[string]string{
					"mounts, tmpcopyup": "copied up", "linux.timeOffsets": "1000000", "linux.memoryPolicy": "bind=static:0",
				}[name]
				if !strings.Contains(out, text) {
					t.Errorf("output is %.200q, want %q", out, text)
				}
				return
			}
			r := b.report()
			f.check(t, r)
			if got := strings.Join(r.FDs, " "); got != "0 1 2" {
				t.Errorf("descriptors are %s", got)
			}
		})
	}
}

// A bind mount shows the owners of its files through an id map of its own, or through that of the container.
func TestIDMappedMounts(t *testing.T) {
	owner := func(edit func(*specs.Spec, *specs.Mount)) string {
		b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "owner", "/tmp/x/file")
		src := filepath.Join(b.bundle, "src")
		b.must(os.Mkdir(src, 0o755))
		b.must(os.WriteFile(filepath.Join(src, "file"), nil, 0o644))
		b.must(os.Chown(filepath.Join(src, "file"), 5, 6))
		b.must(os.Mkdir(filepath.Join(b.bundle, "rootfs/tmp/x"), 0o755))
		m := specs.Mount{Destination: "/tmp/x", Source: src, Options: []string{"bind"}}
		edit(b.spec, &m)
		b.spec.Mounts = append(b.spec.Mounts, m)
		b.write()
		if b.spec.Linux.UIDMappings != nil {
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
		}
		return strings.TrimSpace(b.ok("run", b.id))
	}
	maps := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 1000}}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(t.TempDir(), &fs); err == nil {
		t.Logf("the file system is %#x", fs.Type)
	}
	if got := owner(func(_ *specs.Spec, m *specs.Mount) { m.UIDMappings, m.GIDMappings = maps(1000), maps(2000) }); got != "1005:2006" {
		t.Errorf("with a map of its own the owner is %s", got)
	}
	user := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = maps(100000), maps(100000)
	}
	if got := owner(func(s *specs.Spec, m *specs.Mount) { user(s); m.Options = append(m.Options, "idmap") }); got != "5:6" {
		t.Errorf("with the map of the container the owner is %s", got)
	}
	if got := owner(func(s *specs.Spec, _ *specs.Mount) { user(s) }); got != "65534:65534" {
		t.Errorf("without a map the owner is %s", got)
	}
}

// Namespaces of another container are joined, in every mix that makes sense.
func TestJoinNamespaces(t *testing.T) {
	other := newBox(t, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}, "sleep")
	other.must(os.Chmod(filepath.Dir(other.bundle), 0o755))
	other.ok("run", "-d", other.id)
	pid := other.wantStatus("running")
	files := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup",
		specs.TimeNamespace: "time", specs.UserNamespace: "user",
	}
	for _, mix := range [][]specs.LinuxNamespaceType{
		{specs.PIDNamespace},
		{specs.NetworkNamespace},
		{specs.IPCNamespace, specs.UTSNamespace},
		{specs.CgroupNamespace},
		{specs.TimeNamespace},
		{specs.UserNamespace},
		{specs.UserNamespace, specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace},
		{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.TimeNamespace},
	} {
		t.Run(fmt.Sprint(mix), func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) {
				for _, ns := range mix {
					s.Linux.Namespaces = append(without(s.Linux.Namespaces, ns), specs.LinuxNamespace{Type: ns, Path: fmt.Sprintf("/proc/%d/ns/%s", pid, files[ns])})
				}
				// A name is set in a UTS namespace of one's own only.
				if slices.Contains(mix, specs.UTSNamespace) {
					s.Hostname = ""
				}
			}, "report")
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
			r := b.report()
			for ns, file := range files {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, file))
				b.must(err)
				if joined := slices.Contains(mix, ns); joined != (r.Namespaces[file] == link) {
					t.Errorf("%s is %s, that of the other container %s", ns, r.Namespaces[file], link)
				}
			}
			if !slices.Contains(mix, specs.PIDNamespace) {
				want(t, "pid", r.PID, 1)
			}
		})
	}
	other.ok("delete", "--force", other.id)
	other.reap(pid)
}
