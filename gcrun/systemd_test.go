package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// These tests need a running systemd: as root PID 1, as an ordinary user the user's own. They skip elsewhere; test/vm
// has places with each.

// managed is a container whose group belongs to systemd.
type managed struct {
	*box
	unit, slice string
	user        bool
}

func newManaged(t *testing.T, edit func(*specs.Spec), args ...string) *managed {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd as process 1 (sd_booted(3))")
	}
	m := &managed{user: os.Geteuid() != 0, slice: "gcrtest-inner.slice"}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")); m.user && err != nil {
		t.Skip("needs systemd --user with its bus")
	}
	m.box = makeBox(t, func(s *specs.Spec) {
		if m.user {
			spec.MakeRootless(s, os.Getuid(), os.Getgid())
		}
		memory, pids, quota, period, shares := int64(64<<20), int64(30), int64(50000), uint64(100000), uint64(512)
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids},
			CPU: &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares},
		}
		s.Annotations = map[string]string{"org.systemd.property.TimeoutStopSec": "3", "org.systemd.property.CollectMode": "'inactive'"}
		if edit != nil {
			edit(s)
		}
	}, args...)
	m.spec.Linux.CgroupsPath = m.slice + ":gcr:" + m.id
	m.write()
	m.unit = "gcr-" + m.id + ".scope"
	return m
}

func (m *managed) systemctl(args ...string) string {
	m.t.Helper()
	if m.user {
		args = append([]string{"--user"}, args...)
	}
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// show gives the unit's properties.
func (m *managed) show() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	for _, l := range strings.Split(m.systemctl("show", m.unit), "\n") {
		if k, v, ok := strings.Cut(l, "="); ok {
			all[k] = v
		}
	}
	return all
}

// groups are the directories of a process's groups by controller, "" for the unified one, as the host sees them.
func groups(t *testing.T, pid int) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	unified := "/sys/fs/cgroup"
	if !isV2() {
		unified += "/unified"
	}
	all := map[string]string{}
	for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.SplitN(l, ":", 3)
		for _, c := range strings.Split(f[1], ",") {
			name := strings.TrimPrefix(c, "name=")
			all[name] = filepath.Join("/sys/fs/cgroup", name, f[2])
			if c == "" {
				all[name] = filepath.Join(unified, f[2])
			}
		}
	}
	return all
}

