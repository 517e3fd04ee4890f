package seccomp

import "golang.org/x/sys/unix"

// A program is first a graph without cycles. Every node is one instruction; equal nodes are one node.

// nodeID is an index in graph.nodes.
type nodeID int32

// kind is a class of instructions.
type kind uint8

const (
	kindReturn kind = iota
	kindLoad        // A = 32-bit word at k of struct seccomp_data; go to t
	kindAnd         // A &= k; go to t
	kindJEQ         // if A == k go to t, else to f
	kindJGT
	kindJGE
)

type node struct {
	kind kind
	k    uint32
	t, f nodeID
}

type graph struct {
	nodes  []node
	shared sharedNodes
	rets   [8]nodeID // the first few return nodes, to find them without the map
	nrets  int
}

func newGraph() *graph {
	return &graph{nodes: make([]node, 0, 512)}
}

// fresh adds a node that is known to be unlike all others.
func (g *graph) fresh(n node) nodeID {
	g.nodes = append(g.nodes, n)
	return nodeID(len(g.nodes) - 1)
}

// ret returns the node for an action.
func (g *graph) ret(a action) nodeID {
	for _, id := range g.rets[:g.nrets] {
		if g.nodes[id].k == uint32(a) {
			return id
		}
	}
	if g.nrets < len(g.rets) {
		id := g.fresh(node{kind: kindReturn, k: uint32(a)})
		g.rets[g.nrets] = id
		g.nrets++
		return id
	}
	return g.share(node{kind: kindReturn, k: uint32(a)})
}

// share adds a node, or finds its equal.
func (g *graph) share(n node) nodeID {
	if g.shared.used*2 >= len(g.shared.slots) {
		g.shared.grow(g.nodes)
	}
	at := g.shared.find(g.nodes, n)
	if *at == 0 {
		*at = g.fresh(n) + 1
		g.shared.used++
	}
	return *at - 1
}

// sharedNodes finds nodes by what they are. It is a hash table with linear probing: every container start compiles a
// filter, and a map spends more time on these few hundred nodes than the passes on all else.
type sharedNodes struct {
	slots []nodeID // 1 + the index of a node, 0 where there is none; a power of two of them
	used  int
}

// find returns the slot of a node, or the one where it belongs.
func (s *sharedNodes) find(nodes []node, n node) *nodeID {
	// Multiplication by odd numbers spreads what are mostly small differences (Knuth, volume 3, section 6.4).
	h := n.k*0x9e3779b1 ^ uint32(n.t)*0x85ebca6b ^ uint32(n.f)*0xc2b2ae35 ^ uint32(n.kind)<<29
	for h ^= h >> 15; ; h++ {
		at := &s.slots[h&uint32(len(s.slots)-1)]
		if *at == 0 || nodes[*at-1] == n {
			return at
		}
	}
}

func (s *sharedNodes) grow(nodes []node) {
	old := s.slots
	s.slots = make([]nodeID, max(256, 2*len(old)))
	for _, id := range old {
		if id != 0 {
			*s.find(nodes, nodes[id-1]) = id
		}
	}
}

// jump adds a conditional jump; a jump with one target is no jump.
func (g *graph) jump(k kind, value uint32, t, f nodeID) nodeID {
	if t == f {
		return t
	}
	return g.share(node{kind: k, k: value, t: t, f: f})
}

// load adds the load of a word, masked where the mask is not all ones, before next. It is left out where next does
// not look at the accumulator.
func (g *graph) load(offset, mask uint32, next nodeID) nodeID {
	if k := g.nodes[next].kind; k == kindReturn || k == kindLoad {
		return next
	}
	if mask != ^uint32(0) {
		next = g.share(node{kind: kindAnd, k: mask, t: next})
	}
	return g.share(node{kind: kindLoad, k: offset, t: next})
}

// skipLoad returns where to go on from id when the accumulator already holds the word, masked.
func (g *graph) skipLoad(id nodeID, offset, mask uint32) nodeID {
	n := g.nodes[id]
	if n.kind != kindLoad || n.k != offset {
		return id
	}
	next := g.nodes[n.t]
	if mask == ^uint32(0) {
		return n.t
	}
	if next.kind == kindAnd && next.k == mask {
		return next.t
	}
	return id
}

// seccompData offsets (struct seccomp_data, linux/seccomp.h).
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// argOffset returns the offset of one half of an argument.
func argOffset(arg uint8, high, big bool) uint32 {
	off := offArgs + 8*uint32(arg)
	if high != big {
		off += 4
	}
	return off
}

// opJump is the long jump, which has no node of its own.
const opJump = unix.BPF_JMP | unix.BPF_JA

var opcode = [...]uint16{
	kindReturn: unix.BPF_RET | unix.BPF_K,
	kindLoad:   unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
	kindAnd:    unix.BPF_ALU | unix.BPF_AND | unix.BPF_K,
	kindJEQ:    unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
	kindJGT:    unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K,
	kindJGE:    unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K,
}
