package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gcr/test/fields"
	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A limitTest sets a field of linux.resources and says which file of the cgroup has which value then, for each version
// of cgroups; a version without the file has no such thing.
type limitTest struct {
	edit   func(*specs.LinuxResources)
	v1, v2 limitFile
}

type limitFile struct{ controller, name, value string }

func memory(m specs.LinuxMemory) func(*specs.LinuxResources) {
	return func(r *specs.LinuxResources) { r.Memory = &m }
}

func processor(c specs.LinuxCPU) func(*specs.LinuxResources) {
	return func(r *specs.LinuxResources) { r.CPU = &c }
}

const mib = int64(1 << 20)

func limitTests() map[string]limitTest {
	n, u := ptr[int64], ptr[uint64]
	out := map[string]limitTest{
		"memory.limit":            {memory(specs.LinuxMemory{Limit: n(64 * mib)}), limitFile{"memory", "memory.limit_in_bytes", "67108864"}, limitFile{"memory", "memory.max", "67108864"}},
		"memory.reservation":      {memory(specs.LinuxMemory{Reservation: n(32 * mib)}), limitFile{"memory", "memory.soft_limit_in_bytes", "33554432"}, limitFile{"memory", "memory.low", "33554432"}},
		"memory.swap":             {memory(specs.LinuxMemory{Limit: n(64 * mib), Swap: n(96 * mib)}), limitFile{"memory", "memory.memsw.limit_in_bytes", "100663296"}, limitFile{"memory", "memory.swap.max", "33554432"}},
		"memory.kernelTCP":        {edit: memory(specs.LinuxMemory{KernelTCP: n(mib)}), v1: limitFile{"memory", "memory.kmem.tcp.limit_in_bytes", "1048576"}},
		"memory.swappiness":       {edit: memory(specs.LinuxMemory{Swappiness: u(17)}), v1: limitFile{"memory", "memory.swappiness", "17"}},
		"memory.disableOOMKiller": {edit: memory(specs.LinuxMemory{Limit: n(64 * mib), DisableOOMKiller: ptr(true)}), v1: limitFile{"memory", "memory.oom_control", "oom_kill_disable 1"}},
		"cpu.shares":              {processor(specs.LinuxCPU{Shares: u(512)}), limitFile{"cpu", "cpu.shares", "512"}, limitFile{"cpu", "cpu.weight", "59"}},
		"cpu.quota":               {processor(specs.LinuxCPU{Quota: n(50000)}), limitFile{"cpu", "cpu.cfs_quota_us", "50000"}, limitFile{"cpu", "cpu.max", "50000 100000"}},
		"cpu.period":              {processor(specs.LinuxCPU{Quota: n(50000), Period: u(200000)}), limitFile{"cpu", "cpu.cfs_period_us", "200000"}, limitFile{"cpu", "cpu.max", "50000 200000"}},
		"cpu.burst":               {processor(specs.LinuxCPU{Quota: n(50000), Burst: u(20000)}), limitFile{"cpu", "cpu.cfs_burst_us", "20000"}, limitFile{"cpu", "cpu.max.burst", "20000"}},
		"cpu.realtimeRuntime":     {edit: processor(specs.LinuxCPU{RealtimeRuntime: n(10000)}), v1: limitFile{"cpu", "cpu.rt_runtime_us", "10000"}},
		"cpu.realtimePeriod":      {edit: processor(specs.LinuxCPU{RealtimePeriod: u(500000)}), v1: limitFile{"cpu", "cpu.rt_period_us", "500000"}},
		"cpu.cpus":                {processor(specs.LinuxCPU{Cpus: "0"}), limitFile{"cpuset", "cpuset.cpus", "0"}, limitFile{"cpuset", "cpuset.cpus", "0"}},
		"cpu.mems":                {edit: processor(specs.LinuxCPU{Mems: "0"}), v2: limitFile{"cpuset", "cpuset.mems", "0"}},
		"cpu.idle":                {processor(specs.LinuxCPU{Idle: n(1)}), limitFile{"cpu", "cpu.idle", "1"}, limitFile{"cpu", "cpu.idle", "1"}},
		"pids.limit":              {func(r *specs.LinuxResources) { r.Pids = &specs.LinuxPids{Limit: n(77)} }, limitFile{"pids", "pids.max", "77"}, limitFile{"pids", "pids.max", "77"}},
		"unified":                 {edit: func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.high": "33554432"} }, v2: limitFile{"memory", "memory.high", "33554432"}},
	}
	huge := func(r *specs.LinuxResources) {
		r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
	}
	for _, f := range []string{"pageSize", "limit"} {
		out["hugepageLimits[]."+f] = limitTest{huge, limitFile{"hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"}, limitFile{"hugetlb", "hugetlb.2MB.max", "4194304"}}
	}
	// The limits of a disk count for a real one only.
	major, minor := disk()
	for field, kind := range map[string]struct{ v1, v2 string }{
		"throttleReadBpsDevice": {"read_bps", "rbps"}, "throttleWriteBpsDevice": {"write_bps", "wbps"}, "throttleReadIOPSDevice": {"read_iops", "riops"}, "throttleWriteIOPSDevice": {"write_iops", "wiops"},
	} {
		d := specs.LinuxThrottleDevice{Rate: 1048576}
		d.Major, d.Minor = major, minor
		edit := func(r *specs.LinuxResources) {
			r.BlockIO = &specs.LinuxBlockIO{}
			*map[string]*[]specs.LinuxThrottleDevice{
				"throttleReadBpsDevice": &r.BlockIO.ThrottleReadBpsDevice, "throttleWriteBpsDevice": &r.BlockIO.ThrottleWriteBpsDevice,
				"throttleReadIOPSDevice": &r.BlockIO.ThrottleReadIOPSDevice, "throttleWriteIOPSDevice": &r.BlockIO.ThrottleWriteIOPSDevice,
			}[field] = []specs.LinuxThrottleDevice{d}
		}
		for _, f := range []string{"major", "minor", "rate"} {
			out["blockIO."+field+"[]."+f] = limitTest{
				edit,
				limitFile{"blkio", "blkio.throttle." + kind.v1 + "_device", fmt.Sprintf("%d:%d 1048576", major, minor)},
				limitFile{"io", "io.max", kind.v2 + "=1048576"},
			}
		}
	}
	return out
}

// disk finds a disk whose number has no zero in it, if there is one.
func disk() (major, minor int64) {
	names, _ := filepath.Glob("/sys/block/*/dev")
	slices.Reverse(names) // vda before loop0
	for _, name := range names {
		data, _ := os.ReadFile(name)
		var a, b int64
		if _, err := fmt.Sscanf(string(data), "%d:%d", &a, &b); err == nil && (major == 0 || minor == 0) {
			major, minor = a, b
		}
	}
	return major, minor
}

// cgroupFile finds a file in the cgroup of a process; there is none without the controller.
func cgroupFile(pid int, f limitFile) (string, int) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	version := 1
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		version = 2
	}
	for l := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
		part := strings.SplitN(l, ":", 3)
		switch {
		case len(part) != 3:
		case version == 2 && part[1] == "":
			return filepath.Join("/sys/fs/cgroup", part[2], f.name), version
		case version == 1 && slices.Contains(strings.Split(part[1], ","), f.controller):
			return filepath.Join("/sys/fs/cgroup", part[1], part[2], f.name), version
		}
	}
	return "", version
}

