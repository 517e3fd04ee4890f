package run

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

// TestKilledWithAnotherUser kills gcr while the command has become another user by itself, as the scripts that start databases do:
// the kernel takes back then that the command dies with gcr (PR_SET_PDEATHSIG(2const)). With --init it dies nevertheless, and
// without it the next gcr command ends it.
func TestKilledWithAnotherUser(t *testing.T) {
	if !lab.IsRoot() {
		t.Skip("needs root: a user's containers have cgroups of their own, by which the command is found, on few hosts only")
	}
	for _, init := range []bool{false, true} {
		t.Run(fmt.Sprintf("init=%v", init), func(t *testing.T) {
			rootfs := t.TempDir()
			copyTree(t, lab.Busybox(t), rootfs)
			if err := os.WriteFile(filepath.Join(rootfs, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nother:x:7:7::/:/bin/sh\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{"run", "--quiet", "--network=none"}
			if init {
				args = append(args, "--init")
			}
			const seconds = "54321987"
			cmd := exec.Command(lab.GCR(t), append(args, rootfs, "su", "other", "-c", "exec sleep "+seconds)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			await(t, "the command", func() bool {
				pid = processOf("sleep\x00" + seconds)
				return pid != 0
			})
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if !init {
				if err := unix.Kill(pid, 0); err != nil {
					t.Logf("this kernel keeps the tie: %v", err)
				}
				if out, err := exec.Command(lab.GCR(t), "run", "--quiet", "--network=none", lab.Busybox(t), "true").CombinedOutput(); err != nil {
					t.Fatalf("the next command: %v: %s", err, out)
				}
			}
			await(t, "the end of the command", func() bool { return processOf("sleep\x00"+seconds) == 0 })
		})
	}
}

// processOf finds a process by its command line.
func processOf(line string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(b), line) {
			pid := 0
			_, _ = fmt.Sscanf(name, "/proc/%d/", &pid)
			return pid
		}
	}
	return 0
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	cmd := exec.Command("cp", "-a", from+"/.", to)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}
