package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gcr/test/fields"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// invalidValues has for each field that can have one a value of the right type that no container can be made with; the
// key is how the error names the field.
var invalidValues = map[string]func(*specs.Spec){
	"ociVersion":                     func(s *specs.Spec) { s.Version = "2.0.0" },
	"process.args":                   func(s *specs.Spec) { s.Process.Args = []string{} },
	"process.args[1]":                func(s *specs.Spec) { s.Process.Args = []string{"/probe", "a\x00b"} },
	"process.env[0]":                 func(s *specs.Spec) { s.Process.Env = []string{"A=\x00"} },
	"process.env[1]":                 func(s *specs.Spec) { s.Process.Env = []string{"A=b", "B"} },
	"process.env[2]":                 func(s *specs.Spec) { s.Process.Env = []string{"A=b", "B=c", "=d"} },
	"process.cwd":                    func(s *specs.Spec) { s.Process.Cwd = "relative" },
	"process.consoleSize.height":     func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 1 << 16} },
	"process.consoleSize.width":      func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Width: 1 << 16} },
	"process.user.uid":               func(s *specs.Spec) { userNS(s); s.Process.User.UID = 5000 },
	"process.user.gid":               func(s *specs.Spec) { userNS(s); s.Process.User.GID = 5000 },
	"process.user.umask":             func(s *specs.Spec) { s.Process.User.Umask = ptr(uint32(0o1000)) },
	"process.user.additionalGids[1]": func(s *specs.Spec) { userNS(s); s.Process.User.AdditionalGids = []uint32{1, 5000} },
	"process.rlimits[0].type":        func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_FUN"}} },
	"process.rlimits[0].soft":        func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}} },
	"process.oomScoreAdj":            func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(1001) },
	"process.scheduler.policy":       func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_NEVER"} },
	"process.scheduler.nice":         func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_OTHER", Nice: 20} },
	"process.scheduler.priority":     func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_FIFO", Priority: 100} },
	"process.scheduler.flags[0]": func(s *specs.Spec) {
		s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_OTHER", Flags: []specs.LinuxSchedulerFlag{"F"}}
	},
	"process.scheduler.runtime": func(s *specs.Spec) {
		s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 2e7, Deadline: 1e7, Period: 1e8}
	},
	"process.scheduler.deadline": func(s *specs.Spec) {
		s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_DEADLINE", Runtime: 1e6, Deadline: 2e8, Period: 1e8}
	},
	"process.ioPriority.class": func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "X"} },
	"process.ioPriority.priority": func(s *specs.Spec) {
		s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
	},
	"process.execCPUAffinity.initial": func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "3-1"} },
	"process.execCPUAffinity.final":   func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "all"} },
	"process.apparmorProfile":         func(s *specs.Spec) { s.Process.ApparmorProfile = "a\x00b" },
	"process.selinuxLabel":            func(s *specs.Spec) { s.Process.SelinuxLabel = "a\x00b" },
	"root":                            func(s *specs.Spec) { s.Root = nil },
	"root.path":                       func(s *specs.Spec) { s.Root.Path = "" },
	"hostname":                        func(s *specs.Spec) { s.Hostname = strings.Repeat("h", 65) },
	"domainname":                      func(s *specs.Spec) { s.Domainname = strings.Repeat("d", 65) },
	"mounts[7].destination":           func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Type: "tmpfs"}) },
	"mounts[7].type":                  func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/a"}) },
	"mounts[7].source": func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/a", Options: []string{"bind"}})
	},
	"mounts[7].options": func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"=x"}})
	},
	"mounts[7].uidMappings[0].size": badMap(func(m *specs.Mount, l []specs.LinuxIDMapping) { m.UIDMappings = l }),
	"mounts[7].gidMappings[0].size": badMap(func(m *specs.Mount, l []specs.LinuxIDMapping) { m.GIDMappings = l }),
	"linux.uidMappings[0].size":     func(s *specs.Spec) { userNS(s); s.Linux.UIDMappings = []specs.LinuxIDMapping{{}} },
	"linux.gidMappings[0].size":     func(s *specs.Spec) { userNS(s); s.Linux.GIDMappings = []specs.LinuxIDMapping{{}} },
	"linux.uidMappings[1]": func(s *specs.Spec) {
		userNS(s)
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 10}, {ContainerID: 5, HostID: 100, Size: 1}}
	},
	`linux.sysctl["kernel.panic"]`: func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.panic": "1"} },
	"linux.cgroupsPath":            func(s *specs.Spec) { s.Linux.CgroupsPath = "/a\nb" },
	"linux.namespaces[0].type":     func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "disk" },
	"linux.namespaces[0].path":     func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "relative" },
	"linux.namespaces[6]":          func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) },
	"linux.devices[0].path":        badDevice(specs.LinuxDevice{Path: "dev/x", Type: "c"}),
	"linux.devices[0].type":        badDevice(specs.LinuxDevice{Path: "/dev/x", Type: "q"}),
	"linux.devices[0].major":       badDevice(specs.LinuxDevice{Path: "/dev/x", Type: "c", Major: -1}),
	"linux.devices[0].minor":       badDevice(specs.LinuxDevice{Path: "/dev/x", Type: "c", Minor: 1 << 20}),
	"linux.netDevices[a]": func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a": {Name: strings.Repeat("x", 16)}}
	},
	"linux.rootfsPropagation":                 func(s *specs.Spec) { s.Linux.RootfsPropagation = "public" },
	"linux.maskedPaths[0]":                    func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"proc"} },
	"linux.readonlyPaths[0]":                  func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"proc"} },
	"linux.mountLabel":                        func(s *specs.Spec) { s.Linux.MountLabel = "a\x00b" },
	"linux.seccomp.defaultAction":             badFilter(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"}),
	"linux.seccomp.defaultErrnoRet":           badFilter(specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(uint(1 << 20))}),
	"linux.seccomp.architectures[0]":          badFilter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_Z80"}}),
	"linux.seccomp.flags[0]":                  badFilter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"F"}}),
	"linux.seccomp.listenerPath":              badFilter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}),
	"linux.seccomp.syscalls[0].names":         badRule(specs.LinuxSyscall{Action: specs.ActErrno}),
	"linux.seccomp.syscalls[0].action":        badRule(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: "X"}),
	"linux.seccomp.syscalls[0].errnoRet":      badRule(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(1 << 20))}),
	"linux.seccomp.syscalls[0].args[0].index": badRule(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}),
	"linux.seccomp.syscalls[0].args[0].op":    badRule(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "X"}}}),
	"linux.intelRdt.closID":                   func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "../x"} },
	"linux.intelRdt.l3CacheSchema":            func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f\nMB:0=1"} },
	"linux.intelRdt.memBwSchema":              func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{MemBwSchema: "L3:0=f"} },
	"linux.intelRdt.schemata[0]":              func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{Schemata: []string{"a\nb"}} },
	"linux.memoryPolicy.mode":                 func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} },
	"linux.memoryPolicy.nodes":                func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "x"} },
	"linux.memoryPolicy.flags[0]": func(s *specs.Spec) {
		s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"F"}}
	},
	"linux.personality.domain": func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "DOS"} },
	"linux.personality.flags[0]": func(s *specs.Spec) {
		s.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"X"}}
	},
	"linux.timeOffsets": func(s *specs.Spec) {
		clocks(specs.LinuxTimeOffset{})(s)
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {}}
	},
	"linux.timeOffsets[boottime].nanosecs": clocks(specs.LinuxTimeOffset{Nanosecs: 1e9}),
	"linux.resources.devices[1].type":      badLimit(specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{}, {Type: "q", Allow: true}}}),
	"linux.resources.devices[1].access":    badLimit(specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{}, {Type: "c", Access: "x", Allow: true}}}),
	"linux.resources.memory.limit":         badLimit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(-2))}}),
	"linux.resources.memory.reservation":   badLimit(specs.LinuxResources{Memory: &specs.LinuxMemory{Reservation: ptr(int64(-2))}}),
	"linux.resources.memory.swap":          badLimit(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(2 << 20)), Swap: ptr(int64(1 << 20))}}),
	"linux.resources.memory.swappiness":    badLimit(specs.LinuxResources{Memory: &specs.LinuxMemory{Swappiness: ptr(uint64(201))}}),
	"linux.resources.cpu.quota":            badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(1))}}),
	"linux.resources.cpu.period":           badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(1 << 40))}}),
	"linux.resources.cpu.burst":            badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(50000)), Burst: ptr(uint64(60000))}}),
	"linux.resources.cpu.cpus":             badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "3-1"}}),
	"linux.resources.cpu.mems":             badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Mems: "x"}}),
	"linux.resources.cpu.idle":             badLimit(specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ptr(int64(2))}}),
	"linux.resources.blockIO.weight":       badLimit(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(9))}}),
	"linux.resources.blockIO.leafWeight":   badLimit(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr(uint16(10))}}),
	"linux.resources.blockIO.throttleReadBpsDevice[0]": badLimit(specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
		ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: -1}, Rate: 1}},
	}}),
	"linux.resources.hugepageLimits[0].pageSize": badLimit(specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "3XB"}}}),
	// Version 2 has no such controller and names the entry, version 1 the name in it.
	"linux.resources.network.priorities[0]": badLimit(specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "a b", Priority: 1}}}}),
	"linux.resources.unified":               badLimit(specs.LinuxResources{Unified: map[string]string{"../x": "1"}}),
	"linux.resources.rdma":                  badLimit(specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"a b": {HcaHandles: ptr(uint32(1))}}}),
}

