package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestExamplesAreValid(t *testing.T) {
	s := Example()
	if err := Check(s); err != nil {
		t.Error(err)
	}
	MakeRootless(s, 1000, 1000)
	if err := Check(s); err != nil {
		t.Error(err)
	}
	for _, m := range s.Mounts {
		if m.Type == "sysfs" || m.Type == "cgroup" {
			t.Errorf("a user cannot mount %s", m.Type)
		}
	}
}

func TestCheckNamesTheField(t *testing.T) {
	zero := 0
	for field, edit := range map[string]func(*specs.Spec){
		"ociVersion":                     func(s *specs.Spec) { s.Version = "2.0.0" },
		"linux":                          func(s *specs.Spec) { s.Linux, s.Windows = nil, &specs.Windows{} },
		"root":                           func(s *specs.Spec) { s.Root = nil },
		"root.path":                      func(s *specs.Spec) { s.Root.Path = "" },
		"mounts[0].destination":          func(s *specs.Spec) { s.Mounts[0].Destination = "" },
		"mounts[0].source":               func(s *specs.Spec) { s.Mounts[0].Source = "a\x00b" },
		"mounts[0].uidMappings[0].size":  func(s *specs.Spec) { s.Mounts[0].UIDMappings = []specs.LinuxIDMapping{{}} },
		"hooks.poststop[0].path":         func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} },
		"hooks.createRuntime[0].timeout": func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/x", Timeout: &zero}}} },
		"process.cwd":                    func(s *specs.Spec) { s.Process.Cwd = "x" },
		"process.args":                   func(s *specs.Spec) { s.Process.Args = nil },
		"process.args[1]":                func(s *specs.Spec) { s.Process.Args = []string{"a", "b\x00"} },
		"process.env[0]":                 func(s *specs.Spec) { s.Process.Env = []string{"\x00"} },
		"process.oomScoreAdj":            func(s *specs.Spec) { n := 1001; s.Process.OOMScoreAdj = &n },
		"linux.uidMappings[1]": func(s *specs.Spec) {
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 10}, {ContainerID: 5, HostID: 100, Size: 1}}
		},
		"linux.gidMappings[0].size": func(s *specs.Spec) { s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 1, Size: 1<<32 - 1}} },
		"linux.timeOffsets":         func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} },
		"linux.intelRdt.closID":     func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "../x"} },
		"linux.netDevices": func(s *specs.Spec) {
			s.Linux.Namespaces = s.Linux.Namespaces[:1]
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
		},
		"linux.netDevices[a/b]": func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a/b": {}} },
		"linux.netDevices[e%d]": func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"e%d": {}} },
		"linux.netDevices[eth0].name": func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "a-name-too-long-"}}
		},
		"linux.namespaces[0].path": func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "\x00" },
	} {
		s := Example()
		edit(s)
		err := Check(s)
		var f *FieldError
		if !errors.As(err, &f) || f.Field != field {
			t.Errorf("the error is %v, want one about %s", err, field)
		}
	}
}

func TestVersions(t *testing.T) {
	for v, good := range map[string]bool{
		"1.0.0": true, "1.0.2-dev": true, "1.2.1": true, "1.3.0": true, "1.9.9+x": true, "": false, "1.0": false, "0.9.0": false, "2.0.0": false, "x": false,
	} {
		s := Example()
		s.Version = v
		if err := Check(s); (err == nil) != good {
			t.Errorf("version %q: %v", v, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if _, _, err := Load(path); !errors.Is(err, ErrMissing) {
		t.Errorf("a missing file gives %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"{\n  \"ociVersion\": \"1.0.0\",\n}":                 "line 3, column",
		`{"ociVersion": "1.0.0", "root": {"path": 5}}`:       "root.path: a JSON number cannot be a string",
		`{"ociVersion": "1.0.0", "process": {"args": "sh"}}`: "process.args",
	} {
		write(text)
		if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
	write(`{"ociVersion": "1.3.0", "root": {"path": "r"}, "unknown": {"x": 1}, "process": {"cwd": "/", "args": ["a"], "new": true}}`)
	if _, _, err := Load(path); err != nil {
		t.Errorf("unknown fields are not ignored: %v", err)
	}
}
