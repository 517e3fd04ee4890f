package lsm

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { lab.Main(m) }

// profile lets everything through but one file and the making of sockets for raw packets.
const profile = `
profile gcr-test flags=(attach_disconnected,mediate_deleted) {
  file,
  mount,
  umount,
  pivot_root,
  capability,
  signal,
  ptrace,
  unix,
  network inet stream,
  deny /denied rw,
}
`

func appArmor(t *testing.T) {
	t.Helper()
	if !lab.IsRoot() {
		t.Skip("only root loads profiles")
	}
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || string(b) != "Y\n" {
		t.Skip("this kernel has no AppArmor")
	}
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("apparmor_parser is missing (package apparmor)")
	}
	mounted(t, "securityfs", "/sys/kernel/security", unix.SECURITYFS_MAGIC)
	file := filepath.Join(t.TempDir(), "profile")
	must(t, os.WriteFile(file, []byte(profile), 0o600))
	if out, err := exec.Command(parser, "--skip-cache", "--replace", file).CombinedOutput(); err != nil {
		t.Fatalf("load the profile: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(parser, "--remove", file).CombinedOutput(); err != nil {
			t.Errorf("remove the profile: %v: %s", err, out)
		}
	})
}

// look prints the label of the shell's first command, and tries the two files.
const look = `cat /proc/self/attr/apparmor/current; cat /allowed; cat /denied`

func TestAppArmor(t *testing.T) {
	appArmor(t)
	root := filesystem(t)
	free, confined := "unconfined\nallowed\ndenied\n", "gcr-test (enforce)\nallowed\ncat: can't open '/denied': Permission denied\n"

	run := func(flags ...string) string {
		args := append(append([]string{"run", "--quiet", "--network=none"}, flags...), root, "sh", "-c", look)
		out, _ := exec.Command(lab.GCR(t), args...).CombinedOutput()
		return string(out)
	}
	if got := run(); got != free {
		t.Fatalf("without a profile the container says %q, want %q", got, free)
	}
	if got := run("--security-opt", "apparmor=gcr-test"); got != confined {
		t.Errorf("with the profile the container says %q, want %q", got, confined)
	}
	if got := run("--security-opt", "apparmor=unconfined"); got != free {
		t.Errorf("unconfined, the container says %q, want %q", got, free)
	}
	// What begins like unconfined is a name like others (crun 1.29.1).
	for _, name := range []string{"gcr-none", "unconfined_none"} {
		if got := run("--security-opt", "apparmor="+name); !strings.Contains(got, "apparmor profile "+name) || strings.Contains(got, "allowed") {
			t.Errorf("with a profile that is not loaded: %q", got)
		}
	}

	// The same through the OCI runtime: for the first process, and for one that joins.
	b := newBundle(t, root, func(s *specs.Spec) {
		s.Process.ApparmorProfile = "gcr-test"
		s.Process.Args = []string{"sh", "-c", look}
	})
	if got := b.gcrun("run", "--bundle", b.dir, "lsm-run"); got != confined {
		t.Errorf("gcrun run says %q, want %q", got, confined)
	}
	b.spec.Process.Args = []string{"sleep", "1000"}
	b.write()
	b.gcrun("run", "--detach", "--bundle", b.dir, "lsm-exec")
	defer b.gcrun("delete", "--force", "lsm-exec")
	if got := b.gcrun("exec", "lsm-exec", "sh", "-c", look); got != confined {
		t.Errorf("gcrun exec says %q, want %q", got, confined)
	}
	if got := b.gcrun("exec", "--apparmor", "unconfined_none", "lsm-exec", "sh", "-c", look); !strings.Contains(got, "apparmor profile unconfined_none") {
		t.Errorf("gcrun exec with a profile that is not loaded says %q", got)
	}
}

// mounted mounts a file system of the kernel where it is not there yet, for the time of the test.
func mounted(t *testing.T, kind, dir string, magic int64) {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && fs.Type == magic {
		return
	}
	if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
}

func filesystem(t *testing.T) string {
	t.Helper()
	root := lab.Busybox(t)
	for _, name := range []string{"allowed", "denied"} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(name+"\n"), 0o644))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bundle is a bundle that gcrun runs.
type bundle struct {
	t                   *testing.T
	dir, state, program string
	spec                *specs.Spec
}

func newBundle(t *testing.T, root string, change func(*specs.Spec)) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: t.TempDir(), state: t.TempDir()}
	b.program = filepath.Join(lab.Module(t), "gcrun/gcrun")
	if lab.HasGo() {
		b.program = filepath.Join(t.TempDir(), "gcrun")
		cmd := exec.Command("go", "build", "-o", b.program, "gcr/gcrun")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build gcrun: %v: %s", err, out)
		}
	}
	b.spec = &specs.Spec{
		Version: "1.2.0", Root: &specs.Root{Path: root},
		Process: &specs.Process{Cwd: "/", Env: []string{"PATH=/bin"}},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}},
		Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
	}
	change(b.spec)
	b.write()
	return b
}

func (b *bundle) write() {
	b.t.Helper()
	data, err := json.Marshal(b.spec)
	must(b.t, err)
	must(b.t, os.WriteFile(filepath.Join(b.dir, "config.json"), data, 0o600))
}

// gcrun returns what the runtime and the container say.
func (b *bundle) gcrun(args ...string) string {
	b.t.Helper()
	cmd := exec.Command(b.program, append([]string{"--root", b.state}, args...)...)
	out, err := os.Create(filepath.Join(b.t.TempDir(), "out")) // a pipe would be held open by a detached container
	must(b.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	_ = cmd.Run()
	data, err := os.ReadFile(out.Name())
	must(b.t, err)
	return string(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))
}
