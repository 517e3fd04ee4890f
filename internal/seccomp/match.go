package seccomp

// word names one 32-bit half of an argument, and the bits of it that count.
type word struct {
	offset, mask uint32
}

// fact is a test whose answer is known at some place of the graph, and what was known before.
type fact struct {
	word  word
	kind  kind
	truth bool
	value uint32
	prev  int32 // index in matcher.facts, or nothing
}

// nothing is known at the start.
const nothing = -1

// known says whether the facts settle a test.
func (m *matcher) known(f int32, w word, k kind, value uint32) (truth, ok bool) {
	lo, hi := uint32(0), w.mask
	for ; f != nothing; f = m.facts[f].prev {
		f := &m.facts[f]
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
	facts  []fact   // those of the tests that lead to the one at hand
}

// goal is the next thing to test.
type goal struct {
	alt, cond int // condition cond of alternative alt, all before it being true
	part      part
}

// part is how far a condition has been tested: a filter compares 32 bits at a time.
type part uint8

const (
	untested   part = iota
	notGreater      // the high word is not greater: it may be equal
	highEqual       // the high word is equal
)

// match returns the node that tries the alternatives of a call. The matcher is used for one call after the other.
func (m *matcher) match(alts []alternative, info *archInfo, other nodeID) nodeID {
	m.alts, m.wide, m.big, m.other, m.visits = alts, info.wide, info.big, other, 0
	m.plain, m.facts = m.plain[:0], m.facts[:0]
	for range alts {
		m.plain = append(m.plain, -1)
	}
	return m.node(goal{}, nothing)
}

// node returns the node for a goal.
func (m *matcher) node(at goal, facts int32) nodeID {
	if at.alt == len(m.alts) {
		return m.other
	}
	if at.cond > 0 || at.part != untested || facts != nothing && m.visits <= maxVisits {
		return m.cond(at, facts)
	}
	if m.plain[at.alt] < 0 {
		m.plain[at.alt] = m.cond(at, nothing)
	}
	return m.plain[at.alt]
}

// cond returns the node that tests what is left of a condition.
func (m *matcher) cond(at goal, facts int32) nodeID {
	alt := &m.alts[at.alt]
	if at.cond == len(alt.conds) {
		return m.g.ret(alt.act)
	}
	c := &alt.conds[at.cond]
	hold, fail, equal := goal{alt: at.alt, cond: at.cond + 1}, goal{alt: at.alt + 1}, goal{at.alt, at.cond, highEqual}
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
	switch {
	case !m.wide || at.part == highEqual:
		return m.test(low, lowKind, lo, facts, hold, fail)
	case lowKind == kindJEQ || at.part == notGreater:
		return m.test(high, kindJEQ, hi, facts, equal, fail)
	default:
		// Greater: the high words decide unless they are equal.
		return m.test(high, kindJGT, hi, facts, hold, goal{at.alt, at.cond, notGreater})
	}
}

// test returns the node for one 32-bit test, or for what follows it when the answer is known.
func (m *matcher) test(w word, k kind, value uint32, facts int32, yes, no goal) nodeID {
	truth, ok := m.known(facts, w, k, value)
	if ok {
		if truth {
			return m.node(yes, facts)
		}
		return m.node(no, facts)
	}
	m.visits++
	n := len(m.facts)
	m.facts = append(m.facts, fact{w, k, true, value, facts})
	t := m.node(yes, int32(n))
	m.facts = append(m.facts[:n], fact{w, k, false, value, facts})
	f := m.node(no, int32(n))
	m.facts = m.facts[:n]
	return m.g.load(w.offset, w.mask, m.g.jump(k, value, m.g.skipLoad(t, w.offset, w.mask), m.g.skipLoad(f, w.offset, w.mask)))
}
