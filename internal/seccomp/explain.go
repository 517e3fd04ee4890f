package seccomp

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Explanation says what a profile does with one call, and why.
type Explanation struct {
	// Action is the decision in words: ALLOW, ERRNO EPERM, KILL_THREAD, ….
	Action string
	// Return is the filter's answer, SECCOMP_RET_* with its data.
	Return uint32
	// Entry is the index in syscalls[] of the entry that decides, or -1 when none does.
	Entry int
	// Because names the field of the profile, or the rule of the runtime, that decides.
	Because string
	// Passed lists the alternatives for this call that were tried before and do not match.
	Passed []string
	// Steps is the number of BPF instructions that the kernel runs to come to the decision.
	Steps int
}

// Explain compiles a profile and says which of its rules decides a call.
func Explain(profile *specs.LinuxSeccomp, native Arch, call Call) (Explanation, error) {
	f, err := Compile(profile, native)
	if err != nil {
		return Explanation{}, err
	}
	ret, path, err := Run(f.Program, call)
	if err != nil {
		return Explanation{}, err
	}
	c, err := check(profile, native)
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{Action: action(ret).String(), Return: ret, Entry: -1, Steps: len(path)}
	decided := x.reason(c, call)
	if uint32(decided) != ret {
		return x, fmt.Errorf("explain seccomp profile: the filter answers %s and the rules %s; this is a fault of GCR, please report the profile", action(ret), decided)
	}
	return x, nil
}

// reason walks through the rules, not the program.
func (x *Explanation) reason(c *checked, call Call) action {
	a, nr := call.Arch, call.Number
	// x86-64 is two architectures in one, told apart by bit 30.
	x86 := a.Audit() == ArchAMD64.Audit()
	if x86 {
		a = ArchAMD64
		if nr&x32Bit != 0 {
			a = ArchX32
		}
	}
	call.Arch = a // decides how wide the arguments are
	listed := func(a Arch) bool {
		for _, l := range c.archs {
			if l == a {
				return true
			}
		}
		return false
	}
	skipped := x86 && nr == 1<<32-1
	if !listed(a) {
		switch {
		case skipped && (listed(ArchAMD64) || listed(ArchX32)):
			x.Because = "defaultAction: number -1 is a call that a tracer skips"
			return c.defaultAction
		case a == ArchAMD64 && nr >= x32Bit && listed(ArchX32):
			x.Because = "defaultAction: there is no such call"
			return c.defaultAction
		}
		x.Because = fmt.Sprintf("architectures: %s is not listed", a)
		return retBadArch
	}
	l, err := lower(c, a)
	if err != nil {
		x.Because = err.Error()
		return 0
	}
	if nr == 0 && c.enosys && l.last != 0 && (a == ArchS390 || a == ArchS390X) {
		x.Because = "number 0 stands for calls that the kernel does not know"
		return retENOSYS
	}
	if v := l.find(nr); v != nil {
		return x.verdict(c, l, v, call)
	}
	switch {
	case c.enosys && l.last != 0 && nr > l.last:
		x.Because = fmt.Sprintf("newer than %s (%d), the newest call on %s that the profile names: ENOSYS, so that programs fall back", Name(a, l.last), l.last, a)
		return retENOSYS
	case a == ArchAMD64 && nr >= x32Bit && !listed(ArchX32):
		x.Because = fmt.Sprintf("architectures: %s is not listed", ArchX32)
		return retBadArch
	}
	x.Because = "defaultAction: no entry of syscalls[] names this call with another action"
	return c.defaultAction
}

func (x *Explanation) verdict(c *checked, l *lowered, v *verdict, call Call) action {
	if v.choice == 0 {
		x.Entry = int(c.rules[v.rule].entry)
		x.Because = c.describe(v.rule, nil)
		return v.act
	}
	for _, alt := range l.alternatives(v) {
		if failed := alt.failing(call); failed != nil {
			x.Passed = append(x.Passed, fmt.Sprintf("%s: %s, but %s", c.describe(alt.rule, alt.conds), alt.act, failed.observed(call)))
			continue
		}
		x.Entry = int(c.rules[alt.rule].entry)
		x.Because = c.describe(alt.rule, alt.conds)
		return alt.act
	}
	x.Because = "defaultAction: no entry for this call matches its arguments"
	return c.defaultAction
}

// failing returns the first condition that a call does not meet, or nil.
func (alt *alternative) failing(call Call) *cond {
	for i := range alt.conds {
		if !alt.conds[i].holds(call) {
			return &alt.conds[i]
		}
	}
	return nil
}

func (c *cond) argument(call Call) uint64 {
	v := call.Args[c.arg]
	if !call.Arch.info().wide {
		v = uint64(uint32(v))
	}
	return v
}

func (c *cond) holds(call Call) bool {
	v := c.argument(call) & c.mask
	switch c.op {
	case opNE:
		return v != c.value
	case opLT:
		return v < c.value
	case opLE:
		return v <= c.value
	case opGE:
		return v >= c.value
	case opGT:
		return v > c.value
	default:
		return v == c.value
	}
}

func (c *cond) observed(call Call) string {
	return fmt.Sprintf("args[%d] is %#x", c.arg, c.argument(call))
}

func (c *cond) String() string {
	left := fmt.Sprintf("args[%d]", c.arg)
	if c.op == opMasked {
		left += fmt.Sprintf(" & %#x", c.mask)
	}
	return fmt.Sprintf("%s %s %#x", left, [...]string{opNE: "!=", opLT: "<", opLE: "<=", opEQ: "==", opGE: ">=", opGT: ">", opMasked: "=="}[c.op], c.value)
}

// describe names a rule: syscalls[7] (socket, args[0] == 0xa).
func (c *checked) describe(rule int32, conds []cond) string {
	r := &c.rules[rule]
	words := []string{callNames[r.call]}
	for i := range conds {
		words = append(words, conds[i].String())
	}
	return fmt.Sprintf("syscalls[%d] (%s)", r.entry, strings.Join(words, ", "))
}
