package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A suite is the tests of one package and where they run.
type suite struct {
	// Package is a directory below the module's root; one that ends in "/..." stands for every package
	// with tests below it that has no line of its own.
	Package string
	// Long suites take many minutes on an emulated processor: they run only when -only names them. Otherwise those
	// of their tests run that Short selects, as Run does, if it selects any.
	Long  bool
	Short string
	// At names the places. None: the tests are pure, the host has run them.
	At []string
	// Files are what the tests read beside their package's testdata, relative to the module's root; a
	// directory stands for everything in it.
	Files []string
	// Programs are commands of the module, by directory, which are built for the place and are found under
	// the name that "go build" in the README gives them, relative to the module's root.
	Programs map[string]string
	// Run selects tests, as go test -run does (default: all). What is pure, or the same everywhere, has been run
	// by the host.
	Run string
	// Limit is the time limit in one place (default: defaultLimit).
	Limit time.Duration
}

// defaultLimit, as the other limits, is for what hangs: a machine that does other work as well takes three times as long
// as a calm one.
const defaultLimit = 10 * time.Minute

// suites is the list of what runs in VMs: the one place to add to.
//
// In a guest the module's directory is /vm/in, without the sources; a suite's test binary runs in its
// package's directory, as under "go test". GCR_VM_PLACE names the place.
var suites = []suite{
	{Package: "test/vm/guestcheck", At: all},
	{Package: "test/vm"}, // the bench itself: pure
	// One of its tests takes nf_tables out of the kernel, which waits for what other suites have left in it.
	{Package: "test/network", At: []string{"v2"}, Limit: 20 * time.Minute, Programs: map[string]string{".": "gcr", "test/network/agent": "test/network/agent/agent"}},
	{Package: "test/scripts", At: []string{"host", "v2", "user", "systemd", "rootless", "login", "hybrid"}, Files: []string{"cgroups.sh"}},
	{Package: "internal/cgroup", At: []string{"v2", "systemd", "rootless", "systemd1", "hybrid"}},
	{Package: "internal/cgroup/systemd", At: []string{"systemd", "rootless", "systemd1"}},
	{Package: "test/limits", At: []string{"host", "v2", "systemd", "rootless", "login"}, Programs: gcr},
	// The OCI runtime; checkpoint and restore on a kernel of criu's age as well; the systemd driver with each version of
	// cgroups, as root and as an ordinary user.
	{Package: "gcrun", At: []string{"v2"}, Limit: 40 * time.Minute, Programs: gcrunPrograms},
	{Package: "gcrun", At: []string{"hybrid"}, Limit: 20 * time.Minute, Programs: gcrunPrograms, Run: "^TestCheckpoint|^TestRestore|^TestLifecycle$"},
	{Package: "gcrun", At: []string{"systemd", "rootless", "login", "systemd1"}, Limit: 15 * time.Minute, Programs: gcrunPrograms, Run: "^TestSystemd|^TestNoBus$"},
	// Podman as root, and under systemd as root and as an ordinary user, whose cgroups the host may not have.
	{Long: true, Package: "test/clients", At: []string{"v2"}, Limit: 16 * time.Minute, Programs: gcrunPrograms, Files: clientFiles, Run: "TestClients/podman$"},
	{Package: "test/clients", At: []string{"systemd", "rootless"}, Limit: 25 * time.Minute, Programs: gcrunPrograms, Files: clientFiles, Run: "TestClients/systemd$"},
	{Package: "internal/clone", At: []string{"v2", "arm64"}},
	{Package: "internal/launch", At: []string{"v2", "rootless", "arm64"}},
	{Package: "internal/program", At: []string{"arm64"}},
	{Package: "internal/seccomp", At: []string{"arm64"}, Run: "TestDefaultBlocks|TestDefaultRunsPrograms|TestSocketcall|TestActions|TestNotify|TestFlags|TestKills"},
	// Security modules, which the host may not have.
	{Package: "test/lsm", At: []string{"v2", "selinux"}, Programs: map[string]string{".": "gcr", "gcrun": "gcrun/gcrun"}},
	// The command of people, as root, as root playing ordinary users, and as an ordinary user with limits.
	{
		Long: true, Package: "test/run", At: []string{"v2", "rootless", "arm64"}, Programs: gcr, Limit: 25 * time.Minute,
		Short: "TestSessions/(root|self)/(hello|limits|status|process|isolation)$",
	},
	{
		Long: true, Package: "test/attacks", At: []string{"v2"}, Programs: map[string]string{".": "gcr", "gcrun": "gcrun/gcrun"}, Limit: 20 * time.Minute,
		// What few hosts have.
		Short: "TestMuseum/(sysrq-trigger|kernel_memory|host's_disk|AF_ALG|name_of_an_AppArmor)",
	},
	{Long: true, Package: "test/userns", At: []string{"v2"}, Programs: gcr},
	{Long: true, Package: "internal/engine", At: []string{"v2"}, Programs: gcr, Run: "TestEveryCallFails|TestKilledAtEveryStep"},
	// Overlay mounts of root and of user namespaces on a kernel with all of it; the host has run the rest.
	{Long: true, Package: "test/image", At: []string{"v2"}, Run: "TestImages//^(user|volumes|writes|killed|img2rootfs)$", Programs: map[string]string{".": "gcr", "img2rootfs": "img2rootfs/img2rootfs"}},
	{Package: "internal/..."}, // the rest is pure or the same on every kernel: the host has run it
}

