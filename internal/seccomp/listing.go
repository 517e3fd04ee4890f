package seccomp

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Listing writes a filter down, one instruction a line, with the names of architectures, system calls, arguments and
// actions:
//
//	0  load arch
//	1  if arch == SCMP_ARCH_X86_64 then 2 else 120
//	2  load number
//	3  if number >= 157 (prctl) then 60 else 4
//
// The numbers of system calls have names only where all ways to an instruction come through one architecture.
func Listing(program []unix.SockFilter) string {
	var b strings.Builder
	states := flow(program)
	for pc, in := range program {
		fmt.Fprintf(&b, "%4d  %s\n", pc, states[pc].text(pc, in))
	}
	return b.String()
}

// known words of the accumulator besides offsets of seccomp_data
const (
	accUnknown = ^uint32(0)
	// archUnknown and archMixed stand for no AUDIT_ARCH value.
	archUnknown = 0
	archMixed   = ^uint32(0)
)

// state is what is known when control reaches an instruction.
type state struct {
	reached bool
	acc     uint32 // offset of the word in the accumulator
	mask    uint32
	arch    uint32
}

// flow computes the state before each instruction. Jumps only go forward, so one pass is enough.
func flow(program []unix.SockFilter) []state {
	states := make([]state, len(program)+1)
	states[0] = state{reached: true, acc: accUnknown, mask: ^uint32(0)}
	reach := func(at int, s state) {
		if at >= len(program) {
			return
		}
		s.reached = true
		old := &states[at]
		if !old.reached {
			*old = s
			return
		}
		if old.acc != s.acc || old.mask != s.mask {
			old.acc, old.mask = accUnknown, ^uint32(0)
		}
		if old.arch != s.arch {
			old.arch = archMixed
		}
	}
	for pc, in := range program {
		s := states[pc]
		switch in.Code {
		case opcode[kindReturn]:
		case opcode[kindLoad]:
			s.acc, s.mask = in.K, ^uint32(0)
			reach(pc+1, s)
		case opcode[kindAnd]:
			s.mask &= in.K
			reach(pc+1, s)
		case opJump:
			reach(pc+1+int(in.K), s)
		default:
			t := s
			if s.acc == offArch && in.Code == opcode[kindJEQ] {
				t.arch = in.K
			}
			reach(pc+1+int(in.Jt), t)
			reach(pc+1+int(in.Jf), s)
		}
	}
	return states
}

func (s state) text(pc int, in unix.SockFilter) string {
	switch in.Code {
	case opcode[kindReturn]:
		return "return " + action(in.K).String()
	case opcode[kindLoad]:
		return "load " + s.wordName(in.K)
	case opcode[kindAnd]:
		return fmt.Sprintf("and %#x", in.K)
	case opJump:
		return fmt.Sprintf("goto %d", pc+1+int(in.K))
	}
	op := map[uint16]string{opcode[kindJEQ]: "==", opcode[kindJGT]: ">", opcode[kindJGE]: ">="}[in.Code]
	if op == "" {
		return fmt.Sprintf("code %#x jt %d jf %d k %#x", in.Code, in.Jt, in.Jf, in.K)
	}
	left := "accumulator"
	if s.acc != accUnknown {
		left = s.wordName(s.acc)
		if s.mask != ^uint32(0) {
			left += fmt.Sprintf(" & %#x", s.mask)
		}
	}
	right := fmt.Sprintf("%#x", in.K)
	switch s.acc {
	case offArch:
		if a := archOfAudit(in.K); a != 0 {
			right = a.String()
		}
	case offNumber:
		right = fmt.Sprintf("%d", in.K)
		a := archOfAudit(s.arch)
		if a == ArchAMD64 && in.K&x32Bit != 0 {
			a = ArchX32
			right = fmt.Sprintf("%#x", in.K)
		}
		if in.K == x32Bit {
			right += " (from here on x32)"
		} else if name := Name(a, in.K); name != "" {
			right += " (" + name + ")"
		}
	}
	return fmt.Sprintf("if %s %s %s then %d else %d", left, op, right, pc+1+int(in.Jt), pc+1+int(in.Jf))
}

func (s state) wordName(offset uint32) string {
	switch {
	case offset == offNumber:
		return "number"
	case offset == offArch:
		return "arch"
	case offset >= offArgs && offset < offArgs+8*maxArgs:
		half := "low"
		if (offset%8 == 4) != archOfAudit(s.arch).info().big {
			half = "high"
		}
		return fmt.Sprintf("args[%d].%s", (offset-offArgs)/8, half)
	}
	return fmt.Sprintf("word at %d", offset)
}

func archOfAudit(audit uint32) Arch {
	if audit == archUnknown || audit == archMixed {
		return 0
	}
	for a := ArchX86; a < archEnd; a++ {
		if archs[a].audit == audit {
			return a
		}
	}
	return 0
}
