package plan

import (
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var processPlans = []fieldPlan{
	{"process.terminal", nil, func(in *Input) { in.Spec.Process.Terminal = true }},
	{"process.consoleSize.height", terminal, func(in *Input) { in.Spec.Process.ConsoleSize = &specs.Box{Height: 24} }},
	{"process.consoleSize.width", terminal, func(in *Input) { in.Spec.Process.ConsoleSize = &specs.Box{Width: 80} }},
	{"process.user.uid", nil, func(in *Input) { in.Spec.Process.User.UID = 7 }},
	{"process.user.gid", nil, func(in *Input) { in.Spec.Process.User.GID = 8 }},
	{"process.user.umask", nil, func(in *Input) { in.Spec.Process.User.Umask = ptr(uint32(0o077)) }},
	{"process.user.additionalGids", nil, func(in *Input) { in.Spec.Process.User.AdditionalGids = []uint32{9, 10} }},
	{"process.args", nil, func(in *Input) { in.Spec.Process.Args = []string{"/bin/echo", "two words"} }},
	{"process.env", nil, func(in *Input) { in.Spec.Process.Env = []string{"PATH=/opt/bin", "A=b"} }},
	{"process.cwd", nil, func(in *Input) { in.Spec.Process.Cwd = "/tmp" }},
	{"process.capabilities.bounding", noCaps, capabilities(func(c *specs.LinuxCapabilities, l []string) { c.Bounding = l })},
	{"process.capabilities.effective", permitted, capabilities(func(c *specs.LinuxCapabilities, l []string) { c.Effective = l })},
	{"process.capabilities.inheritable", permitted, capabilities(func(c *specs.LinuxCapabilities, l []string) { c.Inheritable = l })},
	{"process.capabilities.permitted", bounded, capabilities(func(c *specs.LinuxCapabilities, l []string) { c.Permitted = l })},
	{"process.capabilities.ambient", func(in *Input) {
		permitted(in)
		in.Spec.Process.Capabilities.Inheritable = []string{"CAP_KILL"}
	}, capabilities(func(c *specs.LinuxCapabilities, l []string) { c.Ambient = l })},
	{"process.rlimits[].type", nil, rlimitPlan(specs.POSIXRlimit{Type: "RLIMIT_NOFILE"})},
	{"process.rlimits[].hard", rlimitPlan(specs.POSIXRlimit{Type: "RLIMIT_CORE"}), rlimitPlan(specs.POSIXRlimit{Type: "RLIMIT_CORE", Hard: 4096})},
	{"process.rlimits[].soft", rlimitPlan(specs.POSIXRlimit{Type: "RLIMIT_CORE", Hard: 4096}), rlimitPlan(specs.POSIXRlimit{Type: "RLIMIT_CORE", Hard: 4096, Soft: 1024})},
	{"process.noNewPrivileges", nil, func(in *Input) { in.Spec.Process.NoNewPrivileges = true }},
	{"process.apparmorProfile", modules, func(in *Input) { in.Spec.Process.ApparmorProfile = "docker-default" }},
	{"process.oomScoreAdj", nil, func(in *Input) { in.Spec.Process.OOMScoreAdj = ptr(-5) }},
	{"process.scheduler.policy", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedBatch})},
	{"process.scheduler.policy, SCHED_FIFO", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedFIFO, Priority: 1})},
	{"process.scheduler.policy, SCHED_RR", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedRR, Priority: 1})},
	{"process.scheduler.policy, SCHED_IDLE", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedIdle})},
	{"process.scheduler.policy, SCHED_OTHER", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedOther})},
	{"process.scheduler.policy, SCHED_DEADLINE", nil, schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e7, Period: 1e8})},
	{"process.scheduler.nice", schedulerPlan(specs.Scheduler{Policy: specs.SchedBatch}), schedulerPlan(specs.Scheduler{Policy: specs.SchedBatch, Nice: 5})},
	{"process.scheduler.priority", schedulerPlan(specs.Scheduler{Policy: specs.SchedFIFO}), schedulerPlan(specs.Scheduler{Policy: specs.SchedFIFO, Priority: 7})},
	{"process.scheduler.flags", schedulerPlan(specs.Scheduler{Policy: specs.SchedOther}), schedulerPlan(specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}})},
	{"process.scheduler.runtime", schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline, Deadline: 1e7}), schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline, Deadline: 1e7, Runtime: 1e6})},
	{"process.scheduler.deadline", schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline}), schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline, Deadline: 1e7})},
	{"process.scheduler.period", schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline}), schedulerPlan(specs.Scheduler{Policy: specs.SchedDeadline, Period: 1e8})},
	{"process.selinuxLabel", modules, func(in *Input) { in.Spec.Process.SelinuxLabel = "system_u:system_r:container_t:s0" }},
	{"process.ioPriority.class", nil, func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE} }},
	{"process.ioPriority.class, IOPRIO_CLASS_RT", nil, func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT} }},
	{"process.ioPriority.class, IOPRIO_CLASS_IDLE", nil, func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE} }},
	{"process.ioPriority.priority", func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE} }, func(in *Input) {
		in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 4}
	}},
	{"process.execCPUAffinity.initial", nil, func(in *Input) { in.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0-3"} }},
	{"process.execCPUAffinity.final", nil, func(in *Input) { in.Spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "1,65"} }},
	{"root.path", nil, func(in *Input) { in.Spec.Root.Path = "/srv/other"; in.Root.Path = "/srv/other" }},
	{"root.readonly", nil, func(in *Input) { in.Spec.Root.Readonly = true }},
	{"hostname", nil, func(in *Input) { in.Spec.Hostname = "alpha" }},
	{"domainname", nil, func(in *Input) { in.Spec.Domainname = "beta" }},
}

