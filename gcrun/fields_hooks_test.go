package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gcr/test/fields"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hookKinds are the six kinds of hooks.
var hookKinds = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// withHook gives the configuration one hook.
func withHook(s *specs.Spec, kind string, h specs.Hook) {
	s.Hooks = &specs.Hooks{}
	list := map[string]*[]specs.Hook{
		//lint:ignore SA1019 deprecated, but Docker up to 26 uses it
		"prestart": &s.Hooks.Prestart, "createRuntime": &s.Hooks.CreateRuntime, "createContainer": &s.Hooks.CreateContainer,
		"startContainer": &s.Hooks.StartContainer, "poststart": &s.Hooks.Poststart, "poststop": &s.Hooks.Poststop,
	}[kind]
	*list = []specs.Hook{h}
}

// Each field of each kind of hook: the program that runs, its arguments and environment, and the time that it has.
// Without the field the same must not be found.
func TestHookFields(t *testing.T) {
	for _, kind := range hookKinds {
		path, dir := probe, ""
		b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "exit", "0")
		out := filepath.Join(b.bundle, "out")
		dir = out
		if kind == "startContainer" {
			path, out, dir = "/probe", "/out", filepath.Join(b.bundle, "rootfs/out")
		}
		withHook(b.spec, kind, specs.Hook{Path: path, Args: []string{"probe", "hook", out, "two words"}, Env: []string{"A=b c"}})
		b.write()
		type line struct {
			Hook string
			Env  []string
		}
		ran := func() (found line) {
			b.run("run", b.id)
			data, _ := os.ReadFile(dir)
			_ = json.Unmarshal(data, &found)
			os.Remove(dir)
			b.id += "x"
			return found
		}
		with := ran()
		full := b.spec
		for field, is := range map[string]func(line) bool{
			"path": func(l line) bool { return l.Hook != "" },
			"args": func(l line) bool { return l.Hook == "two words" },
			"env":  func(l line) bool { return strings.Join(l.Env, " ") == "A=b c" },
		} {
			name := "hooks." + kind + "[]." + field
			t.Run(name, func(t *testing.T) {
				if !is(with) {
					t.Errorf("the hook left %+v", with)
				}
				var err error
				b.spec, err = fields.Ignore(full, &specs.Spec{}, name)
				b.must(err)
				b.write()
				if is(ran()) {
					t.Errorf("the same is found without %s", name)
				}
			})
		}
		t.Run("hooks."+kind+"[].timeout", func(t *testing.T) {
			b := newBox(t, nil, "exit", "0")
			sleep := "/bin/sleep"
			if kind == "startContainer" {
				sleep = "/probe"
			}
			withHook(b.spec, kind, specs.Hook{Path: sleep, Args: []string{"sleep", "1000"}, Timeout: ptr(1)})
			if kind == "startContainer" {
				b.spec.Hooks.StartContainer[0].Args = []string{"probe", "sleep"}
			}
			b.write()
			text := "error running " + kind + " hook #0: hook ran past specified timeout of 1s"
			if kind == "poststop" { // whose failure is a warning only
				log := filepath.Join(b.bundle, "log")
				b.run("--log", log, "run", b.id)
				data, err := os.ReadFile(log)
				b.must(err)
				want(t, "the warning", strings.Contains(string(data), text), true)
				return
			}
			b.fails(1, text, "run", b.id)
		})
	}
}
