package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// needCRIU skips where processes cannot be written to disk: criu is missing, or too old for the kernel.
func needCRIU(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("needs criu, which works on few kernels of its own age only; places of test/vm have it")
	}
	if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		t.Skipf("this criu does not work on this kernel: %s", out)
	}
}

// counter is a container that prints numbers into a file.
type counter struct {
	*box
	out *os.File
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	needCRIU(t)
	return startCounter(newBox(t, func(s *specs.Spec) {
		limit := int64(50)
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	}, "count"))
}

// startCounter runs a container that counts.
func startCounter(b *box) *counter {
	b.t.Helper()
	c := &counter{box: b}
	c.out = c.file()
	if r := c.runWith(c.into, "run", "--detach", c.id); r.code != 0 {
		b.t.Fatal(r.stderr)
	}
	waitFor(b.t, "the counter to count", func() bool { return c.last() > 3 })
	return c
}

// into lets a command write to the counter's file.
func (c *counter) into(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = c.out, c.out }

// numbers are the lines of the file.
func (c *counter) numbers() []int {
	c.t.Helper()
	var all []int
	text := content(c.out)
	for _, l := range strings.Split(text[:strings.LastIndexByte(text, '\n')+1], "\n") {
		if l == "" {
			continue
		}
		n, err := strconv.Atoi(l)
		if err != nil {
			c.t.Fatalf("the counter says %q", text)
		}
		all = append(all, n)
	}
	return all
}

func (c *counter) last() int {
	all := c.numbers()
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1]
}

