package plan

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"gcr/internal/seccomp"
	"gcr/test/fields"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A golden file in testdata/fields shows what one field adds to a plan: the lines that differ from the plan of the same
// configuration without it. Numbers of steps, calls and results are left out, as one more call changes all of them.

// fieldPlan gives one field its value. A field that only counts beside others may set them in with.
type fieldPlan struct {
	field string // of test/fields, or mounts[].options with an option behind a comma
	with  func(*Input)
	edit  func(*Input)
}

var jumps = regexp.MustCompile(`(?m)^ *\d+|\bthen \d+ else \d+|\bgoto \d+`)

var numbers = regexp.MustCompile(`(?m)^( *)\d+([. ])|\br\d+\b|\bgoto L\d+|^ *L\d+:|\d+ calls|\bcall \d+`)

func explained(t *testing.T, field string, in Input) []string {
	t.Helper()
	var p *Plan
	var err error
	if strings.HasPrefix(field, "process.execCPUAffinity.") {
		p, err = further(func(x *ExecInput) { x.Process = in.Spec.Process })()
	} else {
		p, err = New(in)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Explain(&b); err != nil {
		t.Fatal(err)
	}
	text := numbers.ReplaceAllStringFunc(imageSize.ReplaceAllString(b.String(), "a program of N bytes"), func(s string) string {
		switch {
		case strings.HasSuffix(s, "calls"):
			return "N calls"
		case strings.HasPrefix(s, "call"):
			return "call N"
		case s[0] == 'r':
			return "r"
		case strings.HasPrefix(s, "goto"):
			return "goto L"
		case strings.HasSuffix(s, ":"):
			return "        L:"
		}
		return "      "
	})
	if f := in.Spec.Linux.Seccomp; f != nil {
		filter, err := seccomp.Compile(f, seccomp.ArchAMD64)
		if err != nil {
			t.Fatal(err)
		}
		text += "The system call filter\n" + jumps.ReplaceAllString(seccomp.Listing(filter.Program), "")
	}
	return strings.Split(text, "\n")
}

// added lists the lines that only one of two texts has, with + or -, by their longest common subsequence.
func added(from, to []string) []byte {
	common := make([][]int, len(from)+1)
	for i := range common {
		common[i] = make([]int, len(to)+1)
	}
	for i := len(from) - 1; i >= 0; i-- {
		for j := len(to) - 1; j >= 0; j-- {
			if from[i] == to[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var b bytes.Buffer
	i, j := 0, 0
	for i < len(from) || j < len(to) {
		switch {
		case i < len(from) && j < len(to) && from[i] == to[j]:
			i, j = i+1, j+1
		case j < len(to) && (i == len(from) || common[i][j+1] > common[i+1][j]):
			fmt.Fprintln(&b, strings.TrimRight("+ "+to[j], " "))
			j++
		default:
			fmt.Fprintln(&b, strings.TrimRight("- "+from[i], " "))
			i++
		}
	}
	return b.Bytes()
}

func fieldFile(name string) string {
	return strings.NewReplacer("[]", "", "{}", "", ",", "", " ", "-").Replace(name) + ".txt"
}

// Each field by itself changes the plan, and does it as its golden file says.
func TestFieldsGolden(t *testing.T) {
	seen := map[string]bool{}
	known := map[string]bool{}
	for _, f := range fields.All() {
		known[f] = true
	}
	for _, c := range fieldPlans() {
		seen[fieldFile(c.field)] = true
		t.Run(c.field, func(t *testing.T) {
			if strings.HasPrefix(c.field, "linux.seccomp") && runtime.GOARCH != "amd64" {
				t.Skip("the golden filter is one for amd64; this is " + runtime.GOARCH)
			}
			in := base()
			in.StateDir, in.Host.SysAdmin = "", true
			if c.with != nil {
				c.with(&in)
			}
			without := clone(t, in.Spec)
			plain := in
			plain.Spec = without
			c.edit(&in)
			path, _, variant := strings.Cut(c.field, ",")
			if !known[path] {
				t.Fatalf("%s is no field of the specification", path)
			}
			got := added(explained(t, path, plain), explained(t, path, in))
			if len(got) == 0 {
				t.Fatal("the plan is the same without the field")
			}
			// Whatever else was set: without this very field the plan is another one, or there is none.
			ignored, err := fields.Ignore(in.Spec, without, path)
			if err != nil {
				t.Fatal(err)
			}
			in2 := in
			in2.Spec, in2.Root.Path = ignored, ignored.Root.Path
			if _, err := New(in2); err == nil && !variant {
				if bytes.Equal(added(explained(t, path, plain), explained(t, path, in2)), got) {
					t.Error("the golden file shows other fields, not this one")
				}
			}
			compare(t, filepath.Join("testdata", "fields", fieldFile(c.field)), got)
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "fields"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/fields/%s belongs to no field", f.Name())
		}
	}
}

func fieldPlans() []fieldPlan {
	var out []fieldPlan
	out = append(out, processPlans...)
	out = append(out, linuxPlans...)
	out = append(out, mountPlans...)
	out = append(out, hookPlans()...)
	return append(out, optionPlans()...)
}

// hookPlans are those of the four fields of each of the six kinds of hooks.
func hookPlans() []fieldPlan {
	var out []fieldPlan
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		set := func(h specs.Hook) func(*Input) {
			return func(in *Input) {
				all := &specs.Hooks{}
				list := map[string]*[]specs.Hook{
					//lint:ignore SA1019 deprecated, but Docker up to 26 and many tools use it
					"prestart": &all.Prestart, "createRuntime": &all.CreateRuntime, "createContainer": &all.CreateContainer,
					"startContainer": &all.StartContainer, "poststart": &all.Poststart, "poststop": &all.Poststop,
				}[kind]
				*list = []specs.Hook{h}
				in.Spec.Hooks = all
				in.Hooks = kind == "prestart" || strings.HasPrefix(kind, "create")
			}
		}
		plain := specs.Hook{Path: "/usr/bin/hook"}
		for _, f := range []struct {
			name string
			hook specs.Hook
		}{
			{"args", specs.Hook{Path: plain.Path, Args: []string{"hook", "an argument"}}},
			{"env", specs.Hook{Path: plain.Path, Env: []string{"A=b c"}}},
			{"timeout", specs.Hook{Path: plain.Path, Timeout: ptr(5)}},
		} {
			out = append(out, fieldPlan{"hooks." + kind + "[]." + f.name, set(plain), set(f.hook)})
		}
		out = append(out, fieldPlan{"hooks." + kind + "[].path", nil, set(plain)})
	}
	return out
}