func terminal(in *Input) { in.Spec.Process.Terminal = true }

func modules(in *Input) { in.Host.AppArmorExec, in.Host.SELinux = "attr/apparmor/exec", true }

func noCaps(in *Input) { in.Spec.Process.Capabilities = &specs.LinuxCapabilities{} }

func bounded(in *Input) {
	in.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}
}

func permitted(in *Input) {
	in.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}}
}

func capabilities(set func(*specs.LinuxCapabilities, []string)) func(*Input) {
	return func(in *Input) {
		c := *in.Spec.Process.Capabilities
		set(&c, []string{"CAP_KILL"})
		in.Spec.Process.Capabilities = &c
	}
}

func rlimitPlan(r specs.POSIXRlimit) func(*Input) {
	return func(in *Input) { in.Spec.Process.Rlimits = []specs.POSIXRlimit{r} }
}

func schedulerPlan(s specs.Scheduler) func(*Input) {
	return func(in *Input) { in.Spec.Process.Scheduler = &s }
}

var linuxPlans = []fieldPlan{
	{"linux.uidMappings[].containerID", newUser, func(in *Input) { userMaps(in).uids[1].ContainerID = 5 }},
	{"linux.uidMappings[].hostID", newUser, func(in *Input) { userMaps(in).uids[1].HostID = 200000 }},
	{"linux.uidMappings[].size", newUser, func(in *Input) { userMaps(in).uids[1].Size = 7 }},
	{"linux.gidMappings[].containerID", newUser, func(in *Input) { userMaps(in).gids[1].ContainerID = 5 }},
	{"linux.gidMappings[].hostID", newUser, func(in *Input) { userMaps(in).gids[1].HostID = 200000 }},
	{"linux.gidMappings[].size", newUser, func(in *Input) { userMaps(in).gids[1].Size = 7 }},
	{"linux.sysctl", nil, func(in *Input) { in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"} }},
	{"linux.namespaces[].type", nil, func(in *Input) { in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("cgroup")...) }},
	{"linux.namespaces[].path", nil, func(in *Input) { in.Spec.Linux.Namespaces[4].Path = "/run/netns/blue" }},
	{"linux.devices[].path", nil, devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"})},
	{"linux.devices[].type", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "b"})},
	{"linux.devices[].type, p", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "p"})},
	{"linux.devices[].type, u", nil, devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "u", Major: 1, Minor: 5})},
	{"linux.devices[].major", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c", Major: 10})},
	{"linux.devices[].minor", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c", Minor: 229})},
	{"linux.devices[].fileMode", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c", FileMode: ptr(os.FileMode(0o640))})},
	{"linux.devices[].uid", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c", UID: ptr(uint32(3))})},
	{"linux.devices[].gid", devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c"}), devicePlan(specs.LinuxDevice{Path: "/dev/mine", Type: "c", GID: ptr(uint32(4))})},
	{"linux.netDevices{}.name", func(in *Input) { in.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"enp1s0": {}} }, func(in *Input) {
		in.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"enp1s0": {Name: "eth0"}}
	}},
	{"linux.rootfsPropagation", nil, func(in *Input) { in.Spec.Linux.RootfsPropagation = "shared" }},
	{"linux.rootfsPropagation, private", nil, func(in *Input) { in.Spec.Linux.RootfsPropagation = "private" }},
	{"linux.rootfsPropagation, unbindable", nil, func(in *Input) { in.Spec.Linux.RootfsPropagation = "unbindable" }},
	{"linux.rootfsPropagation, slave", func(in *Input) { in.Spec.Linux.RootfsPropagation = "private" }, func(in *Input) { in.Spec.Linux.RootfsPropagation = "slave" }},
	{"linux.maskedPaths", nil, func(in *Input) { in.Spec.Linux.MaskedPaths = []string{"/proc/kcore"} }},
	{"linux.readonlyPaths", nil, func(in *Input) { in.Spec.Linux.ReadonlyPaths = []string{"/proc/sys"} }},
	{"linux.mountLabel", modules, func(in *Input) { in.Spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0" }},
	{"linux.intelRdt.closID", rdtPlan(specs.LinuxIntelRdt{}), rdtPlan(specs.LinuxIntelRdt{ClosID: "fast"})},
	{"linux.intelRdt.schemata", rdtPlan(specs.LinuxIntelRdt{}), rdtPlan(specs.LinuxIntelRdt{Schemata: []string{"L3:0=7f0;1=1f", "MB:0=20;1=70"}})},
	{"linux.intelRdt.l3CacheSchema", rdtPlan(specs.LinuxIntelRdt{}), rdtPlan(specs.LinuxIntelRdt{L3CacheSchema: "L3:0=7f0;1=1f"})},
	{"linux.intelRdt.memBwSchema", rdtPlan(specs.LinuxIntelRdt{}), rdtPlan(specs.LinuxIntelRdt{MemBwSchema: "MB:0=20;1=70"})},
	{"linux.intelRdt.enableMonitoring", rdtPlan(specs.LinuxIntelRdt{}), rdtPlan(specs.LinuxIntelRdt{EnableMonitoring: true})},
	{"linux.memoryPolicy.mode", nil, policyPlan(specs.LinuxMemoryPolicy{Mode: "MPOL_LOCAL"})},
	{"linux.memoryPolicy.nodes", policyPlan(specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED"}), policyPlan(specs.LinuxMemoryPolicy{Mode: "MPOL_PREFERRED", Nodes: "0-1"})},
	{"linux.memoryPolicy.flags", policyPlan(specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0"}), policyPlan(specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}})},
	{"linux.personality.domain", nil, func(in *Input) { in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }},
	{"linux.timeOffsets{}.secs", timePlan(0, 0), timePlan(7, 0)},
	{"linux.timeOffsets{}.nanosecs", timePlan(0, 0), timePlan(0, 5)},
	{"linux.seccomp.defaultAction", nil, func(in *Input) { in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActLog} }},
	{"linux.seccomp.defaultErrnoRet", func(in *Input) {
		in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"execve"}, Action: specs.ActAllow}}}
	}, func(in *Input) {
		in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(uint(38)), Syscalls: []specs.LinuxSyscall{{Names: []string{"execve"}, Action: specs.ActAllow}}}
	}},
	{"linux.seccomp.architectures", filterPlan(specs.LinuxSyscall{}), func(in *Input) {
		filterPlan(specs.LinuxSyscall{})(in)
		in.Spec.Linux.Seccomp.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86}
	}},
	{"linux.seccomp.flags", filterPlan(specs.LinuxSyscall{}), func(in *Input) {
		filterPlan(specs.LinuxSyscall{})(in)
		in.Spec.Linux.Seccomp.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}
	}},
	{"linux.seccomp.listenerPath", nil, notifyPlan},
	{"linux.seccomp.listenerMetadata", notifyPlan, func(in *Input) { notifyPlan(in); in.Spec.Linux.Seccomp.ListenerMetadata = "some words" }},
	{"linux.seccomp.syscalls[].names", filterPlan(specs.LinuxSyscall{}), filterPlan(specs.LinuxSyscall{Names: []string{"mkdir", "rmdir"}})},
	{"linux.seccomp.syscalls[].action", filterPlan(specs.LinuxSyscall{}), filterPlan(specs.LinuxSyscall{Action: specs.ActKillProcess})},
	{"linux.seccomp.syscalls[].errnoRet", filterPlan(specs.LinuxSyscall{}), filterPlan(specs.LinuxSyscall{ErrnoRet: ptr(uint(38))})},
	{"linux.seccomp.syscalls[].args[].index", argPlan(specs.LinuxSeccompArg{Value: 5, Op: specs.OpEqualTo}), argPlan(specs.LinuxSeccompArg{Index: 1, Value: 5, Op: specs.OpEqualTo})},
	{"linux.seccomp.syscalls[].args[].value", argPlan(specs.LinuxSeccompArg{Value: 5, Op: specs.OpEqualTo}), argPlan(specs.LinuxSeccompArg{Value: 6, Op: specs.OpEqualTo})},
	{"linux.seccomp.syscalls[].args[].valueTwo", argPlan(specs.LinuxSeccompArg{Value: 7, Op: specs.OpMaskedEqual}), argPlan(specs.LinuxSeccompArg{Value: 7, ValueTwo: 1, Op: specs.OpMaskedEqual})},
	{"linux.seccomp.syscalls[].args[].op", argPlan(specs.LinuxSeccompArg{Value: 5, Op: specs.OpEqualTo}), argPlan(specs.LinuxSeccompArg{Value: 5, Op: specs.OpGreaterThan})},
}

