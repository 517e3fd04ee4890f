package launch_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gcr/internal/launch"
	"gcr/internal/plan"
	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rootfs makes a root filesystem of a static busybox.
func rootfs(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is missing (Debian package busybox-static)")
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("busybox", filepath.Join(dir, "bin", "sh")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// input is a container that runs a script of the shell, with the ids of the caller mapped to root.
func input(t *testing.T, script string) plan.Input {
	spec := &specs.Spec{
		Process: &specs.Process{
			Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: &specs.LinuxCapabilities{},
		},
		Hostname: "launched",
		Mounts:   []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
			},
			UIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getuid()), Size: 1}},
			GIDMappings: []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getgid()), Size: 1}},
		},
	}
	return plan.Input{
		Spec: spec, Root: plan.Root{Path: rootfs(t)}, DieWithParent: true,
		Host: plan.Host{UID: os.Getuid(), GID: os.Getgid(), LastCap: unix.CAP_CHECKPOINT_RESTORE},
	}
}

// start runs the container and returns what it printed and its status.
func start(t *testing.T, in plan.Input, opts ...program.Option) (string, int, error) {
	t.Helper()
	p, err := plan.New(in)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	proc, err := launch.Start(p, launch.Options{Stdio: [3]*os.File{os.Stdin, w, w}, Host: in.Host, Compile: opts})
	w.Close()
	if err != nil {
		return "", 0, err
	}
	defer proc.Close()
	out, _ := io.ReadAll(r)
	status, err := proc.Wait()
	return string(out), status, err
}

func TestStart(t *testing.T) {
	out, status, err := start(t, input(t, `echo "$$ $(busybox hostname)"; busybox ls /; exit 7`))
	if err != nil || status != 7 {
		t.Fatalf("status %d: %v", status, err)
	}
	if !strings.HasPrefix(out, "1 launched\n") || !strings.Contains(out, "\nbin\n") && !strings.HasSuffix(out, "bin\nproc\n") {
		t.Errorf("the container says %q", out)
	}
}

func TestStatusOfASignal(t *testing.T) {
	in := input(t, `kill -TERM $$; busybox sleep 10`)
	in.Spec.Linux.Namespaces = in.Spec.Linux.Namespaces[:1] // process 1 of a PID namespace would not die of it
	in.Spec.Mounts, in.Spec.Hostname, in.Root = nil, "", plan.Root{}
	if _, status, err := start(t, in); err != nil || status != 128+int(unix.SIGTERM) {
		t.Errorf("status %d: %v", status, err)
	}
}

func TestFailureIsPutIntoWords(t *testing.T) {
	in := input(t, "true")
	in.Spec.Process.Cwd = "/nowhere"
	_, _, err := start(t, in)
	var e *plan.Error
	if !errors.As(err, &e) || e.Field != "process.cwd" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v", err)
	}
}

func TestCommandThatIsNotThere(t *testing.T) {
	in := input(t, "")
	in.Spec.Process.Args = []string{"nothing"}
	if _, _, err := start(t, in); !errors.Is(err, plan.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