// Each limit stands in its file, and does not without the field.
func TestResources(t *testing.T) {
	for name, c := range limitTests() {
		name = "linux.resources." + name
		t.Run(name, func(t *testing.T) {
			if _, version := cgroupFile(os.Getpid(), c.v1); version == 1 && c.v1.name == "" || version == 2 && c.v2.name == "" {
				t.Skipf("version %d of cgroups has no such limit; the golden files have what is done instead", version)
			}
			if err := lab.MountHierarchy(c.v1.controller); err != nil {
				t.Skipf("this machine has no controller %s: %v", c.v1.controller, err)
			}
			b := newBox(t, func(s *specs.Spec) { c.edit(s.Linux.Resources) }, "sleep")
			has := func() (bool, string) {
				b.ok("run", "-d", b.id)
				defer func() {
					b.ok("delete", "--force", b.id)
					b.reapAll()
					b.id += "x"
				}()
				pid := b.wantStatus("running")
				file, version := cgroupFile(pid, c.v1)
				want := c.v1
				if version == 2 {
					want = c.v2
					file, _ = cgroupFile(pid, c.v2)
				}
				switch {
				case file == "":
					t.Skipf("this machine has no controller %s", want.controller)
				}
				if _, err := os.Stat(file); err != nil {
					t.Skipf("the kernel of this machine has no %s", want.name)
				}
				data, err := os.ReadFile(file)
				b.must(err)
				text := strings.TrimSpace(string(data))
				return text == want.value || strings.Contains(text, want.value) && strings.ContainsAny(want.value, "=: "), text
			}
			if ok, text := has(); !ok {
				t.Errorf("the file has %q", text)
			}
			s, err := fields.Ignore(b.spec, &specs.Spec{}, name)
			b.must(err)
			b.spec = s
			b.write()
			if r := b.run("create", b.id); r.code != 0 {
				return // without the field the rest makes no sense
			}
			b.ok("delete", "--force", b.id)
			b.reapAll()
			b.id += "x"
			if ok, text := has(); ok && strings.HasSuffix(name, ".minor") && strings.Contains(text, ":0 ") {
				t.Log("the disk of this machine has minor number 0")
			} else if ok {
				t.Errorf("the file has %q without the field too", text)
			}
		})
	}
}

