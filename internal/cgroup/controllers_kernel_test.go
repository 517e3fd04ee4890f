package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Controllers that few kernels have, or that need a change of the machine's settings: they are shown where they are, which
// for most of them is a place of test/vm.

// throwaway tells that the machine is a guest of test/vm, whose settings may be changed.
func throwaway() bool {
	place := os.Getenv("GCR_VM_PLACE")
	return place != "" && place != "host"
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// withController gives those of this machine's hosts that have the v1 controller.
func withController(t *testing.T, controller string) map[string]Host {
	t.Helper()
	all := hosts(t)
	for name, h := range all {
		if _, ok := h.find(controller); !ok || h.Version != 1 {
			delete(all, name)
		}
	}
	if len(all) == 0 {
		t.Skipf("needs the v1 controller %s", controller)
	}
	return all
}

// Only a group with a budget may have realtime threads (sched(7), "Limiting the CPU usage of real-time …").
func TestRealtimeBudget(t *testing.T) {
	needRoot(t)
	for name, h := range withController(t, "cpu") {
		t.Run(name, func(t *testing.T) {
			cpu, _ := h.find("cpu")
			if _, err := os.Stat(cpu.Point + "/cpu.rt_runtime_us"); err != nil {
				t.Skip("this kernel is built without RT_GROUP_SCHED")
			}
			runtime, period := int64(20000), uint64(1000000)
			try := func(r *specs.LinuxResources) int {
				// The groups above must have a budget as well, so this one is at the top.
				p, err := Compile(h, "/"+prefix+"-rt", r, Options{})
				if err != nil {
					t.Fatal(err)
				}
				g, err := p.Create()
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				code := start(t, g, "chrt", "--fifo", "1", "true").wait(t)
				if err := g.Delete(t.Context()); err != nil {
					t.Error(err)
				}
				return code
			}
			if code := try(nil); code == 0 {
				t.Error("a realtime process starts in a group without a budget")
			}
			if code := try(&specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: &runtime, RealtimePeriod: &period}}); code != 0 {
				t.Errorf("chrt ends with %d in a group with a budget", code)
			}
		})
	}
}

// The class of a group is on its packets, as a packet filter sees it.
func TestNetworkClass(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft(8)")
	}
	class := uint32(0x100001)
	for name, h := range withController(t, "net_cls") {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, h, &specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: &class}})
			const script = `ip link set lo up && nft add table t && nft 'add chain t c { type filter hook output priority 0; }' &&
				nft 'add rule t c meta cgroup 1048577 counter' && echo x >/dev/udp/127.0.0.1/9; nft list table t`
			p := start(t, g, "unshare", "--net", "bash", "-c", script)
			if code := p.wait(t); code != 0 || !strings.Contains(p.out.String(), "counter packets 1 ") {
				t.Errorf("%d: %s", code, p.out)
			}
			class++
			if err := g.Update(&specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: &class}}); err != nil {
				t.Fatal(err)
			}
			p = start(t, g, "unshare", "--net", "bash", "-c", strings.ReplaceAll(script, "1048577", "1048578"))
			if code := p.wait(t); code != 0 || !strings.Contains(p.out.String(), "counter packets 1 ") {
				t.Errorf("updated: %d: %s", code, p.out)
			}
			class--
		})
	}
}

// The priority of a group is on the packets that leave by the interface. The map is of the first network namespace, so
// the test needs a machine of its own.
func TestNetworkPriority(t *testing.T) {
	needRoot(t)
	if !throwaway() {
		t.Skip("needs a machine whose packet filter may be changed: a place of test/vm")
	}
	for name, h := range withController(t, "net_prio") {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, h, &specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 5}}}})
			const script = `nft add table netdev t && nft 'add chain netdev t c { type filter hook egress device lo priority 0; }' &&
				nft 'add rule netdev t c meta priority 0:5 counter' && echo x >/dev/udp/127.0.0.1/9; nft list table netdev t; nft delete table netdev t`
			p := start(t, g, "bash", "-c", script)
			if code := p.wait(t); code != 0 || !strings.Contains(p.out.String(), "counter packets 1 ") {
				t.Errorf("%d: %s", code, p.out)
			}
		})
	}
	withoutInterface := &specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "nosuch0", Priority: 5}}}}
	for _, h := range withController(t, "net_prio") {
		p, err := Compile(h, groupPath(t.Name()), withoutInterface, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Create(); err == nil || !strings.Contains(err.Error(), "linux.resources.network.priorities[0]") {
			t.Errorf("an interface that is not there: %v", err)
		}
	}
}

