package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var processTests = map[string]fieldTest{
	"process.args": {
		edit:  func(s *specs.Spec) { s.Process.Args = []string{"/probe", "report", "two words", ""} },
		check: func(t testing.TB, r *report) { want(t, "args", strings.Join(r.Args, "|"), "/probe|report|two words|") },
	},
	"process.env": {
		edit:  func(s *specs.Spec) { s.Process.Env = []string{"A=1", "B=x y", "HOME=/h"} },
		check: func(t testing.TB, r *report) { want(t, "env", strings.Join(r.Env, "|"), "A=1|B=x y|HOME=/h") },
	},
	"process.cwd": {
		edit:  func(s *specs.Spec) { s.Process.Cwd = "/tmp" },
		check: func(t testing.TB, r *report) { want(t, "cwd", r.Cwd, "/tmp") },
	},
	"process.cwd, missing": {
		edit:  func(s *specs.Spec) { s.Process.Cwd = "/tmp/a/b"; s.Root.Readonly = false },
		check: func(t testing.TB, r *report) { want(t, "cwd", r.Cwd, "/tmp/a/b") },
	},
	"process.cwd, that only root may enter": {
		edit: func(s *specs.Spec) {
			s.Process.Cwd, s.Process.User.UID = "/private", 7
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/private", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=700"}})
			s.Root.Readonly = false
		},
		check: func(t testing.TB, r *report) { want(t, "cwd", r.Cwd, "/private") },
	},
	"process.terminal": {
		edit:  func(s *specs.Spec) { s.Process.Terminal = true },
		check: func(t testing.TB, r *report) { want(t, "terminal", r.Terminal, true) },
	},
	"process.consoleSize.height": {
		edit: func(s *specs.Spec) {
			s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 31, Width: 72}
		},
		check: func(t testing.TB, r *report) { want(t, "rows", r.Rows, 31) },
	},
	"process.consoleSize.width": {
		edit: func(s *specs.Spec) {
			s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 31, Width: 72}
		},
		check: func(t testing.TB, r *report) { want(t, "columns", r.Cols, 72) },
	},
	"process.user.uid": {
		edit:  func(s *specs.Spec) { s.Process.User.UID = 7 },
		check: func(t testing.TB, r *report) { want(t, "uid", r.Status["Uid"], "7 7 7 7") },
	},
	"process.user.gid": {
		edit:  func(s *specs.Spec) { s.Process.User.GID = 8 },
		check: func(t testing.TB, r *report) { want(t, "gid", r.Status["Gid"], "8 8 8 8") },
	},
	"process.user.additionalGids": {
		edit:  func(s *specs.Spec) { s.Process.User.GID, s.Process.User.AdditionalGids = 8, []uint32{9, 10} },
		check: func(t testing.TB, r *report) { want(t, "groups", r.Status["Groups"], "8 9 10") },
	},
	"process.user.umask": {
		edit:  func(s *specs.Spec) { s.Process.User.Umask = ptr(uint32(0o027)) },
		check: func(t testing.TB, r *report) { want(t, "umask", r.Umask, 0o027) },
	},
	"process.noNewPrivileges": {
		edit:  func(s *specs.Spec) { s.Process.NoNewPrivileges = true },
		check: func(t testing.TB, r *report) { want(t, "NoNewPrivs", r.Status["NoNewPrivs"], "1") },
	},
	"process.oomScoreAdj": {
		edit:  func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(321) },
		check: func(t testing.TB, r *report) { want(t, "oom score", r.OOMScore, "321") },
	},
	"root.path": {
		prepare: func(b *box) {
			b.must(os.Rename(filepath.Join(b.bundle, "rootfs"), filepath.Join(b.bundle, "other")))
			b.spec.Root.Path = "other"
		},
		check: func(t testing.TB, r *report) { want(t, "program", r.Exe, "/probe") },
	},
	"root.readonly": {
		edit:  func(s *specs.Spec) { s.Root.Readonly = true },
		check: func(t testing.TB, r *report) { wantOptions(t, r.mount("/").Options, "ro") },
	},
	"hostname": {
		edit:  func(s *specs.Spec) { s.Hostname = "alpha" },
		check: func(t testing.TB, r *report) { want(t, "hostname", r.Hostname, "alpha") },
	},
	"domainname": {
		edit:  func(s *specs.Spec) { s.Domainname = "beta" },
		check: func(t testing.TB, r *report) { want(t, "domainname", r.Domainname, "beta") },
	},
}

