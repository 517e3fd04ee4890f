package plan

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Each thing that a plan refuses, with the field that its error names.
func TestRefuse(t *testing.T) {
	device := func(d specs.LinuxDevice) func(*Input) {
		return func(in *Input) { in.Spec.Linux.Devices = []specs.LinuxDevice{d} }
	}
	sysctl := func(key, value string) func(*Input) {
		return func(in *Input) { in.Spec.Linux.Sysctl = map[string]string{key: value} }
	}
	scheduler := func(s specs.Scheduler) func(*Input) {
		return func(in *Input) { in.Spec.Process.Scheduler = &s }
	}
	user := func(change func(*Input)) func(*Input) {
		return func(in *Input) { *in = rootless(*in, ownID(), ownID()); change(in) }
	}
	for _, c := range []struct {
		name   string
		change func(*Input)
		field  string
		text   string // that the message holds
	}{
		{"no configuration", func(in *Input) { in.Spec = nil }, "", "there is none"},
		{"no process", func(in *Input) { in.Spec.Process = nil }, "process", "missing"},
		{"no args", func(in *Input) { in.Spec.Process.Args = nil }, "process.args", "no command"},
		{"empty command", func(in *Input) { in.Spec.Process.Args = []string{""} }, "process.args[0]", "empty"},
		{"NUL in an argument", func(in *Input) { in.Spec.Process.Args = []string{"sh", "a\x00b"} }, "process.args[1]", "NUL"},
		{"NUL in the environment", func(in *Input) { in.Spec.Process.Env = []string{"A=\x00"} }, "process.env[0]", "NUL"},
		{"namespace twice", func(in *Input) { in.Spec.Linux.Namespaces = namespaces("pid", "pid") }, "linux.namespaces[1]", "twice"},
		{"unknown namespace", func(in *Input) { in.Spec.Linux.Namespaces = namespaces("pid", "disk") }, "linux.namespaces[1].type", `"disk"`},
		{"no uid map", user(func(in *Input) { in.Spec.Linux.UIDMappings = nil }), "linux.uidMappings", "no user id is mapped"},
		{"no gid map", user(func(in *Input) { in.Spec.Linux.GIDMappings = nil }), "linux.gidMappings", "no group id is mapped"},
		{"root not mapped", user(func(in *Input) {
			in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 5, HostID: 1000, Size: 1}}
		}), "linux.uidMappings", "user id 0"},
		{"root's group not mapped", user(func(in *Input) {
			in.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 5, HostID: 1000, Size: 1}}
		}), "linux.gidMappings", "group id 0"},
		{"mounts without a namespace", func(in *Input) { in.Spec.Linux.Namespaces = namespaces("pid") }, "mounts", "mount namespace"},
		{"masked paths without a namespace", func(in *Input) {
			in.Spec.Linux.Namespaces, in.Spec.Mounts = namespaces("pid"), nil
			in.Spec.Linux.MaskedPaths = []string{"/proc/kcore"}
		}, "linux.maskedPaths", "mount namespace"},
		{"read-only paths without a namespace", func(in *Input) {
			in.Spec.Linux.Namespaces, in.Spec.Mounts = namespaces("pid"), nil
			in.Spec.Linux.ReadonlyPaths = []string{"/proc/sys"}
		}, "linux.readonlyPaths", "mount namespace"},
		{"unknown propagation", func(in *Input) { in.Spec.Linux.RootfsPropagation = "public" }, "linux.rootfsPropagation", `"public"`},
		{"no root", func(in *Input) { in.Root.Path = "" }, "root.path", "missing"},
		{"the host's root", func(in *Input) { in.Root.Path = "/./" }, "root.path", "host's own root"},
		{"mount option without a name", mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"ro", "=1"}}), "mounts[4].options", "no name"},
		{"remount with tmpcopyup", mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"remount", "tmpcopyup"}}), "mounts[4].options", "tmpcopyup"},
		{"long mount option", mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"k=" + strings.Repeat("v", 256)}}), "mounts[4].options", "255"},
		{"NUL in a mount option", mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"a\x00=1"}}), "mounts[4].options", "NUL"},
		{"mount without destination", mount(specs.Mount{Type: "tmpfs"}), "mounts[4].destination", "missing"},
		{"mount on /", mount(specs.Mount{Destination: "/a/..", Type: "tmpfs"}), "mounts[4].destination", "hide everything"},
		{"bind without source", mount(specs.Mount{Destination: "/x", Type: "bind"}), "mounts[4].source", "source"},
		{"mount without type", mount(specs.Mount{Destination: "/x", Source: "y"}), "mounts[4].type", "missing"},
		{"relative device", device(specs.LinuxDevice{Path: "dev/x", Type: "c"}), "linux.devices[0].path", "absolute"},
		{"crooked device", device(specs.LinuxDevice{Path: "/dev/../x", Type: "c"}), "linux.devices[0].path", "clean"},
		{"device type", device(specs.LinuxDevice{Path: "/dev/x", Type: "q"}), "linux.devices[0].type", `"q"`},
		{"terminal without devpts", func(in *Input) { in.Spec.Process.Terminal = true; in.Spec.Mounts = in.Spec.Mounts[:2] }, "process.terminal", "devpts"},
		{"hostname of the host", func(in *Input) { in.Spec.Linux.Namespaces = namespaces("mount") }, "hostname", "UTS"},
		{"domainname of the host", func(in *Input) {
			in.Spec.Linux.Namespaces, in.Spec.Hostname, in.Spec.Domainname = namespaces("mount"), "", "x"
		}, "domainname", "UTS"},
		{"sysctl of the machine", sysctl("kernel.panic", "1"), `linux.sysctl["kernel.panic"]`, "no namespace"},
		{"sysctl outside", sysctl("net/../kernel/panic", "1"), `linux.sysctl["net/../kernel/panic"]`, "no name"},
		{"sysctl with dots", sysctl("net..x", "1"), `linux.sysctl["net..x"]`, "no name"},
		{"sysctl with a line break", sysctl("net.core.somaxconn", "1\n2"), `linux.sysctl["net.core.somaxconn"]`, "line break"},
		{"sysctl of the host's network", func(in *Input) {
			in.Spec.Linux.Namespaces = namespaces("mount", "uts")
			sysctl("net.core.somaxconn", "1")(in)
		}, `linux.sysctl["net.core.somaxconn"]`, "network namespace"},
		{"sysctl of the host's IPC", func(in *Input) {
			in.Spec.Linux.Namespaces = namespaces("mount", "uts")
			sysctl("kernel.shmmax", "1")(in)
		}, `linux.sysctl["kernel.shmmax"]`, "ipc namespace"},
		{"OOM score", func(in *Input) { in.Spec.Process.OOMScoreAdj = ptr(1001) }, "process.oomScoreAdj", "-1000 and 1000"},
		{"relative read-only path", func(in *Input) { in.Spec.Linux.ReadonlyPaths = []string{"/a", "proc"} }, "linux.readonlyPaths[1]", "absolute"},
		{"relative masked path", func(in *Input) { in.Spec.Linux.MaskedPaths = []string{"proc"} }, "linux.maskedPaths[0]", "absolute"},
		{"unknown rlimit", func(in *Input) { in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, "process.rlimits[0].type", "RLIMIT_X"},
		{"rlimit twice", func(in *Input) {
			in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}}
		}, "process.rlimits[1].type", "twice"},
		{"soft above hard", func(in *Input) {
			in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}}
		}, "process.rlimits[0].soft", "above"},
		{"umask", func(in *Input) { in.Spec.Process.User.Umask = ptr(uint32(0o1000)) }, "process.user.umask", "1000"},
		{"scheduling policy", scheduler(specs.Scheduler{Policy: "SCHED_X"}), "process.scheduler.policy", "SCHED_X"},
		{"scheduling flag", scheduler(specs.Scheduler{Policy: "SCHED_FIFO", Flags: []specs.LinuxSchedulerFlag{"F"}}), "process.scheduler.flags[0]", `"F"`},
		{"nice", scheduler(specs.Scheduler{Policy: "SCHED_OTHER", Nice: 20}), "process.scheduler.nice", "20"},
		{"scheduling priority", scheduler(specs.Scheduler{Policy: "SCHED_FIFO", Priority: 100}), "process.scheduler.priority", "100"},
		{"I/O class", func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: "X"} }, "process.ioPriority.class", `"X"`},
		{"I/O priority", func(in *Input) {
			in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_BE", Priority: 8}
		}, "process.ioPriority.priority", "8"},
		{"personality", func(in *Input) { in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: "DOS"} }, "linux.personality.domain", "DOS"},
		{"user not mapped", user(func(in *Input) { in.Spec.Process.User.UID = 5 }), "process.user.uid", "/etc/subuid"},
		{"group not mapped", user(func(in *Input) { in.Spec.Process.User.GID = 5 }), "process.user.gid", "/etc/subgid"},
		{"supplementary group not mapped", user(func(in *Input) { in.Spec.Process.User.AdditionalGids = []uint32{0, 7} }), "process.user.additionalGids[1]", "7"},
		{"seccomp", func(in *Input) {
			in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_MAYBE"}
		}, "linux.seccomp.defaultAction", "SCMP_ACT_MAYBE"},
		{"relative working directory", func(in *Input) { in.Spec.Process.Cwd = "home" }, "process.cwd", "absolute"},
		{"NUL in the working directory", func(in *Input) { in.Spec.Process.Cwd = "/a\x00" }, "process.cwd", "NUL"},
		{"NUL in the hostname", func(in *Input) { in.Spec.Hostname = "a\x00" }, "hostname", "NUL"},
		{"NUL in a destination", mount(specs.Mount{Destination: "/x\x00", Type: "tmpfs"}), "mounts[4].destination", "NUL"},
		{"NUL in a source", mount(specs.Mount{Destination: "/x", Type: "bind", Source: "/a\x00"}), "mounts[4].source", "NUL"},
		{"NUL in a masked path", func(in *Input) { in.Spec.Linux.MaskedPaths = []string{"/proc\x00"} }, "linux.maskedPaths[0]", "NUL"},
		{"NUL in a device", device(specs.LinuxDevice{Path: "/dev/a\x00", Type: "c"}), "linux.devices[0].path", "NUL"},
		{"NUL in root.path", func(in *Input) { in.Root.Path = "/srv\x00" }, "root.path", "NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			c.change(&in)
			p, err := New(in)
			if err == nil {
				t.Fatalf("no error, but a plan of %d steps", len(p.Steps))
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%q is no *Error", err)
			}
			if e.Field != c.field {
				t.Errorf("the error names field %q, want %q", e.Field, c.field)
			}
			msg := err.Error()
			if !strings.Contains(msg, c.text) || strings.ContainsAny(msg, "\n\x00") || !strings.Contains(msg, ": ") {
				t.Errorf("message %q, want one line with %q", msg, c.text)
			}
			if c.field != "" && !strings.Contains(msg, "("+c.field+")") {
				t.Errorf("message %q does not show the field", msg)
			}
			if strings.Contains(strings.ToLower(msg), "failed to") {
				t.Errorf("message %q", msg)
			}
		})
	}
}

// A configuration without the section "linux" is a valid one.
func TestWithoutLinux(t *testing.T) {
	in := bare()
	in.Spec.Linux = nil
	p, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	if p.CloneFlags != 0 {
		t.Errorf("clone flags %#x", p.CloneFlags)
	}
	if in.Spec.Linux != nil {
		t.Error("planning has changed the configuration")
	}
	if err := p.Explain(failingWriter{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Explain to a broken pipe: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

// What the specification wants to be a warning, and no error, is a note that names the field.
func TestNotes(t *testing.T) {
	for _, c := range []struct{ name, capability, want string }{
		{"unknown capability", "CAP_FLY", `process.capabilities.permitted[1]: there is no capability "CAP_FLY"; it is left out`},
		{"capability that the caller lacks", "CAP_SYS_TIME", "process.capabilities.permitted[1]: the caller does not have CAP_SYS_TIME and cannot give it"},
		{"nothing", "CAP_CHOWN", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			in.Host.Capabilities &^= 1 << unix.CAP_SYS_TIME
			in.Spec.Process.Capabilities = &specs.LinuxCapabilities{Permitted: []string{"CAP_KILL", c.capability}}
			p, err := New(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(p.Notes, "\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
