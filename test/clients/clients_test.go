// Package clients lets the programs that use an OCI runtime drive gcrun: Podman, Buildah, containerd by its own
// client and by Kubernetes' interface, and Docker. Each has a script here that configures it with the file in contrib/
// and uses it as a person does; lib.sh says how they are kept apart from the host. The tests run the scripts, which can be run by themselves as well:
//
//	go test ./test/clients -run /docker -v
//	test/clients/docker.sh
package clients

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"gcr/test/lab"
)

func TestClients(t *testing.T) {
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) == 0 {
		t.Fatal("there are no scripts")
	}
	gcrun := runtimeProgram(t)
	for _, script := range scripts {
		name := strings.TrimSuffix(script, ".sh")
		if strings.HasSuffix(name, "lib") || name == "all" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drive(t, script, gcrun)
		})
	}
}

// runtimeProgram builds gcrun. In a virtual machine there is no Go; the bench has built it.
func runtimeProgram(t *testing.T) string {
	if os.Getenv("GCR_VM_PLACE") != "" {
		built, err := filepath.Abs("../../gcrun/gcrun")
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	if !lab.HasGo() {
		t.Skip("the go command is missing")
	}
	gcrun := filepath.Join(t.TempDir(), "gcrun")
	build := exec.Command("go", "build", "-o", gcrun, "gcr/gcrun")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build gcrun: %v\n%s", err, out)
	}
	return gcrun
}

// drive runs a script and reports what it found wrong.
func drive(t *testing.T, script, gcrun string) {
	// Short, for sockets are made below it, whose paths have 107 bytes at most.
	dir, err := os.MkdirTemp("", "gcr")
	if err != nil {
		t.Fatal(err)
	}
	cgroup := fmt.Sprintf("gcr-client-%d-%s", os.Getpid(), strings.TrimSuffix(script, ".sh"))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("what the script has left behind cannot be removed: %v", err)
		}
		removeCgroups(cgroup)
	})
	var out bytes.Buffer
	cmd := exec.Command("./" + script)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "GCR_CLIENT_GCRUN="+gcrun, "GCR_CLIENT_CGROUP="+cgroup)
	cmd.Stdout, cmd.Stderr = &out, &out
	// The script, and with it all of its namespace, dies with this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()

	var right []string
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		line := lines.Text()
		if why, ok := strings.CutPrefix(line, "skip: "); ok {
			t.Skip(why)
		}
		if what, ok := strings.CutPrefix(line, "ok "); ok {
			right = append(right, what)
			continue
		}
		if strings.HasPrefix(line, "FAIL ") {
			t.Error(line)
			continue
		}
		t.Log(line)
	}
	t.Logf("right: %s", strings.Join(right, "; "))
	if err != nil {
		t.Errorf("%s: %v", script, err)
	}
	if len(right) == 0 {
		t.Errorf("%s checked nothing", script)
	}
}

// removeCgroups removes what is left of a script that was killed.
func removeCgroups(name string) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, top := range append(tops, "/sys/fs/cgroup/"+name) {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
	}
}

// Each client that docs/gcrun.md promises a test for has one, which uses the file that is shipped for it.
func TestShippedFilesAreUsed(t *testing.T) {
	files, err := filepath.Glob("../../contrib/*")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, s := range scripts {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if len(files) == 0 {
		t.Error("contrib/ is empty")
	}
	for _, f := range files {
		use := "contrib/" + filepath.Base(f)
		if !regexp.MustCompile(regexp.QuoteMeta(use) + `\b`).Match(all) {
			t.Errorf("no script uses %s", use)
		}
		text, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("/usr/local/bin/gcrun")) {
			t.Errorf("%s does not say where gcrun is", use)
		}
	}
}
