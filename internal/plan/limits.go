package plan

import (
	"encoding/binary"
	"fmt"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// rlimitNumber is the number of a resource by its name in getrlimit(2), -1 for an unknown one.
func rlimitNumber(name string) int {
	for i, n := range [...]string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	} {
		if name == "RLIMIT_"+n {
			return i
		}
	}
	return -1
}

func (b *builder) rlimits() error {
	seen := map[string]bool{}
	for i, r := range b.spec.Process.Rlimits {
		field := fmt.Sprintf("process.rlimits[%d]", i)
		switch {
		case rlimitNumber(r.Type) < 0:
			return fieldError(field+".type", "plan resource limit", fmt.Sprintf("there is no limit %q", r.Type), "use a name of getrlimit(2), such as RLIMIT_NOFILE")
		case seen[r.Type]:
			return fieldError(field+".type", "plan resource limit", r.Type+" is listed twice", "")
		case r.Soft > r.Hard:
			return fieldError(field+".soft", "plan resource limit "+r.Type, fmt.Sprintf("the soft limit %d is above the hard limit %d", r.Soft, r.Hard), "")
		}
		seen[r.Type] = true
		b.add(rlimit{r, field})
	}
	return nil
}

type rlimit struct {
	r     specs.POSIXRlimit
	field string
}

func (s rlimit) Info() Info {
	return Info{What: fmt.Sprintf("limit %s to %s:%s", s.r.Type, limitText(s.r.Soft), limitText(s.r.Hard)), Field: s.field, Why: "a resource limit of the process and what it starts", Man: "getrlimit(2)"}
}

func limitText(v uint64) string {
	if v == ^uint64(0) {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func (s rlimit) Emit(e *emitter) {
	e.Prlimit(rlimitNumber(s.r.Type), s.r.Type, s.r.Soft, s.r.Hard)
}

func (s rlimit) Shell() []string {
	return []string{fmt.Sprintf("prlimit --pid $$ --%s=%s:%s", strings.ToLower(strings.TrimPrefix(s.r.Type, "RLIMIT_")), limitText(s.r.Soft), limitText(s.r.Hard))}
}

func (b *builder) umask() error {
	mask := uint32(0o022)
	if m := b.spec.Process.User.Umask; m != nil {
		if *m > 0o777 {
			return fieldError("process.user.umask", "plan umask", fmt.Sprintf("%o is no umask", *m), "")
		}
		mask = *m
	}
	b.add(umask{mask})
	return nil
}

type umask struct{ mask uint32 }

func (s umask) Info() Info {
	return Info{What: fmt.Sprintf("set umask 0%o", s.mask), Field: "process.user.umask", Why: "so far it was 0, so that everything was made with exactly the mode wanted", Man: "umask(2)"}
}
func (s umask) Emit(e *emitter) { e.Umask(s.mask) }
func (s umask) Shell() []string { return []string{fmt.Sprintf("umask 0%o", s.mask)} }

func (b *builder) scheduling() error {
	p := b.spec.Process
	if s := p.Scheduler; s != nil {
		step, err := newScheduler(*s)
		if err != nil {
			return err
		}
		b.add(step)
	}
	if io := p.IOPriority; io != nil {
		class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[io.Class]
		if !ok {
			return fieldError("process.ioPriority.class", "plan I/O priority", fmt.Sprintf("there is no class %q", io.Class), "use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE")
		}
		if io.Priority < 0 || io.Priority > 7 {
			return fieldError("process.ioPriority.priority", "plan I/O priority", fmt.Sprintf("%d is not between 0 and 7", io.Priority), "")
		}
		b.add(ioPriority{class, io.Priority})
	}
	if p := b.spec.Linux.Personality; p != nil {
		domain, ok := map[specs.LinuxPersonalityDomain]uint64{specs.PerLinux: 0, specs.PerLinux32: 8}[p.Domain]
		if !ok {
			return fieldError("linux.personality.domain", "plan personality", fmt.Sprintf("there is no domain %q", p.Domain), "use LINUX or LINUX32")
		}
		if len(p.Flags) > 0 {
			return fieldError("linux.personality.flags[0]", "plan personality", fmt.Sprintf("there is no flag %q: the specification has none yet", p.Flags[0]), "")
		}
		b.add(personality{domain, string(p.Domain)})
	}
	return nil
}

// scheduler is struct sched_attr of sched_setattr(2).
type scheduler struct {
	policy uint32
	flags  uint64
	s      specs.Scheduler
}

func newScheduler(s specs.Scheduler) (scheduler, error) {
	policies := map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedISO: 4, specs.SchedIdle: 5, specs.SchedDeadline: 6,
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return scheduler{}, fieldError("process.scheduler.policy", "plan scheduler", fmt.Sprintf("there is no policy %q", s.Policy), "use a name of sched(7), such as SCHED_BATCH")
	}
	bits := map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: 1, specs.SchedFlagReclaim: 2, specs.SchedFlagDLOverrun: 4, specs.SchedFlagKeepPolicy: 8,
		specs.SchedFlagKeepParams: 0x10, specs.SchedFlagUtilClampMin: 0x20, specs.SchedFlagUtilClampMax: 0x40,
	}
	out := scheduler{policy: policy, s: s}
	for i, f := range s.Flags {
		bit, ok := bits[f]
		if !ok {
			return scheduler{}, fieldError(fmt.Sprintf("process.scheduler.flags[%d]", i), "plan scheduler", fmt.Sprintf("there is no flag %q", f), "")
		}
		out.flags |= bit
	}
	if s.Policy == specs.SchedDeadline {
		// The order that sched_setattr(2) wants; a period of 0 stands for the deadline.
		switch {
		case s.Runtime > s.Deadline:
			return scheduler{}, fieldError("process.scheduler.runtime", "plan scheduler", fmt.Sprintf("%d ns are more than the deadline, %d ns", s.Runtime, s.Deadline), "")
		case s.Period != 0 && s.Deadline > s.Period:
			return scheduler{}, fieldError("process.scheduler.deadline", "plan scheduler", fmt.Sprintf("%d ns are more than the period, %d ns", s.Deadline, s.Period), "")
		}
	}
	if s.Nice < -20 || s.Nice > 19 {
		return scheduler{}, fieldError("process.scheduler.nice", "plan scheduler", fmt.Sprintf("%d is not between -20 and 19", s.Nice), "")
	}
	if s.Priority < 0 || s.Priority > 99 {
		return scheduler{}, fieldError("process.scheduler.priority", "plan scheduler", fmt.Sprintf("%d is not between 0 and 99", s.Priority), "")
	}
	return out, nil
}

