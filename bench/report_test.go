package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the bench writes and what the page about performance says of the goals are one table.
func TestGoalsOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "performance.md"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	b := &bench{results: []*result{
		{Name: goals[0].result, Unit: milliseconds, Samples: map[string][]float64{nameGcrun: {6, 7, 8}, nameFloor: {5}, nameCrun: {20}, nameRunc: {50}}},
	}}
	if err := b.write(filepath.Join(dir, "bench"), b.markdown()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"performance.md", "bench/results.md"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []string{
			"| run, default bundle: gcrun / floor | ≤ 1.50 | 1.40 | 7.00 and 5.00 ms | – | met |",
			"| run, default bundle: gcrun / crun | ≤ 0.400 | 0.350 | 7.00 and 20.0 ms | 0.250 | met |",
			"| run, default bundle: gcrun / runc | ≤ 0.120 | 0.140 | 7.00 and 50.0 ms | 0.100 | **missed** |",
		} {
			if strings.Count(string(got), row) != 1 {
				t.Errorf("%s lacks, or has more than once: %s", name, row)
			}
		}
	}
}
