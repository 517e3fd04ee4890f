package plan

import (
	"fmt"
	"strconv"
	"strings"

	"gcr/internal/program"
)

// maxCPUs bounds a processor number (NR_CPUS of Linux).
const maxCPUs = 8192

// parseCPUs reads a list such as "0-3,7" (cpuset(7), "List format") as a bit mask in the form that
// sched_setaffinity(2) takes.
func parseCPUs(list string) ([]byte, error) {
	var mask []byte
	for _, part := range strings.Split(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 32)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || last < first || last >= maxCPUs {
			return nil, fmt.Errorf("%q is no list of processors such as 0-3,7", list)
		}
		for n := first; n <= last; n++ {
			for uint64(len(mask)*8) <= n {
				mask = append(mask, make([]byte, 8)...)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	if len(mask) == 0 {
		return nil, fmt.Errorf("%q names no processor", list)
	}
	return mask, nil
}

func (b *builder) initialAffinity() error {
	if a := b.spec.Process.ExecCPUAffinity; a != nil && a.Initial != "" {
		return b.affinity(a.Initial, "process.execCPUAffinity.initial")
	}
	return nil
}

func (b *builder) finalAffinity() error {
	if a := b.spec.Process.ExecCPUAffinity; a != nil && a.Final != "" {
		return b.affinity(a.Final, "process.execCPUAffinity.final")
	}
	return nil
}

// checkAffinity looks at what counts for later processes only.
func (b *builder) checkAffinity() error {
	a := b.spec.Process.ExecCPUAffinity
	if a == nil {
		return nil
	}
	for field, list := range map[string]string{"process.execCPUAffinity.initial": a.Initial, "process.execCPUAffinity.final": a.Final} {
		if list == "" {
			continue
		}
		if _, err := parseCPUs(list); err != nil {
			return fieldError(field, "plan processor affinity", err.Error(), "")
		}
	}
	return nil
}

func (b *builder) affinity(list, field string) error {
	mask, err := parseCPUs(list)
	if err != nil {
		return fieldError(field, "plan processor affinity", err.Error(), "")
	}
	b.add(affinity{mask, list, field})
	return nil
}

// affinity binds the process to processors.
type affinity struct {
	mask        []byte
	list, field string
}

func (s affinity) Info() Info {
	return Info{What: "run on processors " + s.list, Field: s.field, Man: "sched_setaffinity(2)", Why: "on a machine with isolated processors even the few steps into the container should not run on the wrong ones"}
}

func (s affinity) Emit(e *emitter) {
	e.Call(program.SysSchedSetaffinity, program.Num(0), program.Num(int64(len(s.mask))), e.Bytes(s.mask, func() string { return "{" + s.list + "}" }))
}
func (s affinity) Shell() []string { return []string{"taskset -pc " + shellQuote(s.list) + " $$"} }
