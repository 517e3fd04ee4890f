package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gcr/test/report/skips"
)

// summarize prints what ran where, what failed, and why tests were skipped; it returns whether all is well.
func summarize(out io.Writer, results []Result, took time.Duration) bool {
	var columns []place
	for _, p := range places {
		if slices.ContainsFunc(results, func(r Result) bool { return r.Place == p.Name }) {
			columns = append(columns, p)
		}
	}
	fmt.Fprintln(out, "\nTests by suite and place: passed/failed/skipped")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "suite")
	for _, p := range columns {
		fmt.Fprint(w, "\t", p.heading())
	}
	fmt.Fprintln(w)
	var rows []string
	for _, r := range results {
		if !slices.Contains(rows, r.Suite) {
			rows = append(rows, r.Suite)
		}
	}
	slices.Sort(rows)
	passed, failed, left := 0, 0, 0
	for _, row := range rows {
		fmt.Fprint(w, row)
		for _, p := range columns {
			i := slices.IndexFunc(results, func(r Result) bool { return r.Suite == row && r.Place == p.Name })
			if i < 0 {
				fmt.Fprint(w, "\t-")
				continue
			}
			r := results[i]
			passed, failed, left = passed+r.Passed, failed+r.Failed, left+r.Skipped
			mark := ""
			if r.Error != "" {
				mark = " broken"
				if r.Failed == 0 {
					failed++
				}
			}
			fmt.Fprintf(w, "\t%d/%d/%d%s", r.Passed, r.Failed, r.Skipped, mark)
		}
		fmt.Fprintln(w)
	}
	w.Flush()

	well := true
	for _, r := range results {
		if r.ok() {
			continue
		}
		well = false
		fmt.Fprintf(out, "\nFAILED: %s at %s", r.Suite, r.Place)
		if r.Error != "" {
			fmt.Fprintf(out, ": %s", r.Error)
		}
		fmt.Fprintln(out)
		for _, name := range r.Failures {
			fmt.Fprintln(out, "  ", name)
		}
		fmt.Fprintln(out, lastLines(r.Log, 60))
	}
	for _, r := range results {
		if r.Died {
			fmt.Fprintf(out, "\nThe machine died in %s at %s; what is told of it is a second run.\n", r.Suite, r.Place)
		}
	}
	skipped := map[string][]string{}
	for _, r := range results {
		for test, why := range r.Skips {
			skipped[why] = append(skipped[why], r.Place+" "+r.Suite+" "+test)
		}
	}
	skips.Print(out, skipped)
	fmt.Fprintf(out, "\nIt took %v.\n%d passed, %d failed, %d skipped\n", took.Round(time.Second), passed, failed, left)
	return well
}

// heading is a place's name in the table.
func (p place) heading() string {
	if p.Machine != "" {
		return "VM " + p.Name
	}
	return "host " + hostLayout()
}

// hostLayout is the host's cgroup layout.
func hostLayout() string {
	switch {
	case exists("/sys/fs/cgroup/cgroup.controllers"):
		return "v2"
	case exists("/sys/fs/cgroup/unified/cgroup.controllers"):
		return "hybrid"
	}
	return "v1"
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// lastLines returns the end of a log, indented.
func lastLines(name string, n int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	// The marks of -test.v=test2json are for programs.
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(string(text), "\x16", ""), "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "=== NAME") })
	if len(lines) > n {
		lines = append([]string{"… all of it is in " + name}, lines[len(lines)-n:]...)
	}
	return "    | " + strings.Join(lines, "\n    | ")
}
