package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"gcr/internal/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// variant is a change of the default bundle.
type variant struct {
	name   string
	change func(*specs.Spec)
	image  bool // an image is run, not a directory
}

var (
	plain   = variant{name: "default bundle", change: func(*specs.Spec) {}}
	filter  = variant{name: "seccomp profile", change: withSeccomp}
	hostNet = variant{name: "host network", change: withoutNetwork}
	userNS  = variant{name: "user namespace", change: withUserNamespace}
	binds   = variant{name: "50 bind mounts", change: withBinds}
)

var variants = []variant{plain, filter, hostNet, userNS, binds}

// defaultSpec is what the command spec of gcrun, crun and runc writes, without a terminal.
func defaultSpec(args ...string) *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	mount := func(dst, kind, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: dst, Type: kind, Source: source, Options: options}
	}
	return &specs.Spec{
		Version: "1.0.2", // known to every contender
		Process: &specs.Process{
			Args: args, Cwd: "/", NoNewPrivileges: true,
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "gcr",
		Mounts: []specs.Mount{
			mount("/proc", "proc", "proc"),
			mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
			mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
			mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
			mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

func withSeccomp(s *specs.Spec) {
	s.Linux.Seccomp = seccomp.Default(s.Process.Capabilities.Bounding, runtime.GOARCH)
}

func withoutNetwork(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces[:1:1], s.Linux.Namespaces[2:]...)
}

func withUserNamespace(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.UIDMappings, s.Linux.GIDMappings = m, m
}

func withBinds(s *specs.Spec) {
	for i := range bindDirs {
		dst := fmt.Sprintf("/mnt/%d", i)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: dst, Type: "bind", Source: "/usr", Options: []string{"bind", "ro"}})
	}
}

const bindDirs = 50

// bundle makes the bundle of one container and returns its directory.
func (b *bench) bundle(id string, change func(*specs.Spec), args ...string) (string, error) {
	s := defaultSpec(args...)
	change(s)
	if s.Linux.CgroupsPath == "" {
		s.Linux.CgroupsPath = b.groups.path(id)
	}
	s.Root.Path = b.path("rootfs")
	dir := b.path("bundle-" + id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644)
}

// makeRootfs makes a root filesystem of a static busybox.
func (b *bench) makeRootfs() error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		if err := install("busybox-static"); err != nil {
			return err
		}
		if busybox, err = exec.LookPath("busybox"); err != nil {
			return errors.New("make a root filesystem: there is no busybox")
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, d := range strings.Fields("bin dev etc proc sys tmp run root mnt") {
		if err := os.MkdirAll(b.path("rootfs", d), 0o755); err != nil {
			return err
		}
	}
	for i := range bindDirs {
		if err := os.MkdirAll(b.path("rootfs", "mnt", fmt.Sprint(i)), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.path("rootfs", "bin", "busybox"), data, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"sh", "true", "sleep"} {
		if err := os.Symlink("busybox", b.path("rootfs", "bin", name)); err != nil {
			return err
		}
	}
	return nil
}
