package cgroup

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestUpdateTakesEffect(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	u := func(n uint64) *uint64 { return &n }
	mem := func(limit, swap int64) *specs.LinuxResources {
		return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: n(limit), Swap: n(swap)}}
	}
	forHosts(t, mem(64<<20, 64<<20), func(t *testing.T, g *Group) {
		p := role(t, g, "hold")
		eventually(t, "the process is there", func() bool { return strings.Contains(p.out.String(), "ready") })
		// Up and down, in both orders of memory and memsw.
		for _, r := range []*specs.LinuxResources{mem(256<<20, 300<<20), mem(128<<20, 128<<20), mem(-1, -1), mem(100<<20, 200<<20), mem(-1, 0), mem(64<<20, 64<<20)} {
			if err := g.Update(r); err != nil {
				t.Errorf("memory %d, swap %d: %v", *r.Memory.Limit, *r.Memory.Swap, err)
			}
		}
		for _, cpu := range []specs.LinuxCPU{
			{Quota: n(50000), Period: u(100000)},
			{Quota: n(5000), Period: u(10000)},
			{Quota: n(200000), Period: u(1000000), Burst: u(100000)},
			{Quota: n(50000), Burst: u(20000)},
			{Period: u(50000)},
			{Quota: n(-1), Burst: u(0)},
			{Idle: n(1)},
			{Idle: n(0), Shares: u(512)},
			{Shares: u(0), Quota: n(0), Period: u(0)},
		} {
			if err := g.Update(&specs.LinuxResources{CPU: &cpu}); err != nil {
				b, _ := json.Marshal(cpu)
				t.Errorf("%s: %v", b, err)
			}
		}
		if code := role(t, g, "hog").wait(t); code != 137 {
			t.Errorf("after the last update to 64 MiB the hog ended with %d", code)
		}
		now, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: n(int64(now.Pids.Current) + 2)}}); err != nil {
			t.Fatal(err)
		}
		if code := start(t, g, "sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000 & exit 7").wait(t); code == 7 {
			t.Error("with room for two processes, a shell and three more fit")
		}
	})
}

// A refused value leaves the ones that were accepted before it as they were.
func TestUpdateRefusedLeavesOldValues(t *testing.T) {
	limit, pids, more := int64(64<<20), int64(50), int64(128<<20)
	quota := int64(50000)
	forHosts(t, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids}, CPU: &specs.LinuxCPU{Quota: &quota},
	}, func(t *testing.T, g *Group) {
		before, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		newPids, newQuota := int64(70), int64(70000)
		r := &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &more}, Pids: &specs.LinuxPids{Limit: &newPids}, CPU: &specs.LinuxCPU{Quota: &newQuota},
		}
		// The last write of each version is one that no kernel takes.
		field := "linux.resources.rdma"
		if g.version == 2 {
			field = "linux.resources.unified"
			r.Unified = map[string]string{"pids.max": "many"}
		} else {
			field = "linux.resources.blockIO.throttleReadBpsDevice[0]"
			r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 4095, Minor: 7}, Rate: 1}}}
		}
		err = g.Update(r)
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Fatalf("error %v, want one about %s", err, field)
		}
		after, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if after.Memory.Limit != before.Memory.Limit || after.Pids.Limit != before.Pids.Limit {
			t.Errorf("limits changed: memory %d to %d, pids %d to %d", before.Memory.Limit, after.Memory.Limit, before.Pids.Limit, after.Pids.Limit)
		}
		if code := role(t, g, "hog").wait(t); code != 137 {
			t.Errorf("the hog ended with %d", code)
		}
	})
}

// A command may be killed at any instant. What it had saved beforehand is enough to clean up.
func TestKilledCommandLeavesWhatTheNextOneRemoves(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && (h.Version == 1 || h.Mounts[0].Parent == "") {
				t.Skip("needs root or a delegated cgroup v2")
			}
			for i := range 15 {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				c := exec.Command(self, groupPath(t.Name()))
				c.Env = append(os.Environ(), roleVariable+"=create")
				out, err := c.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				childLock.Lock()
				err = c.Start()
				if err == nil {
					childPids[c.Process.Pid] = true
				}
				childLock.Unlock()
				if err != nil {
					t.Fatal(err)
				}
				var s State
				if err := json.NewDecoder(out).Decode(&s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(rand.N(20 * time.Millisecond))
				_ = c.Process.Kill()
				_ = c.Wait()
				childLock.Lock()
				delete(childPids, c.Process.Pid)
				childLock.Unlock()
				g, err := Load(s)
				if err == nil {
					err = errorsOf(g.Kill(t.Context(), unix.SIGKILL), g.Delete(t.Context()), g.Close())
				} else if os.IsNotExist(err) || strings.Contains(err.Error(), "no such file") {
					err = nil
				}
				if err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
				for key, dir := range s.Paths {
					if _, err := os.Stat(dir); !os.IsNotExist(err) {
						t.Errorf("round %d: %q still has %s", i, key, dir)
					}
				}
			}
		})
	}
}

