package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// argKind says where the value of an argument comes from when the call is made.
type argKind uint8

const (
	argConst  argKind = iota // the number itself
	argSlot                  // the result of an earlier call
	argROData                // the address of constant bytes
	argRWData                // the address of a buffer
)

// Arg is one argument of a call: a number, the result of an earlier call, or the address of data.
type Arg struct {
	kind  argKind
	form  argForm
	value uint64
	// How the listing shows it, by form. The text is put together only for those who read it, never on the
	// way to starting a container.
	text string
	set  *[]flagName
	show func() string
}

// argForm says how the listing shows an argument.
type argForm uint8

const (
	formNumber argForm = iota
	formText           // text, as it is
	formQuoted         // text, as a string of C
	formOctal
	formHex
	formFlags // the names of set
	formFunc  // what show returns
)

func (a Arg) arg() Arg { return a }

// Ref is anything that can stand as an argument: an [Arg] or an earlier [Call], which stands for its result.
type Ref interface{ arg() Arg }

// CWD is AT_FDCWD: a path argument next to it is taken relative to the working directory (openat(2)).
var CWD = Arg{value: ^uint64(99), form: formText, text: "AT_FDCWD"}

// FD is a descriptor that the program inherits, such as its standard streams or the sync socket.
func FD(n int) Arg { return Arg{value: uint64(n)} }

// Num is a plain number, shown in decimal.
func Num(n int64) Arg { return Arg{value: uint64(n)} }

// Named is a number with the text by which the listing shows it, for instance "PR_SET_NO_NEW_PRIVS".
func Named(n uint64, text string) Arg { return Arg{value: n, form: formText, text: text} }

// opcode distinguishes the few kinds of instruction that a program has.
type opcode uint8

const (
	opCall   opcode = iota
	opLabel         // a place that jumps lead to
	opJump          // go on at the label
	opStore         // write a value into a buffer
	opLoad          // read 32 bits of a buffer into a slot
	opIf            // jump when a slot equals (or differs from) a number
	opIfSame        // jump when two slots are equal
	opAdd           // add a number to a slot
	opSet           // put a value into a slot
)

// instr is kept small, for a program has many: the fields that an opcode does not need stay zero.
type instr struct {
	op     opcode
	negate bool
	slot   int32
	off    int32 // in the writable data
	label  Label
	call   *Call
	src    *Arg
	number int64
}

// Label is a place in the program that [Program.Jump], [Call.OnError] and [Program.If] may lead to. It is
// made by [Program.NewLabel] and put into place by [Program.Bind].
type Label int

// Buffer is writable memory of the program, zero at the start unless it was made with contents.
type Buffer struct {
	off, size int
}

// Program is a list of system calls under construction. The zero value is not usable; call [New].
type Program struct {
	sync    int    // descriptor on which failures are reported
	failure Buffer // the message that reports them
	instrs  []instr
	calls   []*Call
	ro      []byte
	roSeen  map[string]int // constant data -> offset; strings without their NUL
	// Calls and arguments live in a few large pieces instead of many small ones.
	callPiece []Call
	argPiece  []Arg
	rw        []byte // initial contents of the buffers
	slots     int
	scratch   int   // bytes of scratch memory
	labels    []int // label -> index of its instruction, -1 while unbound
	loops     map[Label]bool
	step      int
	waits     int
	errs      []error
}

// New starts a program that reports failures on the descriptor sync.
func New(sync int) *Program {
	// The program of a usual container has some 450 calls and 6 KiB of data.
	p := &Program{
		sync: sync, step: -1, roSeen: make(map[string]int, 128), loops: make(map[Label]bool),
		instrs: make([]instr, 0, 768), calls: make([]*Call, 0, 512), ro: make([]byte, 0, 6<<10), rw: make([]byte, 0, 6<<10),
	}
	p.failure = p.BufferOf(Message{Kind: Failed}.encode())
	return p
}

