package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/account"
)

func lines3(maps []specs.LinuxIDMapping) string {
	var out []string
	for _, m := range maps {
		out = append(out, fmt.Sprintf("%d:%d:%d", m.ContainerID, m.HostID, m.Size))
	}
	return strings.Join(out, ",")
}

func TestParseIDMap(t *testing.T) {
	for _, good := range []string{"0:100000:65536", "0:1000:1,1:100000:65536", "0:0:4294967295", "4294967294:0:1,0:1:1"} {
		m, err := parseIDMap(good)
		if err != nil || lines3(m) != good {
			t.Errorf("%q: %v %v", good, m, err)
		}
	}
	for _, bad := range []string{
		"", "0", "0:1", "0:1:0", "0:1:2:3", "-0:1:1", " 0:1:1", "0:1:1,", "0:4294967295:1", "0:4294967294:2", "4294967294:0:2",
		"0:1:5,4:100:1", "0:1:5,10:5:1", "0x0:1:1", "0:1:4294967296",
	} {
		if m, err := parseIDMap(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, m)
		}
	}
}

func TestKeepIDs(t *testing.T) {
	for _, c := range []struct {
		self   uint32
		ranges []account.Range
		want   string
	}{
		{1000, []account.Range{{Start: 100000, Count: 65536}}, "0:100000:1000,1000:1000:1,1001:101000:64536"},
		{1000, []account.Range{{Start: 100000, Count: 10}}, "0:100000:10,1000:1000:1"},
		{1000, []account.Range{{Start: 100000, Count: 1000}}, "0:100000:1000,1000:1000:1"},
		{1000, []account.Range{{Start: 100000, Count: 600}, {Start: 200000, Count: 600}}, "0:100000:600,600:200000:400,1000:1000:1,1001:200400:200"},
		{1000, []account.Range{{Start: 900, Count: 200}, {Start: 200000, Count: 2}}, "0:200000:2,1000:1000:1"},
	} {
		if got := lines3(kept(c.self, c.ranges)); got != c.want {
			t.Errorf("%d %v: %s, want %s", c.self, c.ranges, got, c.want)
		}
	}
}

// Two containers that are claimed at the same time have no id in common, even when they draw the same number.
func TestAutoIDsApart(t *testing.T) {
	h := rootHost()
	taken := map[uint32]bool{}
	h.ClaimIDs = func(first uint32) (bool, error) {
		was := taken[first]
		taken[first] = true
		return !was, nil
	}
	var all []specs.LinuxIDMapping
	for range 5 {
		m, err := autoIDs(h)
		if err != nil {
			t.Fatal(err)
		}
		if r := (account.Range{Start: m.uid[0].HostID, Count: m.uid[0].Size}); overlaps(all, r) || r.Start < autoFirst || r.Count != autoCount {
			t.Errorf("%v after %v", r, all)
		}
		all = append(all, m.uid...)
	}
}

func TestUserNSModes(t *testing.T) {
	build := func(h *Host, mode string, more ...string) (*Config, error) {
		return Build(&Options{Rootfs: "ubuntu", Command: []string{"id"}, UserNS: mode, Volumes: more}, h, ubuntu())
	}
	c, err := build(rootHost(), "auto", "/srv/data:/data")
	if err != nil {
		t.Fatal(err)
	}
	if !c.Shifted || len(c.Spec.Linux.UIDMappings) != 1 || !slices.Contains(nsTypes(c), specs.UserNamespace) {
		t.Errorf("%+v", c.Spec.Linux)
	}
	for _, m := range c.Spec.Mounts {
		if m.Destination == "/data" && !slices.Contains(m.Options, "idmap") {
			t.Errorf("the volume is not mapped: %+v", m)
		}
	}
	for mode, want := range map[string]string{
		"keep-id": "for ordinary users", "1:100000:5": "does not map id 0", "0:1": "three numbers", "never": "keep-id or a map",
	} {
		if _, err := build(rootHost(), mode); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--userns=%s: %v", mode, err)
		}
	}
	if c, err = build(rootHost(), "private"); err != nil || c.Shifted {
		t.Errorf("private: %v %v", c.Shifted, err)
	}
}

func nsTypes(c *Config) []specs.LinuxNamespaceType {
	var out []specs.LinuxNamespaceType
	for _, n := range c.Spec.Linux.Namespaces {
		out = append(out, n.Type)
	}
	return out
}

// FuzzIDMapFlag holds that a map that is taken names no id twice on either side and reads back as it was written.
func FuzzIDMapFlag(f *testing.F) {
	for _, s := range []string{"0:100000:65536", "0:1000:1,1:100000:65536", "0:0:4294967295", "0:1:5,4:100:1", "00:1:1", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		maps, err := parseIDMap(s)
		if err != nil {
			return
		}
		again, err := parseIDMap(lines3(maps))
		if err != nil || !slices.Equal(again, maps) {
			t.Errorf("%q is %v, and that is %v (%v)", s, maps, again, err)
		}
		for i, m := range maps {
			for _, o := range maps[:i] {
				if m.ContainerID < o.ContainerID+o.Size && o.ContainerID < m.ContainerID+m.Size || m.HostID < o.HostID+o.Size && o.HostID < m.HostID+m.Size {
					t.Errorf("%q: %v and %v overlap", s, m, o)
				}
			}
		}
	})
}
