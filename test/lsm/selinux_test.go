package lsm

import (
	"bytes"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// policy is testdata/policy.conf in the form that the kernel takes.
//
//go:embed testdata/policy.33
var policy []byte

const (
	box     = "gcr_u:gcr_r:box_t"
	boxFile = "gcr_u:object_r:box_file_t"
)

// TestPolicyIsCompiled holds the two forms of the policy together.
func TestPolicyIsCompiled(t *testing.T) {
	tool, err := exec.LookPath("checkpolicy")
	if err != nil {
		t.Skip("checkpolicy is missing (package checkpolicy)")
	}
	out := filepath.Join(t.TempDir(), "policy")
	if b, err := exec.Command(tool, "-U", "allow", "-c", "33", "-o", out, "testdata/policy.conf").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, policy) {
		t.Errorf("testdata/policy.33 is not what checkpolicy makes of testdata/policy.conf: %v", err)
	}
}

func TestSELinux(t *testing.T) {
	if !lab.IsRoot() {
		t.Skip("only root loads a policy")
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(b), "selinuxfs") {
		t.Skip("this kernel has no SELinux")
	}
	mounted(t, "selinuxfs", "/sys/fs/selinux", unix.SELINUX_MAGIC)
	if b, err := os.ReadFile("/proc/self/attr/current"); err != nil || strings.TrimRight(string(b), "\x00\n") != "kernel" {
		t.Skipf("this machine has a policy already, which cannot be taken back: %q", b)
	}
	root := filesystem(t)
	const look = `tr '\0' '\n' </proc/self/attr/current; cat /allowed; cat /denied`
	const free, confined = "allowed\ndenied\n", box + "\nallowed\ncat: can't open '/denied': Permission denied\n"
	run := func(flags ...string) string {
		args := append(append([]string{"run", "--quiet", "--network=none"}, flags...), root, "sh", "-c", look)
		out, _ := exec.Command(lab.GCR(t), args...).CombinedOutput()
		return string(out)
	}
	if got := run("--security-opt", "label=type:box_t"); !strings.Contains(got, "no SELinux policy is loaded") {
		t.Errorf("without a policy: %q", got)
	}

	must(t, os.WriteFile("/sys/fs/selinux/load", policy, 0))
	must(t, unix.Setxattr(filepath.Join(root, "denied"), "security.selinux", []byte("gcr_u:object_r:secret_t\x00"), 0))
	must(t, os.WriteFile("/sys/fs/selinux/enforce", []byte("1"), 0))
	defer func() { must(t, os.WriteFile("/sys/fs/selinux/enforce", []byte("0"), 0)) }()

	if got := run(); !strings.HasSuffix(got, free) || strings.Contains(got, "box_t") {
		t.Fatalf("without a label the container says %q, want another context and %q", got, free)
	}
	if got := run("--security-opt", "label=type:box_t"); got != confined {
		t.Errorf("gcr run with the label says %q, want %q", got, confined)
	}
	if got := run("--security-opt", "label=type:none_t"); !strings.Contains(got, "selinux label gcr_u:gcr_r:none_t") {
		t.Errorf("with a type that the policy does not have: %q", got)
	}

	b := newBundle(t, root, func(s *specs.Spec) {
		s.Process.SelinuxLabel, s.Linux.MountLabel = box, boxFile
		s.Process.Args = []string{"sh", "-c", look + "; grep ' /dev ' /proc/self/mountinfo"}
	})
	got := b.gcrun("run", "--bundle", b.dir, "lsm-run")
	if !strings.HasPrefix(got, confined) || !strings.Contains(got, "context="+boxFile) {
		t.Errorf("gcrun run says %q, want %q, and a tmpfs with context=%s", got, confined, boxFile)
	}
	b.spec.Process.Args = []string{"sleep", "1000"}
	b.write()
	b.gcrun("run", "--detach", "--bundle", b.dir, "lsm-exec")
	defer b.gcrun("delete", "--force", "lsm-exec")
	if got := b.gcrun("exec", "lsm-exec", "sh", "-c", look); got != confined {
		t.Errorf("gcrun exec says %q, want %q", got, confined)
	}
}
