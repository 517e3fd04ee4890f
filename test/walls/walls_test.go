// Package walls holds the walls between the parts of gcr up: who may import whom, and what costs time at every
// start.
package walls

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gcr/test/lab"
)

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is missing")
	}
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", "./...")
	cmd.Dir = lab.Module(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	all := map[string]pkg{}
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	return all
}

// The layers of docs/contributing.md: what each may link of gcr's own packages, directly or not.
func TestLayers(t *testing.T) {
	all := packages(t)
	own := func(p pkg) []string {
		var out []string
		for _, d := range p.Deps {
			if name, ok := strings.CutPrefix(d, "gcr/internal/"); ok {
				out = append(out, name)
			}
		}
		return out
	}
	for _, bottom := range []string{"spec", "program", "seccomp", "account", "rootfile", "procfs", "clone", "sigpipe"} {
		p, ok := all["gcr/internal/"+bottom]
		if !ok {
			if bottom == "spec" {
				continue // the types of the specification are those of runtime-spec
			}
			t.Errorf("there is no package %s: this list is out of date", bottom)
		}
		for _, dep := range own(p) {
			// Two small packages lie below everything: how a file of the host is read, and lean JSON.
			if !strings.HasPrefix(dep, bottom+"/") && dep != "hostfile" && dep != "jsonlean" {
				t.Errorf("%s links %s, and may link no other package of gcr", bottom, dep)
			}
		}
	}
	for _, dep := range own(all["gcr/internal/plan"]) {
		if !slices.Contains([]string{"spec", "program", "seccomp", "hostfile", "jsonlean"}, dep) {
			t.Errorf("plan links %s", dep)
		}
	}
	above := []string{"engine", "image", "network", "tour"}
	for _, low := range []string{"plan", "launch", "cgroup", "state", "hostfacts"} {
		for _, dep := range own(all["gcr/internal/"+low]) {
			if top, _, _ := strings.Cut(dep, "/"); slices.Contains(above, top) {
				t.Errorf("%s links %s, which lies above it", low, dep)
			}
		}
	}
	if p, ok := all["gcr/gcrun"]; ok {
		for _, dep := range own(p) {
			if top, _, _ := strings.Cut(dep, "/"); slices.Contains(above, top) {
				t.Errorf("gcrun links %s", dep)
			}
		}
	}
}

// Only packages that face the kernel make system calls. A new one has to be put on this list, on purpose.
func TestKernelCalls(t *testing.T) {
	allowed := []string{
		"gcr/internal/program", "gcr/internal/plan", "gcr/internal/launch", "gcr/internal/cgroup", "gcr/internal/clone", "gcr/internal/sigpipe",
		"gcr/internal/state", "gcr/internal/procfs", "gcr/internal/netdevice", "gcr/internal/rootfile", "gcr/internal/hostfacts", "gcr/internal/seccomp",
		"gcr/internal/engine", "gcr/internal/image", "gcr/internal/imagecmd", "gcr/internal/network", "gcr/internal/hooks", "gcr/internal/console", "gcr/internal/label", "gcr/internal/hostfile", "gcr/internal/lifecycle", "gcr/internal/criu",
		"gcr/gcrun", "gcr/img2rootfs", "gcr/bench", "gcr/test",
	}
	for path, p := range packages(t) {
		if !strings.HasPrefix(path, "gcr/") {
			continue
		}
		for _, imp := range p.Imports {
			if imp != "syscall" && imp != "golang.org/x/sys/unix" {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") }) {
				t.Errorf("%s imports %s", path, imp)
			}
		}
	}
}

// No package of gcr does work before main: regular expressions and big maps cost time at every start.
func TestInitialisation(t *testing.T) {
	cmd := exec.Command(lab.GCR(t), "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(stderr.String()) {
		// init gcr/internal/x @0.5 ms, 0.01 ms clock, 1234 bytes, 5 allocs
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != "init" {
			continue
		}
		seen++
		if !strings.HasPrefix(f[1], "gcr/") && f[1] != "main" {
			continue
		}
		// Memory is counted, not time: it is the same on every run.
		if n, err := strconv.Atoi(f[7]); err != nil || n > 4096 {
			t.Errorf("package-level variables that cost: %s", strings.TrimSpace(line))
		}
	}
	if seen == 0 {
		t.Errorf("the runtime says nothing about initialisation:\n%s", stderr.String())
	}
}

// gcr builds for both architectures that it emits code for.
func TestBuildsForARM64(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is missing")
	}
	cmd := exec.Command("go", "build", "./...")
	cmd.Dir = lab.Module(t)
	cmd.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	cmd.WaitDelay = time.Minute
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
