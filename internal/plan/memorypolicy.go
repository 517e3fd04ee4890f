package plan

import (
	"fmt"

	"gcr/internal/program"
)

// The modes and mode flags of set_mempolicy(2), include/uapi/linux/mempolicy.h.
var (
	memoryModes = []struct {
		name string
		mode uint64
	}{
		{"MPOL_DEFAULT", 0},
		{"MPOL_PREFERRED", 1},
		{"MPOL_BIND", 2},
		{"MPOL_INTERLEAVE", 3},
		{"MPOL_LOCAL", 4},
		{"MPOL_PREFERRED_MANY", 5},
		{"MPOL_WEIGHTED_INTERLEAVE", 6},
	}
	memoryFlags = []struct {
		name string
		flag uint64
	}{{"MPOL_F_NUMA_BALANCING", 1 << 13}, {"MPOL_F_RELATIVE_NODES", 1 << 14}, {"MPOL_F_STATIC_NODES", 1 << 15}}
)

func (b *builder) memoryPolicy() error {
	m := b.spec.Linux.MemoryPolicy
	if m == nil {
		return nil
	}
	s := memoryPolicy{name: string(m.Mode), nodes: m.Nodes}
	found := false
	for _, k := range memoryModes {
		if k.name == string(m.Mode) {
			s.mode, found = k.mode, true
		}
	}
	if !found {
		return fieldError("linux.memoryPolicy.mode", "plan memory policy", fmt.Sprintf("there is no mode %q", m.Mode), "see set_mempolicy(2)")
	}
	for i, f := range m.Flags {
		found = false
		for _, k := range memoryFlags {
			if k.name == string(f) {
				s.mode |= k.flag
				s.name += "|" + k.name
				found = true
			}
		}
		if !found {
			return fieldError(fmt.Sprintf("linux.memoryPolicy.flags[%d]", i), "plan memory policy", fmt.Sprintf("there is no flag %q", f), "see set_mempolicy(2)")
		}
	}
	if m.Nodes != "" {
		mask, err := parseCPUs(m.Nodes)
		if err != nil {
			return fieldError("linux.memoryPolicy.nodes", "plan memory policy", fmt.Sprintf("%q is no list of memory nodes such as 0-1", m.Nodes), "")
		}
		s.mask = mask
	}
	b.add(s)
	return nil
}

// memoryPolicy says from which memory nodes the process gets its memory.
type memoryPolicy struct {
	name, nodes string
	mode        uint64
	mask        []byte
}

func (s memoryPolicy) Info() Info {
	return Info{What: "set memory policy " + s.name, Field: "linux.memoryPolicy", Man: "set_mempolicy(2)", Why: "on a machine with several memory nodes it says which of them the process's memory comes from"}
}

func (s memoryPolicy) Emit(e *emitter) {
	mask, bits := program.Ref(program.Named(0, "NULL")), int64(0)
	if len(s.mask) > 0 {
		// The kernel takes one bit less than it is told.
		mask, bits = e.Bytes(s.mask, func() string { return "{" + s.nodes + "}" }), int64(len(s.mask)*8+1)
	}
	e.Call(program.SysSetMempolicy, program.Named(s.mode, s.name), mask, program.Num(bits))
}
func (s memoryPolicy) Shell() []string { return nil }
