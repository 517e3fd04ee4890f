package seccomp

// word names one 32-bit half of an argument, and the bits of it that count.
type word struct {
	offset, mask uint32
}

// fact is a test whose answer is known at some place of the graph, and what was known before.
type fact struct {
	word  word
	kind  kind
	value uint32
	truth bool
	prev  *fact
}

// known says whether the facts settle a test.
func known(f *fact, w word, k kind, value uint32) (truth, ok bool) {
	lo, hi := uint32(0), w.mask
	for ; f != nil; f = f.prev {
		if f.word != w {
			continue
		}
		if f.kind == k && f.value == value {
			return f.truth, true
		}
		switch {
		case f.kind == kindJEQ && f.truth:
			lo, hi = f.value, f.value
		case f.kind == kindJGT && f.truth:
			lo = max(lo, f.value+1)
		case f.kind == kindJGT:
			hi = min(hi, f.value)
		case f.kind == kindJGE && f.truth:
			lo = max(lo, f.value)
		case f.kind == kindJGE:
			hi = min(hi, f.value-1)
		}
	}
	switch k {
	case kindJEQ:
		if value < lo || value > hi {
			return false, true
		}
		return true, lo == hi
	case kindJGT:
		if lo > value {
			return true, true
		}
		return false, hi <= value
	default:
		if lo >= value {
			return true, true
		}
		return false, hi < value
	}
}

// maxVisits bounds the tests that are looked at for one call with facts. Without a bound, rules with several
// conditions could be looked at along exponentially many ways.
const maxVisits = 512

// matcher builds the part of the graph that decides one call by its arguments.
type matcher struct {
	g      *graph
	alts   []alternative
	wide   bool
	big    bool
	other  nodeID   // when no alternative matches
	visits int      // tests looked at so far
	plain  []nodeID // for each alternative: its node when nothing is known, or -1
}

func (g *graph) match(v *verdict, info *archInfo, other nodeID) nodeID {
	m := &matcher{g: g, alts: v.alternatives, wide: info.wide, big: info.big, other: other}
	m.plain = make([]nodeID, len(m.alts))
	for i := range m.plain {
		m.plain[i] = -1
	}
	return m.from(0, nil)
}

// from returns the node that tries the alternatives from i on.
func (m *matcher) from(i int, facts *fact) nodeID {
	if i == len(m.alts) {
		return m.other
	}
	if facts == nil || m.visits > maxVisits {
		if m.plain[i] < 0 {
			m.plain[i] = m.cond(i, 0, nil)
		}
		return m.plain[i]
	}
	return m.cond(i, 0, facts)
}

// cond returns the node that tests condition j of alternative i, all before it being true.
func (m *matcher) cond(i, j int, facts *fact) nodeID {
	if j == len(m.alts[i].conds) {
		return m.g.ret(m.alts[i].act)
	}
	c := &m.alts[i].conds[j]
	hold := func(f *fact) nodeID { return m.cond(i, j+1, f) }
	fail := func(f *fact) nodeID { return m.from(i+1, f) }
	switch c.op {
	case opNE, opLT, opLE:
		// These are EQ, GE and GT with the answers exchanged.
		hold, fail = fail, hold
	}
	lo, hi := uint32(c.value), uint32(c.value>>32)
	low := word{argOffset(c.arg, false, m.big), uint32(c.mask)}
	high := word{argOffset(c.arg, true, m.big), uint32(c.mask >> 32)}
	lowKind := kindJEQ
	switch c.test(false) {
	case opGT:
		lowKind = kindJGT
	case opGE:
		lowKind = kindJGE
	}
	lowTest := func(f *fact) nodeID { return m.test(low, lowKind, lo, f, hold, fail) }
	switch {
	case !m.wide:
		return lowTest(facts)
	case lowKind == kindJEQ:
		return m.test(high, kindJEQ, hi, facts, lowTest, fail)
	default:
		// Greater: the high words decide unless they are equal.
		return m.test(high, kindJGT, hi, facts, hold, func(f *fact) nodeID {
			return m.test(high, kindJEQ, hi, f, lowTest, fail)
		})
	}
}

// test returns the node for one 32-bit test, or for what follows it when the answer is known.
func (m *matcher) test(w word, k kind, value uint32, facts *fact, yes, no func(*fact) nodeID) nodeID {
	truth, ok := known(facts, w, k, value)
	if ok {
		if truth {
			return yes(facts)
		}
		return no(facts)
	}
	m.visits++
	t := yes(&fact{w, k, value, true, facts})
	f := no(&fact{w, k, value, false, facts})
	return m.g.load(w.offset, w.mask, m.g.jump(k, value, m.g.skipLoad(t, w.offset, w.mask), m.g.skipLoad(f, w.offset, w.mask)))
}
