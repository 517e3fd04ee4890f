package attacks

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This room has the attacks on what only the OCI runtime command has: hooks, and processes that join a container.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "hook with the container's environment", known: "CVE-2025-23266", weak: "a runtime that hands on the environment of the container",
			attack: func(m *museum, weak bool) outcome {
				told := filepath.Join(m.outside, "told")
				self, err := os.Executable()
				m.must(err)
				if weak {
					m.t.Setenv("LD_PRELOAD", "/evil.so")
					m.run(0, self, "naive", "hook", told)
				} else {
					m.oci("run", &specs.Spec{
						Process: &specs.Process{Args: []string{"/museum", "attack", "uid0"}, Cwd: "/", Env: []string{"LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/tmp"}},
						Hooks:   &specs.Hooks{CreateContainer: []specs.Hook{{Path: self, Args: []string{"hook", "naive", "hook", told}}}},
						Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
					})
				}
				b, err := os.ReadFile(told)
				m.must(err)
				if strings.Contains(string(b), "LD_") {
					return worked("the hook ran with %q", b)
				}
				return refused("the hook's environment is %q", b)
			},
			refusal: "environment is",
		},
		exhibit{
			class: "write to a setting that a mount covers", known: "CVE-2025-52881", weak: "a runtime that writes sysctls by path",
			attack: func(m *museum, weak bool) outcome {
				// Volumes are the attacker's: one of them lies over the setting that the runtime will write.
				victim := filepath.Join(m.outside, "secret")
				if weak {
					m.mkdir(m.rootfs + "/setting")
					m.write(m.rootfs+"/setting/ip_forward", "")
					return m.naive("covered", victim, m.rootfs+"/setting/ip_forward")
				}
				defer m.unchanged()
				return m.oci("run", &specs.Spec{
					Process: &specs.Process{Args: []string{"/museum", "attack", "uid0"}, Cwd: "/"},
					Mounts: []specs.Mount{
						{Destination: "/proc", Type: "proc", Source: "proc"},
						{Destination: "/proc/sys/net/ipv4/ip_forward", Type: "bind", Source: victim, Options: []string{"bind"}},
					},
					Linux: &specs.Linux{
						Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}},
						Sysctl:     map[string]string{"net.ipv4.ip_forward": "1"},
					},
				})
			},
			refusal: "sysctl|/proc",
		},
	)
	naives["hook"] = func(a []string) outcome {
		var b strings.Builder
		for _, v := range os.Environ() {
			fmt.Fprintln(&b, v)
		}
		if err := os.WriteFile(a[0], []byte(b.String()), 0o600); err != nil {
			return refused("%v", err)
		}
		return worked("told")
	}
	naives["covered"] = func(a []string) outcome {
		private()
		if err := unix.Mount(a[0], a[1], "", unix.MS_BIND, ""); err != nil {
			return refused("%v", err)
		}
		if err := os.WriteFile(a[1], []byte("1"), 0o644); err != nil {
			return refused("%v", err)
		}
		if b, err := os.ReadFile(a[0]); err != nil || string(b) != "1" {
			return refused("the host's file is as it was: %v", err)
		}
		return worked("the setting went to a file of the host")
	}
}

// oci runs a bundle with gcrun.
func (m *museum) oci(command string, s *specs.Spec) outcome {
	m.t.Helper()
	s.Version, s.Root = "1.2.0", &specs.Root{Path: m.rootfs}
	b, err := json.Marshal(s)
	m.must(err)
	bundle := m.t.TempDir()
	m.write(filepath.Join(bundle, "config.json"), string(b))
	return m.run(0, gcrunProgram(m.t), "--root", filepath.Join(bundle, "state"), command, "--bundle", bundle, fmt.Sprintf("museum-%d", os.Getpid()))
}
