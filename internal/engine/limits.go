package engine

import (
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/hostfacts"
)

// rlimitNames has the resources of getrlimit(2) by the name that --ulimit, Docker and Podman use.
var rlimitNames = [...]struct {
	name     string
	resource int
}{
	{"as", hostfacts.RlimitAS},
	{"core", hostfacts.RlimitCore},
	{"cpu", hostfacts.RlimitCPU},
	{"data", hostfacts.RlimitData},
	{"fsize", hostfacts.RlimitFsize},
	{"locks", hostfacts.RlimitLocks},
	{"memlock", hostfacts.RlimitMemlock},
	{"msgqueue", hostfacts.RlimitMsgqueue},
	{"nice", hostfacts.RlimitNice},
	{"nofile", hostfacts.RlimitNofile},
	{"nproc", hostfacts.RlimitNproc},
	{"rss", hostfacts.RlimitRSS},
	{"rtprio", hostfacts.RlimitRtprio},
	{"rttime", hostfacts.RlimitRttime},
	{"sigpending", hostfacts.RlimitSigpending},
	{"stack", hostfacts.RlimitStack},
}

// parseUlimit reads NAME=SOFT[:HARD]. A limit is a number, or -1 or "unlimited".
func parseUlimit(value string) (limit specs.POSIXRlimit, resource int, err error) {
	const flag = "--ulimit"
	name, rest, ok := strings.Cut(value, "=")
	if !ok {
		return limit, 0, badValue(flag, value, "is not NAME=SOFT[:HARD]", "for instance nofile=1024:4096")
	}
	resource = -1
	var names []string
	for _, r := range rlimitNames {
		names = append(names, r.name)
		if r.name == name {
			resource = r.resource
		}
	}
	if resource < 0 {
		return limit, 0, badValue(flag, value, quote(name)+" is not a resource", "use one of "+strings.Join(names, ", "))
	}
	soft, hard, both := strings.Cut(rest, ":")
	if !both {
		hard = soft
	}
	limit.Type = "RLIMIT_" + strings.ToUpper(name)
	if limit.Soft, ok = parseLimit(soft); !ok {
		return limit, 0, badValue(flag, value, "the soft limit "+quote(soft)+" is not a number", "-1 is unlimited")
	}
	if limit.Hard, ok = parseLimit(hard); !ok {
		return limit, 0, badValue(flag, value, "the hard limit "+quote(hard)+" is not a number", "-1 is unlimited")
	}
	if limit.Soft > limit.Hard {
		return limit, 0, badValue(flag, value, "the soft limit is above the hard limit", "swap them, or raise the hard limit")
	}
	return limit, resource, nil
}

