package program

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a [Message] of the program is about.
type Kind uint32

// The messages that a program sends on its sync socket.
const (
	Failed  Kind = iota + 1 // a call failed: Arg is its index, Errno the error
	AtStep                  // step Arg begins; Time is CLOCK_MONOTONIC
	PID                     // Arg is the process's own id, as it sees it
	Ready                   // everything is set up; the program waits for the word to go on
	Console                 // a descriptor comes with the message: the master of the container's terminal
	Hooks                   // the program waits while the host runs the hooks of kind Arg
	Notify                  // a descriptor comes with the message: the seccomp listener
	Forked                  // the program goes on in the child Arg of the same parent (CLONE_PARENT)
	Network                 // the program waits until the host has connected its network namespace
	Devices                 // the program waits while the host moves network devices into its namespace
)

// MessageSize is the size in bytes of every message.
const MessageSize = 32

// FailureStatus is the exit status of a program one of whose calls failed.
const FailureStatus = 125

const (
	messageArg   = 4 // offsets within a message
	messageErrno = 8
	messageTime  = 16
)

// Message is what the program tells the host side: MessageSize bytes on a sequenced-packet socket.
type Message struct {
	Kind  Kind
	Arg   uint32
	Errno uint32
	Time  time.Duration // CLOCK_MONOTONIC, clock_gettime(2)
}

func (m Message) encode() []byte {
	b := make([]byte, MessageSize)
	le := binary.LittleEndian
	le.PutUint32(b, uint32(m.Kind))
	le.PutUint32(b[messageArg:], m.Arg)
	le.PutUint32(b[messageErrno:], m.Errno)
	return b
}

// Decode reads a message that the program sent.
func Decode(b []byte) (Message, error) {
	if len(b) != MessageSize {
		return Message{}, fmt.Errorf("read message of the program: %d bytes instead of %d", len(b), MessageSize)
	}
	le := binary.LittleEndian
	return Message{
		Kind:  Kind(le.Uint32(b)),
		Arg:   le.Uint32(b[messageArg:]),
		Errno: le.Uint32(b[messageErrno:]),
		Time:  time.Duration(le.Uint64(b[messageTime:]))*time.Second + time.Duration(le.Uint64(b[messageTime+8:])),
	}, nil
}

// Send records the sending of a message on the sync socket. It fails when the host side is gone.
func (p *Program) Send(m Message) *Call {
	b := p.BufferOf(m.encode())
	return p.send(b, m)
}

func (p *Program) send(b Buffer, m Message) *Call {
	return p.record(SysSendto, FD(p.sync), Arg{kind: argRWData, form: formFunc, value: uint64(b.off), show: m.text},
		Num(MessageSize), Named(msgNoSignal, "MSG_NOSIGNAL"), Named(0, "NULL"), Num(0))
}

// SendValue sends a message whose Arg is known only when the program runs.
func (p *Program) SendValue(m Message, value Ref) *Call {
	b := p.BufferOf(m.encode())
	p.Store32(b, messageArg, value)
	return p.send(b, m)
}

// SendTime sends a message with the present time of CLOCK_MONOTONIC.
func (p *Program) SendTime(m Message) *Call {
	b := p.BufferOf(m.encode())
	p.record(SysClockGettime, Named(1, "CLOCK_MONOTONIC"), b.At(messageTime))
	return p.send(b, m)
}

// SendFD sends a message together with a descriptor (SCM_RIGHTS, unix(7)).
func (p *Program) SendFD(m Message, fd Ref) *Call {
	le := binary.LittleEndian
	body := p.BufferOf(m.encode())
	iov := make([]byte, 16)
	le.PutUint64(iov, p.AddressOf(body.At(0)))
	le.PutUint64(iov[8:], MessageSize)
	control := make([]byte, 24) // cmsghdr{len 20, SOL_SOCKET, SCM_RIGHTS}, descriptor, padding
	le.PutUint64(control, 20)
	le.PutUint32(control[8:], 1)
	le.PutUint32(control[12:], 1)
	cbuf := p.BufferOf(control)
	p.Store32(cbuf, 16, fd)
	hdr := make([]byte, 56) // struct msghdr, recvmsg(2)
	le.PutUint64(hdr[16:], p.AddressOf(p.Bytes(iov, nil)))
	le.PutUint64(hdr[24:], 1)
	le.PutUint64(hdr[32:], p.AddressOf(cbuf.At(0)))
	le.PutUint64(hdr[40:], 24)
	return p.record(SysSendmsg, FD(p.sync), p.Bytes(hdr, func() string { return fmt.Sprintf("{%s, SCM_RIGHTS=[%s]}", m.text(), fd.arg()) }), Named(msgNoSignal, "MSG_NOSIGNAL"))
}

// Wait waits for one byte from the host side. The program ends when the host side is gone, without a report,
// for there is nobody left to read it.
func (p *Program) Wait() *Call {
	c := p.record(SysRead, FD(p.sync), p.Buffer(8).At(0), Num(1))
	p.waits++
	alive := p.NewLabel()
	p.IfNot(c, 0, alive)
	p.Exit(FailureStatus)
	p.Bind(alive)
	return c
}

// Waits counts the calls of Wait.
func (p *Program) Waits() int { return p.waits }

// AwaitConnection waits until somebody connects to the listening socket and sends a byte. From then on failures
// are reported on that connection, which the sync descriptor has become. One who connects and goes away without
// a word changes nothing.
func (p *Program) AwaitConnection(listener Ref) {
	next := p.Forever()
	null := Named(0, "NULL")
	conn := p.Call(SysAccept4, listener, null, null, Named(sockCloexec, "SOCK_CLOEXEC")).OnError(unix.EINTR, next).OnError(unix.ECONNABORTED, next)
	p.Call(SysDup3, conn, FD(p.sync), Named(unix.O_CLOEXEC, "O_CLOEXEC"))
	p.Close(conn)
	word := p.Call(SysRead, FD(p.sync), p.Buffer(8).At(0), Num(1)).OnError(0, next)
	p.If(word, 0, next)
	p.Close(listener)
}

const sockCloexec = 0x80000

const msgNoSignal = 0x4000

func (k Kind) String() string {
	names := [...]string{Failed: "failed", AtStep: "step", PID: "pid", Ready: "ready", Console: "console", Hooks: "hooks", Notify: "notify", Forked: "forked", Network: "network", Devices: "devices"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

func (m Message) text() string {
	if m.Arg != 0 {
		return fmt.Sprintf("{%s %d}", m.Kind, m.Arg)
	}
	return "{" + m.Kind.String() + "}"
}
