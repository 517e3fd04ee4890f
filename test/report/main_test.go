package main

import (
	"io"
	"strings"
	"testing"
)

// TestSummary counts tests without subtests, and a test that never ended as failed.
func TestSummary(t *testing.T) {
	events := `{"Action":"run","Package":"gcr/a","Test":"TestA"}
{"Action":"run","Package":"gcr/a","Test":"TestA/one"}
{"Action":"pass","Package":"gcr/a","Test":"TestA/one","Elapsed":2}
{"Action":"pass","Package":"gcr/a","Test":"TestA","Elapsed":2}
{"Action":"run","Package":"gcr/a","Test":"TestB"}
{"Action":"output","Package":"gcr/a","Test":"TestB","Output":"panic: no\n"}
{"Action":"fail","Package":"gcr/a","Elapsed":3}
`
	r := report{map[name][]string{}, map[name]float64{}, map[name]string{}, map[name]bool{}, map[string][]string{}}
	var out strings.Builder
	if err := r.read(strings.NewReader(events), &out); err != nil {
		t.Fatal(err)
	}
	if r.summarize(&out) {
		t.Error("all is well")
	}
	for _, want := range []string{"FAIL      3.0 s  gcr/a\npanic: no\n", "\nFailed:\n  a TestB\n", "\n1 passed, 1 failed, 0 skipped\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
	if got := r.failedPackages(); got != "gcr/a\n" {
		t.Errorf("packages that failed: %q", got)
	}
	if err := (&report{}).read(strings.NewReader("no tests\n"), io.Discard); err == nil {
		t.Error("what has no events is taken")
	}
}
