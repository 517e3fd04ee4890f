package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"gcr/internal/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var linuxTests = map[string]fieldTest{
	"linux.namespaces[].type": {
		edit: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		},
		check: func(t testing.TB, r *report) {
			for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "uts"} {
				own, err := os.Readlink("/proc/self/ns/" + ns)
				if err != nil || own == r.Namespaces[ns] {
					t.Errorf("%s namespace is %s, the host's is %s (%v)", ns, r.Namespaces[ns], own, err)
				}
			}
			want(t, "pid", r.PID, 1)
			want(t, "sid", r.SID, 1)
		},
	},
	"linux.namespaces, user": {
		edit: func(s *specs.Spec) {
			userNS(s)
			s.Process.User.UID = 3
			s.Process.OOMScoreAdj = ptr(10)
		},
		check: func(t testing.TB, r *report) {
			want(t, "uid", r.Status["Uid"], "3 3 3 3")
			want(t, "oom score", r.OOMScore, "10")
			own, _ := os.Readlink("/proc/self/ns/user")
			if own == r.Namespaces["user"] {
				t.Error("the user namespace is the host's")
			}
		},
	},
	"linux.uidMappings[].containerID": idMapTest("5 100001 10", true, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.uidMappings[].hostID":      idMapTest("5 100001 10", true, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.uidMappings[].size":        idMapTest("5 100001 10", true, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.gidMappings[].containerID": idMapTest("5 100001 10", false, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.gidMappings[].hostID":      idMapTest("5 100001 10", false, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.gidMappings[].size":        idMapTest("5 100001 10", false, specs.LinuxIDMapping{ContainerID: 5, HostID: 100001, Size: 10}),
	"linux.timeOffsets{}.secs": {
		edit: clocks(specs.LinuxTimeOffset{Secs: 1000000, Nanosecs: 7}),
		check: func(t testing.TB, r *report) {
			want(t, "seconds", strings.Contains(r.Clocks, "boottime 1000000 "), true)
		},
	},
	"linux.timeOffsets{}.nanosecs": {
		edit:  clocks(specs.LinuxTimeOffset{Secs: 1000000, Nanosecs: 7}),
		check: func(t testing.TB, r *report) { want(t, "nanoseconds", strings.Contains(r.Clocks, " 7"), true) },
	},
	"linux.timeOffsets, monotonic": {
		edit: func(s *specs.Spec) {
			clocks(specs.LinuxTimeOffset{})(s)
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 5}}
		},
		check: func(t testing.TB, r *report) { want(t, "seconds", strings.Contains(r.Clocks, "monotonic 5 "), true) },
	},
	"linux.devices[].path":     deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].type":     deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].major":    deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].minor":    deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].fileMode": deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].uid":      deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].gid":      deviceTest("/dev/mine 20640 1:5 3:4 "),
	"linux.devices[].type, p": {
		edit: func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fifo", Type: "p", FileMode: ptr(os.FileMode(0o600))}}
		},
		check: wantDev("/dev/fifo 10600 0:0 0:0 "),
	},
	"linux.devices[].type, b": {
		edit: func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/block", Type: "b", Major: 7, Minor: 3}}
		},
		check: wantDev("/dev/block 60666 7:3 0:0 "),
	},
	"linux.devices[].type, u": {
		edit: func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "u", Major: 1, Minor: 5}}
		},
		check: wantDev("/dev/mine 20666 1:5 0:0 "),
	},
	"linux.devices, the default ones and links": {
		check: wantDev(
			"/dev/null 20666 1:3 0:0 ", "/dev/zero 20666 1:5 0:0 ", "/dev/full 20666 1:7 0:0 ", "/dev/random 20666 1:8 0:0 ", "/dev/urandom 20666 1:9 0:0 ", "/dev/tty 20666 5:0 0:0 ",
			"/dev/ptmx 120777 0:0 0:0 pts/ptmx", "/dev/fd 120777 0:0 0:0 /proc/self/fd", "/dev/stdin 120777 0:0 0:0 /proc/self/fd/0", "/dev/stdout 120777 0:0 0:0 /proc/self/fd/1", "/dev/stderr 120777 0:0 0:0 /proc/self/fd/2",
		),
	},
	"linux.maskedPaths": {
		edit: func(s *specs.Spec) {
			s.Linux.MaskedPaths = []string{"/proc/version", "/proc/bus", "/proc/nothing"}
			s.Linux.ReadonlyPaths = nil
		},
		check: func(t testing.TB, r *report) {
			want(t, "a file", r.mount("/proc/version").Root, "/null")
			want(t, "a directory", r.mount("/proc/bus").Type, "tmpfs")
			wantOptions(t, r.mount("/proc/bus").Options, "ro")
		},
	},
	"linux.readonlyPaths": {
		edit:  func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/nothing"} },
		check: func(t testing.TB, r *report) { wantOptions(t, r.mount("/proc/sys").Options, "ro") },
	},
	"linux.sysctl": {
		edit: func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
		},
		check: func(t testing.TB, r *report) {
			want(t, "ip_forward", r.Sysctl["net/ipv4/ip_forward"], "1")
			want(t, "msgmax", r.Sysctl["kernel/msgmax"], "4242")
		},
	},
	"linux.personality.domain": {
		edit:  func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} },
		check: func(t testing.TB, r *report) { want(t, "personality", r.Persona, 8) },
	},
	"linux.mountLabel, without SELinux": {
		edit: func(s *specs.Spec) {
			s.Linux.MountLabel, s.Process.SelinuxLabel = "system_u:object_r:x:s0", "system_u:system_r:x:s0"
			if _, err := os.Stat("/sys/kernel/security/apparmor"); err != nil {
				s.Process.ApparmorProfile = "x"
			}
		},
		check:   func(t testing.TB, r *report) { want(t, "pid", r.PID, 1) },
		missing: "without the security module the labels mean nothing; test/lsm has it",
	},
	"linux.resources, the own cgroup is the root": {
		edit: func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20))} },
		check: func(t testing.TB, r *report) {
			for _, l := range strings.Split(strings.TrimSpace(r.Cgroup), "\n") {
				if !strings.HasSuffix(l, ":/") {
					t.Errorf("the process sees its cgroup as %q", l)
				}
			}
		},
	},
}

