package skips

import (
	"strings"
	"testing"
)

// TestReason reads skips as package testing prints them, also those of a test that another program ran (test/lab).
func TestReason(t *testing.T) {
	for said, want := range map[string]string{
		"=== RUN   TestA\n    a_test.go:7: needs root\n--- SKIP: TestA (0.00s)\n":           "needs root",
		"    role.go:91: run_test.go:228: needs a second id\n    --- SKIP: TestA (0.00s)\n": "needs a second id",
		"    a_test.go:7: see main.go: it is missing\n--- SKIP: TestA (0.00s)\n":            "see main.go: it is missing",
		"=== RUN   TestA\n--- SKIP: TestA (0.00s)\n":                                        "no reason given",
	} {
		if got := Reason(strings.SplitAfter(said, "\n")); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	Print(&out, nil)
	Print(&out, map[string][]string{"b": {"one"}, "a": {"4", "3", "2", "1"}})
	if want := "\nSkipped:\n  a: 1, 2, 3 and 1 more\n  b: one\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
