package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// resourcesV2 collects the writes for cgroup v2. The unified map comes last: who speaks the kernel's own
// names has the last word.
func (c *compiler) resourcesV2(r *specs.LinuxResources) error {
	steps := []func() error{
		func() error { return c.devicesV2(r.Devices) },
		func() error { return c.cpuV2(r.CPU) },
		func() error { return c.memoryV2(r.Memory) },
		func() error { return c.pids(r.Pids) },
		func() error { return c.ioV2(r.BlockIO) },
		func() error { return c.hugetlbV2(r.HugepageLimits) },
		func() error { return c.rdma(r.Rdma) },
		func() error { return c.networkV2(r.Network) },
		func() error { return c.unified(r.Unified) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) memoryV2(m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	const f = resourcesField + "memory."
	if err := checkMemory(m); err != nil {
		return err
	}
	switch {
	case set(m.KernelTCP):
		return invalid(f+"kernelTCP", itoa(*m.KernelTCP), "cgroup v2 has no limit for TCP buffers alone", "they count towards limit")
	case m.Swappiness != nil:
		return invalid(f+"swappiness", utoa(*m.Swappiness), "cgroup v2 has no swappiness per group", "leave it out, or limit swap")
	case m.DisableOOMKiller != nil && *m.DisableOOMKiller:
		return invalid(f+"disableOOMKiller", "true", "cgroup v2 always kills when memory runs out", "unified: memory.high slows the group down before that")
	}
	//lint:ignore SA1019 clients still send it, mostly as 0
	if set(m.Kernel) {
		c.note(f+"kernel", "ignored: kernel memory counts towards limit on cgroup v2")
	}
	if m.UseHierarchy != nil && !*m.UseHierarchy {
		c.note(f+"useHierarchy", "ignored: cgroup v2 always accounts hierarchically")
	}
	if set(m.Limit) && *m.Limit > 0 && m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate {
		if usage, ok := c.number("memory.current"); ok && usage > *m.Limit {
			return invalid(f+"limit", itoa(*m.Limit), "the group uses "+itoa(usage)+" bytes already",
				"checkBeforeUpdate refuses what would kill processes")
		}
	}
	swap, err := c.swapMax(m)
	if err != nil {
		return err
	}
	if swap != "" {
		field := f + "swap"
		if !set(m.Swap) {
			field = f + "limit"
		}
		// A kernel without swap has no such file; then there is nothing to limit but a number to refuse.
		c.add("memory", "memory.swap.max", swap, field, "most swap, in bytes: swap - limit").IfExists = swap == "max" || swap == "0"
	}
	if set(m.Limit) {
		c.add("memory", "memory.max", maxOr(*m.Limit), f+"limit", "most memory the group may use, in bytes")
	}
	if set(m.Reservation) {
		c.add("memory", "memory.low", maxOr(*m.Reservation), f+"reservation", "what is left to the group when memory is short, in bytes")
	}
	return nil
}

// swapMax converts OCI's limit on memory and swap together to v2's limit on swap alone; "" leaves it.
func (c *compiler) swapMax(m *specs.LinuxMemory) (string, error) {
	const field = resourcesField + "memory.swap"
	switch {
	case !set(m.Swap):
		if set(m.Limit) && *m.Limit == -1 {
			return "max", nil
		}
		return "", nil
	case *m.Swap == -1:
		return "max", nil
	}
	limit := int64(0)
	if set(m.Limit) {
		limit = *m.Limit
	} else if now, ok := c.number("memory.max"); ok {
		limit = now
	}
	if limit <= 0 {
		return "", invalid(field, itoa(*m.Swap), "memory.limit is not set", "swap counts memory and swap together, so it needs limit")
	}
	if *m.Swap < limit {
		return "", invalid(field, itoa(*m.Swap), "less than limit "+itoa(limit), "swap counts memory and swap together")
	}
	return itoa(*m.Swap - limit), nil
}

func maxOr(n int64) string {
	if n < 0 {
		return "max"
	}
	return itoa(n)
}

func (c *compiler) cpuV2(cpu *specs.LinuxCPU) error {
	if cpu == nil {
		return nil
	}
	const f = resourcesField + "cpu."
	if err := checkCPU(cpu); err != nil {
		return err
	}
	if set(cpu.RealtimeRuntime) || set(cpu.RealtimePeriod) {
		return &Error{
			Op: "use", Object: "a realtime budget", Field: f + "realtimeRuntime", Cause: errors.New("cgroup v2 has none"),
			Hint: "leave realtimeRuntime and realtimePeriod out",
		}
	}
	if cpu.Cpus != "" {
		c.add("cpuset", "cpuset.cpus", cpu.Cpus, f+"cpus", "CPUs the group may run on")
	}
	if cpu.Mems != "" {
		c.add("cpuset", "cpuset.mems", cpu.Mems, f+"mems", "memory nodes the group may use")
	}
	// An idle group refuses a weight: wake it first, send it to sleep last.
	idle := func(when int64) {
		if cpu.Idle != nil && *cpu.Idle == when {
			c.add("cpu", "cpu.idle", itoa(when), f+"idle", "1 runs the group only when nothing else wants the CPU")
		}
	}
	idle(0)
	if set(cpu.Shares) {
		c.add("cpu", "cpu.weight", utoa(CPUWeight(*cpu.Shares)), f+"shares",
			fmt.Sprintf("weight against other groups, 100 is ordinary (from %d shares)", *cpu.Shares))
	}
	idle(1)
	return c.bandwidthV2(cpu)
}

// bandwidthV2 writes cpu.max, which takes quota and period at once, and burst before or after it, so that
// it never exceeds quota.
func (c *compiler) bandwidthV2(cpu *specs.LinuxCPU) error {
	const f = resourcesField + "cpu."
	burst := func() {
		if cpu.Burst != nil {
			c.add("cpu", "cpu.max.burst", utoa(*cpu.Burst), f+"burst", "unused CPU time that may be saved up, in microseconds")
		}
	}
	old, known := c.number("cpu.max.burst")
	lower := known && cpu.Burst != nil && int64(*cpu.Burst) < old
	if lower {
		burst()
	}
	const why = "CPU time in each period, both in microseconds"
	switch {
	case set(cpu.Quota) && set(cpu.Period):
		c.add("cpu", "cpu.max", maxOr(*cpu.Quota)+" "+utoa(*cpu.Period), f+"quota", why)
	case set(cpu.Quota): // the kernel keeps the period
		c.add("cpu", "cpu.max", maxOr(*cpu.Quota), f+"quota", why)
	case set(cpu.Period):
		quota := "max"
		if now, ok := c.number("cpu.max"); ok {
			quota = maxOr(now)
		}
		c.add("cpu", "cpu.max", quota+" "+utoa(*cpu.Period), f+"period", why)
	}
	if !lower {
		burst()
	}
	return nil
}

func (c *compiler) ioV2(b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	const f = resourcesField + "blockIO."
	if err := checkBlockIO(b); err != nil {
		return err
	}
	weight := func(device string, w uint16, field, why string) {
		def := device
		if def == "" {
			def = "default "
		}
		c.add("io", "io.bfq.weight", device+itoa(int64(w)), field, why+" (BFQ scheduler)").IfExists = true
		c.add("io", "io.weight", def+utoa(IOWeight(w)), field, why).Unless = "io.bfq.weight"
	}
	if set(b.Weight) {
		weight("", *b.Weight, f+"weight", "share of disk time against other groups")
	}
	for i, d := range b.WeightDevice {
		if set(d.Weight) {
			weight(fmt.Sprintf("%d:%d ", d.Major, d.Minor), *d.Weight, fmt.Sprintf("%sweightDevice[%d]", f, i), "share of this disk's time")
		}
	}
	for _, t := range throttles(b) {
		for i, d := range t.devices {
			rate := utoa(d.Rate)
			if d.Rate == 0 {
				rate = "max" // v1's 0 lifts the limit; v2 refuses 0
			}
			c.add("io", "io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.v2Key, rate),
				fmt.Sprintf("%s%s[%d]", f, t.name, i), "most per second on this device")
		}
	}
	return nil
}

func (c *compiler) hugetlbV2(limits []specs.LinuxHugepageLimit) error {
	if err := checkHugepages(limits); err != nil {
		return err
	}
	for i, l := range limits {
		field := fmt.Sprintf("%shugepageLimits[%d]", resourcesField, i)
		c.add("hugetlb", "hugetlb."+l.Pagesize+".max", utoa(l.Limit), field, "most huge pages in use, in bytes")
		c.add("hugetlb", "hugetlb."+l.Pagesize+".rsvd.max", utoa(l.Limit), field, "most huge pages reserved, in bytes").IfExists = true
	}
	return nil
}

func (c *compiler) networkV2(n *specs.LinuxNetwork) error {
	if n == nil {
		return nil
	}
	const f = resourcesField + "network."
	if n.ClassID != nil && *n.ClassID != 0 {
		return invalid(f+"classID", utoa(uint64(*n.ClassID)), "cgroup v2 has no net_cls", "match the cgroup in nftables: socket cgroupv2")
	}
	if len(n.Priorities) > 0 {
		return invalid(f+"priorities[0]", n.Priorities[0].Name, "cgroup v2 has no net_prio", "match the cgroup in nftables: socket cgroupv2")
	}
	return nil
}

// unified takes file names and values of cgroup v2 as they are (config-linux.md, "Unified").
func (c *compiler) unified(files map[string]string) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := resourcesField + "unified[" + strconv.Quote(name) + "]"
		controller, _, dot := strings.Cut(name, ".")
		if !dot || controller == "" || strings.ContainsAny(name, "/\n\x00") {
			return invalid(field, strconv.Quote(name), "not the name of a cgroup file such as memory.high", "")
		}
		if name == "cgroup.procs" || name == "cgroup.threads" || name == "cgroup.kill" {
			return invalid(field, strconv.Quote(name), "it moves or kills processes and is no limit", "")
		}
		// A file may take several lines, one write for each (io.max).
		for line := range strings.Lines(files[name]) {
			c.add(controller, name, strings.TrimSuffix(line, "\n"), field, "given in the kernel's own words")
		}
	}
	return nil
}
