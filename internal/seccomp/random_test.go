package seccomp

import (
	"math/rand/v2"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// generator makes random profiles.
type generator struct {
	rng   *rand.Rand
	names []string // to choose from
	// overlap allows what libseccomp 2.5 gets wrong: several rules for one call that have several conditions,
	// different actions, or more than one of the operators LT, LE, GT and GE on one argument.
	overlap bool
}

var (
	genActions = []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillThread, specs.ActKillProcess, specs.ActTrap, specs.ActTrace, specs.ActLog, specs.ActNotify,
	}
	genOps = []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	genPoints = []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpEqualTo, specs.OpMaskedEqual}
	genSets   = [][]specs.Arch{
		nil,
		{specs.ArchX86_64},
		{specs.ArchX86_64, specs.ArchX86},
		{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		{specs.ArchX32},
		{specs.ArchX86},
		{specs.ArchAARCH64, specs.ArchARM},
		{specs.ArchX86_64, specs.ArchPPC64LE, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchRISCV64},
	}
)

func pick[T any](rng *rand.Rand, s []T) T { return s[rng.IntN(len(s))] }

func (g *generator) action() (specs.LinuxSeccompAction, *uint) {
	a := pick(g.rng, genActions)
	if (a == specs.ActErrno || a == specs.ActTrace) && g.rng.IntN(2) == 0 {
		n := uint(pick(g.rng, []int{0, 1, 13, 38, 4094}))
		return a, &n
	}
	return a, nil
}

func (g *generator) value() uint64 {
	switch g.rng.IntN(5) {
	case 0:
		return g.rng.Uint64N(8)
	case 1:
		return g.rng.Uint64() >> 32
	case 2:
		return g.rng.Uint64N(4)<<32 | g.rng.Uint64N(4)
	case 3:
		return pick(g.rng, []uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 63, ^uint64(0), ^uint64(0) - 1, 0x7e020000})
	default:
		return g.rng.Uint64()
	}
}

func (g *generator) arg(index uint, ops []specs.LinuxSeccompOperator) specs.LinuxSeccompArg {
	a := specs.LinuxSeccompArg{Index: index, Op: pick(g.rng, ops), Value: g.value()}
	if a.Op == specs.OpMaskedEqual {
		a.ValueTwo = g.value()
	}
	return a
}

func (g *generator) profile() *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{ListenerPath: "/run/agent.sock", Architectures: pick(g.rng, genSets)}
	for p.DefaultAction == "" || p.DefaultAction == specs.ActNotify {
		p.DefaultAction, p.DefaultErrnoRet = g.action()
	}
	entries := 1 + g.rng.IntN(30)
	taken := map[string]bool{} // names that an entry with arguments has
	for range entries {
		e := specs.LinuxSyscall{}
		e.Action, e.ErrnoRet = g.action()
		withArgs := g.rng.IntN(2) == 0
		for range 1 + g.rng.IntN(10) {
			n := pick(g.rng, g.names)
			if e.Action == specs.ActNotify && n == "write" || withArgs && taken[n] {
				continue
			}
			e.Names = append(e.Names, n)
			if withArgs && !g.overlap {
				taken[n] = true
			}
		}
		if len(e.Names) == 0 {
			continue
		}
		if withArgs {
			for _, i := range g.rng.Perm(6)[:1+g.rng.IntN(3)] {
				e.Args = append(e.Args, g.arg(uint(i), genOps))
			}
		}
		again := genOps
		if !g.overlap {
			again = genPoints
		}
		if withArgs && g.rng.IntN(6) == 0 && (g.overlap || len(e.Args) == 1) {
			e.Args = append(e.Args, g.arg(e.Args[0].Index, again)) // twice the same argument
		}
		p.Syscalls = append(p.Syscalls, e)
		if withArgs && len(e.Args) == 1 && g.rng.IntN(2) == 0 {
			// The usual way to list the allowed values of an argument.
			for range g.rng.IntN(12) {
				more := e
				more.Args = []specs.LinuxSeccompArg{g.arg(e.Args[0].Index, again)}
				p.Syscalls = append(p.Syscalls, more)
			}
		}
	}
	return p
}
