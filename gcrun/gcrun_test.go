package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests run the gcrun binary, with the static program test/probe as the only file of the containers. The test
// process is a subreaper, as conmon and containerd's shim are: containers become its children.

var binary, probe string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gcrun-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary, probe = filepath.Join(dir, "gcrun"), filepath.Join(dir, "probe")
	build := map[string]string{binary: ".", probe: "../test/probe"}
	if os.Getenv("GCR_VM_PLACE") != "" {
		// In a virtual machine there is no Go; the bench has built both.
		build = nil
		// Memory is short there and holds the temporary files, so bundles link to one copy.
		if binary, err = filepath.Abs("gcrun"); err == nil {
			err = copyProgram("../test/probe/probe", probe)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	for out, pkg := range build {
		cmd := exec.Command("go", "build", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, b)
			os.Exit(1)
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

var count atomic.Int64

// box is a bundle and a state root for one test.
type box struct {
	t      *testing.T
	id     string
	bundle string
	root   string
	spec   *specs.Spec
}

// newBox makes a bundle whose container runs the probe; edit may change the configuration.
func newBox(t *testing.T, edit func(*specs.Spec), args ...string) *box {
	t.Helper()
	needRoot(t)
	return makeBox(t, edit, args...)
}

// makeBox is newBox for whoever runs the tests.
func makeBox(t *testing.T, edit func(*specs.Spec), args ...string) *box {
	t.Helper()
	b := &box{t: t, bundle: t.TempDir(), root: t.TempDir(), id: fmt.Sprintf("t%d-%d", os.Getpid(), count.Add(1))}
	rootfs := filepath.Join(b.bundle, "rootfs")
	for _, d := range []string{"proc", "dev", "sys", "tmp", "etc"} {
		b.must(os.MkdirAll(filepath.Join(rootfs, d), 0o755))
	}
	b.must(copyProgram(probe, filepath.Join(rootfs, "probe")))
	b.spec = spec.Example()
	b.spec.Process.Terminal = false
	b.spec.Process.Args = append([]string{"/probe"}, args...)
	if edit != nil {
		edit(b.spec)
	}
	b.write()
	t.Cleanup(func() {
		b.run("delete", "--force", b.id)
		if b.reapAll(); t.Failed() {
			return
		}
		if entries, _ := os.ReadDir(b.root); len(entries) != 0 {
			t.Errorf("state of %s is left behind: %v", b.id, entries)
		}
		left, _ := filepath.Glob("/sys/fs/cgroup/*/" + b.id)
		deeper, _ := filepath.Glob("/sys/fs/cgroup/*/*/" + b.id)
		deepest, _ := filepath.Glob("/sys/fs/cgroup/*/*/*/" + b.id)
		deeper = append(deeper, deepest...)
		if len(left)+len(deeper) != 0 {
			t.Errorf("cgroups are left behind: %v %v", left, deeper)
		}
	})
	return b
}

// copyProgram links a program where it can, and copies it from another file system.
func copyProgram(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write writes the configuration.
func (b *box) write() {
	b.t.Helper()
	data, err := json.Marshal(b.spec)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.bundle, "config.json"), data, 0o644))
}

type result struct {
	stdout, stderr string
	code           int
}

// run runs gcrun in the bundle and waits for its end.
func (b *box) run(args ...string) result { return b.runWith(nil, args...) }

func (b *box) runWith(edit func(*exec.Cmd), args ...string) result {
	b.t.Helper()
	cmd := exec.Command(binary, append([]string{"--root", b.root}, args...)...)
	cmd.Dir = b.bundle
	// Files and not pipes: a container holds its standard streams, and a pipe would be waited for.
	out, errs := b.file(), b.file()
	defer out.Close()
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	if edit != nil {
		edit(cmd)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return result{content(out), content(errs), cmd.ProcessState.ExitCode()}
}

func (b *box) file() *os.File {
	f, err := os.CreateTemp(b.t.TempDir(), "out")
	b.must(err)
	return f
}

func content(f *os.File) string {
	data, _ := os.ReadFile(f.Name())
	return string(data)
}

// ok runs gcrun and wants success without a word on standard error.
func (b *box) ok(args ...string) string {
	b.t.Helper()
	r := b.run(args...)
	if r.code != 0 || r.stderr != "" {
		b.t.Fatalf("gcrun %s: status %d, stderr %q", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// fails runs gcrun and wants the status and the text.
func (b *box) fails(code int, text string, args ...string) {
	b.t.Helper()
	r := b.run(args...)
	r.stderr = strings.ReplaceAll(r.stderr, `\"`, `"`) // the log line quotes the message
	if r.code != code || !strings.Contains(r.stderr, text) {
		b.t.Fatalf("gcrun %s: status %d, stderr %q; want status %d and %q", strings.Join(args, " "), r.code, r.stderr, code, text)
	}
}

func (b *box) state() (status string, pid int) {
	b.t.Helper()
	var st struct {
		Status string
		PID    int
	}
	b.must(json.Unmarshal([]byte(b.ok("state", b.id)), &st))
	return st.Status, st.PID
}

func (b *box) wantStatus(want string) int {
	b.t.Helper()
	got, pid := b.state()
	if got != want {
		b.t.Fatalf("status is %s, want %s", got, want)
	}
	return pid
}

// reap waits for the end of a child and returns its status as a shell does.
func (b *box) reap(pid int) int {
	b.t.Helper()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			b.t.Fatalf("wait for %d: %v (is it no child of the subreaper?)", pid, err)
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return ws.ExitStatus()
	}
}

// reapAll reaps what has ended already.
func (b *box) reapAll() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
	}
}

// report is what test/probe prints.
type report struct {
	Args, Env, FDs, Dev  []string
	Cwd                  string
	PID, PPID, SID       int
	Status               map[string]string
	Limits               map[string][2]uint64
	Umask                int
	Hostname, Domainname string
	Mounts               []struct{ Root, Point, Options, Optional, Type, Source, Super string }
	Namespaces           map[string]string
	OOMScore, Cgroup     string
	Policy, Nice, IOPrio int
	Persona              int
	CPUs                 []int
	Sysctl               map[string]string
	Exe                  string
	Terminal             bool
	Rows, Cols           int
	Places               map[string]struct {
		Stat  string
		Names []string
		Text  string
		Write string
	}
	Keyring int

	Clocks, UIDMap, GIDMap, Machine string
	Calls                           map[string]string
	Scheduler                       map[string]uint64
}

func (r *report) mount(point string) (found struct{ Root, Point, Options, Optional, Type, Source, Super string }) {
	for _, m := range r.Mounts {
		if m.Point == point {
			found = m
		}
	}
	return found
}

// report runs the container and reads what the probe prints.
func (b *box) report() *report {
	b.t.Helper()
	return b.parse(b.ok("run", b.id))
}

func (b *box) parse(text string) *report {
	b.t.Helper()
	var r report
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&r); err != nil {
		b.t.Fatalf("read report %q: %v", text, err)
	}
	return &r
}

// pidFile reads a process id that gcrun has written.
func (b *box) pidFile(path string) int {
	b.t.Helper()
	data, err := os.ReadFile(path)
	b.must(err)
	pid, err := strconv.Atoi(string(data))
	b.must(err)
	return pid
}

// waitFor waits until something is so. It fails after a time that no healthy machine needs.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain for: %s", what)
}
