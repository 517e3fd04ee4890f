package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// maxProgram is the largest program that the kernel takes (BPF_MAXINSNS).
const maxProgram = 4096

// maxJump is the longest conditional jump, in instructions skipped.
const maxJump = 255

// layout turns the graph into instructions. BPF only jumps forward, so it writes the program backwards: when an
// instruction is written, all that it can reach is already there and the distances are known.
type layout struct {
	g       *graph
	rev     []unix.SockFilter
	placed  []int32 // for each node: 1 + the index in rev of its latest copy
	tooLong bool
}

func (g *graph) program(root nodeID) ([]unix.SockFilter, error) {
	l := &layout{g: g, rev: make([]unix.SockFilter, 0, len(g.nodes)+len(g.nodes)/4), placed: make([]int32, len(g.nodes))}
	l.place(root)
	if l.tooLong {
		return nil, fmt.Errorf("compile seccomp profile: the filter needs more than the %d instructions that the kernel allows; use fewer rules with arguments or fewer architectures", maxProgram)
	}
	for i, j := 0, len(l.rev)-1; i < j; i, j = i+1, j-1 {
		l.rev[i], l.rev[j] = l.rev[j], l.rev[i]
	}
	return l.rev, nil
}

func (l *layout) emit(code uint16, jt, jf uint8, k uint32) {
	l.rev = append(l.rev, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	l.tooLong = l.tooLong || len(l.rev) > maxProgram
}

// skip returns how many instructions lie between the next one to be written and a node.
func (l *layout) skip(id nodeID) int { return len(l.rev) - int(l.placed[id]) }

// place writes a node after everything that it leads to, unless it is there already.
func (l *layout) place(id nodeID) {
	if l.placed[id] != 0 || l.tooLong {
		return
	}
	n := &l.g.nodes[id]
	switch n.kind {
	case kindReturn:
		l.emit(opcode[kindReturn], 0, 0, n.k)
	case kindLoad, kindAnd:
		l.place(n.t)
		if l.skip(n.t) != 0 {
			l.near(n.t)
		}
		l.emit(opcode[n.kind], 0, 0, n.k)
	default:
		l.place(n.f)
		l.place(n.t)
		// Bringing one target near moves the other one away, so look at both again.
		for l.skip(n.t) > maxJump || l.skip(n.f) > maxJump {
			if l.skip(n.t) > maxJump {
				l.near(n.t)
			} else {
				l.near(n.f)
			}
		}
		l.emit(opcode[n.kind], uint8(l.skip(n.t)), uint8(l.skip(n.f)), n.k)
	}
	l.placed[id] = int32(len(l.rev))
}

// near puts a copy of a return, or a long jump to anything else, at the current place and lets later jumps use it.
func (l *layout) near(id nodeID) {
	if n := &l.g.nodes[id]; n.kind == kindReturn {
		l.emit(opcode[kindReturn], 0, 0, n.k)
	} else {
		l.emit(opJump, 0, 0, uint32(l.skip(id)))
	}
	l.placed[id] = int32(len(l.rev))
}
