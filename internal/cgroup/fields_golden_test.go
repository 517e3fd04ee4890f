package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gcr/test/fields"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fieldValues has one configuration for each field of linux.resources, and what else it needs to mean something.
func fieldValues() map[string]struct{ with, edit specs.LinuxResources } {
	n := func(n int64) *int64 { return &n }
	u := func(n uint64) *uint64 { return &n }
	u16 := func(n uint16) *uint16 { return &n }
	u32 := func(n uint32) *uint32 { return &n }
	yes := true
	type pair = struct{ with, edit specs.LinuxResources }
	mem := func(with, edit specs.LinuxMemory) pair {
		return pair{specs.LinuxResources{Memory: &with}, specs.LinuxResources{Memory: &edit}}
	}
	cpu := func(with, edit specs.LinuxCPU) pair {
		return pair{specs.LinuxResources{CPU: &with}, specs.LinuxResources{CPU: &edit}}
	}
	dev := func(with, edit specs.LinuxDeviceCgroup) pair {
		return pair{specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{with}}, specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{edit}}}
	}
	blk := func(with, edit specs.LinuxBlockIO) pair {
		return pair{specs.LinuxResources{BlockIO: &with}, specs.LinuxResources{BlockIO: &edit}}
	}
	all := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(1), Minor: n(11), Access: "rwm"}
	rule := func(edit func(*specs.LinuxDeviceCgroup)) specs.LinuxDeviceCgroup {
		d := all
		edit(&d)
		return d
	}
	out := map[string]pair{
		"devices[].allow":          dev(rule(func(d *specs.LinuxDeviceCgroup) { d.Allow = false }), all),
		"devices[].type":           dev(rule(func(d *specs.LinuxDeviceCgroup) { d.Type = "b" }), all),
		"devices[].major":          dev(rule(func(d *specs.LinuxDeviceCgroup) { d.Major = nil }), all),
		"devices[].minor":          dev(rule(func(d *specs.LinuxDeviceCgroup) { d.Minor = nil }), all),
		"devices[].access":         dev(rule(func(d *specs.LinuxDeviceCgroup) { d.Access = "r" }), all),
		"memory.limit":             mem(specs.LinuxMemory{}, specs.LinuxMemory{Limit: n(64 << 20)}),
		"memory.reservation":       mem(specs.LinuxMemory{}, specs.LinuxMemory{Reservation: n(32 << 20)}),
		"memory.swap":              mem(specs.LinuxMemory{Limit: n(64 << 20)}, specs.LinuxMemory{Limit: n(64 << 20), Swap: n(96 << 20)}),
		"memory.kernelTCP":         mem(specs.LinuxMemory{}, specs.LinuxMemory{KernelTCP: n(1 << 20)}),
		"memory.swappiness":        mem(specs.LinuxMemory{}, specs.LinuxMemory{Swappiness: u(17)}),
		"memory.disableOOMKiller":  mem(specs.LinuxMemory{}, specs.LinuxMemory{DisableOOMKiller: &yes}),
		"memory.checkBeforeUpdate": mem(specs.LinuxMemory{Limit: n(1 << 20)}, specs.LinuxMemory{Limit: n(1 << 20), CheckBeforeUpdate: &yes}),
		"cpu.shares":               cpu(specs.LinuxCPU{}, specs.LinuxCPU{Shares: u(512)}),
		"cpu.quota":                cpu(specs.LinuxCPU{}, specs.LinuxCPU{Quota: n(50000)}),
		"cpu.burst":                cpu(specs.LinuxCPU{Quota: n(50000)}, specs.LinuxCPU{Quota: n(50000), Burst: u(20000)}),
		"cpu.period":               cpu(specs.LinuxCPU{Quota: n(50000)}, specs.LinuxCPU{Quota: n(50000), Period: u(200000)}),
		"cpu.realtimeRuntime":      cpu(specs.LinuxCPU{}, specs.LinuxCPU{RealtimeRuntime: n(10000)}),
		"cpu.realtimePeriod":       cpu(specs.LinuxCPU{}, specs.LinuxCPU{RealtimePeriod: u(500000)}),
		"cpu.cpus":                 cpu(specs.LinuxCPU{}, specs.LinuxCPU{Cpus: "0-1"}),
		"cpu.mems":                 cpu(specs.LinuxCPU{}, specs.LinuxCPU{Mems: "0"}),
		"cpu.idle":                 cpu(specs.LinuxCPU{}, specs.LinuxCPU{Idle: n(1)}),
		"pids.limit":               {edit: specs.LinuxResources{Pids: &specs.LinuxPids{Limit: n(77)}}},
		"blockIO.weight":           blk(specs.LinuxBlockIO{}, specs.LinuxBlockIO{Weight: u16(300)}),
		"hugepageLimits[].pageSize": {
			specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "1GB", Limit: 1 << 30}}}, specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 1 << 30}}},
		},
		"hugepageLimits[].limit": {
			specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}}, specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}},
		},
		"network.classID":   {edit: specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: u32(0x100001)}}},
		"rdma{}.hcaHandles": {edit: specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: u32(3)}}}},
		"rdma{}.hcaObjects": {edit: specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaObjects: u32(9)}}}},
		"unified":           {edit: specs.LinuxResources{Unified: map[string]string{"memory.high": "33554432"}}},
	}
	for i, f := range []string{"name", "priority"} {
		p := []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 5}, {Name: "eth1", Priority: 5}, {Name: "eth1", Priority: 6}}
		out["network.priorities[]."+f] = pair{specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: p[i : i+1]}}, specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: p[i+1 : i+2]}}}
	}
	for i, f := range []string{"major", "minor", "weight"} {
		device := func(major, minor int64, weight uint16) specs.LinuxBlockIO {
			d := specs.LinuxWeightDevice{Weight: u16(weight)}
			d.Major, d.Minor = major, minor
			return specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{d}}
		}
		w := []specs.LinuxBlockIO{device(8, 16, 300), device(9, 16, 300), device(9, 17, 300), device(9, 17, 301)}
		out["blockIO.weightDevice[]."+f] = blk(w[i], w[i+1])
	}
	for i, f := range []string{"major", "minor", "rate"} {
		device := func(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
			d := specs.LinuxThrottleDevice{Rate: rate}
			d.Major, d.Minor = major, minor
			return []specs.LinuxThrottleDevice{d}
		}
		d := [][]specs.LinuxThrottleDevice{device(8, 16, 300), device(9, 16, 300), device(9, 17, 300), device(9, 17, 301)}
		out["blockIO.throttleReadBpsDevice[]."+f] = blk(specs.LinuxBlockIO{ThrottleReadBpsDevice: d[i]}, specs.LinuxBlockIO{ThrottleReadBpsDevice: d[i+1]})
		out["blockIO.throttleWriteBpsDevice[]."+f] = blk(specs.LinuxBlockIO{ThrottleWriteBpsDevice: d[i]}, specs.LinuxBlockIO{ThrottleWriteBpsDevice: d[i+1]})
		out["blockIO.throttleReadIOPSDevice[]."+f] = blk(specs.LinuxBlockIO{ThrottleReadIOPSDevice: d[i]}, specs.LinuxBlockIO{ThrottleReadIOPSDevice: d[i+1]})
		out["blockIO.throttleWriteIOPSDevice[]."+f] = blk(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: d[i]}, specs.LinuxBlockIO{ThrottleWriteIOPSDevice: d[i+1]})
	}
	return out
}