func (s scheduler) Info() Info {
	return Info{What: "set scheduling policy " + string(s.s.Policy), Field: "process.scheduler", Why: "how the kernel shares the processors out", Man: "sched_setattr(2)"}
}

func (s scheduler) Emit(e *emitter) {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 48)
	b = le.AppendUint32(b, s.policy)
	b = le.AppendUint64(b, s.flags)
	b = le.AppendUint32(b, uint32(s.s.Nice))
	b = le.AppendUint32(b, uint32(s.s.Priority))
	b = le.AppendUint64(b, s.s.Runtime)
	b = le.AppendUint64(b, s.s.Deadline)
	b = le.AppendUint64(b, s.s.Period)
	e.Call(program.SysSchedSetattr, program.Num(0), e.Bytes(b, func() string {
		flags := ""
		for _, f := range s.s.Flags {
			flags += ", " + string(f)
		}
		return fmt.Sprintf("{%s%s, nice=%d, priority=%d, runtime=%d, deadline=%d, period=%d}", s.s.Policy, flags, s.s.Nice, s.s.Priority, s.s.Runtime, s.s.Deadline, s.s.Period)
	}), program.Num(0))
}

func (s scheduler) Shell() []string {
	name := strings.ToLower(strings.TrimPrefix(string(s.s.Policy), "SCHED_"))
	return []string{fmt.Sprintf("chrt --%s --pid %d $$", name, s.s.Priority)}
}

type ioPriority struct{ class, priority int }

func (s ioPriority) Info() Info {
	return Info{What: fmt.Sprintf("set I/O priority class %d, level %d", s.class, s.priority), Field: "process.ioPriority", Why: "how the kernel orders this process's disk requests", Man: "ioprio_set(2)"}
}

func (s ioPriority) Emit(e *emitter) {
	e.Call(program.SysIoprioSet, program.Named(1, "IOPRIO_WHO_PROCESS"), program.Num(0), program.Num(int64(s.class<<13|s.priority)))
}

func (s ioPriority) Shell() []string {
	return []string{fmt.Sprintf("ionice -c %d -n %d -p $$", s.class, s.priority)}
}

type personality struct {
	domain uint64
	name   string
}

func (s personality) Info() Info {
	return Info{What: "set execution domain " + s.name, Field: "linux.personality", Why: "LINUX32 makes uname report a 32-bit machine", Man: "personality(2)"}
}

func (s personality) Emit(e *emitter) {
	e.Call(program.SysPersonality, program.Named(s.domain, "PER_"+s.name))
}
func (s personality) Shell() []string { return nil }
