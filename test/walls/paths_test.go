package walls

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gcr/test/lab"
)

// byPath are the functions of package os that follow a path wherever it leads.
var byPath = strings.Fields(`Chmod Chown Chtimes CopyFS Create CreateTemp DirFS Lchown Link Lstat Mkdir MkdirAll MkdirTemp Open OpenFile
	ReadDir ReadFile Readlink Remove RemoveAll Rename Stat Symlink Truncate WriteFile`)

// hostPaths lists the files whose functions use paths by package os, and whose paths these are. None is below the root
// filesystem of a container or an image: there, and in volumes, a name may be a link that its owner has made and
// exchanges at any time, so it is opened by openat2(2) below a descriptor (packages rootfile, program and
// image/unpack). An entry that ends in a slash stands for all files of a directory.
var hostPaths = map[string]string{
	"gcr.go":                              "the caller's collections of root filesystems, by name",
	"gcrun/control.go":                    "/etc/passwd of the host, for names of owners",
	"gcrun/log.go":                        "the engine's log",
	"gcrun/spec.go":                       "config.json for the caller",
	"internal/cgroup/create.go":           "/sys/kernel/cgroup",
	"internal/cgroup/systemd/":            "cgroups and /proc of the host",
	"internal/engine/machine.go":          "the cgroup hierarchies and the names in / of the host",
	"internal/engine/network.go":          "network namespaces, and the state directories",
	"internal/engine/readhost.go":         "programs, /proc and /sys of the host, and files that the caller's flags name",
	"internal/engine/root.go":             "the directories of root filesystems, not what is in them",
	"internal/engine/run.go":              "the state directory, /dev/null of the host, the file of --cidfile",
	"internal/image/export.go":            "the store's own directories",
	"internal/image/flock/flock.go":       "locks of the store",
	"internal/image/hold.go":              "the store's own directories",
	"internal/image/import.go":            "the store's own directories",
	"internal/image/index.go":             "the store's own directories",
	"internal/image/layer.go":             "the store's own directories, named by digests that have been checked",
	"internal/image/remove.go":            "the store's own directories",
	"internal/image/save.go":              "the store's own directories",
	"internal/image/scratch.go":           "the store's own directories",
	"internal/image/store.go":             "the store's own directories",
	"internal/image/image.go":             "the store's own directories",
	"internal/image/push.go":              "the store's own directories",
	"internal/image/registry/":            "the store's own directories",
	"internal/image/rootfs/rootfs.go":     "the target directory that the caller names, and its neighbours",
	"internal/image/settings/settings.go": "settings of the caller and the host",
	"internal/image/source/":              "archives and layouts that the caller names",
	"internal/image/unpack/attributes.go": "/proc/self/status",
	"internal/image/userns/userns.go":     "/etc/subuid and /proc/self of the host",
	"internal/imagecmd/":                  "archives that the caller names, and the store's directory",
	"internal/launch/join.go":             "namespaces that config.json names",
	"internal/launch/launch.go":           "the state directory",
	"internal/criu/run.go":                "the log in the directory of --work-path",
	"internal/lifecycle/checkpoint.go":    "directories and settings of checkpoints that the caller names, /proc",
	"internal/lifecycle/hooks.go":         "the files for the output of hooks that the caller names",
	"internal/lifecycle/notify.go":        "the state directory; the container has this part of it read-only",
	"internal/lifecycle/create.go":        "the state directory, /dev/null of the host, the file of --pid-file",
	"internal/lifecycle/exec.go":          "/dev/null of the host",
	"internal/hostfacts/lsm.go":           "/sys/module",
	"internal/lifecycle/resctrl.go":       "/sys/fs/resctrl",
	"internal/lifecycle/restore.go":       "the state directory, and sources of mounts on the host",
	"internal/lifecycle/start.go":         "the state directory",
	"internal/lifecycle/status.go":        "the state directory",
	"internal/lifecycle/store.go":         "the state directory",
	"internal/lifecycle/systemd.go":       "/proc/devices",
	"internal/netdevice/move.go":          "/proc/thread-self/ns",
	"internal/network/":                   "the state of networks, /proc/sys and /etc/resolv.conf of the host, files of its own for the container's /etc",
	"internal/seccomp/seccompcmd/":        "profiles that the caller names",
	"internal/state/":                     "the state directory",
}

// TestPathsOfTheHost holds that nothing of a program uses paths by package os but what the list names.
func TestPathsOfTheHost(t *testing.T) {
	root := lab.Module(t)
	used := map[string]bool{}
	files := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			// Tests, measurements and generators are no part of a program that runs containers.
			if slices.Contains([]string{"test", "bench", "build", ".git", "internal/seccomp/gen"}, filepath.ToSlash(name)) || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		seen++
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, call := range pathCalls(f) {
			entry := filepath.ToSlash(name)
			if _, ok := hostPaths[entry]; !ok {
				entry = filepath.ToSlash(filepath.Dir(name)) + "/"
			}
			if _, ok := hostPaths[entry]; !ok {
				t.Errorf("%s: os.%s follows a path; open it below a descriptor, or, if it can never lie in a root filesystem or volume, say so in hostPaths", files.Position(call.Pos()), call.Sel.Name)
				continue
			}
			used[entry] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("only %d files were looked at", seen)
	}
	for entry := range hostPaths {
		if !used[entry] {
			t.Errorf("%s uses no path by package os (any more): take it off the list", entry)
		}
	}
}

// pathCalls finds what a file uses of byPath, under whatever name it imports package os.
func pathCalls(f *ast.File) []*ast.SelectorExpr {
	local := ""
	for _, imp := range f.Imports {
		if imp.Path.Value == `"os"` {
			if local = "os"; imp.Name != nil {
				local = imp.Name.Name
			}
		}
	}
	var found []*ast.SelectorExpr
	if local == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && slices.Contains(byPath, sel.Sel.Name) {
				found = append(found, sel)
			}
		}
		return true
	})
	return found
}

// The search finds uses, under other names of the package too, and leaves alone what is none.
func TestPathCalls(t *testing.T) {
	for src, want := range map[string]int{
		`package x; import "os"; var _ = os.Open`:                           1,
		`package x; import o "os"; func f() { o.ReadFile("x"); o.Exit(1) }`: 1,
		`package x; import "gcr/os"; var _ = os.Open`:                       0,
		`package x; import "os"; func f(r *os.Root) { r.Open("x") }`:        0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(pathCalls(f)); got != want {
			t.Errorf("%s: found %d, want %d", src, got, want)
		}
	}
}
