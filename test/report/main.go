// The report command makes a readable account of what the go command says about tests:
//
//	go test -json ./... | go run ./test/report [-failed FILE]
//
// FILE receives the packages that failed, one a line.
//
// While tests run it prints a line for each package, as go test does, and the output of those that failed. At the end
// it lists the slowest packages and tests, and the skipped tests by the reason that they give, and counts. The exit
// status is 1 when a test or a package failed, 2 when the input is none.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"gcr/test/report/skips"
)

// An event is one line of the input; see "go doc test2json".
type event struct {
	Action      string
	Package     string
	ImportPath  string // in place of Package, in the output of the compiler
	Test        string // empty for the package as a whole
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// A name is a test of a package, or the package.
type name struct{ pkg, test string }

func (n name) String() string {
	return strings.TrimSpace(strings.TrimPrefix(n.pkg, "gcr/") + " " + n.test)
}

// A report gathers what was said.
type report struct {
	said    map[name][]string
	took    map[name]float64
	ended   map[name]string // "pass", "fail" or "skip"
	started map[name]bool
	builds  map[string][]string // the compiler's output
}

func main() {
	failed := flag.String("failed", "", "write the packages that failed to `FILE`")
	flag.Parse()
	r := report{map[name][]string{}, map[name]float64{}, map[name]string{}, map[name]bool{}, map[string][]string{}}
	if err := r.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	good := r.summarize(os.Stdout)
	if *failed != "" {
		if err := os.WriteFile(*failed, []byte(r.failedPackages()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(2)
		}
	}
	if !good {
		os.Exit(1)
	}
}

// read takes the events in and prints packages as they end.
func (r *report) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(out, "%s", line) // the go command's own words
			} else {
				r.take(e, out)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
	}
	if len(r.ended) == 0 {
		return fmt.Errorf("read the events: there is none of the end of a package (is this the output of go test -json?)")
	}
	return nil
}

func (r *report) take(e event, out io.Writer) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "run":
		r.started[n] = true
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "output":
		r.said[n] = append(r.said[n], e.Output)
	case "pass", "fail", "skip":
		r.ended[n], r.took[n] = e.Action, e.Elapsed
		if e.Test == "" {
			r.printPackage(e, out)
		} else if e.Action == "pass" {
			delete(r.said, n) // of no interest any more
		}
	}
}

// printPackage prints what came of a package, and the output of its tests that failed or never ended.
func (r *report) printPackage(e event, out io.Writer) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(out, "ok    %7.1f s  %s\n", e.Elapsed, e.Package)
	case "fail":
		fmt.Fprintf(out, "FAIL  %7.1f s  %s\n", e.Elapsed, e.Package)
		fmt.Fprint(out, strings.Join(r.builds[e.FailedBuild], ""))
		for _, n := range r.tests(e.Package) {
			if r.ended[n] == "fail" || r.ended[n] == "" {
				fmt.Fprint(out, strings.Join(r.said[n], ""))
			}
		}
		fmt.Fprint(out, strings.Join(r.said[name{e.Package, ""}], ""))
	}
}

// failedPackages lists the packages that failed, one a line.
func (r *report) failedPackages() string {
	var list []string
	for n, how := range r.ended {
		if n.test == "" && how == "fail" {
			list = append(list, n.pkg+"\n")
		}
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// tests returns the tests of a package that have begun.
func (r *report) tests(pkg string) []name {
	var list []name
	for n := range r.started {
		if n.pkg == pkg {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b name) int { return strings.Compare(a.test, b.test) })
	return list
}

// summarize prints the account and returns whether all is well.
func (r *report) summarize(out io.Writer) bool {
	parents := map[name]bool{}
	for n := range r.started {
		for i, c := range n.test {
			if c == '/' {
				parents[name{n.pkg, n.test[:i]}] = true
			}
		}
	}
	count := map[string]int{}
	skipped := map[string][]string{}
	var failed []string
	for n := range r.started {
		how := r.ended[n]
		if how == "" {
			how = "fail" // the program died in the midst of it
		}
		if parents[n] && how != "fail" {
			continue // its subtests count
		}
		count[how]++
		switch how {
		case "skip":
			why := skips.Reason(r.said[n])
			skipped[why] = append(skipped[why], n.String())
		case "fail":
			failed = append(failed, n.String())
		}
	}
	for n, how := range r.ended {
		if n.test == "" && how == "fail" && !slices.ContainsFunc(failed, func(f string) bool { return strings.HasPrefix(f, n.String()+" ") }) {
			failed = append(failed, n.String())
		}
	}

	fmt.Fprintln(out, "\nSlowest packages and tests:")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.printSlowest(w, 8, func(n name) bool { return n.test == "" })
	r.printSlowest(w, 12, func(n name) bool { return n.test != "" && !strings.Contains(n.test, "/") })
	w.Flush()
	skips.Print(out, skipped)
	if len(failed) > 0 {
		slices.Sort(failed)
		fmt.Fprintln(out, "\nFailed:")
		for _, f := range failed {
			fmt.Fprintln(out, " ", f)
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return len(failed) == 0
}

// printSlowest prints those that took longest, down to one second.
func (r *report) printSlowest(out io.Writer, most int, want func(name) bool) {
	var list []name
	for n, took := range r.took {
		if took >= 1 && want(n) {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b name) int { return int(1000 * (r.took[b] - r.took[a])) })
	for _, n := range list[:min(most, len(list))] {
		fmt.Fprintf(out, "%.1f s\t  %s\n", r.took[n], n)
	}
}
