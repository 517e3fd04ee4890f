package program

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// arm64 emits AArch64 code. The system call takes its number in x8, arguments in x0 to x5 and returns in x0
// (syscall(2)). x28 holds the address of the slots, w19 keeps the index of a failed call.
type arm64 struct {
	fixups
}

const (
	x0  = 0
	x8  = 8
	x9  = 9  // scratch: values
	x10 = 10 // scratch: addresses
	x19 = 19
	x28 = 28
)

func (e *arm64) op(word uint32) { e.code = binary.LittleEndian.AppendUint32(e.code, word) }

// movNumber loads a 64-bit constant with movz or movn, then movk for what is left.
func (e *arm64) movNumber(reg uint32, v uint64) {
	if int64(v) < 0 && int64(v) >= -0x10000 {
		e.op(0x92800000 | uint32(^v&0xffff)<<5 | reg) // movn
		return
	}
	e.op(0xd2800000 | uint32(v&0xffff)<<5 | reg) // movz
	for i := uint32(1); i < 4; i++ {
		if part := uint32(v>>(16*i)) & 0xffff; part != 0 {
			e.op(0xf2800000 | i<<21 | part<<5 | reg) // movk
		}
	}
}

func (e *arm64) mov(reg uint32, src operand) {
	if src.slot >= 0 {
		e.loadSlot(reg, src.slot)
	} else {
		e.movNumber(reg, src.value)
	}
}

func (e *arm64) loadSlot(reg uint32, slot int) { e.op(0xf9400000 | uint32(slot)<<10 | x28<<5 | reg) } // ldr

func (e *arm64) storeSlot(reg uint32, slot int) { e.op(0xf9000000 | uint32(slot)<<10 | x28<<5 | reg) } // str

func (e *arm64) forget() {} // each report names its call anew

func (e *arm64) prologue(slots uint64) { e.movNumber(x28, slots) }

func (e *arm64) call(nr int, args []operand) {
	for i, a := range args {
		e.mov(uint32(i), a)
	}
	e.movNumber(x8, uint64(nr))
	e.op(0xd4000001) // svc #0
}

func (e *arm64) fake(errno unix.Errno) { e.movNumber(x0, -uint64(errno)) }
func (e *arm64) saveResult(slot int)   { e.storeSlot(x0, slot) }

const (
	condEQ = 0
	condNE = 1
	condLO = 3 // unsigned lower
)

func (e *arm64) bcond(cond uint32, target int) {
	e.use(target)
	e.op(0x54000000 | cond)
}

// cmn compares the register with -v (v below 4096).
func (e *arm64) cmn(reg uint32, v uint32) { e.op(0xb100001f | v<<10 | reg<<5) }

func (e *arm64) branchOK(target int) {
	e.cmn(x0, 4095)
	e.bcond(condLO, target) // errors are the last 4095 numbers
}

func (e *arm64) branchErrno(errno unix.Errno, target int) {
	e.cmn(x0, uint32(errno))
	e.bcond(condEQ, target)
}

func (e *arm64) jump(target int) {
	e.use(target)
	e.op(0x14000000)
}

func (e *arm64) branchIf(slot int, number int64, negate bool, target int) {
	e.loadSlot(x9, slot)
	e.movNumber(x10, uint64(number))
	e.op(0xeb00001f | x10<<16 | x9<<5) // cmp x9, x10
	if negate {
		e.bcond(condNE, target)
	} else {
		e.bcond(condEQ, target)
	}
}

func (e *arm64) branchSame(a, b int, target int) {
	e.loadSlot(x9, a)
	e.loadSlot(x10, b)
	e.op(0xeb00001f | x10<<16 | x9<<5) // cmp x9, x10
	e.bcond(condEQ, target)
}

func (e *arm64) store(src operand, to uint64, size int) {
	e.mov(x9, src)
	e.movNumber(x10, to)
	e.storeAt(x9, x10, size)
}

func (e *arm64) storeAt(reg, base uint32, size int) {
	if size == 8 {
		e.op(0xf9000000 | base<<5 | reg)
	} else {
		e.op(0xb9000000 | base<<5 | reg)
	}
}

func (e *arm64) load(slot int, from uint64) {
	e.movNumber(x10, from)
	e.op(0xb9400000 | x10<<5 | x9) // ldr w9, [x10]
	e.storeSlot(x9, slot)
}

func (e *arm64) set(slot int, src operand) {
	e.mov(x9, src)
	e.storeSlot(x9, slot)
}

func (e *arm64) add(slot int, number int64) {
	e.loadSlot(x9, slot)
	e.movNumber(x10, uint64(number))
	e.op(0x8b000000 | x10<<16 | x9<<5 | x9)
	e.storeSlot(x9, slot)
}

func (e *arm64) check(index, failed int) {
	done := e.newTarget()
	e.branchOK(done)
	e.report(index, failed)
	e.place(done)
}

func (e *arm64) report(index, target int) {
	e.movNumber(x19, uint64(index))
	e.jump(target)
}

func (e *arm64) failurePath(index, errno uint64) {
	e.op(0xcb0003e0 | x0<<16 | x9) // neg x9, x0
	e.movNumber(x10, errno)
	e.storeAt(x9, x10, 4)
	e.movNumber(x10, index)
	e.storeAt(x19, x10, 4)
}

func (e *arm64) finish() ([]byte, error) {
	for _, f := range e.uses {
		to := e.targets[f.target]
		if to < 0 {
			return nil, fmt.Errorf("compile program: jump target %d has no place", f.target)
		}
		word := binary.LittleEndian.Uint32(e.code[f.at:])
		words := (to - f.at) / 4
		if word&0xff000000 == 0x54000000 { // b.cond: 19 bits
			if words >= 1<<18 {
				return nil, fmt.Errorf("compile program: conditional jump over %d instructions is too far", words)
			}
			word |= uint32(words) & 0x7ffff << 5
		} else { // b: 26 bits
			word |= uint32(words) & 0x3ffffff
		}
		binary.LittleEndian.PutUint32(e.code[f.at:], word)
	}
	return e.code, nil
}
