package seccomp

// verdict is what a filter does with one system call number of one architecture.
type verdict struct {
	nr uint32
	// act and rule are the decision when there is no condition; alternatives is nil then.
	act  action
	rule int32
	// alternatives are tried in order; if none matches, the default action decides.
	alternatives []alternative
}

// alternative is a rule of one architecture.
type alternative struct {
	rule  int32 // index in checked.rules
	act   action
	conds []cond
}

// denseCalls is the number of calls, counted from an architecture's base, that get a place in an array. Only the
// private calls of 32-bit ARM lie above.
const denseCalls = 1024

// lowered holds the verdicts of one architecture.
type lowered struct {
	arch     Arch
	base     uint32
	verdicts []verdict
	dense    [denseCalls]uint16 // by nr-base: 1 + the index in verdicts
	top      int                // 1 + the last index in dense that is set
	far      []uint16           // indices in verdicts of the other numbers, sorted by number
	last     uint32             // the largest number that the profile names
}

// find returns the verdict for a number, or nil where the default action decides.
func (l *lowered) find(nr uint32) *verdict {
	if i := nr - l.base; i < denseCalls {
		if at := l.dense[i]; at != 0 {
			return &l.verdicts[at-1]
		}
		return nil
	}
	for _, at := range l.far {
		if l.verdicts[at].nr == nr {
			return &l.verdicts[at]
		}
	}
	return nil
}

// at returns the verdict for a number and makes one if there is none yet.
func (l *lowered) at(nr uint32) *verdict {
	if v := l.find(nr); v != nil {
		return v
	}
	l.verdicts = append(l.verdicts, verdict{nr: nr})
	at := len(l.verdicts) - 1
	if i := nr - l.base; i < denseCalls {
		l.dense[i] = uint16(at + 1)
		l.top = max(l.top, int(i)+1)
		return &l.verdicts[at]
	}
	i := 0
	for i < len(l.far) && l.verdicts[l.far[i]].nr < nr {
		i++
	}
	l.far = append(l.far, 0)
	copy(l.far[i+1:], l.far[i:])
	l.far[i] = uint16(at)
	return &l.verdicts[at]
}

// lower sorts the rules of a profile by the system call numbers of one architecture.
func lower(c *checked, a Arch) (*lowered, error) {
	info := &archs[a]
	l := &lowered{arch: a, base: info.base, verdicts: make([]verdict, 0, len(c.rules)+4)}
	numbers := &callNumbers[info.table]
	for _, call := range c.named {
		if nr := numbers[call]; nr >= 0 {
			l.last = max(l.last, uint32(nr))
		}
	}
	for i := range c.rules {
		r := &c.rules[i]
		if nr, selector, ok := info.multiplexed(r.call); ok {
			// The multiplexing call sees its own first argument, so the selector takes the place of a condition on
			// argument 0; the others stay, as libseccomp has it.
			conds := append(make([]cond, 0, maxArgs), cond{op: opEQ, mask: ^uint64(0), value: uint64(selector)})
			for _, k := range r.conds {
				if k.arg != 0 {
					conds = append(conds, k)
				}
			}
			if err := l.add(c, nr, alternative{int32(i), r.act, conds}); err != nil {
				return nil, err
			}
		}
		if nr := numbers[r.call]; nr >= 0 {
			if err := l.add(c, uint32(nr), alternative{int32(i), r.act, r.conds}); err != nil {
				return nil, err
			}
		}
	}
	for i := range l.verdicts {
		l.order(&l.verdicts[i])
	}
	return l, nil
}

// add gives a call one more alternative. The first unconditional one ends the matter: it replaces what came before
// and keeps out what follows.
func (l *lowered) add(c *checked, nr uint32, alt alternative) error {
	v := l.find(nr)
	fresh := v == nil
	if fresh {
		v = l.at(nr)
	}
	if !fresh && v.alternatives == nil {
		return nil
	}
	if len(alt.conds) > 0 {
		alt.conds = l.simplify(alt.conds)
	}
	if len(alt.conds) == 0 {
		v.act, v.rule, v.alternatives = alt.act, alt.rule, nil
		return nil
	}
	if err := c.contradicts(v.alternatives, alt); err != nil {
		return err
	}
	v.alternatives = append(v.alternatives, alt)
	return nil
}

// simplify leaves out conditions that always hold, and cuts the values to the width of the architecture's
// arguments.
func (l *lowered) simplify(conds []cond) []cond {
	narrow := !archs[l.arch].wide
	same := true
	for i := range conds {
		k := &conds[i]
		if narrow && (k.mask>>32 != 0 || k.value>>32 != 0) || k.op == opMasked && k.mask == 0 {
			same = false
		}
	}
	if same {
		return conds
	}
	out := make([]cond, 0, len(conds))
	for _, k := range conds {
		if narrow {
			k.mask, k.value = uint64(uint32(k.mask)), uint64(uint32(k.value))
		}
		if k.op == opMasked && k.mask == 0 {
			continue
		}
		out = append(out, k)
	}
	return out
}
