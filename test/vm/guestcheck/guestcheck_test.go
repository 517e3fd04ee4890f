package guestcheck

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const cgroups = "/sys/fs/cgroup"

// place is where the bench says that this runs; "" is an ordinary "go test".
var place = os.Getenv("GCR_VM_PLACE")

// expected is what a place promises.
type expected struct {
	uid     int
	kernel  string // prefix of uname's release
	machine string // uname's machine
	init    string // name of process 1
	layout  string // of cgroups
}

var promises = map[string]expected{
	"v2":       {0, "6.12.", "x86_64", "init", "v2"},
	"user":     {1000, "6.12.", "x86_64", "init", "v2"},
	"systemd":  {0, "6.12.", "x86_64", "systemd", "v2"},
	"rootless": {1000, "6.12.", "x86_64", "systemd", "v2"},
	"login":    {1000, "6.12.", "x86_64", "systemd", "v2"},
	"systemd1": {0, "6.1.", "x86_64", "systemd", "hybrid"},
	"v1":       {0, "6.1.", "x86_64", "init", "v1"},
	"hybrid":   {0, "6.1.", "x86_64", "init", "hybrid"},
	"selinux":  {0, "6.12.", "x86_64", "init", "v2"},
	"arm64":    {0, "6.12.", "aarch64", "init", "v2"},
}

// promised returns what the place promises; on the host, which promises nothing, the test is skipped.
func promised(t *testing.T) expected {
	t.Helper()
	want, ok := promises[place]
	if !ok {
		if place != "" && place != "host" {
			t.Fatalf("place %q promises nothing", place)
		}
		t.Skip("this is not one of the bench's guests, whose properties are checked")
	}
	return want
}

func TestKernelAndArchitecture(t *testing.T) {
	want := promised(t)
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release, machine := unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	if !strings.HasPrefix(release, want.kernel) || machine != want.machine {
		t.Errorf("kernel %s on %s, want %s* on %s", release, machine, want.kernel, want.machine)
	}
	if n := runtime.NumCPU(); n < 2 {
		t.Errorf("%d processors, want two for cpusets", n)
	}
}