// The sets of capabilities. What a program gets at execve follows from them by the rules of capabilities(7).
var capabilityTests = map[string]fieldTest{
	"process.capabilities, all sets": {
		edit: func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{
				Bounding: []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}, Permitted: []string{"CAP_CHOWN", "CAP_KILL"}, Effective: []string{"CAP_CHOWN"},
				Inheritable: []string{"CAP_KILL"}, Ambient: []string{"CAP_KILL"},
			}
			s.Process.User.UID = 5
		},
		check: func(t testing.TB, r *report) {
			// A program without file capabilities keeps the ambient ones only.
			want(t, "bounding", r.Status["CapBnd"], "0000000000002021")
			want(t, "permitted", r.Status["CapPrm"], "0000000000000020")
			want(t, "effective", r.Status["CapEff"], "0000000000000020")
			want(t, "inheritable", r.Status["CapInh"], "0000000000000020")
			want(t, "ambient", r.Status["CapAmb"], "0000000000000020")
		},
	},
	"process.capabilities, none": {
		edit:  func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{} },
		check: noCapabilities,
	},
	"process.capabilities, not named": {
		edit: func(s *specs.Spec) {
			s.Process.Capabilities, s.Process.NoNewPrivileges = nil, false
			s.Process.User.UID = 7
			// The filter can be loaded all the same.
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"ptrace"}, Action: specs.ActErrno}}}
		},
		check: func(t testing.TB, r *report) {
			noCapabilities(t, r)
			want(t, "mode", r.Status["Seccomp"], "2")
		},
	},
	"process.capabilities.bounding": {
		edit: func(s *specs.Spec) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_NET_RAW"}}
		},
		check: func(t testing.TB, r *report) { want(t, "bounding", r.Status["CapBnd"], "0000000000002001") },
	},
	// Root gets the whole bounding set at execve, but with no_new_privs not what it was not permitted before.
	"process.capabilities.permitted": {
		edit: func(s *specs.Spec) {
			s.Process.NoNewPrivileges = true
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_KILL"}, Permitted: []string{"CAP_KILL"}}
		},
		check: func(t testing.TB, r *report) { want(t, "permitted", r.Status["CapPrm"], "0000000000000020") },
	},
	// The effective set counts at execve itself: it lets root reach a program behind a directory of somebody else.
	"process.capabilities.effective": {
		prepare: func(b *box) {
			dir := filepath.Join(b.bundle, "rootfs/locked")
			b.must(os.Mkdir(dir, 0o700))
			b.must(copyProgram(probe, filepath.Join(dir, "probe")))
			b.must(os.Chown(dir, 5, 5))
			c := []string{"CAP_DAC_OVERRIDE"}
			b.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: c, Permitted: c, Effective: c}
			b.spec.Process.Args = []string{"/locked/probe", "report"}
		},
		check: func(t testing.TB, r *report) { want(t, "program", r.Exe, "/locked/probe") },
	},
	"process.capabilities.inheritable": {
		edit: func(s *specs.Spec) {
			c := []string{"CAP_KILL"}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: c, Permitted: c, Inheritable: c}
		},
		check: func(t testing.TB, r *report) { want(t, "inheritable", r.Status["CapInh"], "0000000000000020") },
	},
	"process.capabilities.ambient": {
		edit: func(s *specs.Spec) {
			c := []string{"CAP_KILL"}
			s.Process.User.UID = 5
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: c, Permitted: c, Inheritable: c, Ambient: c}
		},
		check: func(t testing.TB, r *report) { want(t, "effective", r.Status["CapEff"], "0000000000000020") },
	},
}

func noCapabilities(t testing.TB, r *report) {
	for _, set := range []string{"CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"} {
		want(t, set, r.Status[set], "0000000000000000")
	}
}

