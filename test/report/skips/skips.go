// Package skips tells why tests were skipped, in the accounts of test/report and test/vm:
//
//	why := skips.Reason(lines)
//	tests[why] = append(tests[why], name)
//	skips.Print(os.Stdout, tests)
package skips

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// place is what package testing puts in front of a test's words; those of a test that another program ran have two.
var place = regexp.MustCompile(`^([^ ]+\.go:[0-9]+: )+`)

// Reason finds a skipped test's words in the lines of its output, without the file and line before them.
func Reason(lines []string) string {
	for _, l := range slices.Backward(lines) {
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "---") && !strings.HasPrefix(l, "===") {
			return place.ReplaceAllString(l, "")
		}
	}
	return "no reason given"
}

// Print lists the tests that were skipped for each reason, a few by name.
func Print(out io.Writer, skipped map[string][]string) {
	if len(skipped) > 0 {
		fmt.Fprintln(out, "\nSkipped:")
	}
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		tests := slices.Sorted(slices.Values(skipped[why]))
		more := ""
		if len(tests) > 3 {
			tests, more = tests[:3], fmt.Sprintf(" and %d more", len(tests)-3)
		}
		fmt.Fprintf(out, "  %s: %s%s\n", why, strings.Join(tests, ", "), more)
	}
}
