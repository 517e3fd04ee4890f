package engine

import (
	"strings"
	"testing"
)

func TestLandlockFlag(t *testing.T) {
	o := Options{Rootfs: "ubuntu", Command: []string{"id"}, Landlock: []string{"ro:/usr,rw:/tmp/", "ro:/etc/../lib"}}
	c, err := Build(&o, rootHost(), ubuntu())
	if err != nil {
		t.Fatal(err)
	}
	want := []LandlockRule{{"/usr", false}, {"/tmp", true}, {"/lib", false}}
	if len(c.Landlock) != len(want) || !c.Spec.Process.NoNewPrivileges {
		t.Fatalf("%+v, new privileges forbidden: %v", c.Landlock, c.Spec.Process.NoNewPrivileges)
	}
	for i := range want {
		if c.Landlock[i] != want[i] {
			t.Errorf("%+v, want %+v", c.Landlock[i], want[i])
		}
	}
	for value, because := range map[string]string{
		"": "neither", "/usr": "neither", "wo:/usr": "neither", "ro:usr": "not absolute", "ro:/a,rw:/a/": "named twice", "ro:/a,": "neither", "ro:/a\x00b": "NUL",
	} {
		o.Landlock = []string{value}
		if _, err := Build(&o, rootHost(), ubuntu()); err == nil || !strings.Contains(err.Error(), because) {
			t.Errorf("%q: %v, want %q", value, err, because)
		}
	}
	o.Landlock, o.SecurityOpt = []string{"ro:/"}, []string{"no-new-privileges=false"}
	if _, err := Build(&o, rootHost(), ubuntu()); err == nil || !strings.Contains(err.Error(), "--landlock") {
		t.Errorf("with new privileges: %v", err)
	}
}

// FuzzLandlockFlag holds that every rule that is taken has a clean absolute path of its own.
func FuzzLandlockFlag(f *testing.F) {
	for _, s := range []string{"ro:/usr,rw:/tmp", "rw:/", "ro:/a/../b", "ro:", ",", "ro:/a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rules, err := (&Options{Landlock: []string{s}}).landlock()
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, r := range rules {
			if !strings.HasPrefix(r.Path, "/") || strings.Contains(r.Path+"/", "/../") || strings.ContainsRune(r.Path, 0) || seen[r.Path] {
				t.Errorf("%q gives %+v", s, rules)
			}
			seen[r.Path] = true
		}
	})
}
