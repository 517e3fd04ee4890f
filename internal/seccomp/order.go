package seccomp

import "fmt"

// contradicts returns an error when a new alternative decides differently under conditions that an earlier one
// needs, wholly or in part: then neither order would do what both say. (The other way round, a longer rule after a
// shorter one, is merely never reached.)
func (c *checked) contradicts(earlier []alternative, n alternative) error {
	for _, x := range earlier {
		if x.act != n.act && isPrefix(n.conds, x.conds) {
			return &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d]", c.rules[n.rule].entry), fmt.Sprintf("under these conditions %s gets %s, but syscalls[%d] already says %s; remove one of the two", callNames[c.rules[n.rule].call], n.act, c.rules[x.rule].entry, x.act)}
		}
	}
	return nil
}

// ordered brings the alternatives of a call into the order in which they are tried.
//
// When all have the same action the order means nothing. When they differ, libseccomp's order holds, whatever the
// order in the profile: conditions on a later argument come first; then (not) equal before less before greater;
// then the tighter value. A rule whose conditions are the first conditions of a longer rule comes before it.
func ordered(alts []alternative, wide bool) []alternative {
	mixed := false
	for i := range alts {
		mixed = mixed || alts[i].act != alts[0].act
	}
	if !mixed {
		return alts
	}
	sorted := make([]alternative, 0, len(alts))
	for _, n := range alts {
		at := len(sorted)
		for i, x := range sorted {
			if comesBefore(n.conds, x.conds, wide) {
				at = i
				break
			}
		}
		sorted = append(sorted, alternative{})
		copy(sorted[at+1:], sorted[at:])
		sorted[at] = n
	}
	return sorted
}

// isPrefix says whether every condition of a is, in order, also a condition of b.
func isPrefix(a, b []cond) bool {
	if len(a) > len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// comesBefore says whether rule a is tried before rule b although b stands earlier in the profile.
func comesBefore(a, b []cond, wide bool) bool {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x.arg != y.arg {
			return x.arg > y.arg
		}
		shifts := []uint{32, 0}
		if !wide {
			shifts = shifts[1:]
		}
		for _, shift := range shifts {
			xv, yv := uint32(x.value>>shift), uint32(y.value>>shift)
			if x.test(shift == 32) == y.test(shift == 32) && xv == yv && uint32(x.mask>>shift) == uint32(y.mask>>shift) {
				continue
			}
			if x.class() != y.class() {
				return x.class() > y.class()
			}
			if x.op == opLT || x.op == opLE {
				return xv < yv
			}
			return xv > yv
		}
	}
	return len(a) < len(b)
}

// class ranks the operators of conditions on the same argument.
func (c cond) class() int {
	switch c.op {
	case opEQ, opNE, opMasked:
		return 3
	case opLT, opLE:
		return 2
	default:
		return 1
	}
}

// test returns the instruction that decides a condition for one half of the argument: a negated condition uses
// the same one as its opposite.
func (c cond) test(high bool) op {
	switch c.op {
	case opNE:
		return opEQ
	case opGT, opLE:
		return opGT
	case opGE, opLT:
		if high {
			return opGT
		}
		return opGE
	default:
		return c.op
	}
}