// Each field changes what is written for at least one version of cgroups. The golden file testdata/fields/NAME has the
// lines that it adds (+) and takes away (-).
func TestFieldsGolden(t *testing.T) {
	known := map[string]bool{}
	for _, f := range fields.All() {
		known[f] = true
	}
	seen := map[string]bool{}
	for name, c := range fieldValues() {
		field := "linux.resources." + name
		file := strings.NewReplacer("[]", "", "{}", "").Replace(field) + ".txt"
		seen[file] = true
		t.Run(field, func(t *testing.T) {
			if !known[field] {
				t.Fatal("it is no field of the specification")
			}
			var b strings.Builder
			for _, h := range goldenHosts() {
				compiled := func(r *specs.LinuxResources) string {
					var p Plan
					var err error
					if strings.HasSuffix(name, "checkBeforeUpdate") {
						p, err = compileUpdate(h, r, map[string]string{"memory.current": "4194304", "memory.usage_in_bytes": "4194304", "memory.max": "max"})
					} else {
						p, err = Compile(h, "/test/c1", r, Options{ID: "c1"})
					}
					if err != nil {
						return "error: " + err.Error()
					}
					return p.String()
				}
				with, edit := c.with, c.edit
				before, after := strings.Split(compiled(&with), "\n"), strings.Split(compiled(&edit), "\n")
				lines := func(sign string, list, other []string) (out string) {
					for _, l := range list {
						if !slices.Contains(other, l) {
							out += sign + " " + l + "\n"
						}
					}
					return out
				}
				if strings.HasPrefix(after[0], "error: ") {
					before = nil // instead of all that is not done
				}
				if text := lines("-", before, after) + lines("+", after, before); text != "" {
					b.WriteString("cgroup version " + string(rune('0'+h.Version)) + "\n" + text)
				}
			}
			if b.Len() == 0 {
				t.Fatal("the field changes nothing")
			}
			golden(t, filepath.Join("testdata", "fields", file), b.String())
		})
	}
	files, err := os.ReadDir("testdata/fields")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/fields/%s belongs to no field", f.Name())
		}
	}
}
