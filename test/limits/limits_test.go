// Package limits runs gcr as a person with limits would, wherever that person sits: root, an ordinary user whose
// cgroup is delegated, and one in a plain login session, who gets the one scope of all of the user's containers.
package limits

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gcr/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// place is where the bench of test/vm says that this runs.
var place = os.Getenv("GCR_VM_PLACE")

// needLimits skips where the caller can have no limits at all.
func needLimits(t *testing.T) {
	t.Helper()
	if lab.IsRoot() {
		return
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skip("needs root or cgroup v2: v1 groups cannot be delegated safely")
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")); err != nil {
		t.Skip("needs root or a systemd user manager")
	}
}

// gcr runs a container and returns what it prints and its exit status.
func gcr(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := exec.Command(lab.GCR(t), append([]string{"run", "--quiet", "--network=none"}, args...)...).CombinedOutput()
	return string(out), lab.ExitStatus(t, err)
}

func TestMemoryHogIsKilled(t *testing.T) {
	needLimits(t)
	if out, status := gcr(t, "--memory=32m", "--memory-swap=32m", lab.Busybox(t), "tail", "/dev/zero"); status != 137 {
		t.Errorf("status %d, want 137: %s", status, out)
	}
}

func TestForkBombStops(t *testing.T) {
	needLimits(t)
	const bomb = `f() { f | f & }; f; n=0; while :; do sleep 1000 & done`
	out, status := gcr(t, "--pids-limit=20", lab.Busybox(t), "sh", "-c", bomb)
	if status != 2 || !strings.Contains(out, "can't fork") {
		t.Errorf("status %d, want 2 and a failed fork: %s", status, out)
	}
}

// Limits are what the container's own files say, where it sees them.
func TestCPU(t *testing.T) {
	needLimits(t)
	out, status := gcr(t, "--cpus=0.5", "--cgroupns=private", lab.Busybox(t), "sh", "-c",
		"cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max")
	if status != 0 || !strings.HasPrefix(out, "50000") {
		t.Errorf("status %d: %s", status, out)
	}
}

// running is a container that stays until its input ends.
type running struct {
	cmd *exec.Cmd
	out *bytes.Buffer
	end func()
	dir string // of its cgroup, as the host sees it
}

func start(t *testing.T, box string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(lab.GCR(t), "run", "--quiet", "--network=none", "-i", "--pids-limit=30", "--cgroupns=host", box,
		"sh", "-c", "cat /proc/self/cgroup; read x"), out: &bytes.Buffer{}}
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r.cmd.Stdout, r.cmd.Stderr = f, f
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	r.end = func() {
		if ended {
			return
		}
		ended = true
		in.Close()
		_ = r.cmd.Wait()
	}
	t.Cleanup(r.end)
	for range 3000 {
		text, _ := os.ReadFile(file)
		if _, path, ok := strings.Cut(string(text), "0::"); ok && strings.HasSuffix(path, "\n") {
			r.dir = strings.TrimSpace(path)
			return r
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(file)
	t.Fatalf("the container does not say where it is: %s", text)
	return nil
}

// Containers of a login session are plain directories in one scope, which is there as long as one of them is.
func TestLoginSessionHasOneScope(t *testing.T) {
	if place != "login" {
		t.Skip("needs an ordinary user's login session (place login of test/vm)")
	}
	const group = "/user.slice/user-1000.slice/user@1000.service/user.slice/gcr.scope"
	box := lab.Busybox(t)
	scopes := func() string {
		out, err := exec.Command("systemctl", "--user", "list-units", "--type=scope", "--plain", "--no-legend").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	// A plan that is only shown moves nobody and makes nothing.
	out, err := exec.Command(lab.GCR(t), "run", "--explain", "--pids-limit=30", box, "true").CombinedOutput()
	if err != nil || !strings.Contains(string(out), group+"/gcr-") || strings.Contains(scopes(), "gcr.scope") {
		t.Errorf("explain: %v, scopes %q\n%s", err, scopes(), out)
	}
	one, two := start(t, box), start(t, box)
	for _, r := range []*running{one, two} {
		if filepath.Dir(r.dir) != group {
			t.Errorf("a container is in %s, want one below %s", r.dir, group)
		}
		if max, err := os.ReadFile("/sys/fs/cgroup" + r.dir + "/pids.max"); err != nil || string(max) != "30\n" {
			t.Errorf("its pids.max is %q, %v", max, err)
		}
	}
	if n := strings.Count("\n"+scopes(), "\ngcr"); n != 1 || !strings.Contains(scopes(), "gcr.scope") {
		t.Errorf("the scopes of two containers: %q, want gcr.scope beside the manager's own", scopes())
	}
	one.end()
	if _, err := os.Stat("/sys/fs/cgroup" + one.dir); err == nil {
		t.Errorf("%s is left behind", one.dir)
	}
	if out, status := gcr(t, "--memory=32m", "--memory-swap=32m", box, "tail", "/dev/zero"); status != 137 {
		t.Errorf("a third container, short of memory: status %d: %s", status, out)
	}
	if _, err := os.Stat("/sys/fs/cgroup" + two.dir); err != nil {
		t.Errorf("the end of the others touched the second container: %v", err)
	}
	two.end()
	for range 3000 {
		if !strings.Contains(scopes(), "gcr.scope") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the scope outlives its containers")
}
