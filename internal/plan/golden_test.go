package plan

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"gcr/internal/program"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The size of the compiled program differs between architectures; everything else in a plan does not.
var imageSize = regexp.MustCompile(`a program of \d+ bytes`)

func TestGolden(t *testing.T) {
	if len(goldenConfigs) < 30 {
		t.Errorf("%d configurations, want at least 30", len(goldenConfigs))
	}
	seen := map[string]bool{}
	for _, c := range goldenConfigs {
		seen[c.name+".txt"] = true
		t.Run(c.name, func(t *testing.T) {
			in := c.in()
			if in.Spec.Linux.Seccomp != nil && runtime.GOARCH != "amd64" {
				t.Skip("the golden filter is one for amd64; this is " + runtime.GOARCH)
			}
			p, err := New(in)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := p.Explain(&b); err != nil {
				t.Fatal(err)
			}
			b.WriteString("=== listing\n" + p.Program.Listing() + "=== shell\n")
			if err := p.ExplainShell(&b); err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", "golden", c.name+".txt"), imageSize.ReplaceAll(b.Bytes(), []byte("a program of N bytes")))
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/golden/%s belongs to no configuration", f.Name())
		}
	}
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test ./internal/plan -update writes it", err)
	}
	if bytes.Equal(got, want) {
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s:%d:\n got %s\nwant %s\n(go test ./internal/plan -update rewrites it)", file, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%s: got %d lines, want %d (go test ./internal/plan -update rewrites it)", file, len(g), len(w))
}

// A plan is a function of its input: the same input gives the same program, and planning changes nothing in it.
func TestPure(t *testing.T) {
	for _, c := range goldenConfigs {
		in := c.in()
		before := clone(t, in.Spec)
		p1, err := New(in)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := New(in)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(before, clone(t, in.Spec)) {
			t.Errorf("%s: planning has changed the configuration", c.name)
		}
		i1, err := p1.Program.Compile(program.Native)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		i2, _ := p2.Program.Compile(program.Native)
		if !bytes.Equal(i1, i2) {
			t.Errorf("%s: two plans of the same input differ", c.name)
		}
		for _, arch := range []program.Arch{program.AMD64, program.ARM64} {
			if _, err := p1.Program.Compile(arch); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// Every step says what it is for, and every call belongs to a step.
func TestEveryStepExplains(t *testing.T) {
	for _, c := range goldenConfigs {
		p, err := New(c.in())
		if err != nil {
			t.Fatal(err)
		}
		check := func(info Info) {
			if info.What == "" || info.Why == "" {
				t.Errorf("%s: a step without words: %+v", c.name, info)
			}
		}
		for _, s := range p.Steps {
			check(s.Info())
		}
		for i, h := range p.Host {
			check(h.Info)
			if i > 0 && h.Action <= p.Host[i-1].Action {
				t.Errorf("%s: host step %q comes after %q", c.name, h.Info.What, p.Host[i-1].Info.What)
			}
		}
		for _, call := range p.Program.Calls() {
			// What narrates the steps belongs to none of them.
			outside := call.Sys == program.SysUmask || p.in.Narrate || p.in.Stops
			if call.Step < 0 && !outside || call.Step >= len(p.Steps) {
				t.Errorf("%s: call %d belongs to step %d", c.name, call.Index, call.Step)
			}
		}
	}
}

// The JSON form is for tools: its names are fixed here.
func TestJSONNames(t *testing.T) {
	p, err := New(base())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		What, Field, Why, Man string
		Detail, Shell         []string
		Calls                 []struct {
			Index               *int
			Name, Text, OnError string
		}
	}
	var out struct {
		CloneFlags    string
		Host, Program []step
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	if out.CloneFlags != "CLONE_NEWPID|CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWNET" && !strings.Contains(out.CloneFlags, "CLONE_NEWPID") {
		t.Errorf("cloneFlags %q", out.CloneFlags)
	}
	if len(out.Host) != len(p.Host) || len(out.Program) != len(p.Steps) {
		t.Fatalf("%d host steps and %d steps, want %d and %d", len(out.Host), len(out.Program), len(p.Host), len(p.Steps))
	}
	next := 1 // call 0 comes before the first step
	for _, s := range out.Program {
		for _, c := range s.Calls {
			if c.Index == nil || *c.Index != next || c.Name == "" || !strings.HasPrefix(c.Text, "r") && !strings.HasPrefix(c.Text, c.Name+"(") {
				t.Errorf("call %d of %q: %+v", next, s.What, c)
			}
			next++
		}
	}
	if next != len(p.Program.Calls()) {
		t.Errorf("%d calls, want %d", next, len(p.Program.Calls()))
	}
	for _, name := range []string{`"cloneFlags":`, `"host":`, `"program":`, `"what":`, `"why":`, `"field":`, `"man":`, `"detail":`, `"shell":`, `"calls":`, `"index":`, `"name":`, `"text":`, `"onError":`} {
		if !bytes.Contains(b, []byte(name)) {
			t.Errorf("no member %s", name)
		}
	}
}

// Each script is one that bash can read.
func TestScriptsParse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing")
	}
	for _, c := range goldenConfigs {
		p, err := New(c.in())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := p.ExplainShell(&b); err != nil {
			t.Fatal(err)
		}
		check := func(script string) {
			cmd := exec.Command(bash, "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", c.name, err, out)
			}
		}
		check(b.String())
		_, inner, ok := strings.Cut(b.String(), "<<'GCR'\n")
		inner, _, ok2 := strings.Cut(inner, "\nGCR\n")
		if !ok || !ok2 {
			t.Fatalf("%s: the script has no inner part", c.name)
		}
		check(inner)
	}
}