func newUser(in *Input) {
	in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, namespaces("user")...)
	in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1}, {ContainerID: 1, HostID: 100001, Size: 10}}
	in.Spec.Linux.GIDMappings = append([]specs.LinuxIDMapping{}, in.Spec.Linux.UIDMappings...)
}

func userMaps(in *Input) struct{ uids, gids []specs.LinuxIDMapping } {
	l := in.Spec.Linux
	l.UIDMappings = append([]specs.LinuxIDMapping{}, l.UIDMappings...)
	l.GIDMappings = append([]specs.LinuxIDMapping{}, l.GIDMappings...)
	return struct{ uids, gids []specs.LinuxIDMapping }{l.UIDMappings, l.GIDMappings}
}

func devicePlan(d specs.LinuxDevice) func(*Input) {
	return func(in *Input) { in.Spec.Linux.Devices = []specs.LinuxDevice{d} }
}

func rdtPlan(r specs.LinuxIntelRdt) func(*Input) {
	return func(in *Input) { in.Resctrl, in.Spec.Linux.IntelRdt = true, &r }
}

func policyPlan(m specs.LinuxMemoryPolicy) func(*Input) {
	return func(in *Input) { in.Spec.Linux.MemoryPolicy = &m }
}

func timePlan(secs int64, nanosecs uint32) func(*Input) {
	return func(in *Input) {
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces[:5:5], namespaces("time")...)
		in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: secs, Nanosecs: nanosecs}}
	}
}

