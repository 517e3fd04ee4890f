package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// This file checks values that both versions take, before anything is made.

const resourcesField = "linux.resources."

func checkMemory(m *specs.LinuxMemory) error {
	const f = resourcesField + "memory."
	//lint:ignore SA1019 clients still send kernel, mostly as 0
	kernel := m.Kernel
	for _, v := range []struct {
		name  string
		value *int64
	}{{"limit", m.Limit}, {"reservation", m.Reservation}, {"swap", m.Swap}, {"kernel", kernel}, {"kernelTCP", m.KernelTCP}} {
		if v.value != nil && *v.value < -1 {
			return invalid(f+v.name, itoa(*v.value), "bytes cannot be negative", "-1 means no limit")
		}
	}
	if set(m.Swap) && *m.Swap > 0 {
		switch {
		case set(m.Limit) && *m.Limit == -1:
			return invalid(f+"swap", itoa(*m.Swap), "memory and swap together are limited, but memory alone is not",
				"swap counts both: set limit too, or swap to -1")
		case set(m.Limit) && *m.Swap < *m.Limit:
			return invalid(f+"swap", itoa(*m.Swap), "less than limit "+itoa(*m.Limit), "swap counts memory and swap together")
		}
	}
	if set(m.Limit) && set(m.Reservation) && more(*m.Reservation, *m.Limit) && *m.Reservation != -1 {
		return invalid(f+"reservation", itoa(*m.Reservation), "more than limit "+itoa(*m.Limit), "")
	}
	if m.Swappiness != nil && *m.Swappiness > 200 {
		return invalid(f+"swappiness", utoa(*m.Swappiness), "outside of 0..200", "")
	}
	return nil
}

// set tells that a value is there and asks for something: clients send 0 for "not set".
func set[T int64 | uint64 | uint16](v *T) bool { return v != nil && *v != 0 }

func checkCPU(c *specs.LinuxCPU) error {
	const f = resourcesField + "cpu."
	if set(c.Shares) && (*c.Shares < 2 || *c.Shares > 262144) {
		return invalid(f+"shares", utoa(*c.Shares), "outside of 2..262144", "1024 is one ordinary share")
	}
	if set(c.Quota) && *c.Quota != -1 && *c.Quota < 1000 {
		return invalid(f+"quota", itoa(*c.Quota), "less than 1000 microseconds", "-1 means no limit; quota/period is the number of CPUs")
	}
	if set(c.Period) && (*c.Period < 1000 || *c.Period > 1000000) {
		return invalid(f+"period", utoa(*c.Period), "outside of 1000..1000000 microseconds", "100000 is usual")
	}
	if c.Burst != nil && set(c.Quota) && *c.Quota > 0 && *c.Burst > uint64(*c.Quota) {
		return invalid(f+"burst", utoa(*c.Burst), "more than quota "+itoa(*c.Quota), "")
	}
	if c.RealtimeRuntime != nil && set(c.RealtimePeriod) && *c.RealtimeRuntime > int64(*c.RealtimePeriod) {
		return invalid(f+"realtimeRuntime", itoa(*c.RealtimeRuntime), "more than realtimePeriod "+utoa(*c.RealtimePeriod), "")
	}
	if c.Idle != nil && *c.Idle != 0 && *c.Idle != 1 {
		return invalid(f+"idle", itoa(*c.Idle), "neither 0 nor 1", "")
	}
	if err := checkList(f+"cpus", c.Cpus); err != nil {
		return err
	}
	return checkList(f+"mems", c.Mems)
}

// checkList checks the list format of cpuset files, "0-3,8" (cpusets(7), "List format").
func checkList(field, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(lo, 10, 16)
		b := a
		if err == nil && isRange {
			if i := strings.IndexByte(hi, ':'); i >= 0 { // 0-31:2/16, bitmap_parselist
				hi = hi[:i]
			}
			b, err = strconv.ParseUint(hi, 10, 16)
		}
		if err != nil || b < a {
			return invalid(field, strconv.Quote(s), "not a list such as 0-3,8", "")
		}
	}
	return nil
}