func TestInitAndIdentity(t *testing.T) {
	want := promised(t)
	if got := strings.TrimSpace(read(t, "/proc/1/comm")); got != want.init {
		t.Errorf("process 1 is %q, want %q", got, want.init)
	}
	if got := os.Getuid(); got != want.uid {
		t.Errorf("uid %d, want %d", got, want.uid)
	}
	if want.uid == 0 {
		return
	}
	if groups, err := os.Getgroups(); err != nil || slices.Contains(groups, 0) {
		t.Errorf("groups %v (%v), want none of root's", groups, err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if !strings.Contains(read(t, file), ":100000:65536") {
			t.Errorf("%s: no subordinate ids", file)
		}
	}
}

// TestSystemd asks the managers themselves.
func TestSystemd(t *testing.T) {
	want := promised(t)
	if want.init != "systemd" {
		return
	}
	if out := run(t, "busctl", "--system", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Version"); !strings.HasPrefix(out, `s "`) {
		t.Errorf("the system's manager answers %q", out)
	}
	if want.uid != 0 {
		run(t, "systemctl", "--user", "is-active", "basic.target")
	}
	if place == "login" {
		if out := run(t, "loginctl", "list-sessions", "--no-legend"); !strings.Contains(out, " 1000 ") {
			t.Errorf("sessions: %q, want one of uid 1000", out)
		}
	}
}

func TestCgroupLayout(t *testing.T) {
	want := promised(t)
	kind := func(dir string) int64 {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			return 0
		}
		return int64(s.Type)
	}
	got := "none"
	switch {
	case kind(cgroups) == unix.CGROUP2_SUPER_MAGIC:
		got = "v2"
	case kind(cgroups+"/unified") == unix.CGROUP2_SUPER_MAGIC && kind(cgroups+"/pids") == unix.CGROUP_SUPER_MAGIC:
		got = "hybrid"
	case kind(cgroups+"/pids") == unix.CGROUP_SUPER_MAGIC:
		got = "v1"
	}
	if got != want.layout {
		t.Errorf("cgroup layout %s, want %s", got, want.layout)
	}
}

// TestControllers puts a process into a new cgroup and checks that every controller works on it.
func TestControllers(t *testing.T) {
	want := promised(t)
	switch {
	case want.layout != "v2":
		for _, c := range []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer"} {
			dir := filepath.Join(cgroups, c, "guestcheck")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Error(err)
			} else if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	case want.uid == 0 && place != "systemd":
		all := strings.Fields(read(t, cgroups+"/cgroup.controllers"))
		for _, c := range []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"} {
			if !slices.Contains(all, c) {
				t.Errorf("no controller %s in %v", c, all)
			}
		}
		limited(t, cgroups, all)
	case place == "systemd", place == "rootless":
		limited(t, own(t), []string{"cpu", "cpuset", "io", "memory", "pids"})
	default: // user, login: the cgroup is not the user's
		if err := os.Mkdir(filepath.Join(own(t), "guestcheck"), 0o755); !errors.Is(err, os.ErrPermission) {
			t.Errorf("made a cgroup below %s (%v), which belongs to root", own(t), err)
		}
	}
}

// limited makes a cgroup with the controllers below parent and sees pids.max stop a fork in it.
func limited(t *testing.T, parent string, controllers []string) {
	t.Helper()
	if parent != cgroups {
		// The rule of no internal processes: whoever hands controllers on sits in a leaf.
		leaf := filepath.Join(parent, "guestcheck-self")
		makeDir(t, leaf)
		write(t, leaf+"/cgroup.procs", "0")
		t.Cleanup(func() {
			for _, c := range controllers {
				write(t, parent+"/cgroup.subtree_control", "-"+c)
			}
			write(t, parent+"/cgroup.procs", "0")
			if err := os.Remove(leaf); err != nil {
				t.Error(err)
			}
		})
		for _, c := range controllers {
			write(t, parent+"/cgroup.subtree_control", "+"+c)
		}
	}
	dir := filepath.Join(parent, "guestcheck")
	makeDir(t, dir)
	defer func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}()
	have := strings.Fields(read(t, dir+"/cgroup.controllers"))
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			t.Errorf("controller %s is missing in %s: %v", c, dir, have)
		}
	}
	write(t, dir+"/pids.max", "1")
	// Not bash, which tries again for 15 s.
	out, err := exec.Command("/bin/dash", "-c", "echo 0 >"+dir+"/cgroup.procs; (:)").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Cannot fork") {
		t.Errorf("a fork beyond pids.max=1 worked: %v, %s", err, out)
	}
}

// TestUserNamespace makes one with the ranges of /etc/subuid and mounts an overlay in it.
func TestUserNamespace(t *testing.T) {
	want := promised(t)
	dir := t.TempDir()
	script := "mount -t tmpfs tmpfs " + dir + " && cd " + dir + " && mkdir l u w m && echo lower >l/file && " +
		"mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m && echo upper >>m/file && cat m/file && id -u"
	args := []string{"--user", "--map-root-user", "--mount", "sh", "-c", script}
	if want.uid != 0 {
		args = append([]string{"--map-auto"}, args...) // newuidmap
	}
	if got := run(t, "unshare", args...); got != "lower\nupper\n0\n" {
		t.Errorf("an overlay in a user namespace shows %q", got)
	}
}

// TestDevicesAndModules checks what containers and their tests use of the kernel.
func TestDevicesAndModules(t *testing.T) {
	want := promised(t)
	for _, dev := range []string{"/dev/fuse", "/dev/net/tun", "/dev/ptmx", "/dev/shm", "/dev/null"} {
		if err := unix.Access(dev, unix.R_OK|unix.W_OK); err != nil {
			t.Errorf("use %s: %v", dev, err)
		}
	}
	out := run(t, "unshare", "--user", "--map-root-user", "--net", "sh", "-c",
		"ip link add veth0 type veth peer name veth1 && ip link add br0 type bridge && ip link set veth0 master br0 && nft add table inet t && ip -o link | wc -l")
	if n, _ := strconv.Atoi(strings.TrimSpace(out)); n < 4 {
		t.Errorf("in a network namespace: %q links, want at least lo, two of veth, the bridge", out)
	}
	if want.uid == 0 {
		for _, file := range []string{"/sys/kernel/security/lsm", "/sys/kernel/btf/vmlinux"} {
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestBusybox runs the static busybox that tests make root file systems of.
func TestBusybox(t *testing.T) {
	promised(t)
	if got := run(t, "/bin/busybox", "echo", "works"); got != "works\n" {
		t.Errorf("busybox says %q", got)
	}
}

// own is the directory of this process's v2 cgroup.
func own(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/cgroup")) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Join(cgroups, strings.TrimSpace(path))
		}
	}
	t.Fatal("no v2 cgroup in /proc/self/cgroup")
	return ""
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
