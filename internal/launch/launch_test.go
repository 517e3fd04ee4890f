package launch_test

import (
	"os"
	"testing"

	"gcr/internal/launch"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestSmoke(t *testing.T) {
	spec := &specs.Spec{
		Process:  &specs.Process{Args: []string{"sh", "-c", "id; hostname; mount; ls /dev /proc/self/fd; cat /proc/self/status | grep Cap; ls -la /proc/1/exe; pwd"}, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: &specs.LinuxCapabilities{}},
		Hostname: "abc",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/tmp/x/y", Type: "bind", Source: "/etc/hostname", Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces:  []specs.LinuxNamespace{{Type: "pid"}, {Type: "mount"}, {Type: "uts"}, {Type: "ipc"}, {Type: "network"}, {Type: "cgroup"}},
			MaskedPaths: []string{"/proc/kcore", "/sys/firmware", "/proc/nothing"}, ReadonlyPaths: []string{"/proc/sys", "/proc/bus"},
		},
	}
	if os.Getuid() != 0 || os.Getenv("USERNS") != "" {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
		spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getuid()), Size: 1}}
		spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getgid()), Size: 1}}
	}
	in := plan.Input{Spec: spec, Root: plan.Root{Path: "/work/t/bb"}, DieWithParent: true, Host: plan.Host{UID: os.Getuid(), GID: os.Getgid(), LastCap: 40, Capabilities: 0x1fffeffffff}}
	p, err := plan.New(in)
	if err != nil {
		t.Fatal(err)
	}
	p.Explain(os.Stdout)
	proc, err := launch.Start(p, launch.Options{Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, Host: in.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(proc.Wait())
}
