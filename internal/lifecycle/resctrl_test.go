package lifecycle

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The rules of config-linux.md, "IntelRdt", on directories that stand for the file system: few machines have the
// processor that the kernel's own needs.
func TestResctrlGroups(t *testing.T) {
	const class = "L3:0=7f0;1=1f"
	for name, c := range map[string]struct {
		rdt   specs.LinuxIntelRdt
		there []string // groups that exist, with the schemata "L3:0=7f0;1=01f\nMB:0=100\n"
		own   string   // what belongs to the container alone
		tasks string   // the group that is entered
		has   string   // the schemata of the group, as written
		fails string
	}{
		"no class":            {own: "c1", tasks: "c1"},
		"no class, schema":    {rdt: specs.LinuxIntelRdt{L3CacheSchema: class, MemBwSchema: "MB:0=20"}, own: "c1", tasks: "c1", has: class + "\nMB:0=20\n"},
		"list after schema":   {rdt: specs.LinuxIntelRdt{L3CacheSchema: class, Schemata: []string{"L3:0=1", "MB:0=50"}}, own: "c1", tasks: "c1", has: class + "\n|L3:0=1\nMB:0=50\n"},
		"no class, monitored": {rdt: specs.LinuxIntelRdt{EnableMonitoring: true}, own: "c1", tasks: "c1/mon_groups/c1"},
		"class is made":       {rdt: specs.LinuxIntelRdt{ClosID: "fast", Schemata: []string{class}}, tasks: "fast", has: class + "\n"},
		"class is there":      {rdt: specs.LinuxIntelRdt{ClosID: "fast"}, there: []string{"fast"}, tasks: "fast"},
		"class is missing":    {rdt: specs.LinuxIntelRdt{ClosID: "fast"}, fails: "(linux.intelRdt.closID): there is none"},
		"same schema":         {rdt: specs.LinuxIntelRdt{ClosID: "fast", L3CacheSchema: class, MemBwSchema: "MB:0=100"}, there: []string{"fast"}, tasks: "fast"},
		"other schema":        {rdt: specs.LinuxIntelRdt{ClosID: "fast", L3CacheSchema: "L3:0=1"}, there: []string{"fast"}, fails: "(linux.intelRdt.l3CacheSchema): it exists with L3:0=7f0, not 1"},
		"other bandwidth":     {rdt: specs.LinuxIntelRdt{ClosID: "fast", MemBwSchema: "MB:0=20"}, there: []string{"fast"}, fails: "(linux.intelRdt.memBwSchema)"},
		"list is written":     {rdt: specs.LinuxIntelRdt{ClosID: "fast", Schemata: []string{"MB:0=20"}}, there: []string{"fast"}, tasks: "fast", has: "MB:0=20\n"},
		"default class":       {rdt: specs.LinuxIntelRdt{ClosID: "/"}, tasks: "."},
		"monitored class":     {rdt: specs.LinuxIntelRdt{ClosID: "fast", EnableMonitoring: true}, there: []string{"fast"}, own: "fast/mon_groups/c1", tasks: "fast/mon_groups/c1"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			group := func(dir string) error {
				if err := os.MkdirAll(filepath.Join(dir, "mon_groups"), 0o755); err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(dir, "tasks"), nil, 0o644)
			}
			for _, dir := range append([]string{"."}, c.there...) {
				if err := group(filepath.Join(root, dir)); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, dir, "schemata"), []byte("L3:0=7f0;1=01f\nMB:0=100\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			own := ""
			f, err := resctrl{root: root, mkdir: func(dir string) error {
				if _, err := os.Stat(dir); err == nil {
					return fs.ErrExist
				}
				return group(dir)
			}}.open(&c.rdt, "c1", func(dir string) error { own, _ = filepath.Rel(root, dir); return nil })
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("the error is %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			tasks, _ := filepath.Rel(root, filepath.Dir(f.Name()))
			if own != c.own || tasks != c.tasks {
				t.Errorf("the container owns %q and enters %q, want %q and %q", own, tasks, c.own, c.tasks)
			}
			if c.has == "" {
				return
			}
			data, err := os.ReadFile(filepath.Join(root, strings.Split(c.tasks, "/")[0], "schemata"))
			if err != nil {
				t.Fatal(err)
			}
			// A plain file keeps the last write only.
			parts := strings.Split(c.has, "|")
			if want := parts[len(parts)-1]; string(data) != want {
				t.Errorf("the last write was %q, want %q", data, want)
			}
		})
	}
}

// An update writes to the group that the container is in, and makes none.
func TestResctrlUpdate(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{".", "c1", "fast"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "schemata"), []byte("MB:0=100\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for class, dir := range map[string]string{"": "c1", "fast": "fast", "/": "."} {
		err := resctrl{root: root}.update(class, "c1", &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=1", MemBwSchema: "MB:0=70"})
		data, _ := os.ReadFile(filepath.Join(root, dir, "schemata"))
		if err != nil || string(data) != "L3:0=1\nMB:0=70\n" {
			t.Errorf("the group of class %q has %q (%v)", class, data, err)
		}
	}
	if err := (resctrl{root: root}).update("gone", "c1", &specs.LinuxIntelRdt{MemBwSchema: "MB:0=70"}); err == nil {
		t.Error("a group that is not there was written to")
	}
}

// The annotation wins over the administrator's file, and an empty one asks for none.
func TestCRIUConfig(t *testing.T) {
	for _, name := range []string{"/some/file.conf", ""} {
		if got := criuConfig(map[string]string{"org.criu.config": name}); got != name {
			t.Errorf("criu is given %q, want %q", got, name)
		}
	}
}
