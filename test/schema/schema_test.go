// Package schema holds what gcrun prints to the JSON schemas of the OCI runtime specification. It is a module of its
// own, so that the validator is no dependency of GCR.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var gcrun string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gcrun-schema")
	if err == nil {
		gcrun = filepath.Join(dir, "gcrun")
		cmd := exec.Command("go", "build", "-o", gcrun, "./gcrun")
		cmd.Dir, cmd.Stderr = "../..", os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build gcrun:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// specification is the directory of the specification's module: it has the schemas and the text.
func specification(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // which the files without a word about it are written in
	c.UseLoader(loader{})
	s, err := c.Compile(filepath.Join(specification(t), "schema", name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loader reads the files of the specification. In version 1.3.0 a reference lacks the slash that JSON pointers begin with
// (RFC 6901).
type loader struct{}

func (loader) Load(url string) (any, error) {
	data, err := os.ReadFile(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(bytes.ReplaceAll(data, []byte(`"#definitions/`), []byte(`"#/definitions/`))))
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return s.Validate(v)
}

func run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(gcrun, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gcrun %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func TestSpec(t *testing.T) {
	s := schema(t, "config-schema.json")
	for _, args := range [][]string{{"spec"}, {"spec", "--rootless"}} {
		dir := t.TempDir()
		run(t, dir, args...)
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, data); err != nil {
			t.Errorf("gcrun %v: %v", args, err)
		}
		// The schema is one that finds what is wrong.
		if validate(t, s, bytes.Replace(data, []byte(`"cwd": "/"`), []byte(`"cwd": 7`), 1)) == nil {
			t.Error("the schema takes a number for a directory")
		}
	}
}

func TestFeatures(t *testing.T) {
	data := run(t, "", "features")
	if err := validate(t, schema(t, "features-schema.json"), data); err != nil {
		t.Error(err)
	}
	var f features.Features
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if validate(t, schema(t, "features-schema.json"), bytes.Replace(data, []byte(`"hooks": [`), []byte(`"hooks": [7,`), 1)) == nil {
		t.Error("the schema takes a number for a hook")
	}
	// The table of mount options is in the text of the specification only.
	config, err := os.ReadFile(filepath.Join(specification(t), "config.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^ `([a-z]+) *` *\\| (MUST|SHOULD|MAY)").FindAllSubmatch(config, -1)
	if len(found) < 60 {
		t.Errorf("the table of mount options has %d lines", len(found))
	}
	for _, m := range found {
		if !slices.Contains(f.MountOptions, string(m[1])) {
			t.Errorf("the mount option %s is not listed", m[1])
		}
	}
	has := func(what string, have []string, want ...string) {
		t.Helper()
		slices.Sort(want)
		have = slices.Sorted(slices.Values(have))
		if !slices.Equal(have, want) {
			t.Errorf("%s are %v, want %v", what, have, want)
		}
	}
	has("hooks", f.Hooks, "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
	has("namespaces", f.Linux.Namespaces, "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
	has("actions", f.Linux.Seccomp.Actions, words(specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify)...)
	has("operators", f.Linux.Seccomp.Operators, words(specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual)...)
	has("architectures", f.Linux.Seccomp.Archs, words(specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL,
		specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64,
		specs.ArchM68K, specs.ArchSH, specs.ArchSHEB)...)
	has("flags", f.Linux.Seccomp.KnownFlags, append(words(specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv), "SECCOMP_FILTER_FLAG_TSYNC")...)
	if len(f.Linux.MemoryPolicy.Modes) != 7 || len(f.Linux.MemoryPolicy.Flags) != 3 {
		t.Errorf("memory policies are %+v", f.Linux.MemoryPolicy)
	}
}

func words[T ~string](values ...T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

// The state of a container, as the command prints it and as a hook gets it.
func TestState(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := schema(t, "state-schema.json")
	dir, root := t.TempDir(), t.TempDir()
	for _, d := range []string{"proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "spec")
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c specs.Spec
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	probe := exec.Command("go", "build", "-C", "../..", "-o", filepath.Join(dir, "rootfs/probe"), "./test/probe")
	probe.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v: %s", err, out)
	}
	c.Process.Terminal, c.Process.Args = false, []string{"/probe", "sleep"}
	c.Annotations = map[string]string{"a.b": "c"}
	told := filepath.Join(dir, "told")
	c.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >" + told}}}}
	if data, err = json.Marshal(&c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("schema%d", os.Getpid())
	defer func() { _ = exec.Command(gcrun, "--root", root, "delete", "--force", id).Run() }()
	cmd := exec.Command(gcrun, "--root", root, "create", id)
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for _, status := range []string{"created", "running", "stopped"} {
		switch status {
		case "running":
			run(t, dir, "--root", root, "start", id)
		case "stopped":
			run(t, dir, "--root", root, "kill", id, "KILL")
			for !strings.Contains(string(run(t, dir, "--root", root, "state", id)), `"stopped"`) {
				continue
			}
		}
		out := run(t, dir, "--root", root, "state", id)
		if err := validate(t, s, out); err != nil || !strings.Contains(string(out), `"status": "`+status+`"`) {
			t.Errorf("%s: %v: %s", status, err, out)
		}
	}
	hook, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, s, hook); err != nil {
		t.Errorf("what a hook is told: %v: %s", err, hook)
	}
}
