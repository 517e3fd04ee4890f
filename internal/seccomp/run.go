package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Call is a system call as a filter sees it (struct seccomp_data, without the instruction pointer).
type Call struct {
	Arch   Arch
	Number uint32
	Args   [6]uint64
}

// word returns the 32-bit word at an offset of struct seccomp_data.
func (c *Call) word(offset uint32) (uint32, bool) {
	switch {
	case offset == offNumber:
		return c.Number, true
	case offset == offArch:
		return c.Arch.Audit(), true
	case offset < offArgs || offset >= offArgs+8*maxArgs || offset%4 != 0:
		return 0, false
	}
	v := c.Args[(offset-offArgs)/8]
	if high := (offset%8 == 4) != c.Arch.info().big; high {
		v >>= 32
	}
	return uint32(v), true
}

// Run executes a filter for a call as the kernel would, and returns its answer (SECCOMP_RET_* with data) and the
// indices of the instructions that it went through. It knows the instructions that Compile uses and fails on others.
func Run(program []unix.SockFilter, c Call) (ret uint32, path []int, err error) {
	var acc uint32
	for pc := 0; pc < len(program); pc++ {
		path = append(path, pc)
		in := program[pc]
		cond := false
		switch in.Code {
		case opcode[kindReturn]:
			return in.K, path, nil
		case opcode[kindLoad]:
			w, ok := c.word(in.K)
			if !ok {
				return 0, path, fmt.Errorf("run seccomp filter (instruction %d): load from %d, outside struct seccomp_data", pc, in.K)
			}
			acc = w
			continue
		case opcode[kindAnd]:
			acc &= in.K
			continue
		case opJump:
			if in.K > maxProgram {
				return 0, path, fmt.Errorf("run seccomp filter (instruction %d): jump out of the program", pc)
			}
			pc += int(in.K)
			continue
		case opcode[kindJEQ]:
			cond = acc == in.K
		case opcode[kindJGT]:
			cond = acc > in.K
		case opcode[kindJGE]:
			cond = acc >= in.K
		default:
			return 0, path, fmt.Errorf("run seccomp filter (instruction %d): unknown code %#x", pc, in.Code)
		}
		if cond {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, path, fmt.Errorf("run seccomp filter: the program ends without an answer")
}
