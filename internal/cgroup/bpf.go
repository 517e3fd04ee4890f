package cgroup

import "encoding/binary"

// bpfCode is an eBPF program under construction: instructions of eight bytes (struct bpf_insn, linux/bpf.h;
// Documentation/bpf/standardization/instruction-set.rst). A library would do it too, but brings along what it takes to
// load compiled programs from ELF files, which costs every start of a runtime a quarter of a millisecond.
// Byte order is that of the machine; GCR emits code for amd64 and arm64 only, both little-endian.
type bpfCode struct {
	code  []byte
	jumps []int // instructions that jump to a place which is not known yet
}

// The instructions that a device filter is made of. W and ALU ones work on 32 bits.
const (
	bpfLoadW  = 0x61 // dst = *(u32 *)(src + off)
	bpfMovReg = 0xbc // dst = src
	bpfMov    = 0xb4 // dst = imm
	bpfAnd    = 0x54 // dst &= imm
	bpfShr    = 0x74 // dst >>= imm
	bpfJeq    = 0x15 // if dst == imm go on at off
	bpfJne    = 0x55 // if dst != imm go on at off
	bpfExit   = 0x95 // return r0
)

// add adds one instruction.
func (b *bpfCode) add(op, dst, src byte, off int16, imm int32) {
	b.code = append(b.code, op, dst|src<<4)
	b.code = binary.LittleEndian.AppendUint16(b.code, uint16(off))
	b.code = binary.LittleEndian.AppendUint32(b.code, uint32(imm))
}

// jump adds a jump to the place that the next call of here marks.
func (b *bpfCode) jump(op, dst byte, imm int32) {
	b.jumps = append(b.jumps, b.len())
	b.add(op, dst, 0, 0, imm)
}

// here is where the open jumps lead.
func (b *bpfCode) here() {
	for _, at := range b.jumps {
		binary.LittleEndian.PutUint16(b.code[8*at+2:], uint16(b.len()-at-1))
	}
	b.jumps = b.jumps[:0]
}

// len is the number of instructions.
func (b *bpfCode) len() int { return len(b.code) / 8 }