// Call is one recorded system call.
type Call struct {
	p      *Program
	Index  int // position among the calls of the program; failure reports name it
	Step   int // the step that recorded the call, see [Program.Mark]
	Sys    Sys
	args   []Arg
	result int // slot that receives the result, -1 when nobody needs it
	ignore []unix.Errno
	jumps  []errJump
	fails  unix.Errno // not a call but a check that failed, see Fail
}

type errJump struct {
	errno unix.Errno // 0 stands for every error
	to    Label
}

func (c *Call) arg() Arg {
	if c.result < 0 {
		c.result = c.p.newSlot()
	}
	return Arg{kind: argSlot, value: uint64(c.result)}
}

// Ignore lets the program go on when the call fails with one of the given errors.
func (c *Call) Ignore(errnos ...unix.Errno) *Call {
	c.ignore = append(c.ignore, errnos...)
	return c
}

// OnError makes the program go on at the label when the call fails with errno; errno 0 stands for any error.
func (c *Call) OnError(errno unix.Errno, to Label) *Call {
	c.jumps = append(c.jumps, errJump{errno, to})
	return c
}

// Into stores the result where the result of an earlier call is stored, so that two ways through the
// program can leave the same value.
func (c *Call) Into(earlier *Call) *Call {
	c.result = int(earlier.arg().value)
	return c
}

// Mark says that the calls recorded from now on belong to step n. The number has a meaning for the recorder
// of the program only; -1 stands for none.
func (p *Program) Mark(n int) { p.step = n }

// Calls returns the recorded calls in order; a failure report holds an index into it.
func (p *Program) Calls() []*Call { return p.calls }

// Call records a system call by its table entry; the typed methods of Program are built on it.
func (p *Program) Call(sys Sys, args ...Ref) *Call {
	if len(args) > 6 {
		p.fail("%s takes at most six arguments", sys)
		args = args[:6]
	}
	var list [6]Arg
	for i, a := range args {
		list[i] = a.arg()
	}
	return p.record(sys, list[:len(args)]...)
}

// record is Call for arguments that are there already. They are copied, so that the caller's list can live on
// its stack.
func (p *Program) record(sys Sys, args ...Arg) *Call {
	if len(p.callPiece) == cap(p.callPiece) {
		p.callPiece = make([]Call, 0, 128)
	}
	if cap(p.argPiece)-len(p.argPiece) < len(args) {
		p.argPiece = make([]Arg, 0, 512)
	}
	at := len(p.argPiece)
	p.argPiece = append(p.argPiece, args...)
	p.callPiece = append(p.callPiece, Call{
		p: p, Index: len(p.calls), Step: p.step, Sys: sys, result: -1, args: p.argPiece[at:len(p.argPiece):len(p.argPiece)],
	})
	c := &p.callPiece[len(p.callPiece)-1]
	p.calls = append(p.calls, c)
	p.instrs = append(p.instrs, instr{op: opCall, call: c})
	return c
}

// Fail stops the program with a report, as a call that fails with errno would: for a check that has found
// something wrong. The text says what was checked.
func (p *Program) Fail(errno unix.Errno, text string) *Call {
	c := p.Call(Sys{name: "fail"}, Named(uint64(errno), errnoName(errno)), Named(0, quote(text)))
	c.fails = errno
	return c
}

// NewLabel makes a label that is not in place yet.
func (p *Program) NewLabel() Label {
	p.labels = append(p.labels, -1)
	return Label(len(p.labels) - 1)
}

// Bind puts the label here. A label has one place.
func (p *Program) Bind(l Label) {
	if p.labels[l] >= 0 {
		p.fail("label L%d is bound twice", l)
		return
	}
	p.labels[l] = len(p.instrs)
	p.instrs = append(p.instrs, instr{op: opLabel, label: l})
}

// Jump goes on at the label.
func (p *Program) Jump(to Label) {
	p.instrs = append(p.instrs, instr{op: opJump, label: to})
}

// Forever binds a label here that later instructions may jump back to. It is the only way to build a loop,
// for a program whose purpose is to wait for events for as long as it lives (an init process).
func (p *Program) Forever() Label {
	l := p.NewLabel()
	p.Bind(l)
	p.loops[l] = true
	return l
}