func badMap(set func(*specs.Mount, []specs.LinuxIDMapping)) func(*specs.Spec) {
	return func(s *specs.Spec) {
		m := specs.Mount{Destination: "/a", Source: "/tmp", Options: []string{"bind"}}
		set(&m, []specs.LinuxIDMapping{{}})
		s.Mounts = append(s.Mounts, m)
	}
}

func badDevice(d specs.LinuxDevice) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{d} }
}

func badFilter(f specs.LinuxSeccomp) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.Seccomp = &f }
}

func badRule(r specs.LinuxSyscall) func(*specs.Spec) {
	return badFilter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{r}})
}

func badLimit(r specs.LinuxResources) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.Resources = &r }
}

// surroundings are what a creation that is refused must not change.
func (b *box) surroundings() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	b.must(err)
	own := 0
	for l := range strings.SplitSeq(string(mounts), "\n") {
		if strings.Contains(l, b.bundle) {
			own++
		}
	}
	states, _ := os.ReadDir(b.root)
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + b.id)
	deeper, _ := filepath.Glob("/sys/fs/cgroup/*/*/" + b.id)
	groups = append(groups, deeper...)
	var files []string
	_ = filepath.Walk(b.bundle, func(path string, _ os.FileInfo, _ error) error { files = append(files, path); return nil })
	var ws unix.WaitStatus
	_, err = unix.Wait4(-1, &ws, unix.WNOHANG, nil)
	data, err2 := json.Marshal([]any{own, len(states), groups, files, err == unix.ECHILD})
	b.must(err2)
	return string(data)
}

