package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

const gcrVar = "GCR_LAB_GCR"

var built struct {
	sync.Mutex
	dir string
}

// GCR returns the path of the gcr program, built from this tree, where any user can run it. Without a go
// command it is the one that was brought along.
func GCR(t *testing.T) string {
	t.Helper()
	if p := os.Getenv(gcrVar); p != "" {
		return p
	}
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		return filepath.Join(built.dir, "gcr")
	}
	dir, err := os.MkdirTemp("", "gcr-lab-bin-")
	if err != nil {
		t.Fatal(err)
	}
	built.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "gcr")
	if !HasGo() {
		if err := copyFile(filepath.Join(Module(t), "gcr"), bin, 0o755); err != nil {
			t.Fatal(err)
		}
		return bin
	}
	cmd := exec.Command("go", "build", "-o", bin, "gcr")
	cmd.Dir = Module(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build gcr: %v\n%s", err, out)
	}
	return bin
}

// HasGo reports whether there is a go command to build programs with. Where there is none, as in the VMs of
// test/vm, they have been brought along, at the places in the module that "go build" in the README gives them.
func HasGo() bool {
	_, err := exec.LookPath("go")
	return err == nil
}

func removeBuilt() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

// Module returns the directory of the project: this file's, three levels up, or, without a go command,
// the one two levels above the tests'.
func Module(t testing.TB) string {
	t.Helper()
	if !HasGo() {
		dir, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("find the project's directory: the runtime does not know")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// While the file is open for writing no other goroutine may fork: the child would hold it open too, and it
	// could not be executed (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}