// If jumps to the label when the 64-bit value equals number.
func (p *Program) If(value Ref, number int64, to Label) { p.branch(value, number, to, false) }

// IfNot jumps to the label when the 64-bit value differs from number.
func (p *Program) IfNot(value Ref, number int64, to Label) { p.branch(value, number, to, true) }

func (p *Program) branch(value Ref, number int64, to Label, negate bool) {
	a := value.arg()
	if a.kind != argSlot {
		p.fail("a branch needs a value that is known at run time")
		return
	}
	p.instrs = append(p.instrs, instr{op: opIf, slot: int32(a.value), number: number, label: to, negate: negate})
}

// IfSame jumps to the label when both values, known at run time, are equal.
func (p *Program) IfSame(a, b Ref, to Label) {
	x, y := a.arg(), b.arg()
	if x.kind != argSlot || y.kind != argSlot {
		p.fail("a branch needs values that are known at run time")
		return
	}
	p.instrs = append(p.instrs, instr{op: opIfSame, slot: int32(x.value), src: &y, label: to})
}

// Set makes a value that starts as src; [Program.SetTo] may change it on another way through the program.
func (p *Program) Set(src Ref) Arg {
	slot := Arg{kind: argSlot, value: uint64(p.newSlot())}
	p.SetTo(slot, src)
	return slot
}

// SetTo gives the value a new content.
func (p *Program) SetTo(slot Arg, src Ref) {
	a := src.arg()
	p.instrs = append(p.instrs, instr{op: opSet, slot: int32(slot.value), src: &a})
}

// Add adds number to the value.
func (p *Program) Add(slot Arg, number int64) {
	p.instrs = append(p.instrs, instr{op: opAdd, slot: int32(slot.value), number: number})
}

// Store32 writes the low 32 bits of value into the buffer at offset off, for instance a descriptor into a
// control message (cmsg(3)).
func (p *Program) Store32(b Buffer, off int, value Ref) {
	if off < 0 || off+4 > b.size {
		p.fail("store of 4 bytes at offset %d of a buffer of %d", off, b.size)
		return
	}
	a := value.arg()
	p.instrs = append(p.instrs, instr{op: opStore, src: &a, off: int32(b.off + off)})
}

// Load32 reads 32 bits of the buffer at offset off as an unsigned number.
func (p *Program) Load32(b Buffer, off int) Arg {
	slot := Arg{kind: argSlot, value: uint64(p.newSlot())}
	if off < 0 || off+4 > b.size {
		p.fail("load of 4 bytes at offset %d of a buffer of %d", off, b.size)
		return slot
	}
	p.instrs = append(p.instrs, instr{op: opLoad, slot: int32(slot.value), off: int32(b.off + off)})
	return slot
}

func (p *Program) newSlot() int {
	p.slots++
	return p.slots - 1
}

func (p *Program) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("record program: "+format, args...))
}

// String is the address of a NUL-terminated constant string. A string that holds a NUL byte is an error of
// the program, reported by Compile: the kernel would see a shorter one.
func (p *Program) String(s string) Arg {
	if strings.IndexByte(s, 0) >= 0 {
		p.fail("string %q holds a NUL byte", s)
	}
	off, ok := p.roSeen[s]
	if !ok {
		off = len(p.ro)
		p.ro = append(append(p.ro, s...), 0)
		p.roSeen[s] = off
	}
	return Arg{kind: argROData, form: formQuoted, value: uint64(off), text: s}
}

// Bytes is the address of constant bytes, aligned to eight; show says how the listing shows them.
func (p *Program) Bytes(b []byte, show func() string) Arg {
	return Arg{kind: argROData, form: formFunc, value: p.addBytes(b), show: show}
}

// addBytes adds constant bytes, aligned to eight, once. Their key begins with a NUL byte, which no string has.
func (p *Program) addBytes(b []byte) uint64 {
	key := append(make([]byte, 0, 64), 0)
	key = append(key, b...)
	if off, ok := p.roSeen[string(key)]; ok {
		return uint64(off)
	}
	for len(p.ro)%8 != 0 {
		p.ro = append(p.ro, 0)
	}
	off := len(p.ro)
	p.ro = append(p.ro, b...)
	p.roSeen[string(key)] = off
	return uint64(off)
}