// Which devices may be used. What is tried is to open the kernel's log to write, which nobody allows by default.
func TestDeviceRules(t *testing.T) {
	c := func(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: &major, Minor: &minor, Access: access}
	}
	for field, rules := range map[string][]specs.LinuxDeviceCgroup{
		"allow":  {c(true, "c", 1, 11, "rwm")},
		"type":   {c(true, "c", 1, 11, "rwm"), c(false, "b", 1, 11, "rwm")},
		"major":  {c(true, "c", 1, 11, "rwm"), c(false, "c", 2, 11, "rwm")},
		"minor":  {c(true, "c", 1, 11, "rwm"), c(false, "c", 1, 12, "rwm")},
		"access": {c(true, "c", 1, 11, "rwm"), c(false, "c", 1, 11, "r")},
	} {
		name := "linux.resources.devices[]." + field
		t.Run(name, func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) {
				s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, rules...)
				s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/log", Type: "c", Major: 1, Minor: 11}}
			}, "report", "/dev/log")
			want(t, "writing", b.report().Places["/dev/log"].Write, "ok")
			s, err := fields.Ignore(b.spec, &specs.Spec{}, name)
			b.must(err)
			b.spec = s
			b.id += "x"
			b.write()
			if r := b.run("run", b.id); r.code == 0 && b.parse(r.stdout).Places["/dev/log"].Write == "ok" {
				t.Error("the device may be written to without the field too")
			}
		})
	}
}

// The cgroup is where the configuration says.
func TestCgroupsPath(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.spec.Linux.CgroupsPath = "/gcrun-" + b.id + "/inner"
	b.write()
	b.ok("run", "-d", b.id)
	pid := b.wantStatus("running")
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	b.must(err)
	if !strings.Contains(string(data), b.spec.Linux.CgroupsPath+"\n") {
		t.Errorf("the cgroups are %q", data)
	}
	b.ok("delete", "--force", b.id)
	b.reap(pid)
	left, _ := filepath.Glob("/sys/fs/cgroup/*/gcrun-" + b.id)
	for _, dir := range append(left, "/sys/fs/cgroup/gcrun-"+b.id) {
		_ = os.Remove(dir) // the group above is not gcrun's to remove
	}
}
