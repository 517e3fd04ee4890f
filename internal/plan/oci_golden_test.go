package plan

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The plans that only an OCI runtime has: their golden files are in testdata/oci.

// oci changes the base configuration.
func oci(edit func(*Input)) func() (*Plan, error) {
	return func() (*Plan, error) {
		in := base()
		in.StateDir = ""
		in.Host.SysAdmin = true
		edit(&in)
		return New(in)
	}
}

// further plans a process that joins the container of the base configuration.
func further(edit func(*ExecInput)) func() (*Plan, error) {
	return func() (*Plan, error) {
		in := base()
		p := *in.Spec.Process
		x := ExecInput{
			Spec: in.Spec, Process: &p, Host: in.Host, Wait: true,
			Namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		}
		x.Host.SysAdmin = true
		edit(&x)
		return NewExec(x)
	}
}

// change plans the mounts of a running container.
func change(remove bool, mounts ...specs.Mount) func() (*Plan, error) {
	return func() (*Plan, error) {
		in := base()
		in.Host.SysAdmin = true
		return NewMounts(MountsInput{
			Spec: in.Spec, Mounts: mounts, Remove: remove, Host: in.Host,
			Namespaces: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		})
	}
}

var ociPlans = map[string]func() (*Plan, error){
	"create": oci(func(in *Input) { in.Wait, in.Listen = true, true }),
	"hooks":  oci(func(in *Input) { in.Wait, in.Hooks = true, true }),
	"labels": oci(func(in *Input) {
		in.Host.AppArmorExec, in.Host.SELinux = "attr/apparmor/exec", true
		in.Spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0"
		in.Spec.Process.ApparmorProfile, in.Spec.Process.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0"
	}),
	"memory-policy": oci(func(in *Input) {
		in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0-1", Flags: []specs.MemoryPolicyFlagType{"MPOL_F_STATIC_NODES"}}
	}),
	"no-pivot":   oci(func(in *Input) { in.NoPivot = true }),
	"no-command": oci(func(in *Input) { in.Spec.Process, in.NoCommand = &specs.Process{Cwd: "/"}, true }),
	"chroot": oci(func(in *Input) {
		in.Spec.Mounts = nil
		in.Spec.Linux.Namespaces = namespaces("pid")
		in.Spec.Hostname = ""
	}),
	"resctrl":       oci(func(in *Input) { in.Resctrl = true }),
	"preserved-fds": oci(func(in *Input) { in.PreserveFDs = 2 }),
	"join-namespaces": oci(func(in *Input) {
		for i := range in.Spec.Linux.Namespaces {
			if ns := &in.Spec.Linux.Namespaces[i]; ns.Type != specs.MountNamespace {
				ns.Path = "/proc/42/ns/" + string(ns.Type)
			}
		}
		in.Spec.Hostname = ""
	}),
	"join-namespaces-without-rights": oci(func(in *Input) {
		in.Host.SysAdmin = false
		in.Spec.Linux.Namespaces[0].Path = "/proc/42/ns/pid"
	}),
	"join-mount-namespace": oci(func(in *Input) {
		for i := range in.Spec.Linux.Namespaces {
			if ns := &in.Spec.Linux.Namespaces[i]; ns.Type == specs.MountNamespace {
				ns.Path = "/proc/42/ns/mnt"
			}
		}
		in.Spec.Mounts, in.Root.Path = nil, "/srv"
	}),
	"join-user-namespace": oci(func(in *Input) {
		in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/42/ns/user"})
	}),
	"idmapped-mounts": oci(func(in *Input) {
		m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}
		in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/data", Source: "/srv/data", Options: []string{"rbind", "ridmap"}, UIDMappings: m, GIDMappings: m})
	}),
	"tmpcopyup": oci(func(in *Input) {
		in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "nosuid", "size=1m"}})
	}),
	"seccomp-notify": oci(func(in *Input) {
		in.Spec.Process.NoNewPrivileges = true
		in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: "/run/agent.sock",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}},
		}
	}),
	"mount-context-type": oci(func(in *Input) {
		in.Host.SELinux, in.LabelOption = true, "rootcontext"
		in.Spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0"
	}),
	"keep-groups": oci(func(in *Input) { in.KeepGroups = true }),
	"raw-filter":  oci(func(in *Input) { in.Filter = []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f} }),
	"exec-landlock": further(func(x *ExecInput) {
		x.Host.Landlock, x.Process.NoNewPrivileges = 5, true
		x.Landlock = []LandlockRule{{Path: "/usr"}, {Path: "/tmp", Write: true}}
	}),
	"net-devices": oci(func(in *Input) {
		in.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth1": {Name: "eth0"}, "enp1s0": {}}
	}),
	"mounts-add": change(false,
		specs.Mount{Destination: "/data", Source: "/srv/data", Options: []string{"rbind", "ro", "rslave"}},
		specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}}),
	"mounts-remove": change(true, specs.Mount{Destination: "/data"}, specs.Mount{Destination: "scratch/below"}),
	"exec":          further(func(*ExecInput) {}),
	"exec-terminal": further(func(x *ExecInput) { x.Process.Terminal = true }),
	"exec-user-namespace": further(func(x *ExecInput) {
		x.Namespaces |= unix.CLONE_NEWUSER
	}),
	"exec-without-rights": further(func(x *ExecInput) {
		x.Host.SysAdmin = false
		x.Namespaces |= unix.CLONE_NEWUSER
	}),
	"exec-cgroup-v1": further(func(x *ExecInput) {
		x.Cgroup = Cgroup{Version: 1, TaskFiles: 2, Mounts: []CgroupMount{{"memory", "/sys/fs/cgroup/memory/c"}, {"pids", "/sys/fs/cgroup/pids/c"}}}
	}),
	"exec-affinity": further(func(x *ExecInput) {
		x.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0-3", Final: "1,65"}
	}),
	"exec-nothing-to-join": further(func(x *ExecInput) { x.Namespaces = 0 }),
	"hook-inside": further(func(x *ExecInput) {
		x.Hook, x.Path = true, "/usr/bin/hook"
		x.Process = &specs.Process{Args: []string{"hook", "arg"}, Env: []string{"A=b"}, Cwd: "/"}
	}),
}

