package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"gcr/test/report/skips"
)

// A Result is what came of one suite in one place.
type Result struct {
	Suite string `json:"suite"`
	Place string `json:"place"`
	// Passed, Failed and Skipped count tests; one with subtests counts as these.
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Failures and Skips name them; a skip's value is its reason.
	Failures []string          `json:"failures,omitempty"`
	Skips    map[string]string `json:"skips,omitempty"`
	// Error says why the suite did not run to its end.
	Error string `json:"error,omitempty"`
	// Died tells that this is the second run, since the machine died in the first.
	Died bool `json:"died,omitempty"`
	// Seconds is the time it took, which under emulation says nothing about the code.
	Seconds float64 `json:"seconds"`
	// Log is the file with the output of the suite.
	Log string `json:"log"`
}

// noTests is the Error of a suite that ran no test.
const noTests = "no test ran"

func (r Result) ok() bool { return r.Failed == 0 && r.Error == "" }

// evaluate counts the tests of a suite's output, which it had with -test.v=test2json. How the program ended
// comes as its exit status or, when it did not run to its end, problem.
func (r *Result) evaluate(ctx context.Context, output []byte, status int, problem string) error {
	if problem != "" || status != 0 {
		// The tool reports a test when it has seen what follows; nothing follows when a program dies.
		output = append(slices.Clone(output), "\nFAIL\n"...)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go tool test2json: %w", err)
	}
	type event struct{ Action, Test, Output string }
	ended, said := map[string]string{}, map[string][]string{}
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Test == "" {
			continue
		}
		switch e.Action {
		case "run":
			names = append(names, e.Test)
		case "output":
			said[e.Test] = append(said[e.Test], strings.TrimSpace(e.Output))
		case "pass", "fail", "skip":
			ended[e.Test] = e.Action
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	for _, name := range names {
		parent := slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, name+"/") })
		switch {
		case ended[name] == "pass" && !parent:
			r.Passed++
		case ended[name] == "skip" && !parent:
			r.Skipped++
			if r.Skips == nil {
				r.Skips = map[string]string{}
			}
			r.Skips[name] = skips.Reason(said[name])
		case ended[name] == "fail" && !parent, ended[name] == "":
			r.Failed++
			r.Failures = append(r.Failures, name)
		case ended[name] == "fail": // itself, or because of a subtest, which is counted
			if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, name+"/") && ended[n] != "pass" && ended[n] != "skip" }) {
				r.Failed++
				r.Failures = append(r.Failures, name)
			}
		}
	}
	switch {
	case problem != "":
		r.Error = problem
	case status != 0 && r.Failed == 0:
		r.Error = fmt.Sprintf("exit status %d without a failed test", status)
	case len(names) == 0:
		r.Error = noTests
	}
	return nil
}

// save writes the results and, beside them, nothing else; whole or not at all.
func save(results []Result, name string) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp := name + ".new"
	return errors.Join(os.WriteFile(temp, append(text, '\n'), 0o644), os.Rename(temp, name))
}
