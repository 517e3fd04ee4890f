package seccomp

// verdict is what a filter does with one system call number of one architecture.
type verdict struct {
	nr uint32
	// act and rule are the decision when there is no condition.
	act  action
	rule int32
	// choice is 1 + the index in lowered.choices of the alternatives; 0 when there is no condition.
	choice int32
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
	// choices are the alternatives of calls with conditions. They are tried in order; if none matches, the default
	// action decides.
	choices [][]alternative
	dense   [denseCalls]uint16 // by nr-base: 1 + the index in verdicts
	top     int                // 1 + the last index in dense that is set
	far     []uint16           // indices in verdicts of the other numbers, sorted by number
	last    uint32             // the largest number that the profile names
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

// alternatives returns those of a call, none when it has no condition.
func (l *lowered) alternatives(v *verdict) []alternative {
	if v.choice == 0 {
		return nil
	}
	return l.choices[v.choice-1]
}

// lower sorts the rules of a profile by the system call numbers of one architecture.
func lower(c *checked, a Arch) (*lowered, error) {
	info := &archs[a]
	l := &lowered{arch: a, base: info.base, verdicts: make([]verdict, 0, len(c.rules)+4)}
	numbers := &callNumbers[info.table]
	for _, call := range c.unruled {
		if nr := numbers[call]; nr >= 0 {
			l.last = max(l.last, uint32(nr))
		}
	}
	for i := range c.rules {
		r := &c.rules[i]
		nr := numbers[r.call]
		multi, selector, ok := info.multiplexed(r.call)
		if !ok && r.from == r.to && nr >= 0 && uint32(nr)-l.base < denseCalls {
			l.always(uint32(nr), r.act, int32(i)) // as add would do; most rules are of this kind
			continue
		}
		if ok {
			// The multiplexing call sees its own first argument, so the selector takes the place of a condition on
			// argument 0; the others stay, as libseccomp has it.
			conds := append(make([]cond, 0, maxArgs), cond{op: opEQ, mask: ^uint64(0), value: uint64(selector)})
			for _, k := range c.conds[r.from:r.to] {
				if k.arg != 0 {
					conds = append(conds, k)
				}
			}
			if err := l.add(c, multi, alternative{int32(i), r.act, conds}); err != nil {
				return nil, err
			}
		}
		if nr < 0 {
			continue
		}
		l.last = max(l.last, uint32(nr))
		if err := l.add(c, uint32(nr), alternative{int32(i), r.act, c.conds[r.from:r.to]}); err != nil {
			return nil, err
		}
	}
	for i := range l.choices {
		l.choices[i] = ordered(l.choices[i], info.wide)
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
	if !fresh && v.choice == 0 {
		return nil
	}
	if len(alt.conds) > 0 {
		alt.conds = l.simplify(alt.conds)
	}
	if len(alt.conds) == 0 {
		v.act, v.rule, v.choice = alt.act, alt.rule, 0
		return nil
	}
	if v.choice == 0 {
		l.choices = append(l.choices, nil)
		v.choice = int32(len(l.choices))
	}
	choice := &l.choices[v.choice-1]
	if err := c.contradicts(*choice, alt); err != nil {
		return err
	}
	*choice = append(*choice, alt)
	return nil
}

// always gives a call with a place in dense its unconditional action, unless it has one.
func (l *lowered) always(nr uint32, act action, rule int32) {
	l.last = max(l.last, nr)
	at := &l.dense[nr-l.base]
	if *at == 0 {
		l.verdicts = append(l.verdicts, verdict{nr: nr, act: act, rule: rule})
		*at = uint16(len(l.verdicts))
		l.top = max(l.top, int(nr-l.base)+1)
		return
	}
	if v := &l.verdicts[*at-1]; v.choice != 0 {
		v.act, v.rule, v.choice = act, rule, 0
	}
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