func TestGroupsOfTheContainerAreRemoved(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		for _, d := range g.dirs {
			for _, sub := range []string{"/a", "/a/b", "/c"} {
				if err := os.Mkdir(d.path+sub, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		d, err := g.main()
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, g, "sh", "-c", "echo $$ >"+d.path+"/a/b/cgroup.procs && echo moved && exec sleep 1000")
		if strings.Contains(d.key, "cpuset") {
			t.Fatal("the main hierarchy should not be the cpuset one")
		}
		eventually(t, "it moved below", func() bool { return strings.Contains(p.out.String(), "moved") })
		if pids, err := g.Procs(); err != nil || len(pids) != 1 {
			t.Errorf("processes %v, %v", pids, err)
		}
		if err := g.Kill(t.Context(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := g.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := g.Delete(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		p := role(t, g, "hold")
		eventually(t, "the process is there", func() bool { return strings.Contains(p.out.String(), "ready") })
		h, err := Detect()
		if err != nil {
			t.Fatal(err)
		}
		if g.CgroupFD() < 0 {
			h.Mounts = h.Mounts[:len(h.Mounts)-1]
		}
		plan, err := Compile(h, groupPath(t.Name()), nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plan.Create(); err == nil || !strings.Contains(err.Error(), "1 processes are in it") {
			t.Errorf("a group in use: %v", err)
		}
		plan.joined = true // systemd put the container's own process there
		again, err := plan.Create()
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

// On any refused value nothing is left.
func TestCreateTakesEverythingBack(t *testing.T) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && (h.Version == 1 || h.Mounts[0].Parent == "") {
				t.Skip("needs root or a delegated cgroup v2")
			}
			p, err := Compile(h, groupPath(t.Name())+"/deeper/still", &specs.LinuxResources{
				CPU: &specs.LinuxCPU{Cpus: "4000"}, Pids: limits().Pids,
			}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Create()
			if err == nil || !strings.Contains(err.Error(), "(linux.resources.cpu.cpus)") {
				t.Errorf("error %v", err)
			}
			for _, d := range p.Dirs {
				if _, err := os.Stat(strings.TrimSuffix(d.Dir(), "/deeper/still")); !os.IsNotExist(err) {
					t.Errorf("%s is left", d.Dir())
				}
			}
		})
	}
}

func TestEventsStatsOfRunningGroup(t *testing.T) {
	forHosts(t, limits(), func(t *testing.T, g *Group) {
		p := role(t, g, "spin")
		var s Stats
		eventually(t, "it used CPU time", func() bool {
			var err error
			if s, err = g.Stats(); err != nil {
				t.Fatal(err)
			}
			return s.CPU.Total > 20e6
		})
		if s.Memory.Usage == 0 || s.Memory.Limit != 256<<20 || s.Pids.Current == 0 || s.Pids.Limit != 200 || len(s.Memory.Raw) == 0 {
			t.Errorf("%+v", s)
		}
		line, err := EventsStats("c1", s)
		if err != nil {
			t.Fatal(err)
		}
		checkEventKeys(t, line)
		_ = p
	})
}

func TestEmptyGroup(t *testing.T) {
	g := &Group{version: 2}
	ctx := context.Background()
	for name, err := range map[string]error{
		"kill": g.Kill(ctx, unix.SIGKILL), "freeze": g.Freeze(ctx), "update": g.Update(limits()), "add": g.AddProcess(1),
	} {
		if err == nil || !strings.Contains(err.Error(), "no cgroup of its own") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := g.Delete(ctx); err != nil {
		t.Error(err)
	}
	if g.CgroupFD() != -1 || !g.Empty() {
		t.Error("not empty")
	}
}