func TestOCIGolden(t *testing.T) {
	for name, plan := range ociPlans {
		t.Run(name, func(t *testing.T) {
			p, err := plan()
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := p.Explain(&b); err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", "oci", name+".txt"), imageSize.ReplaceAll(b.Bytes(), []byte("a program of N bytes")))
		})
	}
}

func TestOCIRefuse(t *testing.T) {
	for field, edit := range map[string]func(*Input){
		"mounts[4].uidMappings": func(in *Input) {
			m := []specs.LinuxIDMapping{{Size: 1}}
			in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", UIDMappings: m, GIDMappings: m})
		},
		"mounts[4].gidMappings": func(in *Input) {
			in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/x", Source: "/y", Options: []string{"bind"}, UIDMappings: []specs.LinuxIDMapping{{Size: 1}}})
		},
		"mounts[4].options": func(in *Input) {
			in.Spec.Mounts = append(in.Spec.Mounts, specs.Mount{Destination: "/x", Source: "/y", Options: []string{"bind", "idmap"}})
		},
		"linux.memoryPolicy.mode":  func(in *Input) { in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} },
		"linux.memoryPolicy.nodes": func(in *Input) { in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "x"} },
		"linux.memoryPolicy.flags[0]": func(in *Input) {
			in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_BIND", Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"F"}}
		},
		"annotations": func(in *Input) { in.Filter = []byte("seven b") },
		"linux.seccomp": func(in *Input) {
			in.StrictFilter = true
			in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdr"}, Action: specs.ActErrno}}}
		},
		"linux.namespaces[0].path": func(in *Input) { in.Spec.Linux.Namespaces[0].Path = "relative" },
		"linux.seccomp.syscalls": func(in *Input) {
			in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/x", Syscalls: []specs.LinuxSyscall{{Names: []string{"sendmsg"}, Action: specs.ActNotify}}}
		},
	} {
		_, err := oci(edit)()
		var e *Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("the error is %v, want one about %s", err, field)
		}
	}
	if _, err := parseCPUs("3-1"); err == nil {
		t.Error("a backward range of processors is accepted")
	}
	if _, err := parseCPUs("0-99999999"); err == nil {
		t.Error("a huge range of processors is accepted")
	}
}