// good runs a command of gcrun and shows CRIU's log when it fails.
func (c *counter) good(edit func(*exec.Cmd), args ...string) {
	c.t.Helper()
	// A CRIU that hangs is ended, so that its log can be seen.
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	r := c.runWith(func(cmd *exec.Cmd) {
		if edit != nil {
			edit(cmd)
		}
		context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				_ = cmd.Process.Kill()
			}
		})
	}, args...)
	if r.code == 0 {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(c.bundle, "*", "*.log"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		c.t.Logf("%s:\n%s", log, text)
	}
	c.t.Fatalf("gcrun %s: status %d: %s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
}

func (c *counter) images() string { return filepath.Join(c.bundle, "images") }

// restored checks that the counter has gone on where it was: every number once, in order.
func (c *counter) restored(before int) {
	c.t.Helper()
	waitFor(c.t, "the counter to go on", func() bool { return c.last() > before+3 })
	for i, n := range c.numbers() {
		if n != i+1 {
			c.t.Fatalf("line %d of the counter says %d", i+1, n)
		}
	}
}

func TestCheckpointRestore(t *testing.T) {
	c := newCounter(t)
	pid := c.wantStatus("running")
	c.good(nil, "checkpoint", "--image-path", c.images(), "--work-path", filepath.Join(c.bundle, "work"), c.id)
	c.reap(pid)
	c.fails(1, "container does not exist", "state", c.id)
	before := c.last()
	if _, err := os.Stat(filepath.Join(c.bundle, "work", "dump.log")); err != nil {
		t.Errorf("there is no log in the work directory: %v", err)
	}

	pidFile := filepath.Join(c.bundle, "pid")
	c.good(c.into, "restore", "--detach", "--pid-file", pidFile, "--image-path", c.images(), c.id)
	again := c.wantStatus("running")
	if got := c.pidFile(pidFile); got != again {
		t.Errorf("the pid file says %d, state %d", got, again)
	}
	c.restored(before)
	// It is a container as any other: others join it, and its limits hold.
	r := c.parse(c.ok("exec", c.id, "/probe", "report"))
	want(t, "hostname", r.Hostname, c.spec.Hostname)
	limit := groups(t, again)["pids"]
	if isV2() {
		limit = groups(t, again)[""]
	}
	if data, err := os.ReadFile(filepath.Join(limit, "pids.max")); err != nil || string(data) != "50\n" {
		t.Errorf("its pids.max is %q, %v", data, err)
	}
	c.ok("pause", c.id)
	c.wantStatus("paused")
	c.ok("resume", c.id)
	c.ok("kill", c.id, "USR1")
	if status := c.reap(again); status != 9 {
		t.Errorf("it ends with %d, want 9", status)
	}
	c.wantStatus("stopped")
	c.ok("delete", c.id)
}

// Only memory that has changed since a pre-dump is in the last checkpoint; and a container may be left running.
func TestCheckpointLeaveRunningAndPreDump(t *testing.T) {
	c := newCounter(t)
	pid := c.wantStatus("running")
	c.good(nil, "checkpoint", "--leave-running", "--image-path", c.images(), c.id)
	if got := c.wantStatus("running"); got != pid {
		t.Errorf("the process is %d, was %d", got, pid)
	}
	c.restored(c.last())

	pre := filepath.Join(c.bundle, "pre")
	c.good(nil, "checkpoint", "--pre-dump", "--image-path", pre, c.id)
	c.wantStatus("running")
	c.fails(1, "--parent-path", "checkpoint", "--image-path", filepath.Join(c.bundle, "last"), "--parent-path", "../nowhere", c.id)
	c.wantStatus("running")
	c.good(nil, "checkpoint", "--parent-path", "../pre", "--image-path", filepath.Join(c.bundle, "last"), c.id)
	c.reap(pid)
	before := c.last()
	c.good(c.into, "restore", "-d", "--image-path", filepath.Join(c.bundle, "last"), c.id)
	c.restored(before)
}

// A container with a terminal gets a new one, whose master goes to the engine as on create.
func TestCheckpointTerminal(t *testing.T) {
	needCRIU(t)
	b := newBox(t, func(s *specs.Spec) { s.Process.Terminal = true }, "count")
	c := &counter{box: b}
	socket := filepath.Join(b.bundle, "c.sock")
	receive := receiveConsole(b, socket)
	b.ok("run", "--detach", "--console-socket", socket, b.id)
	master, _ := receive()
	pid := b.wantStatus("running")
	line := func(master *os.File) string {
		buf := make([]byte, 100)
		n, err := master.Read(buf)
		b.must(err)
		return string(buf[:n])
	}
	line(master)
	c.good(nil, "checkpoint", "--image-path", c.images(), b.id)
	b.reap(pid)
	master.Close()
	receive = receiveConsole(b, socket)
	c.good(nil, "restore", "--detach", "--console-socket", socket, "--image-path", c.images(), b.id)
	again, _ := receive()
	defer again.Close()
	if text := line(again); strings.Trim(text, "0123456789\r\n") != "" {
		t.Errorf("the new terminal shows %q, want numbers", text)
	}
	pid = b.wantStatus("running")
	b.ok("kill", b.id, "KILL")
	b.reap(pid)
	b.ok("delete", b.id)
}

// In the foreground restore waits, passes signals on and ends with the container's status.
func TestRestoreInForeground(t *testing.T) {
	c := newCounter(t)
	pid := c.wantStatus("running")
	c.good(nil, "checkpoint", "--image-path", c.images(), c.id)
	c.reap(pid)
	before := c.last()
	cmd := exec.Command(binary, "--root", c.root, "restore", "--image-path", c.images(), c.id)
	cmd.Dir = c.bundle
	c.into(cmd)
	c.must(cmd.Start())
	c.restored(before)
	c.must(cmd.Process.Signal(unix.SIGUSR1))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("restore ends with %d, want 9", code)
	}
	c.fails(1, "container does not exist", "state", c.id)
}

func TestCheckpointRefusals(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.fails(1, "cannot checkpoint a container that is created", "checkpoint", b.id)
	b.ok("start", b.id)
	b.fails(1, "find criu", "--criu", "/nonexistent/criu", "checkpoint", b.id)
	b.fails(1, "--manage-cgroups-mode", "checkpoint", "--manage-cgroups-mode", "hard", b.id)
	b.fails(1, "--empty-ns", "checkpoint", "--empty-ns", "pid", b.id)
	b.wantStatus("running")
	if _, err := os.Stat(filepath.Join(b.bundle, "checkpoint")); err == nil {
		t.Error("a refused checkpoint leaves a directory of images")
	}
	b.ok("delete", "--force", b.id)
	b.reap(pid)
	b.fails(1, "container does not exist", "checkpoint", b.id)
	// Something that answers but is no criu.
	b.must(os.WriteFile(filepath.Join(b.bundle, "descriptors.json"), []byte("[]"), 0o600))
	b.fails(1, "criu restore: it ended without an answer", "--criu", "/bin/false", "restore", "-d", "--image-path", b.bundle, b.id)
	b.fails(1, "container does not exist", "state", b.id)
	// Podman asks so whether it may.
	for _, command := range []string{"checkpoint", "restore"} {
		if r := b.run(command, "--help"); r.code != 0 || !strings.Contains(r.stdout, "--image-path") {
			t.Errorf("%s --help: status %d: %s", command, r.code, r.stdout)
		}
	}
}