// idMapTest wants a range in the id map of users or groups.
func idMapTest(text string, users bool, m specs.LinuxIDMapping) fieldTest {
	return fieldTest{
		edit: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			first := specs.LinuxIDMapping{ContainerID: 0, HostID: 100000, Size: 1}
			s.Linux.UIDMappings, s.Linux.GIDMappings = []specs.LinuxIDMapping{first}, []specs.LinuxIDMapping{first}
			to := &s.Linux.GIDMappings
			if users {
				to = &s.Linux.UIDMappings
			}
			*to = append(*to, m)
			// A group that is not mapped cannot own terminals.
			for i := range s.Mounts {
				s.Mounts[i].Options = slices.DeleteFunc(slices.Clone(s.Mounts[i].Options), func(o string) bool { return o == "gid=5" })
			}
		},
		check: func(t testing.TB, r *report) {
			got := r.GIDMap
			if users {
				got = r.UIDMap
			}
			want(t, "id map", got, "0 100000 1 "+text)
		},
	}
}

func clocks(o specs.LinuxTimeOffset) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": o}
	}
}

func deviceTest(line string) fieldTest {
	return fieldTest{
		edit: func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, FileMode: ptr(os.FileMode(0o640)), UID: ptr(uint32(3)), GID: ptr(uint32(4))}}
		},
		check: wantDev(line),
	}
}

func wantDev(lines ...string) func(t testing.TB, r *report) {
	return func(t testing.TB, r *report) {
		for _, w := range lines {
			if !slices.Contains(r.Dev, w) {
				t.Errorf("there is no %q in %q", w, r.Dev)
			}
		}
	}
}

