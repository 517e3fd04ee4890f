package main

import "time"

// turns is how contenders take turns within a measure.
//
// What a container leaves to the kernel, the removal of its network namespace and of its cgroups, runs in the background
// after its runtime has ended, and on a machine with few processors in somebody's way. When contenders follow each
// other one by one that is the next one's way: the quicker pay for what the slower leave. In blocks each works in the
// wake of itself, which is also what back to back means.
type turns struct {
	name  string        // added to that of the measure
	pause time.Duration // before each sample
	lead  int           // samples at the beginning of each block that are not counted
	block int           // counted samples of a block, 0 for one
	rough int           // rounds at the beginning that are not counted
}

var (
	// warm: five back to back, of which the first is not counted.
	warm = turns{lead: 1, block: 4}
	// idle: a second of rest before each, in which the kernel gets done with the one before, and after which grace
	// periods (RCU) are not shared with other work.
	idle = turns{name: ", idle machine", pause: time.Second, rough: 1}
	// mixed: one by one, back to back, to compare with warm.
	mixed = turns{name: ", one by one", rough: 2}
	// batches are many containers each.
	batches = turns{}
)

// turn is one sample.
type turn struct {
	who     int // index of the contender
	counted bool
}

// order is the sequence of samples in which each of n contenders has at least as many counted ones as asked for. Each
// round begins with another contender.
func (t turns) order(n, samples int) []turn {
	block := max(1, t.block)
	var out []turn
	for round := range t.rough + (samples+block-1)/block {
		for i := range n {
			who := (i + round) % n
			for k := range t.lead + block {
				out = append(out, turn{who, round >= t.rough && k >= t.lead})
			}
		}
	}
	return out
}
