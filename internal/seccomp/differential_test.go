package seccomp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// values returns argument values on both sides of every border that the conditions of a profile draw.
func values(p *specs.LinuxSeccomp, name string) []uint64 {
	out := []uint64{0, ^uint64(0)}
	for _, e := range p.Syscalls {
		if !slices.Contains(e.Names, name) {
			continue
		}
		for _, a := range e.Args {
			v := a.Value
			if a.Op == specs.OpMaskedEqual {
				v = a.ValueTwo
				out = append(out, a.Value, ^a.Value, a.Value&a.ValueTwo, a.ValueTwo|^a.Value)
			}
			out = append(out, v, v+1, v-1, v^1<<32, v^1<<63, v+1<<32, v&0xffffffff, v|0xffffffff<<32)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// argumentSets returns arguments to try for one call: none interesting without conditions, all pairs of
// values of two arguments, and random mixtures.
func argumentSets(rng *rand.Rand, p *specs.LinuxSeccomp, name string) [][6]uint64 {
	v := values(p, name)
	sets := [][6]uint64{{}}
	used := map[uint]bool{}
	for _, e := range p.Syscalls {
		if slices.Contains(e.Names, name) {
			for _, a := range e.Args {
				used[a.Index] = true
			}
		}
	}
	if len(used) == 0 {
		return sets
	}
	for i := range used {
		for _, x := range v {
			var s [6]uint64
			s[i] = x
			sets = append(sets, s)
		}
	}
	for range 60 {
		var s [6]uint64
		for i := range s {
			s[i] = v[rng.IntN(len(v))]
		}
		sets = append(sets, s)
	}
	return sets
}

// numbersToTry returns every number of an architecture's table and those around its borders.
func numbersToTry(a Arch) []uint32 {
	base := archs[a].base
	var out []uint32
	for nr := base; nr < base+520; nr++ {
		out = append(out, nr)
	}
	for _, nr := range []uint32{0, 1, 2, 500, 1023, 1024, 1025, 4000, 0x0f0000, 0x0f0001, 0x0f0005, 0x0f0006, 0x0f0007, x32Bit - 1, x32Bit, x32Bit + 1023, x32Bit + 1024, 1<<31 - 1, 1 << 31, 3<<30 - 1, 3 << 30, 3<<30 + 5, ^uint32(0) - 1, ^uint32(0)} {
		out = append(out, nr)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compare runs both programs for every number and interesting argument values, and returns the differences.
func compare(t testing.TB, rng *rand.Rand, r *reference, p *specs.LinuxSeccomp, ours, theirs []unix.SockFilter) (runs int, diffs []string) {
	t.Helper()
	s := r.newStub(t, p)
	m1, m2 := newMachine(t, ours), newMachine(t, theirs)
	list := []Arch{Native(), ArchX86, ArchX32, ArchARM, ArchARM64, ArchAMD64}
	for _, name := range p.Architectures {
		a, err := ParseArch(string(name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	slices.Sort(list)
	for _, a := range slices.Compact(list) {
		for _, nr := range numbersToTry(a) {
			name := Name(a, nr)
			sets := argumentSets(rng, p, name)
			if nr == archs[a].socketcall || nr == archs[a].ipc {
				for n := range uint64(30) {
					sets = append(sets, [6]uint64{n, rng.Uint64(), 1}, [6]uint64{n, 2, 3, 4, 5, 6})
				}
			}
			for _, args := range sets {
				d := newData(a, nr, args)
				got, want := m1.run(t, &d), retENOSYS
				if !s.newer(a, nr) {
					want = m2.run(t, &d)
				}
				runs++
				if got != want {
					diffs = append(diffs, fmt.Sprintf("%s %s(%d) %#x: %v, libseccomp %v", a.Short(), name, nr, args, got, want))
				}
			}
		}
	}
	return runs, diffs
}

// onlyKnown leaves out of a profile the names that the installed libseccomp does not know.
func onlyKnown(t testing.TB, r *reference, p *specs.LinuxSeccomp) (unknown []string) {
	t.Helper()
	for i := range p.Syscalls {
		e := &p.Syscalls[i]
		var names []string
		for _, n := range e.Names {
			if r.resolve(t, Native(), n) != -1 {
				names = append(names, n)
			} else {
				unknown = append(unknown, n)
			}
		}
		e.Names = names
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(e specs.LinuxSyscall) bool { return len(e.Names) == 0 })
	return unknown
}

// TestDocker compares the filters of Docker's default profile for several sets of capabilities.
func TestDocker(t *testing.T) {
	r := startReference(t)
	raw, err := os.ReadFile("testdata/profiles/docker-0.3.0.json")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_TIME", "CAP_DAC_READ_SEARCH"}} {
		p, err := Load(raw, Host{Arch: Native(), Caps: caps, Kernel: Kernel{6, 18}})
		if err != nil {
			t.Fatal(err)
		}
		unknown := onlyKnown(t, r, p)
		f, err := Compile(p, Native())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := r.build(t, p)
		if err != nil {
			t.Fatal(err)
		}
		runs, diffs := compare(t, rng, r, p, f.Program, theirs)
		for _, d := range diffs[:min(len(diffs), 20)] {
			t.Errorf("caps %v: %s", caps, d)
		}
		t.Logf("caps %v: %d runs, %d instructions (libseccomp %d), names unknown to libseccomp left out: %v", caps, runs, len(f.Program), len(theirs), unknown)
	}
}
