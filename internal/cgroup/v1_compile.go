package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// needV1 makes sure that a hierarchy with the controller is mounted.
func (c *compiler) needV1(controller, field string) error {
	if _, ok := c.h.find(controller); ok {
		return nil
	}
	return &Error{
		Op: "use", Object: "controller " + controller, Field: field, Cause: errors.New("no mounted cgroup v1 hierarchy has it"),
		Hint: fmt.Sprintf("mount it, if /proc/cgroups lists it: mount -t cgroup -o %s cgroup /sys/fs/cgroup/%[1]s", controller),
	}
}

// addV1 is add, after the check that the hierarchy is there.
func (c *compiler) addV1(controller, file, value, field, why string) error {
	if err := c.needV1(controller, field); err != nil {
		return err
	}
	c.add(controller, file, value, field, why)
	return nil
}

// resourcesV1 collects the writes for cgroup v1, controller by controller. Devices come first: a group
// that exists but does not limit devices yet must not be entered.
func (c *compiler) resourcesV1(r *specs.LinuxResources) error {
	steps := []func() error{
		func() error { return c.devicesV1(r.Devices) },
		func() error { return c.cpusetV1(r.CPU) },
		func() error { return c.memoryV1(r.Memory) },
		func() error { return c.cpuV1(r.CPU) },
		func() error { return c.pids(r.Pids) },
		func() error { return c.blkioV1(r.BlockIO) },
		func() error { return c.hugetlbV1(r.HugepageLimits) },
		func() error { return c.rdma(r.Rdma) },
		func() error { return c.networkV1(r.Network) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if len(r.Unified) > 0 {
		return invalid(resourcesField+"unified", slices.Min(slices.Collect(maps.Keys(r.Unified))), "this host has cgroup v1", "the unified map needs cgroup v2; use the other fields of linux.resources")
	}
	return nil
}

func (c *compiler) memoryV1(m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	const f = resourcesField + "memory."
	if err := checkMemory(m); err != nil {
		return err
	}
	//lint:ignore SA1019 clients still send it, mostly as 0
	if set(m.Kernel) {
		c.note(f+"kernel", "ignored: kernel memory has no limit of its own since Linux 5.4")
	}
	if m.UseHierarchy != nil && !*m.UseHierarchy {
		c.note(f+"useHierarchy", "ignored: memory is always accounted hierarchically since Linux 5.11")
	}
	limit := func() error {
		if !set(m.Limit) {
			return nil
		}
		return c.addV1("memory", "memory.limit_in_bytes", itoa(*m.Limit), f+"limit", "most memory the group may use, in bytes")
	}
	swap := func() error {
		v, field := m.Swap, f+"swap"
		if !set(v) && set(m.Limit) && *m.Limit == -1 {
			v, field = m.Limit, f+"limit" // no limit on memory means none on memory and swap either
			if _, hasFile := c.current["memory.memsw.limit_in_bytes"]; c.update && !hasFile {
				return nil
			}
		}
		if !set(v) {
			return nil
		}
		if err := c.addV1("memory", "memory.memsw.limit_in_bytes", itoa(*v), field, "most memory and swap together, in bytes"); err != nil {
			return err
		}
		// Without swap accounting there is nothing that the file could lift.
		c.p.Writes[len(c.p.Writes)-1].IfExists = field == f+"limit"
		return nil
	}
	// The kernel keeps limit <= memsw at every instant, so whichever grows must not go ahead of memsw.
	first, second := limit, swap
	now, known := c.number("memory.memsw.limit_in_bytes")
	if known && (set(m.Swap) && more(*m.Swap, now) || set(m.Limit) && more(*m.Limit, now)) {
		first, second = swap, limit
	}
	if err := first(); err != nil {
		return err
	}
	if err := second(); err != nil {
		return err
	}
	if set(m.Reservation) {
		if err := c.addV1("memory", "memory.soft_limit_in_bytes", itoa(*m.Reservation), f+"reservation", "what is left to the group when memory is short, in bytes"); err != nil {
			return err
		}
	}
	if set(m.KernelTCP) {
		if err := c.addV1("memory", "memory.kmem.tcp.limit_in_bytes", itoa(*m.KernelTCP), f+"kernelTCP", "most memory for TCP buffers, in bytes"); err != nil {
			return err
		}
	}
	if m.Swappiness != nil {
		if err := c.addV1("memory", "memory.swappiness", utoa(*m.Swappiness), f+"swappiness", "how readily the kernel swaps: 0 last, 100 like page cache"); err != nil {
			return err
		}
	}
	if m.DisableOOMKiller != nil && (*m.DisableOOMKiller || c.update) {
		value, why := "0", "out of memory, the kernel kills a process"
		if *m.DisableOOMKiller {
			value, why = "1", "out of memory, processes wait instead of being killed"
		}
		return c.addV1("memory", "memory.oom_control", value, f+"disableOOMKiller", why)
	}
	return nil
}

func (c *compiler) cpusetV1(cpu *specs.LinuxCPU) error {
	if cpu == nil {
		return nil
	}
	if err := checkCPU(cpu); err != nil {
		return err
	}
	if cpu.Cpus != "" {
		if err := c.addV1("cpuset", "cpuset.cpus", cpu.Cpus, resourcesField+"cpu.cpus", "CPUs the group may run on"); err != nil {
			return err
		}
	}
	if cpu.Mems != "" {
		return c.addV1("cpuset", "cpuset.mems", cpu.Mems, resourcesField+"cpu.mems", "memory nodes the group may use")
	}
	return nil
}

func (c *compiler) cpuV1(cpu *specs.LinuxCPU) error {
	if cpu == nil {
		return nil
	}
	const f = resourcesField + "cpu."
	if err := c.realtimeV1(cpu); err != nil {
		return err
	}
	idle := func() error {
		if cpu.Idle == nil {
			return nil
		}
		return c.addV1("cpu", "cpu.idle", itoa(*cpu.Idle), f+"idle", "1 runs the group only when nothing else wants the CPU")
	}
	// An idle group refuses shares: wake it first, send it to sleep last.
	if cpu.Idle != nil && *cpu.Idle == 0 {
		if err := idle(); err != nil {
			return err
		}
	}
	if set(cpu.Shares) {
		if err := c.addV1("cpu", "cpu.shares", utoa(*cpu.Shares), f+"shares", "weight against other groups, 1024 is one ordinary share"); err != nil {
			return err
		}
	}
	if cpu.Idle != nil && *cpu.Idle == 1 {
		if err := idle(); err != nil {
			return err
		}
	}
	return c.bandwidthV1(cpu)
}

func (c *compiler) realtimeV1(cpu *specs.LinuxCPU) error {
	const f = resourcesField + "cpu."
	if set(cpu.RealtimePeriod) {
		if err := c.addV1("cpu", "cpu.rt_period_us", utoa(*cpu.RealtimePeriod), f+"realtimePeriod", "period of realtimeRuntime, in microseconds"); err != nil {
			return err
		}
	}
	if set(cpu.RealtimeRuntime) {
		return c.addV1("cpu", "cpu.rt_runtime_us", itoa(*cpu.RealtimeRuntime), f+"realtimeRuntime", "CPU time for realtime tasks in each period, in microseconds")
	}
	return nil
}

// bandwidthV1 writes quota, period and burst in an order whose steps stay within what the groups above
// allow: quota/period must not exceed theirs, and burst must not exceed quota, at every instant.
func (c *compiler) bandwidthV1(cpu *specs.LinuxCPU) error {
	const f = resourcesField + "cpu."
	quota := func() error {
		if !set(cpu.Quota) {
			return nil
		}
		return c.addV1("cpu", "cpu.cfs_quota_us", itoa(*cpu.Quota), f+"quota", "CPU time in each period, in microseconds; -1 is no limit")
	}
	period := func() error {
		if !set(cpu.Period) {
			return nil
		}
		return c.addV1("cpu", "cpu.cfs_period_us", utoa(*cpu.Period), f+"period", "period of quota, in microseconds")
	}
	burst := func() error {
		if cpu.Burst == nil {
			return nil
		}
		return c.addV1("cpu", "cpu.cfs_burst_us", utoa(*cpu.Burst), f+"burst", "unused CPU time that may be saved up, in microseconds")
	}
	first, second := period, quota
	oldQuota, ok1 := c.number("cpu.cfs_quota_us")
	oldPeriod, ok2 := c.number("cpu.cfs_period_us")
	// Two ways lead through (old quota, new period) or (new quota, old period): take the smaller share.
	if ok1 && ok2 && set(cpu.Quota) && set(cpu.Period) && oldPeriod > 0 && *cpu.Quota > 0 {
		if oldQuota < 0 || float64(*cpu.Quota)/float64(oldPeriod) < float64(oldQuota)/float64(*cpu.Period) {
			first, second = quota, period
		}
	}
	order := []func() error{first, second, burst}
	if old, ok := c.number("cpu.cfs_burst_us"); ok && cpu.Burst != nil && int64(*cpu.Burst) < old {
		order = []func() error{burst, first, second}
	}
	for _, step := range order {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// pids is the same on v1 and v2 but for the check of the hierarchy.
func (c *compiler) pids(p *specs.LinuxPids) error {
	if p == nil || p.Limit == nil {
		return nil
	}
	const f = resourcesField + "pids.limit"
	if c.h.Version == 1 {
		if err := c.needV1("pids", f); err != nil {
			return err
		}
	}
	c.add("pids", "pids.max", pidsMax(*p.Limit), f, "most processes and threads")
	return nil
}

func (c *compiler) blkioV1(b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	const f = resourcesField + "blockIO."
	if err := checkBlockIO(b); err != nil {
		return err
	}
	// Linux 5.0 and later have weights in BFQ only; older vendor kernels keep blkio.weight.
	weight := func(suffix, value, field, why string) error {
		if err := c.needV1("blkio", field); err != nil {
			return err
		}
		c.add("blkio", "blkio.weight"+suffix, value, field, why).IfExists = true
		c.add("blkio", "blkio.bfq.weight"+suffix, value, field, why).Unless = "blkio.weight" + suffix
		return nil
	}
	if set(b.Weight) {
		if err := weight("", itoa(int64(*b.Weight)), f+"weight", "share of disk time against other groups, 10..1000"); err != nil {
			return err
		}
	}
	for i, d := range b.WeightDevice {
		if !set(d.Weight) {
			continue
		}
		value := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight)
		if err := weight("_device", value, fmt.Sprintf("%sweightDevice[%d]", f, i), "share of this disk's time"); err != nil {
			return err
		}
	}
	for _, t := range throttles(b) {
		for i, d := range t.devices {
			value := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)
			if err := c.addV1("blkio", t.v1File, value, fmt.Sprintf("%s%s[%d]", f, t.name, i), "most per second on this device; 0 is no limit"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compiler) hugetlbV1(limits []specs.LinuxHugepageLimit) error {
	if err := checkHugepages(limits); err != nil {
		return err
	}
	for i, l := range limits {
		field := fmt.Sprintf("%shugepageLimits[%d]", resourcesField, i)
		if err := c.addV1("hugetlb", "hugetlb."+l.Pagesize+".limit_in_bytes", utoa(l.Limit), field, "most huge pages in use, in bytes"); err != nil {
			return err
		}
		// Reservations are what mmap asks for; without this file (before Linux 5.7) faults kill instead.
		c.add("hugetlb", "hugetlb."+l.Pagesize+".rsvd.limit_in_bytes", utoa(l.Limit), field, "most huge pages reserved, in bytes").IfExists = true
	}
	return nil
}

// rdma is the same on v1 and v2 but for the check of the hierarchy.
func (c *compiler) rdma(r map[string]specs.LinuxRdma) error {
	lines, err := rdmaLines(r)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if c.h.Version == 1 {
			if err := c.needV1("rdma", l[0]); err != nil {
				return err
			}
		}
		c.add("rdma", "rdma.max", l[1], l[0], "most handles and objects of this RDMA device")
	}
	return nil
}

func (c *compiler) networkV1(n *specs.LinuxNetwork) error {
	if n == nil {
		return nil
	}
	const f = resourcesField + "network."
	if n.ClassID != nil && *n.ClassID != 0 {
		if err := c.addV1("net_cls", "net_cls.classid", utoa(uint64(*n.ClassID)), f+"classID", "traffic class of the group's packets"); err != nil {
			return err
		}
	}
	for i, p := range n.Priorities {
		field := fmt.Sprintf("%spriorities[%d]", f, i)
		if p.Name == "" || strings.ContainsAny(p.Name, " \n\x00") {
			return invalid(field+".name", strconv.Quote(p.Name), "not an interface name", "")
		}
		if err := c.addV1("net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority), field, "priority of the group's packets on this interface"); err != nil {
			return err
		}
	}
	return nil
}
