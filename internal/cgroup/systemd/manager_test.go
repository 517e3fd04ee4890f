package systemd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gcr/internal/cgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// These tests need a running systemd: as root PID 1, as a user systemd --user. They skip elsewhere, as in
// containers and on hosts with another init.

const roleVariable = "GCR_SYSTEMD_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "delegated" {
		if err := playDelegated(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func manager(t *testing.T) Manager {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd as PID 1 (sd_booted(3))")
	}
	if os.Geteuid() == 0 {
		return System
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")); err != nil {
		t.Skip("needs systemd --user with its bus")
	}
	return User
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

func TestScope(t *testing.T) {
	m := manager(t)
	ctx := t.Context()
	b, err := Connect(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	h, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("test%d", os.Getpid())
	u, err := ParsePath("", id, m)
	if err != nil {
		t.Fatal(err)
	}
	facts := Facts{CgroupVersion: h.Version, Version: b.Version()}
	if procDevices, err := os.ReadFile("/proc/devices"); err == nil {
		facts.Devices = string(procDevices)
	}
	resources := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ref(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ref(int64(30))},
		CPU: &specs.LinuxCPU{Quota: ref(int64(50000)), Period: ref(uint64(100000))},
	}
	props, err := Properties(resources, facts)
	if err != nil {
		t.Fatal(err)
	}
	annotations, err := Annotations(map[string]string{"org.systemd.property.TimeoutStopSec": "3"})
	if err != nil {
		t.Fatal(err)
	}
	p := sleeper(t)
	group, err := b.StartScope(ctx, u, p.Process.Pid, facts, append(props, annotations...))
	if err != nil {
		t.Fatal(err)
	}
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
	if err != nil || !strings.Contains(string(membership), ":"+group+"\n") || !strings.HasSuffix(group, "/gcr-"+id+".scope") {
		t.Errorf("the process is in %s, %v; systemd says %s", membership, err, group)
	}
	plan, err := cgroup.Compile(h, group, resources, cgroup.Options{ID: id, Joined: true})
	if err != nil {
		t.Fatal(err)
	}
	g, err := plan.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.AddProcess(p.Process.Pid); err != nil { // v1: systemd does not know every hierarchy
		t.Fatal(err)
	}
	limits := func(when string, memory, pids uint64) {
		t.Helper()
		s, err := g.Stats()
		if err != nil || s.Memory.Limit != memory || s.Pids.Limit != pids {
			t.Errorf("%s: memory %d, pids %d, %v; want %d, %d", when, s.Memory.Limit, s.Pids.Limit, err, memory, pids)
		}
	}
	limits("at first", 64<<20, 30)
	reload := exec.Command("systemctl", "daemon-reload")
	if m == User {
		reload = exec.Command("systemctl", "--user", "daemon-reload")
	}
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	limits("after daemon-reload", 64<<20, 30)

	update := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ref(int64(128 << 20))}, Pids: &specs.LinuxPids{Limit: ref(int64(40))}}
	facts.Update = true
	if props, err = Properties(update, facts); err == nil {
		err = b.Set(ctx, u, props)
	}
	if err == nil {
		err = g.Update(update)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(reload.Args[0], reload.Args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	limits("after an update and daemon-reload", 128<<20, 40)

	if _, err := b.StartScope(ctx, u, sleeper(t).Process.Pid, facts, nil); err == nil || !strings.Contains(err.Error(), "another container or service has that name") {
		t.Errorf("a second scope of that name: %v", err)
	}
	if err := b.Stop(ctx, u); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("the process outlived its scope without a signal")
	}
	if err := g.Delete(ctx); err != nil {
		t.Error(err)
	}
	if err := b.Stop(ctx, u); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := b.Group(ctx, u); err == nil {
		t.Error("the unit is still known")
	}
}

func TestScopeTakesNoBadProperty(t *testing.T) {
	m := manager(t)
	b, err := Connect(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	u, err := ParsePath("", fmt.Sprintf("bad%d", os.Getpid()), m)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.StartScope(t.Context(), u, sleeper(t).Process.Pid, Facts{CgroupVersion: 2}, []Property{property("NoSuchThing", true)})
	if err == nil || !strings.Contains(err.Error(), "NoSuchThing") {
		t.Error(err)
	}
}

// A user in a login session, outside of the user manager's tree, gets a place for limits by one call. Of many callers
// at the same time one makes the scope and the others find it; that the scope ends when the last is gone and is made
// again is part of the race in the second round.
func TestDelegated(t *testing.T) {
	if manager(t) != System {
		t.Skip("needs root to become a user outside of the user manager's tree")
	}
	const uid = 1000
	bus := fmt.Sprintf("/run/user/%d/bus", uid)
	if _, err := os.Stat(bus); err != nil {
		t.Skipf("needs the user manager of user %d: %v", uid, err)
	}
	h, err := cgroup.Detect()
	if err != nil || h.Version != 2 {
		t.Skipf("needs cgroup v2: this host has v%d, %v", h.Version, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	caller := func() (*exec.Cmd, *bytes.Buffer) {
		c := exec.Command(self)
		out := &bytes.Buffer{}
		c.Stdout, c.Stderr = out, out
		c.Env = append(os.Environ(), roleVariable+"=delegated", fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", uid), "DBUS_SESSION_BUS_ADDRESS=")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return c, out
	}
	for round := range 2 {
		var all []*exec.Cmd
		var outs []*bytes.Buffer
		for range 8 {
			c, out := caller()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			all, outs = append(all, c), append(outs, out)
		}
		for i, c := range all {
			if err := c.Wait(); err != nil || !strings.HasSuffix(strings.TrimSpace(outs[i].String()), "/"+sessionScope) {
				t.Errorf("round %d, caller %d: %v: %s", round, i, err, outs[i])
			}
		}
	}
}

func playDelegated() error {
	before, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if before.Mounts[0].Parent != "" {
		return fmt.Errorf("%s may be written already", before.Mounts[0].Parent)
	}
	if _, err := cgroup.Compile(before, "", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ref(int64(5))}}, cgroup.Options{ID: "x"}); err == nil ||
		!strings.Contains(err.Error(), "systemd-run --user") {
		return fmt.Errorf("limits without delegation: %w", err)
	}
	h, err := Delegated(context.Background(), before)
	if err != nil {
		return err
	}
	fmt.Println(h.Mounts[0].Parent)
	plan, err := cgroup.Compile(h, "", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ref(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ref(int64(5))},
	}, cgroup.Options{ID: fmt.Sprint("c", os.Getpid())})
	if err != nil {
		return err
	}
	g, err := plan.Create()
	if err != nil {
		return err
	}
	// The limit holds: a sixth process does not fit.
	c := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6; do sleep 5 & done; exit 7")
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.CgroupFD()}
	if err := c.Run(); err == nil || c.ProcessState == nil || c.ProcessState.ExitCode() == 7 {
		return fmt.Errorf("the limit does not hold: %w", err)
	}
	if err := g.Kill(context.Background(), unix.SIGKILL); err != nil {
		return err
	}
	return g.Delete(context.Background())
}
