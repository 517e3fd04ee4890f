package program

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// The compiled program has two segments: one that is read and executed (ELF header, constant data, code) and
// one that is read and written (buffers, then the results of calls), which is empty in the file. Both lie
// below 2 GiB, so that an address fits into 32 bits, and at fixed places, so that no relocation is needed.
const (
	textBase   = 0x400000
	headerSize = 64 + 3*56 // ELF header and three program headers, elf(5)
	roBase     = textBase + headerSize
	rwBase     = 0x40000000
	maxSlots   = 4096
	// Offsets of buffers from here on are those of scratch memory, whose place is settled last.
	scratchOffset = 1 << 28
	maxROData     = rwBase - roBase - 16<<20
	pageSize      = 64 << 10 // the largest page size of arm64; right for 4 KiB pages as well
)

// Arch is an architecture that programs can be compiled for.
type Arch string

// The architectures that the package emits code for, by their Go names.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// Native is the architecture of the running machine.
const Native = Arch(runtime.GOARCH)

// Option changes what Compile emits.
type Option func(*compileOptions)

type compileOptions struct {
	fail map[int]unix.Errno
	args [6]operand // room for those of one call
}

// FailCall makes the call with the given index fail with errno instead of being made: for tests that need to
// see what happens when any one of them fails.
func FailCall(index int, errno unix.Errno) Option {
	return func(o *compileOptions) { o.fail[index] = errno }
}

// encoder turns instructions into the machine code of one architecture.
type encoder interface {
	// prologue runs once, before the first instruction; results of calls live from address slots on.
	prologue(slots uint64)
	// call loads the arguments, makes the call and leaves the result in the result register.
	call(nr int, args []operand)
	// fake leaves -errno in the result register.
	fake(errno unix.Errno)
	// saveResult writes the result register to the slot.
	saveResult(slot int)
	// branchOK jumps to the target when the result register holds no error.
	branchOK(target int)
	// branchErrno jumps to the target when the result register holds -errno.
	branchErrno(errno unix.Errno, target int)
	jump(target int)
	branchIf(slot int, number int64, negate bool, target int)
	branchSame(a, b int, target int)
	// store writes 4 or 8 bytes of src to the address.
	store(src operand, to uint64, size int)
	load(slot int, from uint64)
	set(slot int, src operand)
	add(slot int, number int64)
	// check jumps to the failure path, as report does, when the result register holds an error.
	check(index, failed int)
	// report keeps the index and the errno of the failed call for the failure path and jumps there.
	report(index, target int)
	// failurePath writes what report kept to the two 32-bit words at index and errno.
	failurePath(index, errno uint64)
	// forget is called where jumps of the program lead to: registers hold what the last instruction has left or what
	// those before a jump have.
	forget()
	newTarget() int
	place(target int)
	finish() ([]byte, error)
}

// operand is an argument whose address is settled: a number, or the slot that holds it.
type operand struct {
	slot  int // -1: number
	value uint64
}

func (p *Program) operand(a Arg) operand {
	switch a.kind {
	case argSlot:
		return operand{slot: int(a.value)}
	case argConst:
		return operand{slot: -1, value: a.value}
	}
	return operand{slot: -1, value: p.address(a)}
}

