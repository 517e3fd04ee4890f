package cgroup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// request is one question to a device filter.
type request struct {
	kind         byte
	major, minor int64
	access       Access
}

// allowed is the plain meaning of a list of rules: for each way of access the last rule that matches decides.
func allowed(rules []DeviceRule, q request) bool {
	for _, bit := range []Access{Mknod, Read, WriteAccess} {
		if q.access&bit == 0 {
			continue
		}
		ok := false
		for _, r := range rules {
			if (r.Type == 'a' || r.Type == q.kind) && overlap(r.Major, q.major) && overlap(r.Minor, q.minor) && r.Access&bit != 0 {
				ok = r.Allow
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// run interprets the program as the kernel would; it knows the instructions that device filters use.
func run(t *testing.T, prog asm.Instructions, q request) bool {
	t.Helper()
	kind := uint32(1)
	if q.kind == 'c' {
		kind = 2
	}
	var ctx [12]byte
	binary.LittleEndian.PutUint32(ctx[0:], uint32(q.access)<<16|kind)
	binary.LittleEndian.PutUint32(ctx[4:], uint32(q.major))
	binary.LittleEndian.PutUint32(ctx[8:], uint32(q.minor))
	var r [11]uint64
	for pc := 0; ; pc++ {
		if pc >= len(prog) {
			t.Fatalf("the program runs off its end:\n%v", prog)
		}
		ins := prog[pc]
		op := ins.OpCode
		value := uint64(ins.Constant)
		if op.Source() == asm.RegSource {
			value = r[ins.Src]
		}
		switch {
		case op.Class() == asm.LdXClass:
			r[ins.Dst] = uint64(binary.LittleEndian.Uint32(ctx[ins.Offset:]))
		case op.Class() == asm.ALUClass && op.ALUOp() == asm.Mov:
			r[ins.Dst] = uint64(uint32(value))
		case op.Class() == asm.ALUClass && op.ALUOp() == asm.And:
			r[ins.Dst] = uint64(uint32(r[ins.Dst]) & uint32(value))
		case op.Class() == asm.ALUClass && op.ALUOp() == asm.RSh:
			r[ins.Dst] = uint64(uint32(r[ins.Dst]) >> value)
		case op.JumpOp() == asm.Exit:
			return r[0] == 1
		case op.JumpOp() == asm.JNE, op.JumpOp() == asm.JEq:
			if (r[ins.Dst] == value) == (op.JumpOp() == asm.JEq) {
				if ins.Offset < 0 {
					t.Fatalf("jump by %d", ins.Offset)
				}
				pc += int(ins.Offset)
			}
		default:
			t.Fatalf("unknown instruction %v", ins)
		}
	}
}

// disassemble reads the program with the eyes of a BPF library.
func disassemble(t *testing.T, rules []DeviceRule) asm.Instructions {
	t.Helper()
	code := (&DeviceFilter{rules}).program()
	var prog asm.Instructions
	for r := bytes.NewReader(code); r.Len() > 0; {
		var ins asm.Instruction
		if err := ins.Unmarshal(r, binary.LittleEndian, "linux"); err != nil {
			t.Fatalf("%v: %x", err, code)
		}
		prog = append(prog, ins)
	}
	return prog
}

func randomRules(r *rand.Rand) []DeviceRule {
	number := func() int64 { return []int64{wildcard, 1, 2, 3}[r.IntN(4)] }
	rules := []DeviceRule{{r.IntN(4) == 0, 'a', wildcard, wildcard, allAccess}}
	for range r.IntN(8) {
		rules = append(rules, DeviceRule{r.IntN(2) == 0, "bc"[r.IntN(2)], number(), number(), Access(1 + r.IntN(7))})
	}
	return rules
}

func requests() (all []request) {
	for _, kind := range []byte("bc") {
		for major := int64(1); major < 4; major++ {
			for minor := int64(1); minor < 4; minor++ {
				for access := Access(1); access <= allAccess; access++ {
					all = append(all, request{kind, major, minor, access})
				}
			}
		}
	}
	return all
}

// The eBPF program means what the rules mean, for many random lists and every request.
func TestDeviceProgramMeansItsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := requests()
	for range 500 {
		rules := randomRules(random)
		prog := disassemble(t, rules)
		for _, q := range all {
			if got, want := run(t, prog, q), allowed(rules, q); got != want {
				t.Fatalf("%v on %v: %v, want %v\n%v", rules, q, got, want, prog)
			}
		}
	}
}

// The v1 form means what the rules mean too, or says that it cannot.
func TestDeviceStateMeansItsRules(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	all := requests()
	refused := 0
	for range 2000 {
		rules := randomRules(random)
		s, err := deviceStateOf(slices.Clone(rules))
		if err != nil {
			refused++
			continue
		}
		// Played back as the kernel does: one answer and exceptions from it.
		back := []DeviceRule{{s.allow, 'a', wildcard, wildcard, allAccess}}
		for _, e := range s.exceptions {
			back = append(back, DeviceRule{!s.allow, e.Type, e.Major, e.Minor, e.Access})
		}
		for _, q := range all {
			if got, want := allowed(back, q), allowed(rules, q); got != want {
				t.Fatalf("%v became %v: %v is %v, want %v", rules, back, q, got, want)
			}
		}
	}
	if refused == 0 || refused > 1900 {
		t.Errorf("%d of 2000 lists refused", refused)
	}
}

// The kernel's verifier takes every program, also one with very many rules.
func TestVerifierTakesDeviceProgram(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	lists := [][]DeviceRule{nil, {{true, 'a', wildcard, wildcard, allAccess}}, {{false, 'a', wildcard, wildcard, allAccess}}}
	rules, err := deviceRules(nil)
	if err != nil {
		t.Fatal(err)
	}
	lists = append(lists, rules)
	for range 50 {
		lists = append(lists, randomRules(random))
	}
	long := slices.Clone(rules)
	for i := range int64(600) { // a machine with many GPUs or disks
		long = append(long, DeviceRule{true, 'c', 195, i, Read | WriteAccess})
	}
	for _, rules := range append(lists, long) {
		fd, err := (&DeviceFilter{rules}).load()
		if err == unix.EPERM && (os.Geteuid() != 0 || inUserNamespace()) {
			t.Skip("needs CAP_BPF in the initial user namespace")
		}
		if err != nil {
			t.Fatalf("%v: %v", rules, err)
		}
		unix.Close(fd)
	}
}

func TestDeviceProgramGolden(t *testing.T) {
	rules, err := deviceRules(nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/device-program.golden", fmt.Sprint(disassemble(t, rules)))
}
