// Package shell_test checks every shell script of the repository.
package shell_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// scripts returns the tracked and new files that a shell interprets, by their name or their first line.
func scripts(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this is not a git checkout, whose files could be listed: %v", err)
	}
	var found []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		file := filepath.Join(root, name)
		info, err := os.Lstat(file)
		if err != nil || !info.Mode().IsRegular() || strings.Contains(name, "testdata/") {
			continue
		}
		if strings.HasSuffix(name, ".sh") || isShell(t, file) {
			found = append(found, name)
		}
	}
	return found
}

func isShell(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.HasPrefix(line, []byte("#!")) && (bytes.HasSuffix(line, []byte("/sh")) || bytes.Contains(line, []byte("bash")))
}

func TestScripts(t *testing.T) {
	names := scripts(t)
	for _, must := range []string{"cgroups.sh", "provision.sh"} {
		if !strings.Contains(strings.Join(names, "\n")+"\n", must+"\n") {
			t.Errorf("%s is not among the scripts: %q", must, names)
		}
	}
	_, missing := exec.LookPath("shellcheck")
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			info, err := os.Stat(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode()&0o111 == 0 {
				t.Error("it is not executable")
			}
			check(t, "bash", "-n", name)
			if missing != nil {
				t.Skip("shellcheck is not installed")
			}
			check(t, "shellcheck", name)
		})
	}
}

func check(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
