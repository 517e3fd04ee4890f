package attacks

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"gcr/test/lab"
)

// TestDocument holds the table of docs/security.md and the museum together: what the table names is there, as often as
// it says, and no exhibit is missing from it.
func TestDocument(t *testing.T) {
	if !lab.HasGo() {
		t.Skip("the documents are not here: the host has compared them")
	}
	b, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(b), "| class | known as | what rules it out | exhibit |\n")
	if !found {
		t.Fatal("docs/security.md has no table of exhibits")
	}
	counts := map[string]int{"": 1, " (two)": 2, " (three)": 3}
	named := regexp.MustCompile("`([^`]+)`( \\((?:two|three)\\))?")
	shown := map[string]bool{}
	for line := range strings.Lines(rest) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 {
			break
		}
		for _, m := range named.FindAllStringSubmatch(cells[3], -1) {
			name := m[1]
			if strings.Contains(name, "/") {
				if _, err := os.Stat("../../" + name); err != nil {
					t.Errorf("%s: %v", cells[0], err)
				}
				continue
			}
			n := 0
			for _, x := range exhibits {
				if class := strings.ReplaceAll(x.class, "/", ""); strings.HasPrefix(class, name) {
					n++
					shown[x.class] = true
				}
			}
			if n != counts[m[2]] {
				t.Errorf("%s: %d exhibits begin like %q, the table says%s", strings.TrimSpace(cells[0]), n, name, m[2])
			}
		}
	}
	for _, x := range exhibits {
		if !shown[x.class] {
			t.Errorf("docs/security.md does not name the exhibit %q", x.class)
		}
	}
}
