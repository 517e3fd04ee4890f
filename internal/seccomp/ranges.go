package seccomp

// span is a range of system call numbers, from start to the next span's start, that share a target.
type span struct {
	start  uint32
	target nodeID
}

// spans is a function from every 32-bit number to a target, as a list sorted by start; the first starts at 0.
type spans []span

// from says that numbers from start on go to target (until the next call). Starts must not decrease.
func (s *spans) from(start uint32, target nodeID) {
	if n := len(*s); n > 0 {
		if (*s)[n-1].start == start {
			*s = (*s)[:n-1]
			n--
		}
		if n > 0 && (*s)[n-1].target == target {
			return
		}
	}
	*s = append(*s, span{start, target})
}

// calls adds the verdicts of one architecture, in the order of the numbers.
func (c *compiler) calls(s *spans, l *lowered) {
	info := &archs[l.arch]
	other := c.g.ret(c.defaultAction)
	add := func(v *verdict) {
		target := nodeID(0)
		if v.choice == 0 {
			target = c.g.ret(v.act)
		} else {
			target = c.match.match(l.alternatives(v), info, other)
		}
		s.from(v.nr, target)
	}
	for i, at := range l.dense[:l.top] {
		if at == 0 {
			s.from(l.base+uint32(i), other)
			continue
		}
		add(&l.verdicts[at-1])
	}
	s.from(l.base+uint32(l.top), other)
	for _, at := range l.far {
		v := &l.verdicts[at]
		add(v)
		s.from(v.nr+1, other)
	}
}

// after says what happens to numbers beyond the last one of an architecture, from start on: the default action, and
// behind the last call that the profile names ENOSYS, so that programs that try a call newer than the profile fall
// back to an older one (as in runc's patchbpf).
func (c *compiler) after(s *spans, l *lowered, start uint32) {
	if c.enosys && l.last != 0 {
		s.from(max(start, l.last+1), c.g.ret(retENOSYS))
	} else {
		s.from(start, c.g.ret(c.defaultAction))
	}
}

// numbers returns what happens to every number of one AUDIT_ARCH value. For x86-64 that is two architectures,
// amd64 and x32, told apart by bit 30; either may be nil.
func (c *compiler) numbers(main, x32 *lowered) spans {
	s := make(spans, 0, 256)
	if main != nil && main.arch != ArchAMD64 {
		c.single(&s, main)
		return s
	}
	bad, def := c.g.ret(retBadArch), c.g.ret(c.defaultAction)
	if main != nil {
		c.calls(&s, main)
		c.after(&s, main, main.base+uint32(main.top))
	} else {
		s.from(0, bad)
	}
	if x32 != nil {
		s.from(x32Bit, def)
		c.calls(&s, x32)
		c.after(&s, x32, x32.base+uint32(x32.top))
	} else {
		s.from(x32Bit, bad)
	}
	// No kernel has a call with bit 31; but the filter must answer as it does for other numbers out of reach.
	const bit31, bits31and30, skipped = 1 << 31, 3 << 30, 1<<32 - 1
	switch {
	case main != nil && c.enosys && main.last != 0:
		s.from(bit31, c.g.ret(retENOSYS))
	case x32 != nil:
		s.from(bit31, def)
	default:
		s.from(bit31, bad)
	}
	switch {
	case x32 != nil && c.enosys && x32.last != 0:
		s.from(bits31and30, c.g.ret(retENOSYS))
	case x32 != nil:
		s.from(bits31and30, def)
	default:
		s.from(bits31and30, bad)
		// A tracer sets the number to -1 to skip a call; that is no foreign architecture (seccomp(2), Linux 4.8).
		s.from(skipped, def)
	}
	return s
}

func (c *compiler) single(s *spans, l *lowered) {
	s.from(0, c.g.ret(c.defaultAction))
	c.calls(s, l)
	c.after(s, l, l.base+uint32(l.top))
	if c.enosys && l.last != 0 && (l.arch == ArchS390 || l.arch == ArchS390X) {
		// A call that the kernel does not know arrives as number 0, setup(2), which no program uses.
		t := append(spans{}, *s...)
		*s = (*s)[:0]
		s.from(0, c.g.ret(retENOSYS))
		for i, x := range t {
			if i+1 < len(t) && t[i+1].start <= 1 {
				continue
			}
			s.from(max(x.start, 1), x.target)
		}
	}
}

// search builds a balanced tree of comparisons over the spans; the accumulator holds the number.
func (g *graph) search(s spans) nodeID {
	switch n := len(s); {
	case n == 1:
		return s[0].target
	case n == 3 && s[0].target == s[2].target && s[2].start == s[1].start+1:
		// One number in the middle of a range: one instruction instead of two.
		return g.fresh(node{kind: kindJEQ, k: s[1].start, t: s[1].target, f: s[0].target})
	}
	mid := len(s) / 2
	t, f := g.search(s[mid:]), g.search(s[:mid])
	return g.fresh(node{kind: kindJGE, k: s[mid].start, t: t, f: f})
}