// filterPlan forbids mkdir, but for what the rule says otherwise.
func filterPlan(r specs.LinuxSyscall) func(*Input) {
	return func(in *Input) {
		if r.Names == nil {
			r.Names = []string{"mkdir"}
		}
		if r.Action == "" {
			r.Action = specs.ActErrno
		}
		in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{r}}
	}
}

func argPlan(a specs.LinuxSeccompArg) func(*Input) {
	return filterPlan(specs.LinuxSyscall{Args: []specs.LinuxSeccompArg{a}})
}

func notifyPlan(in *Input) {
	filterPlan(specs.LinuxSyscall{Action: specs.ActNotify})(in)
	in.Spec.Process.NoNewPrivileges, in.Spec.Linux.Seccomp.ListenerPath = true, "/run/agent.sock"
}

var mountPlans = []fieldPlan{
	{"mounts[].destination", mount(specs.Mount{Destination: "/a", Type: "tmpfs"}), lastMount(specs.Mount{Destination: "relative/b", Type: "tmpfs"})},
	{"mounts[].type", mount(specs.Mount{Destination: "/a", Type: "tmpfs"}), lastMount(specs.Mount{Destination: "/a", Type: "mqueue"})},
	{"mounts[].source", mount(specs.Mount{Destination: "/a", Source: "/srv/a", Options: []string{"bind"}}), lastMount(specs.Mount{Destination: "/a", Source: "/srv/b", Options: []string{"bind"}})},
	{"mounts[].options", mount(specs.Mount{Destination: "/a", Type: "tmpfs"}), lastMount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"size=64k", "mode=700"}})},
	{"mounts[].uidMappings[].containerID", mappedMount, func(in *Input) { mountMaps(in).uids[0].ContainerID = 3 }},
	{"mounts[].uidMappings[].hostID", mappedMount, func(in *Input) { mountMaps(in).uids[0].HostID = 3 }},
	{"mounts[].uidMappings[].size", mappedMount, func(in *Input) { mountMaps(in).uids[0].Size = 3 }},
	{"mounts[].gidMappings[].containerID", mappedMount, func(in *Input) { mountMaps(in).gids[0].ContainerID = 3 }},
	{"mounts[].gidMappings[].hostID", mappedMount, func(in *Input) { mountMaps(in).gids[0].HostID = 3 }},
	{"mounts[].gidMappings[].size", mappedMount, func(in *Input) { mountMaps(in).gids[0].Size = 3 }},
}

