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
	"path/filepath"
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

// layers says what each package below internal may import of the others, besides the leaves; packages below one of them
// count as that one. The direction may not turn (docs/design.md, "Layout"): a package stands below all those that
// may import it.
var layers = []struct{ pkg, imports string }{
	// Leaves, which all may import.
	{"hostfile", ""},
	{"jsonlean", ""},

	{"account", ""},
	{"clone", ""},
	{"criu", ""},
	{"listing", ""},
	{"netdevice", ""},
	{"prefault", ""},
	{"procfs", ""},
	{"program", ""},
	{"rootfile", ""},
	{"seccomp", ""},
	{"sigpipe", ""},
	{"spec", ""},
	{"stack", ""},
	{"state", ""},

	{"cgroup", ""},
	{"hostfacts", "procfs"},
	{"plan", "spec program seccomp"},
	{"launch", "plan program clone sigpipe procfs cgroup state"},
	{"lifecycle", "spec plan seccomp launch cgroup hostfacts account rootfile procfs clone criu netdevice"},

	{"image", "account"},
	{"imagecmd", "image listing"},
	{"network", "state"},
	{"networkcmd", "network listing state hostfacts"},

	{"engine", "plan seccomp launch cgroup hostfacts account rootfile procfs state image network"},
}

// TestLayers holds every import against the list. What gcrun links is held by a test of its own.
func TestLayers(t *testing.T) {
	all := packages(t)
	may := map[string][]string{}
	for _, l := range layers {
		for _, below := range strings.Fields(l.imports) {
			if may[below] == nil {
				t.Errorf("%s may import %s, which stands above it", l.pkg, below)
			}
		}
		may[l.pkg] = append(strings.Fields(l.imports), l.pkg, "hostfile", "jsonlean")
	}
	seen := map[string]bool{}
	for path, p := range all {
		name, ok := strings.CutPrefix(path, "gcr/internal/")
		if !ok {
			continue
		}
		top, _, _ := strings.Cut(name, "/")
		seen[top] = true
		if may[top] == nil {
			t.Errorf("package %s has no place among the layers", name)
			continue
		}
		for _, imp := range p.Imports {
			imp, ours := strings.CutPrefix(imp, "gcr/")
			imp, inner := strings.CutPrefix(imp, "internal/")
			if imp, _, _ = strings.Cut(imp, "/"); ours && (!inner || !slices.Contains(may[top], imp)) {
				t.Errorf("%s imports %s", name, imp)
			}
		}
	}
	for _, l := range layers {
		if !seen[l.pkg] {
			t.Errorf("there is no package %s: the list is out of date", l.pkg)
		}
	}
}

// Only packages that face the kernel make system calls. A new one has to be put on this list, on purpose.
func TestKernelCalls(t *testing.T) {
	allowed := []string{
		"gcr/internal/program", "gcr/internal/plan", "gcr/internal/launch", "gcr/internal/cgroup", "gcr/internal/clone", "gcr/internal/sigpipe",
		"gcr/internal/state", "gcr/internal/procfs", "gcr/internal/netdevice", "gcr/internal/rootfile", "gcr/internal/hostfacts", "gcr/internal/seccomp",
		"gcr/internal/engine", "gcr/internal/image", "gcr/internal/imagecmd", "gcr/internal/network", "gcr/internal/hostfile", "gcr/internal/lifecycle", "gcr/internal/criu",
		"gcr/gcrun", "gcr/img2rootfs", "gcr/bench", "gcr/test",
	}
	used := make([]bool, len(allowed))
	for path, p := range packages(t) {
		if !strings.HasPrefix(path, "gcr/") {
			continue
		}
		for _, imp := range p.Imports {
			if imp != "syscall" && imp != "golang.org/x/sys/unix" {
				continue
			}
			i := slices.IndexFunc(allowed, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") })
			if i < 0 {
				t.Errorf("%s imports %s", path, imp)
				continue
			}
			used[i] = true
		}
	}
	for i, a := range allowed {
		if !used[i] {
			t.Errorf("%s makes no system calls: the list is out of date", a)
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

// TestDependencies holds docs/dependencies.md and the modules that are asked for together: a line for each, and no more.
func TestDependencies(t *testing.T) {
	root := lab.Module(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		list, _, _ := strings.Cut(line, ": ")
		if item, ok := strings.CutPrefix(list, "- "); ok {
			for _, m := range strings.Split(item, ", ") {
				m = strings.Trim(m, "`")
				if told[m] {
					t.Errorf("%s has two lines", m)
				}
				told[m] = true
			}
		}
	}
	asked := map[string]bool{}
	for _, dir := range []string{"", "test/clients/cri", "test/schema"} {
		cmd := exec.Command("go", "mod", "edit", "-json")
		cmd.Dir = filepath.Join(root, dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var mod struct {
			Require []struct {
				Path     string
				Indirect bool
			}
		}
		if err := json.Unmarshal(out, &mod); err != nil {
			t.Fatal(err)
		}
		for _, m := range mod.Require {
			if !m.Indirect && !told[m.Path] {
				t.Errorf("%s of go.mod has no line: why is it there?", m.Path)
			}
			asked[m.Path] = asked[m.Path] || !m.Indirect
		}
	}
	for m := range told {
		if !asked[m] {
			t.Errorf("%s is in no go.mod, or only for the sake of others", m)
		}
	}
}