// Compile emits the program as a static ELF executable for the architecture.
func (p *Program) Compile(arch Arch, opts ...Option) ([]byte, error) {
	o := &compileOptions{fail: map[int]unix.Errno{}}
	for _, opt := range opts {
		opt(o)
	}
	var e encoder
	var machine uint16
	switch arch {
	case AMD64:
		e, machine = &amd64{fixups: p.newFixups()}, 62 // EM_X86_64, elf(5)
	case ARM64:
		e, machine = &arm64{fixups: p.newFixups()}, 183 // EM_AARCH64
	default:
		return nil, fmt.Errorf("compile program: no code generator for %s (amd64 and arm64 have one)", arch)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	targets := make([]int, len(p.labels))
	for i := range targets {
		targets[i] = e.newTarget()
	}
	failed := e.newTarget()
	slots := p.slotBase()
	e.prologue(slots)
	for off := 0; off < len(p.rw); off += 8 {
		var word [8]byte
		copy(word[:], p.rw[off:])
		if v := binary.LittleEndian.Uint64(word[:]); v != 0 {
			e.store(operand{slot: -1, value: v}, rwBase+uint64(off), 8)
		}
	}
	for _, in := range p.instrs {
		switch in.op {
		case opCall:
			p.emitCall(e, arch, in.call, o, targets, failed)
		case opLabel:
			e.place(targets[in.label])
			e.forget()
		case opJump:
			e.jump(targets[in.label])
		case opIf:
			e.branchIf(int(in.slot), in.number, in.negate, targets[in.label])
		case opIfSame:
			e.branchSame(int(in.slot), int(in.src.value), targets[in.label])
		case opStore:
			e.store(p.operand(*in.src), p.writable(uint64(in.off)), 4)
		case opLoad:
			e.load(int(in.slot), p.writable(uint64(in.off)))
		case opSet:
			e.set(int(in.slot), p.operand(*in.src))
		case opAdd:
			e.add(int(in.slot), in.number)
		}
	}
	// A program that runs off its end has become nothing else: that ends the process.
	exit := func(code uint64) {
		e.call(SysExitGroup.Number(arch), []operand{{slot: -1, value: code}})
	}
	exit(0)
	e.place(failed)
	msg := p.address(p.failure.At(0))
	e.failurePath(msg+messageArg, msg+messageErrno)
	e.call(SysSendto.Number(arch), []operand{
		{slot: -1, value: uint64(p.sync)},
		{slot: -1, value: msg},
		{slot: -1, value: MessageSize},
		{slot: -1, value: unix.MSG_NOSIGNAL},
		{slot: -1},
		{slot: -1},
	})
	exit(FailureStatus)
	text, err := e.finish()
	if err != nil {
		return nil, err
	}
	return p.link(machine, text, p.writable(scratchOffset+uint64(p.scratch))-rwBase), nil
}

// newFixups makes room for the code of the program: about 50 bytes and two places to jump to for each call.
func (p *Program) newFixups() fixups {
	n := len(p.calls) + 16
	return fixups{code: make([]byte, 0, 56*n), targets: make([]int, 0, 2*n+len(p.labels)), uses: make([]fixup, 0, 3*n)}
}

func (p *Program) emitCall(e encoder, arch Arch, c *Call, o *compileOptions, targets []int, failed int) {
	if errno, ok := o.fail[c.Index]; ok {
		e.fake(errno)
	} else if c.fails != 0 {
		e.fake(c.fails)
	} else {
		args := o.args[:len(c.args)]
		for i, a := range c.args {
			args[i] = p.operand(a)
		}
		e.call(c.Sys.Number(arch), args)
	}
	if len(c.ignore) == 0 && len(c.jumps) == 0 { // the usual case has the shortest code
		e.check(c.Index, failed)
		if c.result >= 0 {
			e.saveResult(c.result)
		}
		return
	}
	done, next := e.newTarget(), e.newTarget()
	e.branchOK(done)
	for _, errno := range c.ignore {
		e.branchErrno(errno, next)
	}
	caught := false
	for _, j := range c.jumps {
		if j.errno == 0 {
			e.jump(targets[j.to])
			caught = true
			break
		}
		e.branchErrno(j.errno, targets[j.to])
	}
	if !caught {
		e.report(c.Index, failed)
	}
	e.place(done)
	if c.result >= 0 {
		e.saveResult(c.result)
	}
	e.place(next)
}

// link puts header, constant data and code into one file; rwSize is the size in bytes of the writable
// segment, which the kernel fills with zeros.
func (p *Program) link(machine uint16, text []byte, rwSize uint64) []byte {
	ro := p.ro
	for len(ro)%16 != 0 {
		ro = append(ro, 0)
	}
	le := binary.LittleEndian
	size := headerSize + len(ro) + len(text)
	out := make([]byte, 0, size)
	out = append(out, 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	out = le.AppendUint16(out, 2) // ET_EXEC
	out = le.AppendUint16(out, machine)
	out = le.AppendUint32(out, 1)
	out = le.AppendUint64(out, uint64(roBase+len(ro))) // entry
	out = le.AppendUint64(out, 64)                     // program headers follow
	out = le.AppendUint64(out, 0)                      // no sections
	out = le.AppendUint32(out, 0)
	for _, v := range []uint16{64, 56, 3, 64, 0, 0} {
		out = le.AppendUint16(out, v)
	}
	const load, stack, r, w, x = 1, 0x6474e551, 4, 2, 1
	segment := func(kind, flags uint32, addr, file, mem uint64) {
		out = le.AppendUint32(out, kind)
		out = le.AppendUint32(out, flags)
		for _, v := range []uint64{0, addr, addr, file, mem, pageSize} {
			out = le.AppendUint64(out, v)
		}
	}
	segment(load, r|x, textBase, uint64(size), uint64(size))
	segment(load, r|w, rwBase, 0, max(rwSize, 8))
	segment(stack, r|w, 0, 0, 0)
	out = append(out, ro...)
	return append(out, text...)
}