func checkBlockIO(b *specs.LinuxBlockIO) error {
	const f = resourcesField + "blockIO."
	if set(b.Weight) && (*b.Weight < 10 || *b.Weight > 1000) {
		return invalid(f+"weight", itoa(int64(*b.Weight)), "outside of 10..1000", "")
	}
	if set(b.LeafWeight) {
		return invalid(f+"leafWeight", itoa(int64(*b.LeafWeight)), "it needs the CFQ scheduler, which Linux 5.0 removed", "use weight")
	}
	for i, d := range b.WeightDevice {
		f := fmt.Sprintf("%sweightDevice[%d]", f, i)
		if err := checkBlockDevice(f, d.LinuxBlockIODevice); err != nil {
			return err
		}
		if set(d.LeafWeight) {
			return invalid(f+".leafWeight", itoa(int64(*d.LeafWeight)), "it needs the CFQ scheduler, which Linux 5.0 removed", "use weight")
		}
		if set(d.Weight) && (*d.Weight < 10 || *d.Weight > 1000) {
			return invalid(f+".weight", itoa(int64(*d.Weight)), "outside of 10..1000", "")
		}
	}
	for _, t := range throttles(b) {
		for i, d := range t.devices {
			if err := checkBlockDevice(fmt.Sprintf("%s%s[%d]", f, t.name, i), d.LinuxBlockIODevice); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkBlockDevice(field string, d specs.LinuxBlockIODevice) error {
	if d.Major < 0 || d.Major > maxMajor || d.Minor < 0 || d.Minor > maxMinor {
		return invalid(field, fmt.Sprintf("%d:%d", d.Major, d.Minor), "not a device number", "ls -l /dev shows major, minor")
	}
	return nil
}

// throttle is one of the four lists of rate limits.
type throttle struct {
	name, v1File, v2Key string
	devices             []specs.LinuxThrottleDevice
}

func throttles(b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{"throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	}
}

// checkHugepages checks the size format: a power of two with unit KB, MB or GB (config-linux.md, "Huge page limits").
func checkHugepages(limits []specs.LinuxHugepageLimit) error {
	for i, l := range limits {
		digits := strings.TrimRight(l.Pagesize, "KMGB")
		n, err := strconv.ParseUint(digits, 10, 32)
		if unit := l.Pagesize[len(digits):]; err != nil || n == 0 || n&(n-1) != 0 || !slices.Contains([]string{"KB", "MB", "GB"}, unit) {
			return invalid(fmt.Sprintf("%shugepageLimits[%d].pageSize", resourcesField, i), strconv.Quote(l.Pagesize),
				"not a page size such as 2MB", "ls /sys/kernel/mm/hugepages shows what there is")
		}
	}
	return nil
}

// rdmaLines gives the lines of rdma.max, in the order of the device names: the same file on v1 and v2.
func rdmaLines(r map[string]specs.LinuxRdma) ([][2]string, error) {
	var lines [][2]string
	for name, l := range r {
		field := resourcesField + "rdma." + name
		if name == "" || strings.ContainsAny(name, " \n\t\x00") {
			return nil, invalid(resourcesField+"rdma", strconv.Quote(name), "not a device name", "")
		}
		value := name
		if l.HcaHandles != nil {
			value += " hca_handle=" + utoa(uint64(*l.HcaHandles))
		}
		if l.HcaObjects != nil {
			value += " hca_object=" + utoa(uint64(*l.HcaObjects))
		}
		if value != name {
			lines = append(lines, [2]string{field, value})
		}
	}
	slices.SortFunc(lines, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return lines, nil
}

// pidsMax gives the value of pids.max, the same on v1 and v2. 0 becomes 1, as runc does: systemd's
// TasksMax does not take 0, and for a group with a process in it both mean "no fork".
func pidsMax(limit int64) string {
	switch {
	case limit < 0:
		return "max"
	case limit == 0:
		return "1"
	}
	return itoa(limit)
}