// rlimitTests sets each limit that the caller may lower.
func rlimitTests() map[string]fieldTest {
	out := map[string]fieldTest{}
	names := []string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}
	for n, name := range names {
		var host unix.Rlimit
		if err := unix.Prlimit(0, n, nil, &host); err != nil {
			continue
		}
		hard := min(host.Max-1, 1<<36)
		key := "process.rlimits[].type, RLIMIT_" + name
		if host.Max == 0 {
			out[key] = fieldTest{skip: func() string {
				return "the hard limit is 0 here, and it takes CAP_SYS_RESOURCE to raise it; the golden files have it"
			}}
			continue
		}
		out[key] = fieldTest{
			edit: func(s *specs.Spec) {
				s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_" + name, Soft: hard - 1, Hard: hard}}
			},
			check: func(t testing.TB, r *report) {
				got := r.Limits[fmt.Sprint(n)]
				// Go raises the soft limit of descriptors when it starts.
				if got[1] != hard || name != "NOFILE" && got[0] != hard-1 {
					t.Errorf("the limit is %d, want %d", got, hard)
				}
			},
		}
	}
	core := func(soft, hard uint64) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: soft, Hard: hard}}
		}
	}
	out["process.rlimits[].type"] = fieldTest{edit: core(5, 6), check: func(t testing.TB, r *report) { want(t, "core", r.Limits["4"], [2]uint64{5, 6}) }}
	out["process.rlimits[].soft"] = fieldTest{edit: core(5, 6), check: func(t testing.TB, r *report) { want(t, "core", r.Limits["4"][0], 5) }}
	out["process.rlimits[].hard"] = fieldTest{edit: core(0, 6), check: func(t testing.TB, r *report) { want(t, "core", r.Limits["4"][1], 6) }}
	return out
}

// scheduleTests are about scheduling; each policy has its own in TestSchedulers.
func scheduleTests() map[string]fieldTest {
	edit := func(s *specs.Scheduler) func(*specs.Spec) {
		return func(c *specs.Spec) {
			c.Process.Scheduler = s
			allowRealtime(c)
		}
	}
	needs := func(policy int) func() string {
		return func() string {
			if err := tryPolicy(policy); err != nil {
				return fmt.Sprintf("this machine does not let root have policy %d of sched(7): %v", policy, err)
			}
			return ""
		}
	}
	deadline := &specs.Scheduler{Policy: specs.SchedDeadline, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}, Runtime: 1e6, Deadline: 1e7, Period: 1e8}
	out := map[string]fieldTest{
		"process.scheduler.policy": {edit: edit(&specs.Scheduler{Policy: specs.SchedBatch}), check: func(t testing.TB, r *report) { want(t, "policy", r.Policy, 3) }},
		"process.scheduler.nice":   {edit: edit(&specs.Scheduler{Policy: specs.SchedBatch, Nice: 7}), check: func(t testing.TB, r *report) { want(t, "nice", r.Nice, 7) }},
		"process.scheduler.flags": {
			edit:  edit(&specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}),
			check: func(t testing.TB, r *report) { want(t, "flags", r.Scheduler["flags"], 1) },
		},
		"process.scheduler.priority": {
			edit:  edit(&specs.Scheduler{Policy: specs.SchedFIFO, Priority: 7, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}),
			check: func(t testing.TB, r *report) { want(t, "priority", r.Scheduler["priority"], 7) }, skip: needs(1),
		},
	}
	for name, value := range map[string]uint64{"runtime": 1e6, "deadline": 1e7, "period": 1e8} {
		out["process.scheduler."+name] = fieldTest{edit: edit(deadline), check: func(t testing.TB, r *report) { want(t, name, r.Scheduler[name], value) }, skip: needs(6)}
	}
	for class, number := range map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3} {
		out["process.ioPriority.class, "+string(class)] = fieldTest{
			edit: func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: class, Priority: 6} },
			check: func(t testing.TB, r *report) {
				if class == specs.IOPRIO_CLASS_IDLE { // which has no levels that count
					want(t, "I/O class", r.IOPrio>>13, number)
					return
				}
				want(t, "I/O priority", r.IOPrio, number<<13|6)
			},
		}
	}
	out["process.ioPriority.class"] = out["process.ioPriority.class, "+string(specs.IOPRIO_CLASS_BE)]
	out["process.ioPriority.priority"] = fieldTest{
		edit: func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		},
		check: func(t testing.TB, r *report) { want(t, "I/O priority", r.IOPrio&7, 6) },
	}
	return out
}

// allowRealtime gives the container's group of version 1 some real-time runtime: with CONFIG_RT_GROUP_SCHED it has none
// of its own accord.
func allowRealtime(s *specs.Spec) {
	if _, err := os.Stat("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"); err == nil {
		s.Linux.Resources.CPU = &specs.LinuxCPU{RealtimeRuntime: ptr(int64(10000)), RealtimePeriod: ptr(uint64(1000000))}
	}
}
