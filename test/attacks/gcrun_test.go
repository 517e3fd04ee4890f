package attacks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

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
						Hooks: &specs.Hooks{
							CreateRuntime:   []specs.Hook{{Path: self, Args: []string{"hook", "naive", "hook", told}}},
							CreateContainer: []specs.Hook{{Path: self, Args: []string{"hook", "naive", "hook", told}}},
						},
						Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
					})
				}
				b, err := os.ReadFile(told)
				m.must(err)
				if n := strings.Count(string(b), "hook:"); !weak && n != 2 {
					m.t.Fatalf("%d of 2 hooks ran: %q", n, b)
				}
				if strings.Contains(string(b), "LD_") {
					return worked("the hook ran with LD_PRELOAD of the image")
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
	exhibits = append(exhibits,
		exhibit{
			class: "runtime's program overwritten while it joins", known: "CVE-2019-5736", weak: "a runtime that runs a file of the host in the container",
			attack: func(m *museum, weak bool) outcome {
				if weak {
					return overwriteNaive(m)
				}
				return overwriteJoining(m)
			},
			refusal: "after 20 visits",
		},
		exhibit{
			class: "inheritable capabilities of a process that joins", known: "CVE-2022-29162", weak: "a runtime that fills the inheritable set",
			attack: func(m *museum, weak bool) outcome {
				m.caps = []uintptr{unix.CAP_DAC_OVERRIDE}
				if weak {
					return m.naive("become", m.rootfs, "inheritable")
				}
				c := m.waiting("wait")
				defer c.end()
				return m.run(0, gcrunProgram(m.t), "--root", c.state, "exec", c.id, "/museum", "attack", "inheritable")
			},
			refusal: "CapInh is empty",
		},
	)
	attackers["inheritable"] = func([]string) outcome {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			return worked("%v", err)
		}
		if data[0].Inheritable|data[1].Inheritable != 0 {
			return worked("CapInh is %#x", data[0].Inheritable)
		}
		return refused("CapInh is empty")
	}
	attackers["wait"] = func([]string) outcome {
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return refused("end")
	}
	naives["hook"] = func(a []string) outcome {
		var b strings.Builder
		for _, v := range os.Environ() {
			fmt.Fprintln(&b, v)
		}
		f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return refused("%v", err)
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "hook: %s\n", b.String()); err != nil {
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

// container is one of gcrun whose process says "ready" and goes on.
type container struct {
	m         *museum
	id, state string
	cmd       *exec.Cmd
	out       *bufio.Reader
}

// waiting starts a container whose only process is an attacker.
func (m *museum) waiting(attack string) *container {
	m.t.Helper()
	bundle := m.t.TempDir()
	b, err := json.Marshal(&specs.Spec{
		Version: "1.2.0", Root: &specs.Root{Path: m.rootfs},
		Process: &specs.Process{Args: []string{"/museum", "attack", attack}, Cwd: "/", Capabilities: &specs.LinuxCapabilities{
			Bounding: []string{"CAP_DAC_OVERRIDE", "CAP_KILL"}, Effective: []string{"CAP_DAC_OVERRIDE", "CAP_KILL"}, Permitted: []string{"CAP_DAC_OVERRIDE", "CAP_KILL"},
		}},
		Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux:  &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
	})
	m.must(err)
	m.write(filepath.Join(bundle, "config.json"), string(b))
	c := &container{m: m, id: fmt.Sprintf("museum-%d", os.Getpid()), state: filepath.Join(bundle, "state")}
	c.cmd = exec.Command(gcrunProgram(m.t), "--root", c.state, "run", "--bundle", bundle, c.id)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	m.must(err)
	m.must(c.cmd.Start())
	c.out = bufio.NewReader(out)
	line, err := c.out.ReadString('\n')
	if line != "ready\n" {
		c.end()
		m.t.Fatalf("the container did not start: %q %v", line, err)
	}
	return c
}

// end kills the container; what it said last is returned.
func (c *container) end() string {
	_ = exec.Command(gcrunProgram(c.m.t), "--root", c.state, "delete", "--force", c.id).Run()
	rest, _ := io.ReadAll(c.out)
	_ = c.cmd.Wait()
	return strings.TrimSpace(string(rest))
}

// overwriteJoining lets the attacker of CVE-2019-5736 wait in a container while gcrun exec enters it, again and again.
func overwriteJoining(m *museum) outcome {
	before, err := os.ReadFile(gcrunProgram(m.t))
	m.must(err)
	c := m.waiting("overwrite")
	const visits = 20
	for range visits {
		_ = exec.Command(gcrunProgram(m.t), "--root", c.state, "exec", c.id, "/museum", "attack", "uid0").Run()
	}
	said := c.end()
	after, err := os.ReadFile(gcrunProgram(m.t))
	m.must(err)
	if !bytes.Equal(before, after) || strings.Contains(said, "worked") {
		return worked("gcrun was written to: %s", said)
	}
	if said == "" {
		said = "it could open no program but the container's own"
	}
	return refused("gcrun is unchanged after 20 visits; the attacker: %s", said)
}
