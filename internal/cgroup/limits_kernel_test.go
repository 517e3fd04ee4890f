package cgroup

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMemoryHogIsKilledAndReported(t *testing.T) {
	limit := int64(48 << 20)
	forHosts(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}, func(t *testing.T, g *Group) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		events, err := g.WatchOOM(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := role(t, g, "hog")
		if e, ok := <-events; !ok || e.Kills == 0 {
			t.Errorf("got event %v, %v; want one with a kill", e, ok)
		}
		if code := p.wait(t); code != 137 {
			t.Errorf("the hog ended with %d, want 137 (SIGKILL); its output: %s", code, p.out)
		}
		if n, err := g.OOMKills(); n == 0 || err != nil {
			t.Errorf("OOMKills after the end: %d, %v", n, err)
		}
		// The limit holds for a process that comes later, as by exec.
		if code := role(t, g, "hog").wait(t); code != 137 {
			t.Errorf("the second hog ended with %d, want 137", code)
		}
		s, err := g.Stats()
		if err != nil || s.Memory.OOMKills < 2 || s.Memory.Limit != uint64(limit) || g.version == 2 && s.Memory.Failures == 0 {
			t.Errorf("stats: %d kills, limit %d, failures %d, %v", s.Memory.OOMKills, s.Memory.Limit, s.Memory.Failures, err)
		}
		if g.version == 1 {
			if err := g.Delete(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for range events { // closed when the group is empty (v2) or removed (v1)
		}
		if ctx.Err() != nil {
			t.Error("the channel of events did not close")
		}
	})
}

const bomb = `bomb() { bomb | bomb & }; bomb; sleep 1000`

func TestForkBombStopsAtLimit(t *testing.T) {
	limit := int64(40)
	forHosts(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}, func(t *testing.T, g *Group) {
		start(t, g, "sh", "-c", bomb)
		d, _ := g.with("pids")
		eventually(t, "the bomb reaches pids.max", func() bool {
			events, err := readFile(d.dir, "pids.events")
			if err != nil {
				t.Fatal(err)
			}
			hits, _ := flat(events, "max")
			return hits != "" && hits != "0"
		})
		for range 50 {
			s, err := g.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if s.Pids.Current > uint64(limit) {
				t.Fatalf("%d processes, limit %d", s.Pids.Current, limit)
			}
		}
	})
}

// The bomb has a limit of its own here, so that the machine survives a failing test.
func TestKillAndFreezeWhileForking(t *testing.T) {
	limit := int64(60)
	for name, begin := range map[string]func(t *testing.T, g *Group){
		"bomb": func(t *testing.T, g *Group) { start(t, g, "sh", "-c", bomb) },
		// Chains of processes that fork and exit at once: nobody on a list of pids lives long.
		"chains": func(t *testing.T, g *Group) { role(t, g, "fork") },
	} {
		forHosts(t, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}, func(t *testing.T, g *Group) {
			t.Log(name)
			begin(t, g)
			for range 5 {
				eventually(t, "processes", func() bool { pids, _ := g.Procs(); return len(pids) > 0 })
				if err := g.Freeze(t.Context()); err != nil {
					t.Fatal(err)
				}
				a, err := g.Procs()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
				if b, err := g.Procs(); err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
					t.Fatalf("frozen, the processes changed from %v to %v, %v", a, b, err)
				}
				if err := g.Thaw(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.Kill(t.Context(), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all processes die", func() bool {
				pids, err := g.Procs()
				if err != nil {
					t.Fatal(err)
				}
				return len(pids) == 0
			})
			if err := g.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestKillFrozen(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		p := role(t, g, "hold")
		eventually(t, "the process is there", func() bool { return strings.Contains(p.out.String(), "ready") })
		if err := g.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		if frozen, err := g.Frozen(); !frozen || err != nil {
			t.Errorf("Frozen: %v, %v", frozen, err)
		}
		if err := g.Kill(t.Context(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(t); code != 137 {
			t.Errorf("ended with %d", code)
		}
	})
}

func TestKillWithSignal(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		stays, goes := role(t, g, "ignore-term"), role(t, g, "hold")
		eventually(t, "both run", func() bool {
			return strings.Contains(stays.out.String(), "ready") && strings.Contains(goes.out.String(), "ready")
		})
		if err := g.Kill(t.Context(), unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := goes.wait(t); code != 128+15 {
			t.Errorf("ended with %d, want %d", code, 128+15)
		}
		if frozen, err := g.Frozen(); frozen || err != nil {
			t.Errorf("Frozen after a kill: %v, %v", frozen, err)
		}
		pids, err := g.Procs()
		if err != nil || len(pids) != 1 || pids[0] != stays.Process.Pid {
			t.Errorf("left are %v, %v; want %d", pids, err, stays.Process.Pid)
		}
	})
}

func TestFreezeStopsCounter(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		file := filepath.Join(t.TempDir(), "n")
		number := func() uint64 {
			b, _ := os.ReadFile(file)
			if len(b) != 8 {
				return 0
			}
			return binary.LittleEndian.Uint64(b)
		}
		role(t, g, "count", file)
		eventually(t, "counting", func() bool { return number() > 1000 })
		if err := g.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := number()
		time.Sleep(200 * time.Millisecond)
		if after := number(); after != before {
			t.Errorf("frozen, it counted from %d to %d", before, after)
		}
		if err := g.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "counting goes on", func() bool { return number() > before })
	})
}