func lastMount(m specs.Mount) func(*Input) {
	return func(in *Input) {
		in.Spec.Mounts = append(append([]specs.Mount{}, in.Spec.Mounts[:len(in.Spec.Mounts)-1]...), m)
	}
}

func mappedMount(in *Input) {
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
	mount(specs.Mount{Destination: "/data", Source: "/srv/data", Options: []string{"bind"}, UIDMappings: m, GIDMappings: append([]specs.LinuxIDMapping{}, m...)})(in)
}

func mountMaps(in *Input) struct{ uids, gids []specs.LinuxIDMapping } {
	m := in.Spec.Mounts[len(in.Spec.Mounts)-1]
	m.UIDMappings, m.GIDMappings = append([]specs.LinuxIDMapping{}, m.UIDMappings...), append([]specs.LinuxIDMapping{}, m.GIDMappings...)
	lastMount(m)(in)
	return struct{ uids, gids []specs.LinuxIDMapping }{m.UIDMappings, m.GIDMappings}
}

// optionPlans has one plan for each option of mounts that changes one.
func optionPlans() []fieldPlan {
	bound := specs.Mount{Destination: "/a", Source: "/srv/a"}
	made := specs.Mount{Destination: "/a", Type: "tmpfs"}
	var out []fieldPlan
	add := func(option string, m specs.Mount, before ...string) {
		with := m
		with.Options = before
		m.Options = append(append([]string{}, before...), option)
		out = append(out, fieldPlan{"mounts[].options, " + option, mount(with), lastMount(m)})
	}
	for _, o := range MountOptions() {
		switch o {
		case "defaults", "silent", "loud":
			// They ask for nothing: see TestOptionsWithoutEffect.
		case "bind", "rbind":
			m := bound
			m.Options = []string{o}
			out = append(out, fieldPlan{"mounts[].options, " + o, nil, mount(m)})
		case "idmap", "ridmap":
			out = append(out, fieldPlan{"mounts[].options, " + o, func(in *Input) {
				newUser(in)
				mount(specs.Mount{Destination: "/a", Source: "/srv/a", Options: []string{"rbind"}})(in)
			}, lastMount(specs.Mount{Destination: "/a", Source: "/srv/a", Options: []string{"rbind", o}})})
		case "tmpcopyup", "sync", "dirsync", "lazytime", "mand", "iversion":
			add(o, made)
		case "async":
			add(o, made, "sync")
		case "nolazytime", "nomand", "noiversion":
			add(o, made, strings.TrimPrefix(o, "no"))
		case "remount":
			add(o, made, "ro")
		default:
			add(o, bound, "rbind")
		}
	}
	return out
}
