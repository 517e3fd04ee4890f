package program

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// amd64 emits x86-64 code. The system call takes its number in rax, arguments in rdi, rsi, rdx, r10, r8, r9
// and returns in rax; rcx and r11 are lost (syscall(2)). What a created container holds is this code, so it is kept short:
// rbp is zero, from which small numbers are one instruction of three bytes away; r13 points into the slots, so that the
// first 32 of them are within a distance of one byte; ebx counts the calls, for the report about one that fails.
type amd64 struct {
	fixups
	// counted is what ebx holds, -1 where ways meet on which it holds different numbers.
	counted int
	// exit is where the last jump to the failure path is: those near by, which are two bytes long, lead there.
	exit int
	// near is the first of the targets that lie within one call's code, and so within the reach of short jumps.
	near int
}

var amd64Args = [6]byte{7, 6, 2, 10, 8, 9} // rdi rsi rdx r10 r8 r9

const (
	rax = 0
	rbx = 3
	rbp = 5
	r13 = 13
)

// slotsBase is how far r13 is behind the first slot: a distance of one byte has a sign.
const slotsBase = 128

func (e *amd64) prologue(slots uint64) {
	e.near = len(e.targets)
	e.clear(rbp)
	e.clear(rbx)
	e.number(r13, slots+slotsBase)
}

func (e *amd64) forget() { e.counted = -1 }

// prefix is the REX prefix of an instruction with a register and, for r8 to r15 as its base, an address.
func (e *amd64) prefix(wide bool, reg, base byte) {
	rex := reg>>3<<2 | base>>3
	if wide {
		rex |= 8
	}
	if rex != 0 {
		e.code = append(e.code, 0x40|rex)
	}
}

// based encodes an instruction with a register and an address relative to another one, which is rbp or r13.
func (e *amd64) based(wide bool, opcode, reg, base byte, distance int64) {
	e.prefix(wide, reg, base)
	if distance >= math.MinInt8 && distance <= math.MaxInt8 {
		e.code = append(e.code, opcode, 0x40|reg&7<<3|base&7, byte(distance))
		return
	}
	e.code = append(e.code, opcode, 0x80|reg&7<<3|base&7)
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(distance))
}

// slot encodes an instruction with a register and a slot.
func (e *amd64) slot(opcode, reg byte, n int) {
	e.based(true, opcode, reg, r13, int64(n)*8-slotsBase)
}

// mem encodes an instruction with a register and an absolute 32-bit address.
func (e *amd64) mem(wide bool, opcode, reg byte, addr uint64) {
	e.prefix(wide, reg, 0)
	e.code = append(e.code, opcode, reg&7<<3|4, 0x25)
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(addr))
}

func (e *amd64) clear(reg byte) { // xor r32, r32
	e.prefix(false, reg, reg)
	e.code = append(e.code, 0x31, 0xc0|reg&7<<3|reg&7)
}

// number loads a constant, in as few bytes as it takes.
func (e *amd64) number(reg byte, v uint64) {
	const lea = 0x8d
	switch signed := int64(v); {
	case v == 0:
		e.clear(reg)
	case signed >= math.MinInt8 && signed <= math.MaxInt8: // lea r, [rbp+v]; 32 bits clear the upper half
		e.based(signed < 0, lea, reg, rbp, signed)
	case v <= math.MaxUint32: // mov r32, imm32
		e.prefix(false, 0, reg)
		e.code = append(e.code, 0xb8|reg&7)
		e.code = binary.LittleEndian.AppendUint32(e.code, uint32(v))
	case signed < 0 && signed >= math.MinInt32: // mov r64, simm32
		e.prefix(true, 0, reg)
		e.code = append(e.code, 0xc7, 0xc0|reg&7)
		e.code = binary.LittleEndian.AppendUint32(e.code, uint32(v))
	default:
		e.prefix(true, 0, reg)
		e.code = append(e.code, 0xb8|reg&7)
		e.code = binary.LittleEndian.AppendUint64(e.code, v)
	}
}

func (e *amd64) mov(reg byte, src operand) {
	if src.slot >= 0 {
		e.slot(0x8b, reg, src.slot)
	} else {
		e.number(reg, src.value)
	}
}

func (e *amd64) call(nr int, args []operand) {
	for i, a := range args {
		e.mov(amd64Args[i], a)
	}
	e.number(rax, uint64(nr))
	e.code = append(e.code, 0x0f, 0x05)
}

func (e *amd64) fake(errno unix.Errno) { e.number(rax, -uint64(errno)) }

func (e *amd64) saveResult(slot int) { e.slot(0x89, rax, slot) }

func (e *amd64) cmpRAX(v int64) {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		e.code = append(e.code, 0x48, 0x83, 0xf8, byte(v))
		return
	}
	e.code = append(e.code, 0x48, 0x3d)
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(v))
}

// jcc is a jump on a condition, which is named by the second byte of the long form.
func (e *amd64) jcc(cond byte, target int) {
	if target >= e.near {
		e.code = append(e.code, cond-0x10)
		e.use(target)
		e.code = append(e.code, 0)
		return
	}
	e.code = append(e.code, 0x0f, cond)
	e.use(target)
	e.code = append(e.code, 0, 0, 0, 0)
}

// testRAX looks at the sign of a result: no call that a program makes returns a negative number but -errno.
func (e *amd64) testRAX() { e.code = append(e.code, 0x48, 0x85, 0xc0) }

func (e *amd64) branchOK(target int) {
	e.testRAX()
	e.jcc(0x89, target) // jns
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
	e.slot(0x8b, rax, slot)
	e.cmpRAX(number)
	if negate {
		e.jcc(0x85, target)
	} else {
		e.jcc(0x84, target)
	}
}

func (e *amd64) branchSame(a, b int, target int) {
	e.slot(0x8b, rax, a)
	e.slot(0x3b, rax, b) // cmp rax, [b]
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
	e.slot(0x8b, rax, slot)
	e.code = append(e.code, 0x48, 0x05) // add rax, simm32
	e.code = binary.LittleEndian.AppendUint32(e.code, uint32(number))
	e.saveResult(slot)
}

func (e *amd64) check(index, failed int) {
	switch step := index - e.counted; {
	case e.counted < 0 || step < 0 || step > math.MaxInt8:
		e.number(rbx, uint64(index))
	case step == 1:
		e.code = append(e.code, 0xff, 0xc3) // inc ebx
	case step > 1:
		e.code = append(e.code, 0x83, 0xc3, byte(step)) // add ebx, imm8
	}
	e.counted = index
	e.testRAX()
	if back := e.exit - len(e.code) - 2; e.exit > 0 && back >= math.MinInt8 {
		e.code = append(e.code, 0x78, byte(back)) // js
		return
	}
	e.code = append(e.code, 0x79, 5) // jns over the jump, which has five bytes
	e.exit = len(e.code)
	e.jump(failed)
}

// report does not count: what follows is reached on other ways.
func (e *amd64) report(index, target int) {
	e.number(rbx, uint64(index))
	e.exit = len(e.code)
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
		if f.target < e.near {
			binary.LittleEndian.PutUint32(e.code[f.at:], uint32(to-(f.at+4)))
			continue
		}
		distance := to - (f.at + 1)
		if distance > math.MaxInt8 {
			return nil, fmt.Errorf("compile program: what a call does about its errors takes %d bytes, which a short jump cannot skip", distance)
		}
		e.code[f.at] = byte(distance)
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
