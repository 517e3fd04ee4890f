package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	first := &bench{system: system{Kernel: "k"}, skipped: []string{"exec of x: broken", "held of y: broken"}}
	for _, name := range []string{"run", "exec"} {
		first.newResult(name, milliseconds, []*contender{{name: "a"}}).add("a", 1)
	}
	if err := first.write(dir, "text"); err != nil {
		t.Fatal(err)
	}
	second := &bench{system: system{Kernel: "k"}, only: "exec;held of z"}
	for _, name := range []string{"exec", "held of z"} {
		second.newResult(name, milliseconds, []*contender{{name: "a"}}).add("a", 2)
	}
	if err := second.merge(dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range second.results {
		got = append(got, r.Name, number(median(r.Samples[r.Order[0]])))
	}
	if want := []string{"run", "1.00", "exec", "2.00", "held of z", "2.00"}; len(got) != len(want) {
		t.Fatalf("merged to %q, want %q", got, want)
	} else {
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("merged to %q, want %q", got, want)
			}
		}
	}
	if len(second.skipped) != 1 || second.skipped[0] != "held of y: broken" {
		t.Errorf("kept notes %q", second.skipped)
	}
	other := &bench{system: system{Kernel: "other"}}
	if err := other.merge(dir); err == nil {
		t.Error("results of another kernel were merged")
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := second.merge(dir); err == nil {
		t.Error("a broken record was merged")
	}
}
