package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Filter is what seccomp(2) needs to install a profile.
type Filter struct {
	// Program is the classic BPF program, in the byte order of the machine.
	Program []unix.SockFilter
	// Flags are the SECCOMP_FILTER_FLAG_* for seccomp(SECCOMP_SET_MODE_FILTER). With
	// SECCOMP_FILTER_FLAG_NEW_LISTENER the call returns a descriptor. SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs
	// Linux 5.19; the others are older than GCR's kernel floor.
	Flags uint32
	// Notify says that some call is handed to an agent: the listener that seccomp(2) returns belongs to the
	// socket at listenerPath of the profile, together with a message made by ProcessState.
	Notify bool
	// Notified are the numbers, on the native architecture, of the calls that may wait for the agent. Whoever
	// installs the filter must not use them before the agent has the listener.
	Notified []uint32
	// Warnings tell of parts of the profile that had no effect, such as names that no architecture knows.
	Warnings []string
}

// compiler carries what the passes share.
type compiler struct {
	*checked
	g       *graph
	match   matcher
	lowered [archEnd]*lowered
}

// Compile turns a profile into a filter for a machine whose own architecture is native (see Native). That
// architecture is always part of the filter, whether the profile lists it or not; an empty list means it alone.
//
// An error names the field of the profile. Names of system calls that no architecture knows are left out with a
// warning, as runc and crun leave them out, because profiles are written for newer and older kernels too.
func Compile(profile *specs.LinuxSeccomp, native Arch) (Filter, error) {
	c, err := check(profile, native)
	if err != nil {
		return Filter{}, err
	}
	cc := &compiler{checked: c, g: newGraph()}
	cc.match.g = cc.g
	for _, a := range c.archs {
		if cc.lowered[a], err = lower(c, a); err != nil {
			return Filter{}, err
		}
	}
	f := Filter{Flags: c.flags, Notify: c.notify, Warnings: c.warnings}
	if f.Program, err = cc.g.program(cc.root()); err != nil {
		return Filter{}, err
	}
	if c.notify {
		f.Notified = cc.lowered[native].notified()
	}
	return f, nil
}

// root builds the whole graph and returns its first node.
func (c *compiler) root() nodeID {
	next := c.g.ret(retBadArch)
	// Built from the last architecture to the first, so that the native one is tested first.
	for i := len(c.archs) - 1; i >= 0; i-- {
		a := c.archs[i]
		var s spans
		switch {
		case a == ArchX32 && c.lowered[ArchAMD64] != nil:
			continue // part of amd64
		case a == ArchX32:
			s = c.numbers(nil, c.lowered[a])
		case a == ArchAMD64:
			s = c.numbers(c.lowered[a], c.lowered[ArchX32])
		default:
			s = c.numbers(c.lowered[a], nil)
		}
		t := c.g.search(s)
		if c.g.nodes[t].kind != kindReturn {
			t = c.g.fresh(node{kind: kindLoad, k: offNumber, t: t})
		}
		if t != next {
			next = c.g.fresh(node{kind: kindJEQ, k: archs[a].audit, t: t, f: next})
		}
	}
	if c.g.nodes[next].kind == kindReturn {
		return next
	}
	return c.g.fresh(node{kind: kindLoad, k: offArch, t: next})
}

func (l *lowered) notified() []uint32 {
	var out []uint32
	for i := range l.verdicts {
		v := &l.verdicts[i]
		hit := v.choice == 0 && v.act == retNotify
		for _, a := range l.alternatives(v) {
			hit = hit || a.act == retNotify
		}
		if hit {
			out = append(out, v.nr)
		}
	}
	return out
}