// The issue is what the quota does to CPU time, so this test has to measure; it takes 5 s for each layout.
func TestCPUQuota(t *testing.T) {
	quota, period := int64(20000), uint64(100000)
	forHosts(t, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}, func(t *testing.T, g *Group) {
		role(t, g, "spin")
		role(t, g, "spin")
		used := func() time.Duration {
			s, err := g.Stats()
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(s.CPU.Total)
		}
		eventually(t, "spinning", func() bool { return used() > 100*time.Millisecond })
		// Without a quota the share would be 100 to 200 %. After five seconds it has to be within a tenth of the quota.
		// A machine that is short of CPU itself gives too little for a while, and an emulated one, whose timers are
		// late, lets the group overdraw and pay back in later periods: such a machine gets more time, for what
		// counts is the average since the start.
		const least, most, shortest, longest = 0.18, 0.22, 5 * time.Second, 40 * time.Second
		u0, t0 := used(), time.Now()
		share := 0.0
		for elapsed := time.Duration(0); elapsed < longest; {
			time.Sleep(time.Second)
			elapsed = time.Since(t0)
			if share = float64(used()-u0) / float64(elapsed); elapsed >= shortest && share >= least && share <= most {
				break
			}
		}
		if share < least || share > most {
			t.Errorf("two loops used %.1f %% of a CPU, want %.0f to %.0f %%", share*100, least*100, most*100)
		}
		if s, err := g.Stats(); err != nil || s.CPU.Throttled == 0 || s.CPU.ThrottledTime == 0 {
			t.Errorf("throttled %d times for %d ns, %v", s.CPU.Throttled, s.CPU.ThrottledTime, err)
		}
	})
}

func TestDevices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: device filters belong to the initial user namespace")
	}
	one, eleven := int64(1), int64(11)
	kmsg := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &one, Minor: &eleven, Access: "r"}
	deny := specs.LinuxDeviceCgroup{Allow: false, Access: "rwm"}
	forHosts(t, &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{deny}}, func(t *testing.T, g *Group) {
		try := func(command string) int { return start(t, g, "sh", "-c", command).wait(t) }
		kmsgNode := filepath.Join(t.TempDir(), "kmsg")
		if err := unix.Mknod(kmsgNode, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))); err != nil {
			t.Fatal(err)
		}
		open, write := ": <"+kmsgNode, ": >>"+kmsgNode
		expect := func(when string, canRead, canWrite bool) {
			t.Helper()
			if ok := try(open) == 0; ok != canRead {
				t.Errorf("%s: open 1:11 for reading succeeds: %v, want %v", when, ok, canRead)
			}
			if ok := try(write) == 0; ok != canWrite {
				t.Errorf("%s: open 1:11 for writing succeeds: %v, want %v", when, ok, canWrite)
			}
			if try("head -c 1 /dev/zero >/dev/null && : </dev/urandom") != 0 {
				t.Errorf("%s: a default device cannot be opened", when)
			}
		}
		expect("default rules", false, false)
		if try("mknod "+kmsgNode+"2 c 1 11") != 0 {
			t.Error("making a node is refused, though it can do no harm")
		}
		if err := g.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{deny, kmsg}}); err != nil {
			t.Fatal(err)
		}
		expect("reading allowed", true, false)
		if err := g.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{deny}}); err != nil {
			t.Fatal(err)
		}
		expect("taken back", false, false)
		if err := g.Update(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}); err != nil {
			t.Fatal(err)
		}
		expect("everything allowed", true, true)
	})
}

