package program

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// amd64 emits x86-64 code. The system call takes its number in rax, arguments in rdi, rsi, rdx, r10, r8, r9
// and returns in rax; rcx and r11 are lost (syscall(2)). ebx keeps the index of a failed call.
type amd64 struct {
	fixups
	slots uint64
}

var amd64Args = [6]byte{7, 6, 2, 10, 8, 9} // rdi rsi rdx r10 r8 r9

const (
	rax = 0
	rbx = 3
)

func (e *amd64) prologue(slots uint64) { e.slots = slots }

func (e *amd64) slot(n int) uint64 { return e.slots + uint64(n)*8 }

// mem encodes an instruction with a register and an absolute 32-bit address.
func (e *amd64) mem(rexW bool, opcode, reg byte, addr uint64) {
	var rex byte
	if rexW {
		rex = 0x48
	}
	if reg >= 8 {
		rex |= 0x44
	}
	if rex != 0 {
		e.code = append(e.code, rex)
	}
	e.code = append(e.code, opcode, reg&7<<3|4, 0x25)
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(addr))
}

func (e *amd64) mov(reg byte, src operand) {
	switch {
	case src.slot >= 0:
		e.mem(true, 0x8b, reg, e.slot(src.slot))
	case src.value == 0: // xor r32, r32
		if reg >= 8 {
			e.code = append(e.code, 0x45)
		}
		e.code = append(e.code, 0x31, 0xc0|reg&7<<3|reg&7)
	case src.value <= math.MaxUint32: // mov r32, imm32 clears the upper half
		if reg >= 8 {
			e.code = append(e.code, 0x41)
		}
		e.code = append(e.code, 0xb8|reg&7)
		e.code = binary.LittleEndian.AppendUint32(e.code, uint32(src.value))
	case int64(src.value) < 0 && int64(src.value) >= math.MinInt32: // mov r64, simm32
		e.code = append(e.code, 0x48|reg>>3, 0xc7, 0xc0|reg&7)
		e.code = binary.LittleEndian.AppendUint32(e.code, uint32(src.value))
	default:
		e.code = append(e.code, 0x48|reg>>3, 0xb8|reg&7)
		e.code = binary.LittleEndian.AppendUint64(e.code, src.value)
	}
}

func (e *amd64) call(nr int, args []operand) {
	for i, a := range args {
		e.mov(amd64Args[i], a)
	}
	e.mov(rax, operand{slot: -1, value: uint64(nr)})
	e.code = append(e.code, 0x0f, 0x05)
}

func (e *amd64) fake(errno unix.Errno) { e.mov(rax, operand{slot: -1, value: -uint64(errno)}) }

func (e *amd64) saveResult(slot int) { e.mem(true, 0x89, rax, e.slot(slot)) }

func (e *amd64) cmpRAX(v int64) {
	e.code = append(e.code, 0x48, 0x3d)
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(v))
}

func (e *amd64) jcc(cond byte, target int) {
	e.code = append(e.code, 0x0f, cond)
	e.use(target)
	e.code = append(e.code, 0, 0, 0, 0)
}

func (e *amd64) branchOK(target int) {
	e.cmpRAX(-4095)
	e.jcc(0x82, target) // jb: errors are the last 4095 numbers
}

func (e *amd64) branchErrno(errno unix.Errno, target int) {
	e.cmpRAX(-int64(errno))
	e.jcc(0x84, target)
}

func (e *amd64) jump(target int) {
	e.code = append(e.code, 0xe9)
	e.use(target)
	e.code = append(e.code, 0, 0, 0, 0)
}

func (e *amd64) branchIf(slot int, number int64, negate bool, target int) {
	e.mem(true, 0x8b, rax, e.slot(slot))
	e.cmpRAX(number)
	if negate {
		e.jcc(0x85, target)
	} else {
		e.jcc(0x84, target)
	}
}

func (e *amd64) branchSame(a, b int, target int) {
	e.mem(true, 0x8b, rax, e.slot(a))
	e.mem(true, 0x3b, rax, e.slot(b)) // cmp rax, [b]
	e.jcc(0x84, target)
}

func (e *amd64) store(src operand, to uint64, size int) {
	e.mov(rax, src)
	e.mem(size == 8, 0x89, rax, to)
}

func (e *amd64) load(slot int, from uint64) {
	e.mem(false, 0x8b, rax, from)
	e.saveResult(slot)
}

func (e *amd64) set(slot int, src operand) {
	e.mov(rax, src)
	e.saveResult(slot)
}

func (e *amd64) add(slot int, number int64) {
	e.mem(true, 0x8b, rax, e.slot(slot))
	e.code = append(e.code, 0x48, 0x05) // add rax, simm32
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(number))
	e.saveResult(slot)
}

func (e *amd64) check(index, failed int) {
	e.mov(rbx, operand{slot: -1, value: uint64(index)})
	e.cmpRAX(-4095)
	e.jcc(0x83, failed) // jae
}

func (e *amd64) report(index, target int) {
	e.mov(rbx, operand{slot: -1, value: uint64(index)})
	e.jump(target)
}

func (e *amd64) failurePath(index, errno uint64) {
	e.mem(false, 0x89, rbx, index)
	e.code = append(e.code, 0xf7, 0xd8) // neg eax
	e.mem(false, 0x89, rax, errno)
}

func (e *amd64) finish() ([]byte, error) {
	for _, f := range e.uses {
		to := e.targets[f.target]
		if to < 0 {
			return nil, fmt.Errorf("compile program: jump target %d has no place", f.target)
		}
		binary.LittleEndian.PutUint32(e.code[f.at:], uint32(to-(f.at+4)))
	}
	return e.code, nil
}

// fixups keeps the code and the jumps in it whose distance is known only at the end.
type fixups struct {
	code    []byte
	targets []int // target -> offset of its place, -1 while unknown
	uses    []fixup
}

type fixup struct{ at, target int }

func (f *fixups) newTarget() int {
	f.targets = append(f.targets, -1)
	return len(f.targets) - 1
}

func (f *fixups) place(target int) { f.targets[target] = len(f.code) }

func (f *fixups) use(target int) { f.uses = append(f.uses, fixup{len(f.code), target}) }
