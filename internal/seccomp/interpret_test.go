package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// data is struct seccomp_data as the interpreter reads it: 32-bit words, each in network byte order.
type data [64]byte

func newData(a Arch, nr uint32, args [6]uint64) data {
	var d data
	binary.BigEndian.PutUint32(d[offNumber:], nr)
	binary.BigEndian.PutUint32(d[offArch:], archs[a].audit)
	for i, v := range args {
		binary.BigEndian.PutUint32(d[argOffset(uint8(i), false, archs[a].big):], uint32(v))
		binary.BigEndian.PutUint32(d[argOffset(uint8(i), true, archs[a].big):], uint32(v>>32))
	}
	return d
}

// machine is a program in the interpreter of golang.org/x/net/bpf, which knows nothing of this package.
type machine struct{ vm *bpf.VM }

func newMachine(t testing.TB, prog []unix.SockFilter) machine {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(prog))
	for i, p := range prog {
		raw[i] = bpf.RawInstruction{Op: p.Code, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("the program has instructions that are not classic BPF: %v", prog)
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatalf("load the program into the interpreter: %v", err)
	}
	return machine{vm}
}

func (m machine) run(t testing.TB, d *data) action {
	t.Helper()
	n, err := m.vm.Run(d[:])
	if err != nil {
		t.Fatalf("run the program: %v", err)
	}
	return action(uint32(n))
}