// Commands and files that suites use.
var (
	clientFiles   = []string{"test/clients/lib.sh", "test/clients/podman-lib.sh", "test/clients/podman.sh", "test/clients/systemd.sh", "contrib"}
	gcr           = map[string]string{".": "gcr"}
	gcrunPrograms = map[string]string{"gcrun": "gcrun/gcrun", "test/probe": "test/probe/probe"}
)

// all is every place.
var all = []string{"host", "v2", "user", "systemd", "rootless", "login", "systemd1", "v1", "hybrid", "selinux", "arm64"}

// findSuites expands the list: each line that stands for packages becomes one line for each. A line whose
// package does not exist (any more) is an error.
func findSuites() ([]suite, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	var found []suite
	named := map[string]bool{}
	for _, s := range suites {
		for _, name := range s.At {
			if _, err := placeNamed(name); err != nil {
				return nil, fmt.Errorf("suite %s: %w", s.Package, err)
			}
		}
		if strings.HasSuffix(s.Package, "/...") {
			continue
		}
		named[s.Package] = true
		if tests, _ := filepath.Glob(filepath.Join(root, s.Package, "*_test.go")); len(tests) == 0 {
			return nil, fmt.Errorf("suite %s: the package has no tests", s.Package)
		}
		found = append(found, s)
	}
	for _, s := range suites {
		dir, ok := strings.CutSuffix(s.Package, "/...")
		if !ok {
			continue
		}
		packages, err := testedPackages(root, dir)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			if !named[p] {
				one := s
				one.Package = p
				found = append(found, one)
			}
		}
	}
	return slices.DeleteFunc(found, func(s suite) bool { return len(s.At) == 0 }), nil
}

// testedPackages returns the packages with tests below a directory of the module.
func testedPackages(root, dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, dir)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	const format = `{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}`
	out, err := runTool(context.Background(), root, "go", "list", "-f", format, "./"+dir+"/...")
	if err != nil {
		return nil, err
	}
	var packages []string
	for name := range strings.FieldsSeq(out) {
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return nil, err
		}
		packages = append(packages, filepath.ToSlash(rel))
	}
	return packages, nil
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := runTool(context.Background(), "", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	mod := strings.TrimSpace(out)
	if mod == "" || mod == os.DevNull {
		return "", errors.New("find go.mod: there is none here or above; run the bench inside the project")
	}
	return filepath.Dir(mod), nil
}

// binary is the name of a suite's test program inside its package's directory.
func (s suite) binary() string { return filepath.Base(s.Package) + ".test" }

// build compiles the suite's tests and programs for an architecture and puts them, with the files they read,
// where they belong below dir.
func (s suite) build(ctx context.Context, root, arch, dir string) error {
	test := filepath.Join(dir, s.Package, s.binary())
	// -w: no debugging information; a test binary that is half as big boots sooner.
	if err := goBuild(ctx, arch, "test", "-c", "-ldflags=-w", "-o", test, "gcr/"+s.Package); err != nil {
		return err
	}
	for pkg, name := range s.Programs {
		target := filepath.Join(dir, name)
		if _, err := os.Stat(target); err == nil {
			continue // another suite's, too
		}
		if err := goBuild(ctx, arch, "build", "-o", target, filepath.ToSlash(filepath.Join("gcr", pkg))); err != nil {
			return err
		}
	}
	for _, name := range append([]string{filepath.Join(s.Package, "testdata")}, s.Files...) {
		from, to := filepath.Join(root, name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		switch {
		case errors.Is(err, os.ErrNotExist) && filepath.Base(name) == "testdata":
			continue
		case err != nil:
			return fmt.Errorf("suite %s: %w", s.Package, err)
		case !info.IsDir():
			err = copyFile(from, to)
		default:
			if _, there := os.Stat(to); there != nil {
				err = os.CopyFS(to, os.DirFS(from))
			}
		}
		if err != nil {
			return fmt.Errorf("suite %s: %w", s.Package, err)
		}
	}
	return nil
}
