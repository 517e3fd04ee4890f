package cgroup

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// goldenHosts are made up: one full v1 host and one full v2 host.
func goldenHosts() []Host {
	v1 := Host{Version: 1}
	for _, c := range []string{"cpuset", "cpu,cpuacct", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "rdma", "net_cls,net_prio", "name=systemd"} {
		v1.Mounts = append(v1.Mounts, Mount{Point: "/sys/fs/cgroup/" + c, Controllers: strings.Split(c, ","), Self: "/user", Parent: "/user"})
	}
	v2 := Host{Version: 2, Mounts: []Mount{{
		Point: "/sys/fs/cgroup", Unified: true, Self: "/user/session", Parent: "/user",
		Controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"},
	}}}
	return []Host{v1, v2}
}

// goldenCase is one input file: testdata/plan/NAME.json.
type goldenCase struct {
	Path      string                `json:"path"`
	Resources *specs.LinuxResources `json:"resources"`
	// Current has the content of files of a running group; then the case is an update.
	Current map[string]string `json:"current"`
	Owner   *Owner            `json:"owner"`
	User    int               `json:"user"`
}

// TestGolden compiles every testdata/plan/*.json for both versions and compares listing and shell form, or
// the error.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d inputs, %v", len(files), err)
	}
	for _, file := range files {
		input, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c goldenCase
		d := json.NewDecoder(bytes.NewReader(input))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, h := range goldenHosts() {
			h.User = c.User
			name := fmt.Sprintf("%s.v%d", strings.TrimSuffix(file, ".json"), h.Version)
			t.Run(filepath.Base(name), func(t *testing.T) {
				var p Plan
				if c.Current != nil {
					p, err = compileUpdate(h, c.Resources, c.Current)
				} else {
					p, err = Compile(h, c.Path, c.Resources, Options{ID: "c1", Owner: c.Owner})
				}
				got := p.String()
				if c.Current == nil {
					got += "--- shell\n" + p.Shell()
				}
				if err != nil {
					got = "error: " + err.Error() + "\n"
				}
				golden(t, name+".golden", got)
			})
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at the change and run with -update\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestParseHost(t *testing.T) {
	for _, c := range []struct{ name, mountinfo, membership, want string }{
		{
			"v2", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate",
			"0::/user.slice/session-1.scope", "2 [/sys/fs/cgroup= /user.slice/session-1.scope]",
		},
		{
			"v1 with co-mounted controllers",
			"31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
				"33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
			"2:cpu,cpuacct:/a\n1:name=systemd:/b\n",
			"1 [/sys/fs/cgroup/systemd=name=systemd /b] [/sys/fs/cgroup/cpu,cpuacct=cpu,cpuacct /a]",
		},
		{
			"hybrid, the unified hierarchy last",
			"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"2:memory:/\n0::/u\n", "1 [/sys/fs/cgroup/memory=memory /] [/sys/fs/cgroup/unified= /u]",
		},
		{
			"a named v1 hierarchy beside v2 does not make a hybrid",
			"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n31 30 0:27 / /run/systemd rw - cgroup cgroup rw,name=systemd\n",
			"1:name=systemd:/\n0::/\n", "2 [/sys/fs/cgroup= /]",
		},
		{
			"inside a container: the mount shows a subtree",
			"33 30 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			"2:memory:/docker/abc/sub\n", "1 [/sys/fs/cgroup/memory=memory /sub]",
		},
		{
			"the same hierarchy twice, spaces in the path",
			`33 30 0:29 / /my\040cgroups/memory rw - cgroup cgroup rw,memory` + "\n33 30 0:29 / /other rw - cgroup cgroup rw,memory\n",
			"2:memory:/\n", "1 [/my cgroups/memory=memory /]",
		},
		{"outside of the cgroup namespace", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/../other", "2 [/sys/fs/cgroup= /]"},
	} {
		h, err := parseHost([]byte(c.mountinfo), []byte(c.membership))
		got := fmt.Sprint(h.Version)
		for _, m := range h.Mounts {
			got += fmt.Sprintf(" [%s=%s %s]", m.Point, m.Key(), m.Self)
		}
		if err != nil || got != c.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", c.name, got, err, c.want)
		}
	}
	if _, err := parseHost([]byte("22 1 8:1 / / rw - ext4 /dev/sda rw\n"), nil); err == nil || !strings.Contains(err.Error(), "mount -t cgroup2") {
		t.Errorf("no cgroups at all: %v", err)
	}
}

func FuzzParseHost(f *testing.F) {
	f.Add("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/")
	f.Add(`33 30 0:29 /a\134 /m\040 rw - cgroup cgroup rw,memory`, "2:memory:/a")
	f.Fuzz(func(t *testing.T, mountinfo, membership string) {
		h, err := parseHost([]byte(mountinfo), []byte(membership))
		if err == nil && len(h.Mounts) == 0 {
			t.Error("neither mounts nor an error")
		}
		for _, m := range h.Mounts {
			if m.Self == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

// The path of a group cannot lead out of the place where groups go, whatever the config says.
func FuzzCompilePath(f *testing.F) {
	for _, p := range []string{"/a/b", "a", "../../x", "/..", "", "//", "a/../../..", "/a\nb", "\x00"} {
		f.Add(p, "id")
	}
	f.Fuzz(func(t *testing.T, p, id string) {
		for _, h := range goldenHosts() {
			plan, err := Compile(h, p, nil, Options{ID: id})
			if err != nil {
				continue
			}
			for _, d := range plan.Dirs {
				if !strings.HasPrefix(d.Dir(), d.Mount+"/") || strings.Contains(d.Dir()+"/", "/../") {
					t.Errorf("path %q, id %q: %s is not below %s", p, id, d.Dir(), d.Mount)
				}
				if !strings.HasPrefix(p, "/") && !strings.HasPrefix(d.Path, "/user/") {
					t.Errorf("path %q, id %q: %s is not below /user", p, id, d.Path)
				}
			}
		}
	})
}

func TestCPUWeight(t *testing.T) {
	last := uint64(0)
	for shares := uint64(2); shares <= 262144; shares++ {
		w := CPUWeight(shares)
		if w < last || w < 1 || w > 10000 {
			t.Fatalf("%d shares: weight %d after %d", shares, w, last)
		}
		last = w
	}
	// The table of docs/cgroups.md.
	for shares, want := range map[uint64]uint64{2: 1, 102: 17, 512: 59, 1024: 100, 2048: 174, 4096: 303, 262144: 10000} {
		if got := CPUWeight(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
	for weight, want := range map[uint16]uint64{10: 1, 500: 4950, 1000: 10000} {
		if got := IOWeight(weight); got != want {
			t.Errorf("weight %d: %d, want %d", weight, got, want)
		}
	}
}
