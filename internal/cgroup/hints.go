package cgroup

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// writeHint says what is known about a value that the kernel refused.
func writeHint(w Write, err error, version int) string {
	name := w.File
	switch {
	case errors.Is(err, ErrNoGroup), denied(err) && !strings.HasPrefix(name, "devices."):
		if strings.HasPrefix(name, "cpu.rt_") {
			return "realtime budgets need CAP_SYS_NICE"
		}
		return delegationHint(version)
	case gone(err):
		switch {
		case strings.HasPrefix(name, "memory.memsw.") || strings.HasPrefix(name, "memory.swap."):
			return "this kernel does not account swap: boot with swapaccount=1, or leave swap out"
		case strings.HasPrefix(name, "blkio.bfq.weight") || name == "io.weight":
			return "this kernel has neither the BFQ scheduler nor io.cost for weights; limit rates with throttle*Device instead"
		case strings.HasPrefix(name, "hugetlb."):
			return "ls /sys/kernel/mm/hugepages shows the page sizes of this machine"
		case errors.Is(err, unix.ENODEV) && (strings.HasPrefix(name, "io.") || strings.HasPrefix(name, "blkio.")):
			return "no block device has that number; name the whole disk, not a partition"
		}
		return "this kernel does not have the file"
	case errors.Is(err, unix.EINVAL):
		switch {
		case strings.HasPrefix(name, "cpu.rt_"):
			return "groups above must have the budget first: see cpu.rt_runtime_us there"
		case name == "memory.memsw.limit_in_bytes":
			return "memory and swap together cannot be less than memory.limit"
		case name == "memory.limit_in_bytes":
			return "the limit cannot be more than memory.swap, which counts both: raise swap too"
		case name == "cpu.cfs_quota_us" || name == "cpu.cfs_period_us":
			return "quota/period cannot be more than that of the groups above, nor burst more than quota"
		case name == "cpu.shares" || name == "cpu.weight":
			return "an idle group takes no weight"
		case strings.HasPrefix(name, "cpuset."):
			return "it must be part of what the groups above have"
		case strings.HasPrefix(name, "devices."):
			return "groups above must allow the device too"
		}
	case errors.Is(err, unix.EPERM) && strings.HasPrefix(name, "devices."):
		return "the group above does not allow it"
	case errors.Is(err, unix.EBUSY) && strings.HasPrefix(name, "memory."):
		return "the group uses more already and nothing can be reclaimed"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC):
		if strings.HasPrefix(name, "cpuset.") {
			return "processes of the group need at least one CPU and one memory node"
		}
	case errors.Is(err, unix.ERANGE) && strings.HasPrefix(name, "cpuset."):
		return "the machine does not have so many"
	}
	return ""
}