func TestIOThrottle(t *testing.T) {
	const dir, rate, size = "/var/tmp", 1 << 20, 3 << 20
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	dev := specs.LinuxThrottleDevice{Rate: rate}
	dev.Major, dev.Minor = int64(unix.Major(st.Dev)), int64(unix.Minor(st.Dev))
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", dev.Major, dev.Minor)
	if _, err := os.Stat(sys); err != nil {
		t.Skipf("%s is not on a disk but on device %d:%d", dir, dev.Major, dev.Minor)
	}
	if _, err := os.Stat(sys + "/partition"); err == nil {
		whole, err := os.ReadFile(sys + "/../dev")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(whole), "%d:%d", &dev.Major, &dev.Minor); err != nil {
			t.Fatal(err)
		}
	}
	r := &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleWriteBpsDevice: []specs.LinuxThrottleDevice{dev}}}
	forHosts(t, r, func(t *testing.T, g *Group) {
		file, err := os.CreateTemp(dir, "gcrtest")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		dd := func() time.Duration {
			t0 := time.Now()
			p := start(t, g, "dd", "if=/dev/zero", "of="+file.Name(), "bs=256k", fmt.Sprint("count=", size/(256<<10)), "oflag=direct", "conv=notrunc")
			if code := p.wait(t); code != 0 {
				t.Fatalf("dd ended with %d: %s", code, p.out)
			}
			return time.Since(t0)
		}
		// A lower bound: no load of the machine can make it fail. The first chunk goes at once.
		if took := dd(); took < (size-512<<10)*time.Second/rate {
			t.Errorf("%d bytes took %v at %d bytes/s", size, took, rate)
		}
		s, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		written := uint64(0)
		for _, e := range s.IO.Entries {
			if e.Major == uint64(dev.Major) && e.Minor == uint64(dev.Minor) {
				written = e.WriteBytes
			}
		}
		if written < size {
			t.Errorf("stats count %d bytes written, want at least %d", written, size)
		}
	})
}

func TestLoadAndRefusedDelete(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		p := role(t, g, "hold")
		eventually(t, "the process is there", func() bool { return strings.Contains(p.out.String(), "ready") })
		// Load sees the group as a later command does.
		again, err := Load(g.State())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if pids, err := again.Procs(); err != nil || len(pids) != 1 || pids[0] != p.Process.Pid {
			t.Errorf("after Load: %v, %v", pids, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err = again.Delete(ctx)
		if err == nil || !strings.Contains(err.Error(), "still in it: "+fmt.Sprint(p.Process.Pid)) {
			t.Errorf("delete with a process inside: %v", err)
		}
	})
}

// One group with everything that this machine has, applied at once and updated at once.
func TestAllOfResources(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	u := func(n uint64) *uint64 { return &n }
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			has := func(controller string) bool { _, ok := h.find(controller); return ok } // v2: delegated, too
			r := &specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: n(200 << 20), Reservation: n(50 << 20), Swap: n(300 << 20), DisableOOMKiller: new(bool)},
				CPU:    &specs.LinuxCPU{Shares: u(300), Quota: n(150000), Period: u(100000), Burst: u(10000)},
				Pids:   &specs.LinuxPids{Limit: n(100)},
			}
			if has("cpuset") {
				r.CPU.Cpus, r.CPU.Mems = "0", "0"
			}
			if has("hugetlb") {
				if sizes, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-2048kB"); len(sizes) == 1 {
					r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
				}
			}
			if h.Version == 2 {
				r.Unified = map[string]string{"memory.high": "150000000", "memory.oom.group": "1"}
			} else {
				r.Memory.Swappiness = u(10)
				r.Memory.KernelTCP = n(1 << 20)
			}
			g := newGroup(t, h, r)
			if has("cpuset") {
				p := start(t, g, "grep", "Cpus_allowed_list", "/proc/self/status")
				if code := p.wait(t); code != 0 || strings.TrimSpace(strings.TrimPrefix(p.out.String(), "Cpus_allowed_list:")) != "0" {
					t.Errorf("%d: a process may run on %s", code, p.out)
				}
			}
			if err := g.Update(r); err != nil {
				t.Errorf("the same again: %v", err)
			}
			s, err := g.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if s.Memory.Limit != 200<<20 || s.Memory.WithSwap.Limit != 300<<20 && s.Memory.WithSwap.Limit != Unlimited || s.Pids.Limit != 100 {
				t.Errorf("memory %d, with swap %d, pids %d", s.Memory.Limit, s.Memory.WithSwap.Limit, s.Pids.Limit)
			}
			if len(r.HugepageLimits) > 0 && s.Hugetlb["2MB"].Limit != 4<<20 {
				t.Errorf("hugetlb %+v", s.Hugetlb)
			}
		})
	}
}
