package seccomp

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// plain reads a profile as a person would, one call at a time, with none of the compiler's passes. It returns every
// action that the profile allows for the call: more than one only when rules with different actions match.
func plain(t testing.TB, p *specs.LinuxSeccomp, a Arch, nr uint32, args [6]uint64) []action {
	t.Helper()
	return plainNative(t, p, Native(), a, nr, args)
}

// plainNative is plain on a machine of another architecture.
func plainNative(t testing.TB, p *specs.LinuxSeccomp, native, a Arch, nr uint32, args [6]uint64) []action {
	t.Helper()
	def, err := parseAction(p.DefaultAction, p.DefaultErrnoRet, "", "")
	if err != nil {
		t.Fatal(err)
	}
	listed := []Arch{native}
	for _, n := range p.Architectures {
		x, err := ParseArch(string(n))
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, x)
	}
	if archs[a].audit == archs[ArchAMD64].audit {
		a = ArchAMD64
		if nr&x32Bit != 0 {
			a = ArchX32
		}
	}
	info := &archs[a]

	// The rule for calls newer than the profile.
	newest := uint32(0)
	for _, e := range p.Syscalls {
		for _, name := range e.Names {
			if n, ok := Number(a, name); ok {
				newest = max(newest, n)
			}
		}
	}
	permissive := def == retENOSYS || p.DefaultAction == specs.ActAllow || p.DefaultAction == specs.ActLog || p.DefaultAction == specs.ActTrace
	switch {
	case slices.Contains(listed, a) && !permissive && newest > 0 && nr > newest:
		return []action{retENOSYS}
	case info.audit == archs[ArchAMD64].audit && !slices.Contains(listed, ArchX32) && nr >= x32Bit && nr != ^uint32(0):
		return []action{retBadArch}
	case info.audit == archs[ArchAMD64].audit && a == ArchAMD64 && nr >= x32Bit && slices.Contains(listed, ArchX32):
		return []action{def}
	case !slices.Contains(listed, a) && !(nr == ^uint32(0) && info.audit == archs[ArchAMD64].audit && slices.Contains(listed, ArchAMD64)):
		return []action{retBadArch}
	}

	var out []action
	try := func(act action, conds []specs.LinuxSeccompArg) (unconditional bool) {
		for _, c := range conds {
			if !plainHolds(c, args[c.Index], info.wide) {
				return false
			}
		}
		if !slices.Contains(out, act) {
			out = append(out, act)
		}
		// Conditions that hold for every value are none.
		return !slices.ContainsFunc(conds, func(c specs.LinuxSeccompArg) bool {
			mask := c.Value
			if !info.wide {
				mask = uint64(uint32(mask))
			}
			return c.Op != specs.OpMaskedEqual || mask != 0
		})
	}
	for _, e := range p.Syscalls {
		act, err := parseAction(e.Action, e.ErrnoRet, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if act == def {
			continue
		}
		alternatives := [][]specs.LinuxSeccompArg{e.Args}
		seen := map[uint]bool{}
		for _, c := range e.Args {
			if seen[c.Index] {
				alternatives = nil
				for _, c := range e.Args {
					alternatives = append(alternatives, []specs.LinuxSeccompArg{c})
				}
				break
			}
			seen[c.Index] = true
		}
		for _, name := range e.Names {
			if callIndex(name) < 0 {
				continue
			}
			for _, conds := range alternatives {
				if n, ok := Number(a, name); ok && n == nr {
					if try(act, conds) {
						return []action{act}
					}
				}
				if n, selector, ok := info.multiplexed(int32(callIndex(name))); ok && n == nr {
					with := []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: uint64(selector)}}
					for _, c := range conds {
						if c.Index != 0 {
							with = append(with, c)
						}
					}
					try(act, with)
				}
			}
		}
	}
	if nr == 0 && (a == ArchS390 || a == ArchS390X) && !permissive && newest > 0 {
		return []action{retErrno | action(unix.ENOSYS)}
	}
	if out == nil {
		out = []action{def}
	}
	return out
}

func plainHolds(c specs.LinuxSeccompArg, v uint64, wide bool) bool {
	x, y := c.Value, c.ValueTwo
	if !wide {
		v, x, y = uint64(uint32(v)), uint64(uint32(x)), uint64(uint32(y))
	}
	switch c.Op {
	case specs.OpNotEqual:
		return v != x
	case specs.OpLessThan:
		return v < x
	case specs.OpLessEqual:
		return v <= x
	case specs.OpEqualTo:
		return v == x
	case specs.OpGreaterEqual:
		return v >= x
	case specs.OpGreaterThan:
		return v > x
	default:
		return v&x == y&x
	}
}