// Pointers is the address of a constant array of addresses, ended by a null pointer as execve(2) wants it.
func (p *Program) Pointers(to []Arg, show func() string) Arg {
	b := make([]byte, 0, 8*len(to)+8)
	for _, a := range to {
		b = binary.LittleEndian.AppendUint64(b, p.AddressOf(a))
	}
	return p.Bytes(binary.LittleEndian.AppendUint64(b, 0), show)
}

// Buffer reserves size zero bytes, aligned to eight.
func (p *Program) Buffer(size int) Buffer { return p.BufferOf(make([]byte, size)) }

// BufferOf reserves writable memory with the given initial contents, aligned to eight.
func (p *Program) BufferOf(b []byte) Buffer {
	for len(p.rw)%8 != 0 {
		p.rw = append(p.rw, 0)
	}
	off := len(p.rw)
	p.rw = append(p.rw, b...)
	return Buffer{off, len(b)}
}

// Scratch reserves size zero bytes, aligned to eight, behind all else that is written: for a large buffer of which little
// is used. Between the others it would spread what is used over more pages.
func (p *Program) Scratch(size int) Buffer {
	b := Buffer{scratchOffset + p.scratch, size}
	p.scratch += (size + 7) / 8 * 8
	return b
}

// writable is the address of the byte at offset off of a buffer, known when everything has been recorded.
func (p *Program) writable(off uint64) uint64 {
	if off < scratchOffset {
		return rwBase + off
	}
	return p.slotBase() + uint64(p.slots)*8 + off - scratchOffset
}

// slotBase is the address of the results of calls: behind the buffers.
func (p *Program) slotBase() uint64 { return rwBase + uint64(len(p.rw)+7)/8*8 }

// At is the address of the byte at offset off of the buffer.
func (b Buffer) At(off int) Arg {
	return Arg{kind: argRWData, form: formFunc, value: uint64(b.off + off), show: func() string {
		if b.off >= scratchOffset {
			return fmt.Sprintf("&scratch+%d", b.off+off-scratchOffset)
		}
		return fmt.Sprintf("&buf+%d", b.off+off)
	}}
}

// AddressOf is the number that the address of a has in the compiled program, for structures that hold
// pointers.
func (p *Program) AddressOf(a Arg) uint64 {
	if a.kind == argRWData && a.value >= scratchOffset {
		p.fail("a pointer to scratch memory, whose place is settled last")
		return 0
	}
	return p.address(a)
}

func (p *Program) address(a Arg) uint64 {
	switch a.kind {
	case argROData:
		return roBase + a.value
	case argRWData:
		return p.writable(a.value)
	}
	p.fail("a pointer to something that has no address")
	return 0
}

// Err returns what is wrong with the recording so far, nil if nothing is.
func (p *Program) Err() error { return errors.Join(p.errs...) }

// check finds mistakes of the recorder: jumps without target and loops that were not asked for.
func (p *Program) check() error {
	errs := slices.Clone(p.errs)
	jump := func(at int, to Label) {
		switch target := p.labels[to]; {
		case target < 0:
			errs = append(errs, fmt.Errorf("record program: label L%d has no place", to))
		case target <= at && !p.loops[to]:
			errs = append(errs, fmt.Errorf("record program: jump back to L%d", to))
		}
	}
	for i, in := range p.instrs {
		switch in.op {
		case opJump, opIf, opIfSame:
			jump(i, in.label)
		case opCall:
			for _, j := range in.call.jumps {
				jump(i, j.to)
			}
		}
	}
	if p.slots > maxSlots {
		errs = append(errs, fmt.Errorf("record program: %d results do not fit (%d do)", p.slots, maxSlots))
	}
	if len(p.ro) > maxROData {
		errs = append(errs, fmt.Errorf("record program: %d bytes of constant data do not fit (%d do)", len(p.ro), maxROData))
	}
	return errors.Join(errs...)
}
