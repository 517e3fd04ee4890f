package seccomp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxArgs is the number of arguments that a filter sees of a system call.
const maxArgs = 6

// op is a comparison of an argument.
type op uint8

const (
	opNE op = iota + 1
	opLT
	opLE
	opEQ
	opGE
	opGT
	opMasked
)

// cond is one comparison: arg&mask OP value. The mask is all ones except for SCMP_CMP_MASKED_EQ.
type cond struct {
	arg         uint8
	op          op
	mask, value uint64
}

// rule is one alternative for one system call: if every condition holds, act decides.
type rule struct {
	entry int32 // index in syscalls[] of the profile
	call  int32 // index in callNames
	act   action
	// from and to bound its part of checked.conds: sorted by arg, each arg at most once. There are hundreds of rules, and
	// without a pointer in them the garbage collector passes them over.
	from, to int32
}

// checked is a profile whose fields are known to be valid.
type checked struct {
	defaultAction action
	enosys        bool // newer calls get ENOSYS instead of the default action
	archs         []Arch
	rules         []rule
	conds         []cond
	unruled       []int32 // calls that are named by an entry that makes no rule
	flags         uint32
	notify        bool
	warnings      []string
}

// check validates a profile and expands its entries into rules.
func check(p *specs.LinuxSeccomp, native Arch) (*checked, error) {
	if p == nil {
		return nil, errors.New("compile seccomp profile (linux.seccomp): there is none")
	}
	if native == 0 || native >= archEnd {
		return nil, errors.New("compile seccomp profile (linux.seccomp): no system call table for this machine's architecture")
	}
	c := &checked{}
	var err error
	if c.defaultAction, err = parseAction(p.DefaultAction, p.DefaultErrnoRet, "defaultAction", "defaultErrnoRet"); err != nil {
		return nil, err
	}
	if c.defaultAction == retNotify {
		return nil, &ProfileError{"compile seccomp profile", "defaultAction", "SCMP_ACT_NOTIFY would also catch the call that hands the listener over; use it in syscalls[] instead"}
	}
	switch c.defaultAction {
	case retAllow, retLog, retENOSYS:
	default:
		c.enosys = p.DefaultAction != specs.ActTrace
	}
	if c.archs, err = checkArchs(p.Architectures, native); err != nil {
		return nil, err
	}
	n := 0
	for i := range p.Syscalls {
		n += len(p.Syscalls[i].Names)
	}
	c.rules = make([]rule, 0, n)
	for i := range p.Syscalls {
		if err := c.addEntry(&p.Syscalls[i], i); err != nil {
			return nil, err
		}
	}
	if c.notify && p.ListenerPath == "" {
		return nil, &ProfileError{"compile seccomp profile", "listenerPath", "SCMP_ACT_NOTIFY needs the socket of an agent, and no path is given"}
	}
	if err := c.setFlags(p.Flags); err != nil {
		return nil, err
	}
	return c, nil
}

// checkArchs returns the architectures of the filter: the machine's own first (libseccomp always filters it), then
// those of the profile.
func checkArchs(names []specs.Arch, native Arch) ([]Arch, error) {
	var seen [archEnd]bool
	seen[native] = true
	out := append(make([]Arch, 0, 4), native)
	for i, name := range names {
		a, err := ParseArch(string(name))
		if err != nil || archs[a].oci != string(name) {
			return nil, &ProfileError{"compile seccomp profile", fmt.Sprintf("architectures[%d]", i), fmt.Sprintf("%q is not an architecture of the OCI runtime specification", name)}
		}
		if archs[a].big != archs[native].big {
			return nil, &ProfileError{"compile seccomp profile", fmt.Sprintf("architectures[%d]", i), fmt.Sprintf("%s has another byte order than %s; one machine cannot run both", a, native)}
		}
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out, nil
}

func (c *checked) addEntry(e *specs.LinuxSyscall, i int) error {
	if len(e.Names) == 0 {
		return &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d].names", i), "an entry needs at least one name"}
	}
	act, err := parseEntryAction(e, i)
	if err != nil {
		return err
	}
	conds, split, err := checkArgs(e.Args, i)
	if err != nil {
		return err
	}
	from := int32(len(c.conds))
	c.conds = append(c.conds, conds...)
	to := int32(len(c.conds))
	for j, name := range e.Names {
		if name == "" {
			return &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d].names[%d]", i, j), "empty name"}
		}
		call := callIndex(name)
		if act == retNotify && name == "write" {
			return &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d].names[%d]", i, j), "SCMP_ACT_NOTIFY on write would stop the container before the agent has the listener"}
		}
		if call < 0 {
			w := fmt.Sprintf("syscalls[%d].names[%d]: unknown system call %q left out", i, j, name)
			if s := similarName(name); s != "" {
				w += fmt.Sprintf("; did you mean %q?", s)
			}
			c.warnings = append(c.warnings, w)
			continue
		}
		if act == c.defaultAction {
			c.unruled = append(c.unruled, int32(call))
			continue // says what holds anyway
		}
		if act == retNotify {
			c.notify = true
		}
		if !split {
			c.rules = append(c.rules, rule{int32(i), int32(call), act, from, to})
			continue
		}
		for k := from; k < to; k++ {
			c.rules = append(c.rules, rule{int32(i), int32(call), act, k, k + 1})
		}
	}
	return nil
}