// memoryPolicyTests read /proc/self/numa_maps (numa(7)), which shows the policy of the process for its memory.
func memoryPolicyTests() map[string]fieldTest {
	policy := func(text string, m specs.LinuxMemoryPolicy) fieldTest {
		return fieldTest{
			edit: func(s *specs.Spec) {
				s.Linux.MemoryPolicy = &m
				s.Process.Args = []string{"/probe", "cat", "/proc/self/numa_maps"}
			},
			output: text,
		}
	}
	flags := func(f specs.MemoryPolicyFlagType) []specs.MemoryPolicyFlagType {
		return []specs.MemoryPolicyFlagType{f}
	}
	out := map[string]fieldTest{
		"linux.memoryPolicy.mode":                           policy(" bind:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0"}),
		"linux.memoryPolicy.nodes":                          policy(" prefer:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED", Nodes: "0"}),
		"linux.memoryPolicy.flags":                          policy(" bind=static:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: flags("MPOL_F_STATIC_NODES")}),
		"linux.memoryPolicy.flags, MPOL_F_RELATIVE_NODES":   policy(" bind=relative:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: flags("MPOL_F_RELATIVE_NODES")}),
		"linux.memoryPolicy.mode, MPOL_INTERLEAVE":          policy(" interleave:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_INTERLEAVE", Nodes: "0"}),
		"linux.memoryPolicy.mode, MPOL_LOCAL":               policy(" local ", specs.LinuxMemoryPolicy{Mode: "MPOL_LOCAL"}),
		"linux.memoryPolicy.mode, MPOL_DEFAULT":             policy(" default ", specs.LinuxMemoryPolicy{Mode: "MPOL_DEFAULT"}),
		"linux.memoryPolicy.mode, MPOL_PREFERRED_MANY":      policy(" prefer (many):0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED_MANY", Nodes: "0"}),
		"linux.memoryPolicy.mode, MPOL_WEIGHTED_INTERLEAVE": policy(" weighted interleave:0 ", specs.LinuxMemoryPolicy{Mode: "MPOL_WEIGHTED_INTERLEAVE", Nodes: "0"}),
		"linux.memoryPolicy.flags, MPOL_F_NUMA_BALANCING":   policy(" bind", specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: flags("MPOL_F_NUMA_BALANCING")}),
	}
	for name, f := range out {
		m := &specs.Spec{Linux: &specs.Linux{}, Process: &specs.Process{}}
		f.edit(m)
		mode := int(map[string]uintptr{"MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6}[string(m.Linux.MemoryPolicy.Mode)])
		balancing := slices.Contains(m.Linux.MemoryPolicy.Flags, "MPOL_F_NUMA_BALANCING")
		f.skip = func() string { return policyMissing(mode, balancing) }
		switch {
		case strings.Contains(name, "MPOL_DEFAULT"):
			f.missing = "it is what is done without the field"
		case balancing:
			f.missing = "older kernels do not show the flag"
		}
		out[name] = f
	}
	return out
}

// policyMissing asks the kernel for what not every one has.
func policyMissing(mode int, balancing bool) string {
	nodes := uint64(1)
	if balancing {
		mode = 2 | 1<<13
	}
	if mode == 0 {
		return ""
	}
	done := make(chan string)
	go func() {
		// The thread is thrown away, and its policy with it.
		runtime.LockOSThread()
		_, _, errno := unix.RawSyscall(unix.SYS_SET_MEMPOLICY, uintptr(mode), uintptr(unsafe.Pointer(&nodes)), 65)
		if errno != 0 {
			done <- fmt.Sprintf("the kernel of this machine has no such memory policy: %v", errno)
			return
		}
		done <- ""
	}()
	return <-done
}

// seccompTests look at what harmless system calls of the probe give. What has a test of its own: architectures, flags,
// actions that kill (internal/seccomp), and the agent of SCMP_ACT_NOTIFY (TestSeccompListener).
func seccompTests() map[string]fieldTest {
	filter := func(r specs.LinuxSyscall) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{r}}
		}
	}
	call := func(name, result string) func(testing.TB, *report) {
		return func(t testing.TB, r *report) { want(t, name, r.Calls[name], result) }
	}
	socket := func(a specs.LinuxSeccompArg) func(*specs.Spec) {
		return filter(specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(unix.EMULTIHOP)), Args: []specs.LinuxSeccompArg{a}})
	}
	// only lets through what is not sched_yield.
	only := func(errno *uint) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: errno, Syscalls: []specs.LinuxSyscall{{
				Names: slices.DeleteFunc(seccomp.Names(seccomp.Native()), func(n string) bool { return n == "sched_yield" }), Action: specs.ActAllow,
			}}}
		}
	}
	return map[string]fieldTest{
		"linux.seccomp.defaultAction":   {edit: only(nil), check: call("sched_yield", "EPERM")},
		"linux.seccomp.defaultErrnoRet": {edit: only(ptr(uint(unix.EMULTIHOP))), check: call("sched_yield", "EMULTIHOP")},
		"linux.seccomp.syscalls[].names": {
			edit: filter(specs.LinuxSyscall{Names: []string{"mkdirat", "getcwd"}, Action: specs.ActErrno}),
			check: func(t testing.TB, r *report) {
				want(t, "mode", r.Status["Seccomp"], "2")
				want(t, "cwd, which getcwd refuses", r.Cwd, "")
				want(t, "mkdirat", r.Calls["mkdirat"], "EPERM")
			},
		},
		"linux.seccomp.syscalls[].action":   {edit: filter(specs.LinuxSyscall{Names: []string{"mkdirat"}, Action: specs.ActErrno}), check: call("mkdirat", "EPERM")},
		"linux.seccomp.syscalls[].errnoRet": {edit: filter(specs.LinuxSyscall{Names: []string{"mkdirat"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(unix.EMULTIHOP))}), check: call("mkdirat", "EMULTIHOP")},
		"linux.seccomp.syscalls[].args[].index": {
			edit: socket(specs.LinuxSeccompArg{Index: 2, Value: 1, Op: specs.OpEqualTo}), check: call("socket raw", "EMULTIHOP"),
		},
		"linux.seccomp.syscalls[].args[].value": {
			edit: socket(specs.LinuxSeccompArg{Value: unix.AF_VSOCK, Op: specs.OpEqualTo}), check: call("socket vsock", "EMULTIHOP"),
		},
		"linux.seccomp.syscalls[].args[].valueTwo": {
			edit: socket(specs.LinuxSeccompArg{Value: 0xff, ValueTwo: unix.AF_VSOCK, Op: specs.OpMaskedEqual}), check: call("socket vsock", "EMULTIHOP"),
		},
		"linux.seccomp.syscalls[].args[].op": {
			edit: socket(specs.LinuxSeccompArg{Value: 39, Op: specs.OpGreaterThan}), check: call("socket vsock", "EMULTIHOP"),
		},
		"linux.seccomp, that knows few calls": {
			edit: func(s *specs.Spec) {
				s.Process.NoNewPrivileges = false
				s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
					{Names: []string{"close_range", "prctl", "sendto", "openat2"}, Action: specs.ActErrno},
				}}
			},
			check: func(t testing.TB, r *report) { want(t, "mode", r.Status["Seccomp"], "2") },
		},
	}
}
