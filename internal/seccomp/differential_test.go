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
	for range 30 {
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
	out = append(out, 0, 1, 2, 500, 1023, 1024, 1025, 4000, 0x0f0000, 0x0f0001, 0x0f0005, 0x0f0006, 0x0f0007,
		x32Bit-1, x32Bit, x32Bit+1023, x32Bit+1024, 1<<31-1, 1<<31, 3<<30-1, 3<<30, 3<<30+5, ^uint32(0)-1, ^uint32(0))
	slices.Sort(out)
	return slices.Compact(out)
}

// difference is one call that a filter and libseccomp's decide differently.
type difference struct {
	text  string
	plain bool // ours is what the profile says when read plainly
}

// compare runs both programs for every number and interesting argument values, and returns the differences.
// Where they differ, and everywhere if there are no theirs, our answer must be one that the profile allows when read
// plainly.
func compare(t testing.TB, rng *rand.Rand, r *reference, p *specs.LinuxSeccomp, ours, theirs []unix.SockFilter) (runs int, diffs []difference) {
	t.Helper()
	var s stub
	var m2 machine
	m1 := newMachine(t, ours)
	if theirs != nil {
		s, m2 = r.newStub(t, p), newMachine(t, theirs)
	}
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
				got := m1.run(t, &d)
				runs++
				want := got
				if theirs != nil {
					want = m2.run(t, &d)
					if s.newer(a, nr) {
						want = retENOSYS
					}
				}
				if theirs != nil && got == want {
					continue
				}
				allowed := plain(t, p, a, nr, args)
				if !slices.Contains(allowed, got) {
					t.Errorf("%s %s(%d) %#x: %v; the profile says %v", a.Short(), name, nr, args, got, allowed)
				}
				if got != want {
					diffs = append(diffs, difference{
						fmt.Sprintf("%s %s(%d) %#x: %v, libseccomp %v", a.Short(), name, nr, args, got, want),
						slices.Equal(allowed, []action{got}),
					})
				}
			}
		}
	}
	return runs, diffs
}

// onlyAgreed leaves out of a profile the names that the installed libseccomp does not know, or knows by other
// numbers.
func onlyAgreed(p *specs.LinuxSeccomp, agreed []string) (out []string) {
	for i := range p.Syscalls {
		e := &p.Syscalls[i]
		var names []string
		for _, n := range e.Names {
			if slices.Contains(agreed, n) {
				names = append(names, n)
			} else {
				out = append(out, n)
			}
		}
		e.Names = names
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(e specs.LinuxSyscall) bool { return len(e.Names) == 0 })
	return out
}

// TestRealProfiles compares the filters of Docker's, Podman's and our own default profile, for several sets of
// capabilities.
func TestRealProfiles(t *testing.T) {
	r := startReference(t)
	agreed, _ := agreedNames(t, r)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"testdata/profiles/docker-0.3.0.json", "testdata/profiles/podman-0.50.1.json", "default.json"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, caps := range [][]string{
			nil,
			{"CAP_SYS_ADMIN"},
			{"CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_TIME", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_AUDIT_WRITE"},
		} {
			p, err := Load(raw, Host{Arch: Native(), Caps: caps, Kernel: Kernel{6, 18}})
			if err != nil {
				t.Fatal(err)
			}
			left := onlyAgreed(p, agreed)
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
				t.Errorf("%s, caps %v: %s", name, caps, d.text)
			}
			t.Logf("%s, caps %v: %d runs, %d instructions (libseccomp %d); left out, because libseccomp does not know them or their numbers: %v", name, caps, runs, len(f.Program), len(theirs), left)
		}
	}
}

// agreedNames are the names of calls for which libseccomp and this package have the same numbers everywhere.
func agreedNames(t testing.TB, r *reference) (names, differ []string) {
	t.Helper()
	var list []Arch
	for _, s := range genSets {
		for _, n := range s {
			a, _ := ParseArch(string(n))
			list = append(list, a)
		}
	}
	for i, name := range callNames {
		if name == "sys_debug_setcontext" {
			continue // 32-bit POWER only; libseccomp lists it for 64-bit POWER and then loses it
		}
		same, some := true, false
		for _, a := range list {
			theirs := r.resolve(t, a, name)
			nr, ok := Number(a, name)
			_, _, mux := archs[a].multiplexed(int32(i))
			switch {
			case theirs >= 0:
				some = true
				same = same && ok && uint32(theirs) == nr
			case !mux:
				same = same && !ok
			}
		}
		if some && same {
			names = append(names, name)
		} else if some {
			differ = append(differ, name)
		}
	}
	return names, differ
}

// TestRandom compares 1,000 random profiles with libseccomp, in the part of the language where libseccomp keeps its
// own rules.
//
// A few profiles in a thousand show a fault of libseccomp 2.5.4: a rule that matches is passed over (single rules
// such as umask with argument 5 > 5, in a large filter). There the plain reading of the profile decides: it must
// agree with our filter, and not many profiles may be affected. With -short there are 100 profiles.
func TestRandom(t *testing.T) {
	profiles := 1000
	if testing.Short() {
		profiles = 100
	}
	r := startReference(t)
	names, differ := agreedNames(t, r)
	t.Logf("%d names have the same numbers here and in libseccomp; these have not: %v", len(names), differ)
	compared, runs, refused, faults := 0, 0, 0, 0
	for seed := uint64(0); compared < profiles; seed++ {
		rng := rand.New(rand.NewPCG(seed, 6))
		g := generator{rng: rng, names: names}
		// Few names make many rules for one call.
		if seed%2 == 0 {
			g.names = names[rng.IntN(len(names)-20):][:20]
		}
		p := g.profile()
		f, err := Compile(p, Native())
		theirs, refErr := r.build(t, p)
		if (err == nil) != (refErr == nil) {
			t.Fatalf("profile %d: error %v, libseccomp's %v", seed, err, refErr)
		}
		if err != nil {
			refused++
			continue
		}
		compared++
		n, diffs := compare(t, rng, r, p, f.Program, theirs)
		runs += n
		for _, d := range diffs {
			if !d.plain {
				t.Errorf("profile %d: %s", seed, d.text)
			}
		}
		if len(diffs) > 0 {
			faults++
			t.Logf("profile %d: libseccomp passes over a rule, %d times: %s", seed, len(diffs), diffs[0].text)
		}
	}
	t.Logf("%d profiles, %d runs of each filter; %d more profiles refused by both; libseccomp is at fault in %d", compared, runs, refused, faults)
	if faults > 10 {
		t.Errorf("libseccomp differs in %d of %d profiles", faults, compared)
	}
}

// TestOverlap holds filters to the plain reading where libseccomp has faults: rules for one call that overlap in
// any way.
func TestOverlap(t *testing.T) {
	refused, profiles := 0, 120
	if testing.Short() {
		profiles = 20
	}
	for seed := range uint64(profiles) {
		rng := rand.New(rand.NewPCG(seed, 7))
		g := generator{rng: rng, names: Names(Native()), overlap: true}
		if seed%2 == 0 {
			g.names = g.names[rng.IntN(len(g.names)-12):][:12]
		}
		p := g.profile()
		f, err := Compile(p, Native())
		if err != nil {
			refused++ // contradictions, or more instructions than the kernel allows
			continue
		}
		compare(t, rng, nil, p, f.Program, nil)
		if t.Failed() {
			t.Fatalf("profile %d", seed)
		}
	}
	t.Logf("%d of %d profiles refused", refused, profiles)
	if refused > profiles/2 {
		t.Error("too many profiles refused for this test to say much")
	}
}
