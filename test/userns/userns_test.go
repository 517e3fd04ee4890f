// Package userns tests the user namespaces of gcr run on the real kernel: ids of the container's own, and files whose
// owners are translated by idmapped mounts instead of changed.
package userns

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var gcr string

func TestMain(m *testing.M) {
	status := func() int {
		gcr, _ = filepath.Abs("../../gcr")
		if _, err := exec.LookPath("go"); err == nil {
			dir, err := os.MkdirTemp("", "userns")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			gcr = filepath.Join(dir, "gcr")
			cmd := exec.Command("go", "build", "-o", gcr, ".")
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("%v\n%s", err, out))
			}
			// An ordinary user has to reach it.
			if err := os.Chmod(dir, 0o755); err != nil {
				panic(err)
			}
		}
		return m.Run()
	}()
	os.Exit(status)
}

// busybox makes a root filesystem in a directory that nobody but root can enter.
func busybox(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this needs root, who has other ids to give away")
	}
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed (Debian package busybox-static)")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	if err := os.MkdirAll(root+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/bin/busybox", data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("busybox", root+"/bin/sh"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/theirs", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(root+"/theirs", 1000, 1000); err != nil {
		t.Fatal(err)
	}
	return root
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(gcr, append([]string{"run", "--quiet", "--network=none"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gcr run %q: %v\n%s%s", args, err, out, &errs)
	}
	return string(out)
}

// The ids inside are the files' ids, before and after; outside, the process has ids that own nothing.
func TestIDMapped(t *testing.T) {
	for _, c := range []struct{ name, mode, layer string }{
		{"auto", "auto", ""},
		{"auto on a layer", "auto", "--ephemeral"},
		{"map", "0:700000:70000", ""},
		{"map on a layer", "0:700000:70000", "--ephemeral"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := busybox(t)
			volume := t.TempDir()
			args := []string{"--userns=" + c.mode, "-v", volume + ":/volume"}
			if c.layer != "" {
				args = append(args, c.layer)
			}
			script := `set -e
				export PATH=/bin; alias b=busybox
				busybox id -u
				busybox stat -c '%u:%g' /theirs /bin/busybox /volume /etc/hosts
				busybox touch /volume/mine /volume/given /mine; busybox chown 1234:1235 /volume/given
				busybox stat -c '%u:%g' /volume/given /mine
				busybox cat /proc/self/uid_map`
			out := strings.Fields(run(t, append(args, root, "sh", "-c", script)...))
			want := []string{"0", "1000:1000", "0:0", "0:0", "0:0", "1234:1235", "0:0", "0"}
			if len(out) != len(want)+2 || strings.Join(out[:len(want)], " ") != strings.Join(want, " ") {
				t.Fatalf("%q, want %q and the rest of the map", out, want)
			}
			if host := out[len(want)]; host == "0" {
				t.Errorf("root of the container is root of the host: %q", out)
			}
			for name, id := range map[string]uint32{"mine": 0, "given": 1234} {
				info, err := os.Stat(filepath.Join(volume, name))
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Sys().(*syscall.Stat_t).Uid; got != id {
					t.Errorf("%s of the volume belongs to %d on the host, want %d", name, got, id)
				}
			}
			_, err := os.Stat(root + "/mine")
			if there := err == nil; there != (c.layer == "") {
				t.Errorf("what was written to the root filesystem is there: %v", there)
			}
		})
	}
}

// Where the host's mounts are shared, as systemd makes them, none of the container's appears there.
func TestNothingPropagates(t *testing.T) {
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("unshare is not installed")
	}
	for _, mode := range []string{"auto", "private", "host"} {
		t.Run(mode, func(t *testing.T) {
			root := busybox(t)
			volume := t.TempDir()
			// Shared within a mount namespace of the test's own; the container waits while its host is looked at.
			script := `mount --make-rprivate / && mount --make-rshared / || exit 1
				"$@" <"$0" | { read ready; echo "$ready"; cat /proc/self/mountinfo; echo >"$0"; }`
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd := exec.Command("unshare", "-m", "sh", "-c", script, fifo, gcr, "run", "--quiet", "--network=none", "-i", "--userns="+mode,
				"-v", volume+":/volume", "--tmpfs", "/volume/inside", root, "sh", "-c", "echo ready; read x")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "ready\n") {
				t.Fatalf("%v\n%s", err, out)
			}
			for line := range strings.SplitSeq(string(out), "\n") {
				if strings.Contains(line, root) || strings.Contains(line, volume) {
					t.Errorf("a mount of the container is on the host: %s", line)
				}
			}
		})
	}
}

// Two containers at the same time have no id in common.
func TestAutoApart(t *testing.T) {
	root := busybox(t)
	first := exec.Command(gcr, "run", "--quiet", "--network=none", "-i", "--userns=auto", root, "sh", "-c", "busybox cat /proc/self/uid_map; read x")
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = first.Wait() }()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	a, b := strings.Fields(string(line[:n])), strings.Fields(run(t, "--userns=auto", root, "sh", "-c", "busybox cat /proc/self/uid_map"))
	if len(a) != 3 || len(b) != 3 || a[1] == b[1] {
		t.Errorf("%q and %q", a, b)
	}
}

// A process of the container may not touch one of the host's root, even where it sees it.
func TestRootIsNobodyOutside(t *testing.T) {
	root := busybox(t)
	victim := exec.Command("sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	script := fmt.Sprintf("busybox kill -0 %d 2>&1 && echo may || echo may not", victim.Process.Pid)
	if out := run(t, "--pid=host", root, "sh", "-c", script); !strings.HasSuffix(out, "may\n") {
		t.Errorf("without a user namespace: %q", out)
	}
	if out := run(t, "--pid=host", "--userns=auto", root, "sh", "-c", script); !strings.HasSuffix(out, "may not\n") {
		t.Errorf("with one: %q", out)
	}
}

// An ordinary user has the same id inside, and a root of the container beside.
func TestKeepID(t *testing.T) {
	root := busybox(t)
	for _, tool := range []string{"newuidmap", "setpriv", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is missing, so that no other file can be shown in its place", file)
		}
	}
	const id = 54321
	for dir := root; dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(root, id, id); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(t.TempDir(), "sub")
	if err := os.WriteFile(sub, fmt.Appendf(nil, "%d:300000:65536\n", id), 0o644); err != nil {
		t.Fatal(err)
	}
	runtime := t.TempDir()
	if err := os.Chown(runtime, id, id); err != nil {
		t.Fatal(err)
	}
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, fmt.Appendf(nil, "root:x:0:0::/:/bin/sh\nkeeper:x:%d:%d::/:/bin/sh\n", id, id), 0o644); err != nil {
		t.Fatal(err)
	}
	// The user gets a name and subordinate ids in a mount namespace, where nobody else sees them.
	script := fmt.Sprintf(`set -e
		mount --make-rprivate /
		for f in /etc/subuid /etc/subgid; do mount --bind %s $f; done
		mount --bind %s /etc/passwd
		exec setpriv --reuid %d --regid %d --clear-groups env XDG_RUNTIME_DIR=%s "$@"`, sub, passwd, id, id, runtime)
	inside := "busybox id -u; busybox cat /proc/self/uid_map; busybox touch /kept"
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", gcr, "run", "--quiet", "--network=none", "--userns=keep-id", root, "sh", "-c", inside)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Join(strings.Fields(string(out)), " "); got != "54321 0 300000 54321 54321 54321 1 54322 354321 11215" {
		t.Errorf("%q", got)
	}
	info, err := os.Stat(root + "/kept")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Uid; got != id {
		t.Errorf("the file belongs to %d on the host", got)
	}
}
