package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestExplainAgreesWithProgram holds the reasons of Explain, which come from the rules, and the small interpreter
// Run to the program in the other interpreter.
func TestExplainAgreesWithProgram(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 8))
		g := generator{rng: rng, names: Names(Native()), overlap: true}
		p := g.profile()
		f, err := Compile(p, Native())
		if err != nil {
			continue
		}
		m := newMachine(t, f.Program)
		for range 100 {
			a := Arch(1 + rng.IntN(int(archEnd)-1))
			if archs[a].big {
				continue
			}
			nr := pick(rng, numbersToTry(a))
			for _, e := range p.Syscalls {
				if n, ok := Number(a, e.Names[0]); ok && rng.IntN(3) == 0 {
					nr = n
				}
			}
			for range 3 {
				args := pick(rng, argumentSets(rng, p, Name(a, nr)))
				call := Call{a, nr, args}
				x, err := Explain(p, Native(), call)
				if err != nil {
					t.Fatalf("%+v: %v", call, err)
				}
				d := newData(a, nr, args)
				if got := m.run(t, &d); uint32(got) != x.Return || got.String() != x.Action {
					t.Errorf("%+v: Explain says %s, the program %s", call, x.Action, got)
				}
				if x.Entry >= 0 && !strings.HasPrefix(x.Because, "syscalls[") || x.Because == "" {
					t.Errorf("%+v: entry %d because %q", call, x.Entry, x.Because)
				}
			}
		}
	}
}

func TestExplain(t *testing.T) {
	p := Default(dockerCaps, "amd64")
	nr := func(name string) uint32 {
		n, ok := Number(ArchAMD64, name)
		if !ok {
			t.Fatalf("no number for %s", name)
		}
		return n
	}
	for _, c := range []struct {
		call    Call
		action  string
		because string
		passed  bool
	}{
		{Call{ArchAMD64, nr("read"), [6]uint64{}}, "ALLOW", "syscalls[0] (read)", false},
		{Call{ArchAMD64, nr("socket"), [6]uint64{unix.AF_INET6}}, "ALLOW", "args[0] == 0xa", true},
		{Call{ArchAMD64, nr("socket"), [6]uint64{unix.AF_ALG}}, "ERRNO EPERM", "defaultAction: no entry for this call matches its arguments", true},
		{Call{ArchAMD64, nr("keyctl"), [6]uint64{}}, "ERRNO EPERM", "defaultAction: no entry of syscalls[] names", false},
		{Call{ArchAMD64, nr("clone3"), [6]uint64{}}, "ERRNO ENOSYS", "(clone3)", false},
		{Call{ArchAMD64, 4000, [6]uint64{}}, "ERRNO ENOSYS", "newer than rseq_slice_yield (471)", false},
		{Call{ArchX32, x32Bit + 1, [6]uint64{}}, "KILL_THREAD", "SCMP_ARCH_X32 is not listed", false},
		{Call{ArchARM64, 1, [6]uint64{}}, "KILL_THREAD", "SCMP_ARCH_AARCH64 is not listed", false},
		{Call{ArchX86, 102, [6]uint64{1}}, "ERRNO ENOSYS", "(socketcall)", false},
	} {
		x, err := Explain(p, ArchAMD64, c.call)
		if err != nil {
			t.Fatal(err)
		}
		if x.Action != c.action || !strings.Contains(x.Because, c.because) || (len(x.Passed) > 0) != c.passed {
			t.Errorf("%+v: %+v; want %s because %s", c.call, x, c.action, c.because)
		}
		if x.Steps > 40 {
			t.Errorf("%+v takes %d instructions", c.call, x.Steps)
		}
	}
}

// TestFewSteps holds the search to its promise: calls that are decided by their number alone take few instructions.
func TestFewSteps(t *testing.T) {
	f, err := Compile(Default(dockerCaps, "amd64"), ArchAMD64)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0
	for nr := range uint32(480) {
		if slices.Contains([]string{"socket", "personality", "clone"}, Name(ArchAMD64, nr)) {
			continue
		}
		_, path, err := Run(f.Program, Call{Arch: ArchAMD64, Number: nr})
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, len(path))
	}
	t.Logf("%d instructions in all; the longest way is %d", len(f.Program), worst)
	if worst > 12 {
		t.Errorf("a call needs %d instructions", worst)
	}
}

func TestListing(t *testing.T) {
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: specs.ActAllow},
			{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0x7e020000, Op: specs.OpMaskedEqual}}},
		},
	}
	f, err := Compile(p, ArchAMD64)
	if err != nil {
		t.Fatal(err)
	}
	got := Listing(f.Program)
	for _, want := range []string{
		"if arch == SCMP_ARCH_X86_64 then", "if arch == SCMP_ARCH_X86 then", "load number", "(clone)", "load args[0].low",
		"and 0x7e020000", "return ALLOW", "return ERRNO ENOSYS", "return KILL_THREAD",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "accumulator") || strings.Contains(got, "code 0x") {
		t.Errorf("an instruction without names in\n%s", got)
	}
}

func TestProcessState(t *testing.T) {
	raw, err := ProcessState(42, "agent data", specs.State{ID: "box", Status: specs.StateCreating, Pid: 42, Bundle: "/b"}, "pidFd")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	state, _ := m["state"].(map[string]any)
	if m["ociVersion"] != specs.Version || m["pid"] != 42.0 || m["metadata"] != "agent data" || state["id"] != "box" || state["ociVersion"] != specs.Version {
		t.Errorf("%s", raw)
	}
	if fds, _ := m["fds"].([]any); len(fds) != 2 || fds[0] != "seccompFd" || fds[1] != "pidFd" {
		t.Errorf("fds: %s", raw)
	}
	if _, err := ProcessState(0, "", specs.State{}); err == nil {
		t.Error("pid 0 was accepted")
	}
}
