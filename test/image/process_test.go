package image

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gcr/test/lab"
)

// running is a gcr that was started and has not ended yet.
type running struct {
	s    *scene
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	diag bytes.Buffer
}

func (s *scene) start(args ...string) *running {
	s.t.Helper()
	r := &running{s: s, cmd: s.command(lab.GCR(s.t), args...)}
	r.cmd.Stderr = &r.diag
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	r.out = bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	return r
}

// line waits for the next line of output, which must be this one.
func (r *running) line(want string) {
	r.s.t.Helper()
	if !r.out.Scan() || r.out.Text() != want {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.s.t.Fatalf("output %q, want %q; %s", r.out.Text(), want, r.diag.String())
	}
}

func (r *running) enter() {
	r.s.t.Helper()
	if _, err := io.WriteString(r.in, "\n"); err != nil {
		r.s.t.Error(err)
	}
}

// end closes standard input and waits for the end with the exit status.
func (r *running) end(want int) {
	r.s.t.Helper()
	r.in.Close()
	for r.out.Scan() {
		r.s.t.Errorf("more output: %q", r.out.Text())
	}
	if got := lab.ExitStatus(r.s.t, r.cmd.Wait()); got != want {
		r.s.t.Errorf("exit status %d, want %d; %s", got, want, r.diag.String())
	}
}

// toolVar names the built img2rootfs for the processes that play the roles.
const toolVar = "GCR_TEST_IMG2ROOTFS"

// buildTools builds img2rootfs where every user can run it. In a VM, which has no compiler, it lies beside the
// tests if at all.
func buildTools(t *testing.T) {
	t.Helper()
	if lab.Current() != "" || os.Getenv(toolVar) != "" {
		return
	}
	if os.Getenv("GCR_VM_PLACE") != "" {
		_ = os.Setenv(toolVar, filepath.Join(lab.Module(t), "img2rootfs", "img2rootfs"))
		return
	}
	dir, err := os.MkdirTemp("", "gcr-img2rootfs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "img2rootfs")
	c := exec.Command("go", "build", "-o", bin, "./img2rootfs")
	c.Dir = lab.Module(t)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build img2rootfs: %v %s", err, out)
	}
	// Not t.Setenv: the roles are played in parallel.
	if err := os.Setenv(toolVar, bin); err != nil {
		t.Fatal(err)
	}
}

func img2rootfs(t *testing.T) string {
	t.Helper()
	bin := os.Getenv(toolVar)
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("img2rootfs was not built for this machine: %v", err)
	}
	return bin
}
