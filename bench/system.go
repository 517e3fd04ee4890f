package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// system says what the numbers were measured on.
type system struct {
	Kernel, Machine, Cgroup, RCU, CPU string
	CPUs                              int
	Versions                          []string
}

func describe(b *bench) system {
	var u unix.Utsname
	_ = unix.Uname(&u)
	s := system{
		Kernel: unix.ByteSliceToString(u.Release[:]), Machine: unix.ByteSliceToString(u.Machine[:]),
		CPUs: runtime.NumCPU(), CPU: cpuModel(), RCU: rcu(), Cgroup: fmt.Sprintf("v%d", b.groups.version),
	}
	if b.groups.version == 1 {
		var keys []string
		for _, m := range b.groups.mounts {
			if m.Unified {
				keys = append(keys, "and v2 without controllers")
			} else {
				keys = append(keys, m.Key())
			}
		}
		s.Cgroup += " (" + strings.Join(keys, " ") + ")"
	}
	for _, c := range b.contenders {
		if c.name == nameFloor {
			continue
		}
		s.Versions = append(s.Versions, c.name+": "+version(c.path))
	}
	return s
}

// version is the first line that a program prints about itself.
func version(path string) string {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "does not tell its version"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// rcu lists what shortens or lengthens the waits for grace periods.
func rcu() string {
	var parts []string
	for _, p := range []struct{ name, path string }{
		{"rcu_expedited", "/sys/kernel/rcu_expedited"},
		{"rcu_normal", "/sys/kernel/rcu_normal"},
	} {
		if b, err := os.ReadFile(p.path); err == nil {
			parts = append(parts, p.name+"="+strings.TrimSpace(string(b)))
		}
	}
	if b, err := os.ReadFile("/proc/cmdline"); err == nil {
		for _, f := range strings.Fields(string(b)) {
			if strings.HasPrefix(f, "rcu") || strings.HasPrefix(f, "nohz") || strings.HasPrefix(f, "preempt=") {
				parts = append(parts, f)
			}
		}
	}
	if len(parts) == 0 {
		return "unknown"
	}
	return strings.Join(parts, " ")
}

func (s system) text() string {
	return fmt.Sprintf("Linux %s %s, %d × %s\ncgroup %s\nRCU: %s\n%s", s.Kernel, s.Machine, s.CPUs, s.CPU, s.Cgroup, s.RCU, strings.Join(s.Versions, "\n"))
}
