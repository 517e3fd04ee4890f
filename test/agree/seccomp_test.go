package agree

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// probed are calls that the probe makes and can do without.
var probed = []string{
	"getcwd", "mkdirat", "unlinkat", "fchmodat", "fchownat", "mount", "umount2", "ptrace", "unshare", "setns", "keyctl", "sethostname", "personality", "sched_yield", "bpf",
	"perf_event_open", "io_uring_setup", "statx", "clone3", "setuid",
}

func (g *generator) seccomp() {
	if !g.chance(3) {
		return
	}
	f := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	g.s.Linux.Seccomp = f
	if g.chance(2) {
		f.Architectures = pick(g, []specs.Arch{specs.ArchX86_64}, []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32})
	}
	if g.chance(4) {
		f.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}
	}
	pool := append([]string{}, probed...) // a call has one rule
	g.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	for range 1 + g.IntN(4) {
		n := 1 + g.IntN(4)
		call := specs.LinuxSyscall{Names: pool[:n:n], Action: specs.ActErrno}
		pool = pool[n:]
		if g.chance(2) {
			call.ErrnoRet = ptr(uint(pick(g, 1, 13, 38, 95)))
		}
		if g.chance(6) {
			call.Names = append(call.Names, "no_such_call")
		}
		f.Syscalls = append(f.Syscalls, call)
	}
	if g.chance(2) {
		op := pick(g, specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpGreaterEqual)
		f.Syscalls = append(f.Syscalls, specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(97)), Args: []specs.LinuxSeccompArg{{Index: 0, Value: 40, Op: op}},
		})
		if op != specs.OpEqualTo {
			// The probe asks netlink(7) for the network devices.
			f.Syscalls[len(f.Syscalls)-1].Args[0] = specs.LinuxSeccompArg{Index: 0, Value: 0xffff, ValueTwo: 40, Op: specs.OpMaskedEqual}
		}
	}
}