// refused wants an error that names the field, and nothing made.
func (b *box) refused(t *testing.T, field string) {
	t.Helper()
	before := b.surroundings()
	if !strings.HasSuffix(before, "true]") {
		t.Fatal("the test has children before it begins")
	}
	r := b.run("create", b.id)
	if r.code != 1 || !strings.Contains(strings.ReplaceAll(r.stderr, `\"`, `"`), field) {
		t.Errorf("status %d, stderr %q", r.code, r.stderr)
	}
	if after := b.surroundings(); after != before {
		t.Errorf("after the error there is\n%s\nbefore there was\n%s", after, before)
	}
}

func TestInvalidValues(t *testing.T) {
	for field, edit := range invalidValues {
		t.Run(field, func(t *testing.T) { newBox(t, edit, "sleep").refused(t, field) })
	}
	for _, kind := range hookKinds {
		t.Run("hooks."+kind, func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) { withHook(s, kind, specs.Hook{Path: "relative"}) }, "sleep")
			b.refused(t, "hooks."+kind+"[0].path")
			withHook(b.spec, kind, specs.Hook{Path: "/bin/true", Timeout: ptr(0)})
			b.write()
			b.refused(t, "hooks."+kind+"[0].timeout")
			withHook(b.spec, kind, specs.Hook{Path: "/bin/true", Env: []string{"A=\x00"}})
			b.write()
			b.refused(t, "hooks."+kind+"[0].env[0]")
			withHook(b.spec, kind, specs.Hook{Path: "/bin/true", Args: []string{"\x00"}})
			b.write()
			b.refused(t, "hooks."+kind+"[0].args[0]")
		})
	}
}

// A JSON value of another type is told with the name of the field, for every field that there is.
func TestWrongTypes(t *testing.T) {
	b := newBox(t, nil, "sleep")
	data, err := os.ReadFile(filepath.Join(b.bundle, "config.json"))
	b.must(err)
	for _, field := range fields.All() {
		var config map[string]any
		b.must(json.Unmarshal(data, &config))
		plain := strings.NewReplacer("[]", "", "{}", "").Replace(field)
		setPath(config, strings.Split(field, "."), wrongType(field))
		out, err := json.Marshal(config)
		b.must(err)
		b.must(os.WriteFile(filepath.Join(b.bundle, "config.json"), out, 0o644))
		r := b.run("create", b.id)
		if r.code != 1 || !strings.Contains(r.stderr, plain+": a JSON ") {
			t.Errorf("%s: status %d, stderr %q", field, r.code, r.stderr)
		}
	}
	if states, _ := os.ReadDir(b.root); len(states) != 0 {
		t.Errorf("a refused creation leaves %v", states)
	}
}

// wrongType is a number where the field is a text, and a text everywhere else.
func wrongType(field string) any {
	t := reflect.TypeFor[specs.Spec]()
	for _, part := range strings.Split(field, ".") {
		name := strings.TrimSuffix(strings.TrimSuffix(part, "[]"), "{}")
		for t.Kind() != reflect.Struct {
			t = t.Elem()
		}
		for _, f := range reflect.VisibleFields(t) {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
				t = f.Type
				break
			}
		}
	}
	if t.Kind() == reflect.String {
		return 7
	}
	return "text"
}

// setPath sets a value, and makes the lists and objects on the way to it.
func setPath(at map[string]any, path []string, v any) {
	name := strings.TrimSuffix(strings.TrimSuffix(path[0], "[]"), "{}")
	if len(path) == 1 {
		at[name] = v
		return
	}
	inner := map[string]any{}
	switch {
	case strings.HasSuffix(path[0], "[]"):
		at[name] = []any{inner}
	case strings.HasSuffix(path[0], "{}"):
		at[name] = map[string]any{"key": inner}
	default:
		if old, ok := at[name].(map[string]any); ok {
			inner = old
		}
		at[name] = inner
	}
	setPath(inner, path[1:], v)
}
