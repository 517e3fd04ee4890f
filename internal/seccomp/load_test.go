package seccomp

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const conditional = `{
  "defaultAction": "SCMP_ACT_ERRNO",
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
  "syscalls": [
    {"name": "read", "action": "SCMP_ACT_ALLOW"},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]}},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.1"}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}}
  ]
}`

func TestLoadConditions(t *testing.T) {
	for _, c := range []struct {
		host  Host
		names string
		archs int
	}{
		{Host{ArchAMD64, nil, Kernel{6, 18}}, "read clone ptrace arch_prctl", 2},
		{Host{ArchAMD64, []string{"CAP_SYS_ADMIN"}, Kernel{6, 18}}, "read ptrace arch_prctl", 2},
		{Host{ArchAMD64, []string{"CAP_SYS_ADMIN", "CAP_CHOWN"}, Kernel{6, 0}}, "read mount ptrace kcmp arch_prctl", 2},
		{Host{ArchS390X, nil, Kernel{4, 7}}, "read kcmp", 0},
	} {
		p, err := Load([]byte(conditional), c.host)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range p.Syscalls {
			names = append(names, s.Names...)
		}
		if got := strings.Join(names, " "); got != c.names || len(p.Architectures) != c.archs {
			t.Errorf("%+v: %s and %v; want %s", c.host, got, p.Architectures, c.names)
		}
	}
}

// TestLoadOCI reads a profile as it stands in config.json.
func TestLoadOCI(t *testing.T) {
	const oci = `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
		"listenerPath": "/s", "listenerMetadata": "m",
		"syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]}`
	got, err := Load([]byte(oci), Host{Arch: ArchAMD64})
	if err != nil {
		t.Fatal(err)
	}
	want := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(38), Architectures: []specs.Arch{specs.ArchX86},
		Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, ListenerPath: "/s", ListenerMetadata: "m",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "write"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 2, ValueTwo: 3, Op: specs.OpMaskedEqual}}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	for want, raw := range map[string]string{
		"read seccomp profile (line 2): ":                         "{\n\"defaultAction\": ]",
		"read seccomp profile (line 1): ":                         "",
		"(defaultAction): missing":                                "{}",
		"(architectures, archMap): both":                          `{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]}`,
		"(syscalls[0]): both name and names":                      `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "a", "names": ["b"]}]}`,
		"(syscalls[0]): includes.minKernel: read kernel release":  `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["b"], "includes": {"minKernel": "new"}}]}`,
		"(defaultAction): a number stands where a string belongs": `{"defaultAction": 1}`,
	} {
		_, err := Load([]byte(raw), Host{Arch: ArchAMD64})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", raw, err, want)
		}
	}
}

func TestParseKernel(t *testing.T) {
	for s, want := range map[string]Kernel{"6.12": {6, 12}, "5.15.0-91-generic": {5, 15}, "6.19-rc3": {6, 19}, "7.0+": {7, 0}} {
		if k, err := ParseKernel(s); err != nil || k != want {
			t.Errorf("%s: %v, %v", s, k, err)
		}
	}
	for _, s := range []string{"", "6", "six.one", "6.", "-1.2", "99999999999999999999.1"} {
		if k, err := ParseKernel(s); err == nil {
			t.Errorf("%q was read as %v", s, k)
		}
	}
}

// FuzzProfile reads and compiles anything.
func FuzzProfile(f *testing.F) {
	// Seeds are in testdata/fuzz; long ones slow the fuzzer down.
	f.Add([]byte(conditional), uint8(ArchARM64), uint32(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, raw []byte, arch uint8, nr uint32, a0, a1 uint64) {
		native := Arch(arch % uint8(archEnd))
		p, err := Load(raw, Host{Arch: native, Kernel: Kernel{6, 1}})
		if err != nil {
			return
		}
		holds(t, p, native, nr, [6]uint64{a0, a1, a0, a1, a0, a1})
	})
}

// FuzzRules compiles profiles out of a random generator, where FuzzProfile seldom gets past the parser.
func FuzzRules(f *testing.F) {
	f.Add(uint64(1), uint32(0), uint64(0), uint64(1))
	f.Add(uint64(2), uint32(257), uint64(1)<<32, ^uint64(0))
	f.Add(uint64(3), uint32(x32Bit+9), uint64(7), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, seed uint64, nr uint32, a0, a1 uint64) {
		g := generator{rng: rand.New(rand.NewPCG(seed, 9)), overlap: true}
		names := Names(ArchAMD64)
		g.names = names[seed%uint64(len(names)-12):][:12]
		holds(t, g.profile(), ArchAMD64, nr, [6]uint64{a0, a1, a0, a1, a0, a1})
	})
}

// holds checks a profile that may be refused, but not be compiled wrongly: the program must be one that the kernel
// takes, and decide a call through any architecture as the rules say and as the profile reads plainly.
func holds(t *testing.T, p *specs.LinuxSeccomp, native Arch, nr uint32, args [6]uint64) {
	t.Helper()
	filter, err := Compile(p, native)
	if err != nil {
		return
	}
	if n := len(filter.Program); n == 0 || n > maxProgram {
		t.Fatalf("%d instructions", n)
	}
	m := newMachine(t, filter.Program)
	if s := Listing(filter.Program); strings.Contains(s, "code 0x") {
		t.Errorf("an instruction without a name in\n%s", s)
	}
	list := []Arch{native, ArchAMD64, ArchX86, ArchX32, ArchARM, ArchS390X}
	for _, a := range list {
		call := Call{a, nr, args}
		if archs[a].big != archs[native].big {
			continue
		}
		x, err := Explain(p, native, call)
		if err != nil {
			t.Fatalf("%+v: %v", call, err)
		}
		d := newData(a, nr, call.Args)
		if got := m.run(t, &d); uint32(got) != x.Return {
			t.Errorf("%+v: %s, the interpreter says %s", call, x.Action, got)
		}
		if allowed := plainNative(t, p, native, a, nr, call.Args); !slices.Contains(allowed, action(x.Return)) {
			t.Errorf("%+v: %s, the profile says %v", call, x.Action, allowed)
		}
	}
}