// A group gets no more huge pages than its limit, whoever else has some left.
func TestHugePages(t *testing.T) {
	needRoot(t)
	if !throwaway() {
		t.Skip("needs a machine on which huge pages may be set aside: a place of test/vm")
	}
	const pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	if err := os.WriteFile(pool, []byte("8"), 0); err != nil {
		t.Skipf("needs huge pages of 2 MiB: %v", err)
	}
	defer os.WriteFile(pool, []byte("0"), 0)
	if b, err := os.ReadFile(pool); err != nil || strings.TrimSpace(string(b)) != "8" {
		t.Skipf("the machine has no room for 8 huge pages: %s, %v", b, err)
	}
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			if _, ok := h.find("hugetlb"); !ok {
				t.Skip("needs the controller hugetlb")
			}
			g := newGroup(t, h, &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}})
			if code := role(t, g, "hugepages", "2").wait(t); code != 0 {
				t.Errorf("two pages, the limit: status %d", code)
			}
			if code := role(t, g, "hugepages", "3").wait(t); code == 0 {
				t.Error("three pages fit into a limit of two")
			}
			if err := g.Update(&specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 6 << 20}}}); err != nil {
				t.Fatal(err)
			}
			if code := role(t, g, "hugepages", "3").wait(t); code != 0 {
				t.Errorf("three pages after the update: status %d", code)
			}
			if s, err := g.Stats(); err != nil || s.Hugetlb["2MB"].Limit != 6<<20 || s.Hugetlb["2MB"].Failures == 0 {
				t.Errorf("stats: %+v, %v", s.Hugetlb["2MB"], err)
			}
		})
	}
}

// playHugePages maps and touches that many huge pages.
func playHugePages(count string) error {
	n := 0
	if _, err := fmt.Sscan(count, &n); err != nil {
		return err
	}
	const size = 2 << 20
	mem, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB)
	if err != nil {
		return err
	}
	for i := range n {
		mem[i*size] = 1 // SIGBUS where there is no page
	}
	return nil
}

// Weights go to the file that the kernel has: io.weight of io.cost, or those of the BFQ scheduler once it is there. That
// the kernel then shares by them is its own affair.
func TestIOWeights(t *testing.T) {
	needRoot(t)
	if !throwaway() {
		t.Skip("needs a machine whose disk scheduler may be changed: a place of test/vm")
	}
	var st unix.Stat_t
	if err := unix.Stat("/var/tmp", &st); err != nil {
		t.Fatal(err)
	}
	major, minor := int64(unix.Major(st.Dev)), int64(unix.Minor(st.Dev))
	scheduler := fmt.Sprintf("/sys/dev/block/%d:%d/queue/scheduler", major, minor)
	weight := uint16(300)
	own := specs.LinuxWeightDevice{Weight: &weight}
	own.Major, own.Minor = major, minor
	read := func(g *Group, file string) string {
		d, _ := g.with("blkio")
		b, err := os.ReadFile(filepath.Join(d.path, file))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	r := &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: &weight}}
	for name, h := range hosts(t) {
		t.Run(name+"/without BFQ", func(t *testing.T) {
			if _, err := os.Stat("/sys/module/bfq"); err == nil {
				t.Skip("BFQ is loaded already")
			}
			if h.Version == 1 {
				p, err := Compile(h, groupPath(t.Name()), r, Options{})
				if err == nil {
					_, err = p.Create()
				}
				if err == nil || !strings.Contains(err.Error(), "BFQ") || !strings.Contains(err.Error(), "linux.resources.blockIO.weight") {
					t.Errorf("a weight without a scheduler for it: %v", err)
				}
				return
			}
			if got := read(newGroup(t, h, r), "io.weight"); !strings.HasPrefix(got, "default 2930\n") {
				t.Errorf("io.weight is %q, want 1 + (300 - 10) * 9999 / 990", got)
			}
		})
	}
	childLock.Lock() // no reaping meanwhile
	out, err := exec.Command("modprobe", "bfq").CombinedOutput()
	childLock.Unlock()
	if err != nil {
		t.Fatalf("load the BFQ scheduler: %v: %s", err, out)
	}
	before, err := os.ReadFile(scheduler)
	if err == nil {
		err = os.WriteFile(scheduler, []byte("bfq"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, rest, ok := strings.Cut(string(before), "["); ok {
		old, _, _ := strings.Cut(rest, "]")
		defer os.WriteFile(scheduler, []byte(old), 0)
	}
	r.BlockIO.WeightDevice = []specs.LinuxWeightDevice{own}
	weight = 300
	for name, h := range hosts(t) {
		t.Run(name+"/BFQ", func(t *testing.T) {
			g := newGroup(t, h, r)
			file, device := "io.bfq.weight", "io.bfq.weight"
			if h.Version == 1 {
				file, device = "blkio.bfq.weight", "blkio.bfq.weight_device"
			}
			if got := read(g, file); !strings.Contains(got, "300") {
				t.Errorf("%s is %q", file, got)
			}
			if got := read(g, device); !strings.Contains(got, fmt.Sprintf("%d:%d 300\n", major, minor)) {
				t.Errorf("%s is %q, want a line for %d:%d", device, got, major, minor)
			}
			more := uint16(700)
			if err := g.Update(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: &more}}); err != nil {
				t.Fatal(err)
			}
			if got := read(g, file); !strings.Contains(got, "700") {
				t.Errorf("updated, %s is %q", file, got)
			}
		})
	}
}

// RDMA devices that are not there cannot be limited; the error names what asked for it. No kernel at hand has a device.
func TestRDMAWithoutDevice(t *testing.T) {
	needRoot(t)
	handles := uint32(5)
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(h, groupPath(t.Name()), &specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"nosuch0": {HcaHandles: &handles}}}, Options{})
			var g *Group
			if err == nil {
				g, err = p.Create()
			}
			if err == nil {
				_ = g.Delete(t.Context())
			}
			var known *Error
			if !errors.As(err, &known) || !strings.Contains(known.Field, "linux.resources.rdma") {
				t.Errorf("%v", err)
			}
		})
	}
}