func parseLimit(s string) (uint64, bool) {
	if s == "-1" || s == "unlimited" {
		return hostfacts.Unlimited, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && digits(s)
}

// buildUlimits sets the resource limits. What is not asked for is inherited.
func (b *builder) buildUlimits() error {
	seen := map[string]bool{}
	for _, value := range b.o.Ulimits {
		limit, resource, err := parseUlimit(value)
		if err != nil {
			return err
		}
		if seen[limit.Type] {
			return badValue("--ulimit", value, "the resource is given twice", "")
		}
		seen[limit.Type] = true
		_, hard, err := b.h.Rlimit(resource)
		if err != nil {
			return err
		}
		if limit.Hard > hard && !b.h.can(capSysResource) {
			return &Error{
				Op: "raise", Object: "limit " + quote(value), Flag: "--ulimit",
				Cause: fmt.Errorf("your own hard limit is %d, and only CAP_SYS_RESOURCE may go beyond", hard),
				Hint:  "ask for at most that, or raise yours (ulimit -H, /etc/security/limits.conf)",
			}
		}
		b.spec.Process.Rlimits = append(b.spec.Process.Rlimits, limit)
	}
	if b.o.OOMScore.Given {
		n, err := parseInt("--oom-score-adj", b.o.OOMScore.Value, -1000, 1000)
		if err != nil {
			return err
		}
		score := int(n)
		b.spec.Process.OOMScoreAdj = &score
	}
	return nil
}

// resources returns the resources of the specification, made on first use.
func (b *builder) resources() *specs.LinuxResources {
	if b.spec.Linux.Resources == nil {
		b.spec.Linux.Resources = &specs.LinuxResources{}
	}
	return b.spec.Linux.Resources
}

// cpuPeriod is the period of the CPU quota, in microseconds.
const cpuPeriod = 100000

// buildResources sets the cgroup limits.
func (b *builder) buildResources() error {
	if err := b.needCgroup(); err != nil {
		return err
	}
	if v := b.o.PidsLimit; v.Given {
		n, err := parseInt("--pids-limit", v.Value, -1, 1<<22) // PID_MAX_LIMIT
		if err != nil {
			return err
		}
		if n == 0 {
			n = -1 // as in Docker
		}
		b.resources().Pids = &specs.LinuxPids{Limit: &n}
	}
	if err := b.buildMemory(); err != nil {
		return err
	}
	return b.buildCPU()
}

func (b *builder) needCgroup() error {
	if b.h.CgroupWritable {
		return nil
	}
	o := b.o
	for _, f := range [...]struct {
		given bool
		flag  string
	}{
		{o.PidsLimit.Given, "--pids-limit"},
		{o.Memory != "", "--memory"},
		{o.MemorySwap != "", "--memory-swap"},
		{o.MemoryReservation != "", "--memory-reservation"},
		{o.CPUs != "", "--cpus"},
		{o.CPUShares.Given, "--cpu-shares"},
		{o.CPUSetCPUs != "", "--cpuset-cpus"},
	} {
		if !f.given {
			continue
		}
		why := b.h.CgroupReason
		if why == "" {
			why = "gcr may not make a cgroup here"
		}
		e := &Error{Op: "limit", Object: "the container", Flag: f.flag, Cause: text(why)}
		if b.h.rootless() {
			e.Hint = "log in through systemd, which delegates a cgroup (loginctl shows the session), try systemd-run --user --scope -p Delegate=yes gcr run …, or run gcr as root"
		}
		return e
	}
	return nil
}

func (b *builder) buildMemory() error {
	var mem specs.LinuxMemory
	if v := b.o.Memory; v != "" {
		n, err := parseSize("--memory", v)
		if err != nil {
			return err
		}
		mem.Limit = &n
	}
	switch v := b.o.MemorySwap; {
	case v == "-1":
		mem.Swap = int64p(-1)
	case v != "":
		n, err := parseSize("--memory-swap", v)
		if err != nil {
			return err
		}
		if mem.Limit == nil {
			return badValue("--memory-swap", v, "is memory and swap together, and --memory is not given", "give --memory as well")
		}
		if n < *mem.Limit {
			return badValue("--memory-swap", v, "is less than --memory, which it includes", "give at least "+b.o.Memory)
		}
		mem.Swap = &n
	case mem.Limit != nil && b.h.SwapLimit:
		// As much swap as memory, as in Docker and Podman.
		n := *mem.Limit
		if n <= 1<<62 {
			n *= 2
		}
		mem.Swap = &n
	}
	if v := b.o.MemoryReservation; v != "" {
		n, err := parseSize("--memory-reservation", v)
		if err != nil {
			return err
		}
		if mem.Limit != nil && n > *mem.Limit {
			return badValue("--memory-reservation", v, "is more than --memory", "give at most "+b.o.Memory)
		}
		mem.Reservation = &n
	}
	if mem != (specs.LinuxMemory{}) {
		b.resources().Memory = &mem
	}
	return nil
}

func (b *builder) buildCPU() error {
	var cpu specs.LinuxCPU
	if v := b.o.CPUs; v != "" {
		// In units of 10 microseconds of quota for each period: a hundredth of a CPU is 1000.
		quota, err := parseFixed(v, cpuPeriod)
		if err != nil || quota < cpuPeriod/100 || b.h.CPUs > 0 && quota > int64(b.h.CPUs)*cpuPeriod {
			return badValue("--cpus", v, "is not a number of CPUs that this machine can give", fmt.Sprintf("give 0.01 to %d", b.h.CPUs))
		}
		period := uint64(cpuPeriod)
		cpu.Quota, cpu.Period = &quota, &period
	}
	if v := b.o.CPUShares; v.Given {
		n, err := parseInt("--cpu-shares", v.Value, 2, 262144)
		if err != nil {
			return err
		}
		shares := uint64(n)
		cpu.Shares = &shares
	}
	if v := b.o.CPUSetCPUs; v != "" {
		if !isCPUList(v) {
			return badValue("--cpuset-cpus", v, "is not a list of CPUs", "for instance 0-2,5")
		}
		cpu.Cpus = v
	}
	if cpu != (specs.LinuxCPU{}) {
		b.resources().CPU = &cpu
	}
	return nil
}

// isCPUList tells whether s is a list as cpuset(7) has it: numbers and ranges with commas.
func isCPUList(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || !digits(from) || !digits(to) || first > last {
			return false
		}
	}
	return true
}