func parseEntryAction(e *specs.LinuxSyscall, i int) (action, error) {
	act, err := parseAction(e.Action, e.ErrnoRet, "action", "errnoRet")
	if err != nil {
		// Only now, because the field's name costs more than the rest of a good entry.
		return parseAction(e.Action, e.ErrnoRet, fmt.Sprintf("syscalls[%d].action", i), fmt.Sprintf("syscalls[%d].errnoRet", i))
	}
	return act, nil
}

// checkArgs turns the arguments of an entry into conditions. When an argument occurs twice, runc makes an
// alternative of each condition (split); otherwise all must hold.
func checkArgs(args []specs.LinuxSeccompArg, i int) (conds []cond, split bool, err error) {
	if len(args) == 0 {
		return nil, false, nil
	}
	conds = make([]cond, 0, len(args))
	var seen [maxArgs]bool
	for j, a := range args {
		if a.Index >= maxArgs {
			return nil, false, &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d].args[%d].index", i, j), fmt.Sprintf("%d is not an argument; system calls have arguments 0 to %d", a.Index, maxArgs-1)}
		}
		c := cond{arg: uint8(a.Index), mask: ^uint64(0), value: a.Value}
		switch a.Op {
		case specs.OpNotEqual:
			c.op = opNE
		case specs.OpLessThan:
			c.op = opLT
		case specs.OpLessEqual:
			c.op = opLE
		case specs.OpEqualTo:
			c.op = opEQ
		case specs.OpGreaterEqual:
			c.op = opGE
		case specs.OpGreaterThan:
			c.op = opGT
		case specs.OpMaskedEqual:
			c.op, c.mask, c.value = opMasked, a.Value, a.ValueTwo&a.Value
		default:
			return nil, false, &ProfileError{"compile seccomp profile", fmt.Sprintf("syscalls[%d].args[%d].op", i, j), fmt.Sprintf("%q is not one of SCMP_CMP_NE, LT, LE, EQ, GE, GT, MASKED_EQ", a.Op)}
		}
		split = split || seen[c.arg]
		seen[c.arg] = true
		conds = append(conds, c)
	}
	if !split {
		sortConds(conds)
	}
	return conds, split, nil
}

// sortConds sorts at most six conditions by argument (insertion sort: no closure, no reflection).
func sortConds(c []cond) {
	for i := 1; i < len(c); i++ {
		for j := i; j > 0 && c[j].arg < c[j-1].arg; j-- {
			c[j], c[j-1] = c[j-1], c[j]
		}
	}
}

// flagTSYNC is accepted by every runtime though the specification does not list it.
const flagTSYNC specs.LinuxSeccompFlag = "SECCOMP_FILTER_FLAG_TSYNC"

func (c *checked) setFlags(flags []specs.LinuxSeccompFlag) error {
	if c.notify {
		c.flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for i, f := range flags {
		switch f {
		case flagTSYNC:
			c.flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
			if c.notify {
				// The result is the listener then, and cannot also be the thread that would not follow (Linux 5.7).
				c.flags |= unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
			}
		case specs.LinuxSeccompFlagLog:
			c.flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			c.flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if c.notify {
				c.flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			} else {
				// seccomp(2) refuses it without a listener.
				c.warnings = append(c.warnings, fmt.Sprintf("flags[%d]: %s has no effect without SCMP_ACT_NOTIFY", i, f))
			}
		default:
			return &ProfileError{"compile seccomp profile", fmt.Sprintf("flags[%d]", i), fmt.Sprintf("%q is not one of %s", f, strings.Join([]string{string(flagTSYNC), string(specs.LinuxSeccompFlagLog), string(specs.LinuxSeccompFlagSpecAllow), string(specs.LinuxSeccompFlagWaitKillableRecv)}, ", "))}
		}
	}
	return nil
}
