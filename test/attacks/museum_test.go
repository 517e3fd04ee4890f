package attacks

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
)

// exhibit is one attack.
type exhibit struct {
	class string // what kind of attack it is
	known string // as what it became known
	weak  string // what the weakened run lacks
	// needs says what is missing on this machine to show the attack, empty when nothing is.
	needs func(*museum) string
	// attack tries it, against the weakened side or against the defaults.
	attack func(m *museum, weak bool) outcome
	// refusal is a regular expression for what the defaults answer: an attack that fails for another reason
	// proves nothing either.
	refusal string
}

// outcome is what an attack came to.
type outcome struct {
	worked bool
	detail string
}

func worked(format string, a ...any) outcome  { return outcome{true, fmt.Sprintf(format, a...)} }
func refused(format string, a ...any) outcome { return outcome{false, fmt.Sprintf(format, a...)} }

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "attack":
			play(attackers, os.Args[2], os.Args[3:])
		case "naive":
			play(naives, os.Args[2], os.Args[3:])
		}
	}
	status := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(status)
}

// play runs one part and tells the outcome on standard output. It does not return.
func play(parts map[string]func([]string) outcome, name string, args []string) {
	part, ok := parts[name]
	if !ok {
		fmt.Println("there is no part " + name)
		os.Exit(3)
	}
	o := part(args)
	if o.worked {
		fmt.Println("worked: " + o.detail)
		os.Exit(0)
	}
	fmt.Println("refused: " + o.detail)
	os.Exit(1)
}

var (
	attackers = map[string]func([]string) outcome{}
	naives    = map[string]func([]string) outcome{}
)

// exhibits is the catalogue; each file adds its room.
var exhibits []exhibit

func TestMuseum(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLASS\tKNOWN AS\tWEAKENED\t\tDEFAULT\tBECAUSE")
	for _, x := range exhibits {
		t.Run(strings.ReplaceAll(x.class, "/", ""), func(t *testing.T) {
			m := open(t)
			if x.needs != nil {
				if missing := x.needs(m); missing != "" {
					fmt.Fprintf(w, "%s\t%s\t%s\tnot shown\t\t%s\n", x.class, x.known, x.weak, missing)
					t.Skip(missing)
				}
			}
			o := x.attack(m, true)
			if !o.worked {
				t.Fatalf("against the weakened run (%s) the attack did not work, so it proves nothing: %s", x.weak, o.detail)
			}
			t.Logf("weakened (%s): %s", x.weak, o.detail)
			o = x.attack(open(t), false)
			if o.worked {
				t.Fatalf("the attack works: %s", o.detail)
			}
			t.Logf("default: %s", o.detail)
			if !regexp.MustCompile(x.refusal).MatchString(o.detail) {
				t.Errorf("the attack failed for another reason than %q: %s", x.refusal, o.detail)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\tsucceeds\trefused\t%s\n", x.class, x.known, x.weak, brief(o.detail))
		})
	}
	w.Flush()
	if file := os.Getenv("GCR_MUSEUM_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// brief is the first line of a text, cut where a table would become too wide.
func brief(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 110 {
		s = s[:107] + "..."
	}
	return s
}