func isV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// agree checks that the files of the group and the properties of the unit say the same.
func (m *managed) agree(when string, pid int, memory, pids int64, quota int) {
	m.t.Helper()
	file := func(controller, name string) string {
		dir := groups(m.t, pid)[controller]
		if isV2() {
			dir = groups(m.t, pid)[""]
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			m.t.Errorf("%s: %v", when, err)
		}
		return strings.TrimSpace(string(data))
	}
	p := m.show()
	check := func(what, got, want string) {
		m.t.Helper()
		if got != want {
			m.t.Errorf("%s: %s is %q, want %q", when, what, got, want)
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	check("TasksMax", p["TasksMax"], number(pids))
	check("pids.max", file("pids", "pids.max"), number(pids))
	check("CPUQuotaPerSecUSec", p["CPUQuotaPerSecUSec"], fmt.Sprintf("%dms", quota/100))
	if isV2() {
		check("MemoryMax", p["MemoryMax"], number(memory))
		check("memory.max", file("memory", "memory.max"), number(memory))
		check("cpu.max", file("cpu", "cpu.max"), fmt.Sprint(quota, " 100000"))
		check("CPUWeight", p["CPUWeight"], "59")
		check("cpu.weight", file("cpu", "cpu.weight"), "59")
		return
	}
	check("MemoryLimit", p["MemoryLimit"], number(memory))
	check("memory.limit_in_bytes", file("memory", "memory.limit_in_bytes"), number(memory))
	check("cpu.cfs_quota_us", file("cpu", "cpu.cfs_quota_us"), fmt.Sprint(quota))
	check("CPUShares", p["CPUShares"], "512")
	check("cpu.shares", file("cpu", "cpu.shares"), "512")
}

func TestSystemdLifecycle(t *testing.T) {
	m := newManaged(t, nil, "sleep")
	planned := m.ok("--systemd-cgroup", "--explain", "create", m.id)
	if p := m.show(); p["ActiveState"] != "inactive" {
		t.Errorf("a plan that is only shown makes the unit: %s", p["ActiveState"])
	}
	m.ok("--systemd-cgroup", "create", m.id)
	pid := m.wantStatus("created")
	p := m.show()
	if !strings.Contains(planned, p["ControlGroup"]) {
		t.Errorf("the plan does not name the group %s:\n%s", p["ControlGroup"], planned)
	}
	for name, want := range map[string]string{
		"ActiveState": "active", "Slice": m.slice, "Delegate": "yes", "TimeoutStopUSec": "3s", "CollectMode": "inactive", "Transient": "yes",
	} {
		if p[name] != want {
			t.Errorf("%s is %q, want %q", name, p[name], want)
		}
	}
	dirs := groups(t, pid)
	name := "" // of the hierarchy that is systemd's
	if !isV2() {
		name = "systemd"
	}
	if !strings.HasSuffix(dirs[name], p["ControlGroup"]) || !strings.HasSuffix(p["ControlGroup"], "/gcrtest.slice/gcrtest-inner.slice/"+m.unit) {
		t.Errorf("the process is in %s, systemd says %s", dirs[name], p["ControlGroup"])
	}
	procs, err := os.ReadFile(filepath.Join(dirs[name], "cgroup.procs"))
	m.must(err)
	if string(procs) != fmt.Sprintf("%d\n", pid) {
		t.Errorf("in the scope are %q, want %d alone", procs, pid)
	}
	m.agree("created", pid, 64<<20, 30, 50000)
	m.ok("start", m.id)
	m.systemctl("daemon-reload")
	m.agree("after daemon-reload", pid, 64<<20, 30, 50000)

	pidFile := filepath.Join(m.bundle, "exec.pid")
	m.ok("exec", "--detach", "--pid-file", pidFile, m.id, "/probe", "sleep")
	second := m.pidFile(pidFile)
	if got := groups(t, second); fmt.Sprint(got) != fmt.Sprint(dirs) {
		t.Errorf("exec runs in %v, the container in %v", got, dirs)
	}
	m.ok("--systemd-cgroup", "update", "--memory", "128M", "--pids-limit", "40", "--cpu-quota", "30000", "--cpu-period", "100000", m.id)
	m.agree("updated", pid, 128<<20, 40, 30000)
	m.systemctl("daemon-reload")
	m.agree("updated, after daemon-reload", pid, 128<<20, 40, 30000)
	m.fails(1, "linux.resources.cpu.cpus", "update", "--cpuset-cpus", "7-3", m.id)
	m.agree("refused update", pid, 128<<20, 40, 30000)

	m.ok("pause", m.id)
	m.wantStatus("paused")
	m.ok("resume", m.id)
	m.ok("kill", m.id, "KILL")
	m.reap(second) // before the first, whose end waits for that of all others in its PID namespace
	m.reap(pid)
	m.ok("delete", m.id)
	if p := m.show(); p["ActiveState"] != "inactive" || p["LoadState"] != "not-found" {
		t.Errorf("after delete the unit is %s, %s", p["LoadState"], p["ActiveState"])
	}
	for c, dir := range dirs {
		if _, err := os.Stat(dir); err == nil && strings.Contains(dir, m.unit) {
			t.Errorf("the group of %q is left: %s", c, dir)
		}
	}
}

func TestSystemdRun(t *testing.T) {
	m := newManaged(t, nil, "exit", "7")
	for _, how := range []string{"--systemd-cgroup", "--cgroup-manager=systemd"} {
		if r := m.run(how, "run", m.id); r.code != 7 || r.stderr != "" {
			t.Errorf("run %s: status %d: %s", how, r.code, r.stderr)
		}
		if p := m.show(); p["ActiveState"] != "inactive" {
			t.Errorf("run %s: the unit is still %s", how, p["ActiveState"])
		}
	}
	m.spec.Linux.CgroupsPath = "/no/slice"
	m.write()
	m.fails(1, "slice:prefix:name", "--systemd-cgroup", "run", m.id)
	m.spec.Linux.CgroupsPath = ""
	m.write()
	if r := m.run("--systemd-cgroup", "run", m.id); r.code != 7 {
		t.Errorf("with the default path: status %d: %s", r.code, r.stderr)
	}
}

func TestSystemdRefusals(t *testing.T) {
	m := newManaged(t, nil, "sleep")
	m.spec.Annotations["org.systemd.property.NoSuchProperty"] = "true"
	m.write()
	m.fails(1, "NoSuchProperty", "--systemd-cgroup", "create", m.id)
	delete(m.spec.Annotations, "org.systemd.property.NoSuchProperty")
	m.spec.Annotations["org.systemd.property.TimeoutStopUSec"] = "uint64 x"
	m.write()
	m.fails(1, `annotations["org.systemd.property.TimeoutStopUSec"]`, "--systemd-cgroup", "create", m.id)
	if p := m.show(); p["ActiveState"] != "inactive" {
		t.Errorf("a refused container leaves its unit %s", p["ActiveState"])
	}
	m.fails(1, "container does not exist", "state", m.id)

	delete(m.spec.Annotations, "org.systemd.property.TimeoutStopUSec")
	m.write()
	m.ok("--systemd-cgroup", "create", m.id)
	pid := m.wantStatus("created")
	// Another container with the same unit name.
	root := m.root
	m.root = t.TempDir()
	m.fails(1, "another container or service has that name", "--systemd-cgroup", "create", m.id)
	m.root = root
	if p := m.show(); p["ActiveState"] != "active" {
		t.Errorf("the refused container has taken the first one's unit away: %s", p["ActiveState"])
	}
	m.wantStatus("created")
	m.ok("delete", m.id)
	m.reap(pid)
}

// Limits of a scope hold for exec'ed processes as well: a second bomb does not get beyond the first one's limit.
func TestSystemdLimitsHold(t *testing.T) {
	m := newManaged(t, func(s *specs.Spec) {
		pids := int64(1)
		s.Linux.Resources.Pids.Limit = &pids
	}, "sleep")
	// The probe has one thread at least and Go's runtime more: with one process it cannot come up.
	r := m.run("--systemd-cgroup", "run", m.id)
	if r.code == 0 {
		t.Errorf("a program with threads runs with pids.max 1: %s", r.stdout)
	}
}

// A bus that is not there, or takes the connection and never answers, gives an error that says so, and leaves nothing.
func TestNoBus(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Linux.CgroupsPath = "system.slice:gcr:nobus" }, "sleep")
	socket := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", socket)
	b.must(err)
	defer l.Close()
	for address, want := range map[string]string{
		"unix:path=" + socket:         "connect to the system bus: no answer within ",
		"unix:path=/nonexistent/none": "connect to the system bus: ",
	} {
		if _, err := os.Stat("/run/systemd/private"); err == nil && strings.Contains(address, "nonexistent") {
			continue // root has systemd's own socket then
		}
		r := b.runWith(func(c *exec.Cmd) { c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+address) }, "--systemd-cgroup", "create", b.id)
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: status %d: %s", address, r.code, r.stderr)
		}
		b.fails(1, "container does not exist", "state", b.id)
	}
}
