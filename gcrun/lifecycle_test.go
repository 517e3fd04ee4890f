package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLifecycle(t *testing.T) {
	b := newBox(t, nil, "sleep")
	pidFile := filepath.Join(b.bundle, "pid")
	if out := b.ok("create", "--pid-file", pidFile, b.id); out != "" {
		t.Errorf("create prints %q", out)
	}
	pid := b.wantStatus("created")
	if got := b.pidFile(pidFile); got != pid {
		t.Errorf("pid file says %d, state %d", got, pid)
	}
	b.fails(1, "container with given ID already exists", "create", b.id)
	b.ok("start", b.id)
	if got := b.wantStatus("running"); got != pid {
		t.Errorf("the process id changes from %d to %d", pid, got)
	}
	b.fails(1, "cannot start an already running container", "start", b.id)
	b.fails(1, "is not stopped: running", "delete", b.id)
	b.ok("pause", b.id)
	b.wantStatus("paused")
	b.fails(1, "container not running", "pause", b.id)
	b.fails(255, "exec failed: cannot exec in a paused container (use --ignore-paused to override)", "exec", b.id, "/probe", "exit", "0")
	b.ok("resume", b.id)
	b.fails(1, "container not paused", "resume", b.id)
	b.ok("kill", b.id, "KILL")
	if status := b.reap(pid); status != 137 {
		t.Errorf("the process ends with %d", status)
	}
	if got := b.wantStatus("stopped"); got != 0 {
		t.Errorf("a stopped container has process id %d", got)
	}
	b.fails(1, "container not running", "kill", b.id, "9")
	b.ok("kill", "--all", b.id, "9")
	b.fails(1, "cannot start a container that has stopped", "start", b.id)
	b.fails(255, "exec failed: cannot exec in a stopped container", "exec", b.id, "/probe")
	b.ok("delete", b.id)
	for _, c := range []string{"state", "start", "kill", "delete", "pause", "resume", "ps", "update", "events"} {
		b.fails(1, "container does not exist", c, b.id)
	}
	b.fails(255, "exec failed: container does not exist", "exec", b.id, "/probe")
	b.ok("delete", "--force", b.id)
}

func TestZombieIsStopped(t *testing.T) {
	b := newBox(t, nil, "exit", "0")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	// Not reaped: the process stays as a zombie until the test ends.
	waitFor(t, "the process to become a zombie", func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		b.must(err)
		return strings.Contains(string(data), ") Z ")
	})
	b.wantStatus("stopped")
	b.ok("delete", b.id)
	b.reap(pid)
}

func TestExitStatus(t *testing.T) {
	for want, args := range map[int][]string{0: {"exit", "0"}, 7: {"exit", "7"}} {
		b := newBox(t, nil, args...)
		if r := b.run("run", b.id); r.code != want {
			t.Errorf("run gives %d, want %d", r.code, want)
		}
		if entries, _ := os.ReadDir(b.root); len(entries) != 0 {
			t.Errorf("run leaves %v behind", entries)
		}
	}
	b := newBox(t, nil, "sleep")
	b.ok("run", "--detach", b.id)
	pid := b.wantStatus("running")
	if r := b.run("exec", b.id, "/probe", "exit", "5"); r.code != 5 {
		t.Errorf("exec gives %d, want 5", r.code)
	}
	b.ok("delete", "--force", b.id)
	b.reap(pid)
}

func TestKeep(t *testing.T) {
	b := newBox(t, nil, "exit", "3")
	if r := b.run("run", "--keep", b.id); r.code != 3 {
		t.Fatalf("run gives %d", r.code)
	}
	b.wantStatus("stopped")
	b.ok("delete", b.id)
}

func TestSignalsAreForwarded(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Linux.Namespaces = without(s.Linux.Namespaces, specs.PIDNamespace) }, "sleep")
	cmd := exec.Command(binary, "--root", b.root, "run", b.id)
	cmd.Dir = b.bundle
	b.must(cmd.Start())
	waitFor(t, "the container to run", func() bool {
		r := b.run("state", b.id)
		return strings.Contains(r.stdout, `"running"`)
	})
	b.must(cmd.Process.Signal(unix.SIGTERM))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("run ends with %d, want 143", code)
	}
}

// What the caller ignores, as conmon does with SIGPIPE and a shell with SIGINT for what runs in the background, is not
// ignored inside.
func TestIgnoredSignals(t *testing.T) {
	b := newBox(t, nil, "sleep")
	ignoring := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("sh", append([]string{"-c", `trap "" HUP INT QUIT PIPE TERM TSTP TTIN TTOU CONT USR1 34 40; exec "$@"`, "sh", binary, "--root", b.root}, args...)...)
		cmd.Dir = b.bundle
		// A file, for the container keeps its streams.
		out, err := os.Create(filepath.Join(b.bundle, "out"))
		b.must(err)
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
		err = cmd.Run()
		text, _ := os.ReadFile(out.Name())
		if err != nil {
			t.Fatalf("gcrun %v: %v\n%s", args, err, text)
		}
		return string(text)
	}
	pidFile := filepath.Join(b.bundle, "pid")
	ignoring("create", "--pid-file", pidFile, b.id)
	b.ok("start", b.id)
	waitFor(t, "the command", func() bool { return strings.Contains(b.run("state", b.id).stdout, `"running"`) })
	pid, err := os.ReadFile(pidFile)
	b.must(err)
	status, err := os.ReadFile("/proc/" + string(pid) + "/status")
	b.must(err)
	for name, text := range map[string]string{"the command": string(status), "exec": ignoring("exec", b.id, "/probe", "cat", "/proc/self/status")} {
		if !regexp.MustCompile(`(?m)^SigIgn:\s+0+$`).MatchString(text) {
			t.Errorf("%s ignores signals:\n%s", name, text)
		}
	}
}

func without(list []specs.LinuxNamespace, drop specs.LinuxNamespaceType) []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	for _, n := range list {
		if n.Type != drop {
			out = append(out, n)
		}
	}
	return out
}

// A container that is created can be killed by any signal when it has no PID namespace, where the signal would be
// one to process 1, which the kernel drops.
func TestKillCreated(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Linux.Namespaces = without(s.Linux.Namespaces, specs.PIDNamespace) }, "sleep")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("kill", b.id, "TERM")
	if status := b.reap(pid); status != 143 {
		t.Errorf("the process ends with %d", status)
	}
	b.wantStatus("stopped")
}

func TestDeleteCreated(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("delete", b.id)
	if status := b.reap(pid); status != 137 {
		t.Errorf("the process ends with %d", status)
	}
}

// Whoever connects to the start socket and goes away does not start the container.
func TestStartKilledHalfway(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.ok("create", b.id)
	for range 3 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		b.must(err)
		b.must(unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(b.root, b.id, "start.sock")}))
		unix.Close(fd)
		b.wantStatus("created")
	}
	b.ok("start", b.id)
	pid := b.wantStatus("running")
	b.ok("delete", "--force", b.id)
	b.reap(pid)
}

// Another process that has got the container's process id is not the container.
func TestReusedPID(t *testing.T) {
	b := newBox(t, nil, "exit", "0")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	b.reap(pid)
	file := filepath.Join(b.root, b.id, "state.json")
	var rec map[string]any
	data, err := os.ReadFile(file)
	b.must(err)
	b.must(json.Unmarshal(data, &rec))
	rec["pid"] = os.Getpid()
	data, err = json.Marshal(rec)
	b.must(err)
	b.must(os.WriteFile(file, data, 0o600))
	b.wantStatus("stopped")
	b.fails(1, "container not running", "kill", b.id, "KILL")
	b.ok("delete", "--force", b.id)
}

func TestErrorsOfCreate(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*specs.Spec)
		text string
	}{
		"missing":        {func(s *specs.Spec) { s.Process.Args = []string{"/nonexistent"} }, `exec: "/nonexistent": stat /nonexistent: no such file or directory`},
		"not in path":    {func(s *specs.Spec) { s.Process.Args = []string{"nonexistent"} }, `exec: "nonexistent": executable file not found in $PATH`},
		"directory":      {func(s *specs.Spec) { s.Process.Args = []string{"/etc"} }, `exec: "/etc": is a directory`},
		"not executable": {func(s *specs.Spec) { s.Process.Args = []string{"/data"} }, `exec: "/data": permission denied`},
		"mount source": {func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: "/nonexist", Options: []string{"bind"}})
		}, "open /nonexist: no such file or directory"},
		"directory on a file": {func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Source: "/tmp", Options: []string{"bind"}})
		}, `error mounting "/tmp" to rootfs at "/data": not a directory (mounts[`},
		"rootfs":    {func(s *specs.Spec) { s.Root.Path = "noroot" }, "noroot: no such file or directory"},
		"terminal":  {func(s *specs.Spec) { s.Process.Terminal = true }, "cannot allocate tty if runc will detach without setting console socket"},
		"namespace": {func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "foo" }, "linux.namespaces[0].type"},
		"cwd":       {func(s *specs.Spec) { s.Process.Cwd = "tmp" }, "process.cwd"},
		"hook": {func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}}}
		}, "error running createRuntime hook #0: exit status 3, stdout: out\n, stderr: err\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, c.edit, "sleep")
			b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs", "data"), nil, 0o644))
			log := filepath.Join(b.bundle, "log.json")
			r := b.run("--log", log, "--log-format", "json", "create", "--pid-file", filepath.Join(b.bundle, "pid"), b.id)
			if r.code != 1 || !strings.Contains(r.stderr, c.text) {
				t.Fatalf("status %d, stderr %q; want %q", r.code, r.stderr, c.text)
			}
			data, err := os.ReadFile(log)
			b.must(err)
			var entry struct{ Level, Msg, Time string }
			if err := json.Unmarshal(data, &entry); err != nil || entry.Level != "error" || !strings.Contains(entry.Msg, c.text) {
				t.Errorf("the log holds %q (%v)", data, err)
			}
			if _, err := os.Stat(filepath.Join(b.bundle, "pid")); err == nil {
				t.Error("there is a pid file after a failure")
			}
			if entries, _ := os.ReadDir(b.root); len(entries) != 0 {
				t.Errorf("a failed create leaves %v", entries)
			}
			b.reapAll()
		})
	}
}

func TestNoConfig(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.must(os.Remove(filepath.Join(b.bundle, "config.json")))
	b.fails(1, "JSON specification file config.json not found", "create", b.id)
	b.fails(1, "invalid container ID format", "create", "a/b")
}

// A failure after the word to start reaches the command that gave it.
func TestErrorsOfStart(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Process.Args = []string{"/script"} })
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs", "script"), []byte("#!/no/interpreter\n"), 0o755))
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.fails(1, "exec /script: no such file or directory", "start", b.id)
	b.reap(pid)
	b.wantStatus("stopped")
	b.ok("delete", b.id)

	b = newBox(t, nil)
	b.spec.Process = nil
	b.write()
	b.ok("create", b.id)
	pid = b.wantStatus("created")
	b.fails(1, "process property must not be empty", "start", b.id)
	b.reap(pid)
	b.ok("delete", b.id)
}

func TestPrestartStateAndHooksOrder(t *testing.T) {
	b := newBox(t, nil, "sleep")
	out := filepath.Join(b.bundle, "hooks")
	inside := filepath.Join(b.bundle, "rootfs", "hooks")
	h := func(name, path, file string) []specs.Hook {
		return []specs.Hook{{Path: path, Args: []string{"probe", "hook", file, name}, Env: []string{"HOOK=" + name}}}
	}
	b.spec.Root.Readonly = false
	b.spec.Annotations = map[string]string{"a.b": "c"}
	b.spec.Hooks = &specs.Hooks{
		CreateRuntime:   h("createRuntime", probe, out),
		CreateContainer: h("createContainer", probe, out),
		StartContainer:  h("startContainer", "/probe", "/hooks"),
		Poststart:       h("poststart", probe, out),
		Poststop:        h("poststop", probe, out),
	}
	//lint:ignore SA1019 deprecated, but Docker up to 26 uses it
	b.spec.Hooks.Prestart = h("prestart", probe, out)
	b.write()
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	containerNS := map[string]string{}
	for _, ns := range []string{"mnt", "pid", "net", "uts"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		b.must(err)
		containerNS[ns] = link
	}
	b.ok("kill", b.id, "KILL")
	b.reap(pid)
	b.ok("delete", b.id)

	type line struct {
		Hook  string
		State struct {
			ID, Status, Bundle string
			PID                int
			Annotations        map[string]string
		}
		NS  map[string]string
		Env []string
		Cwd string
	}
	read := func(path string) (lines []line) {
		data, err := os.ReadFile(path)
		b.must(err)
		for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			var x line
			b.must(json.Unmarshal([]byte(l), &x))
			lines = append(lines, x)
		}
		return lines
	}
	want := []struct {
		name, status string
		inside       bool
	}{
		{"prestart", "created", false},
		{"createRuntime", "created", false},
		{"createContainer", "created", true},
		{"poststart", "running", false},
		{"poststop", "stopped", false},
	}
	got := read(out)
	if len(got) != len(want) {
		t.Fatalf("%d hooks ran: %+v", len(got), got)
	}
	got, want = append(got, read(inside)...), append(want, struct {
		name, status string
		inside       bool
	}{"startContainer", "created", true})
	for i, w := range want {
		g := got[i]
		if g.Hook != w.name || g.State.Status != w.status || g.State.ID != b.id || g.State.Bundle != b.bundle || g.State.Annotations["a.b"] != "c" {
			t.Errorf("hook %d: %+v, want %+v", i, g, w)
		}
		if w.name != "poststop" && g.State.PID != pid {
			t.Errorf("%s: process id %d, want %d", w.name, g.State.PID, pid)
		}
		for ns, link := range containerNS {
			if (g.NS[ns] == link) != w.inside {
				t.Errorf("%s runs with %s %s; the container has %s", w.name, ns, g.NS[ns], link)
			}
		}
		if strings.Join(g.Env, " ") != "HOOK="+w.name {
			t.Errorf("%s has environment %v", w.name, g.Env)
		}
		cwd := b.bundle
		if w.name == "startContainer" {
			cwd = "/"
		}
		if g.Cwd != cwd {
			t.Errorf("%s runs in %s, not in %s", w.name, g.Cwd, cwd)
		}
	}

	// The same at once, without a start of its own.
	b.must(os.Remove(out))
	b.must(os.Remove(inside))
	b.spec.Process.Args = []string{"/probe", "exit", "0"}
	b.write()
	b.ok("run", b.id)
	var names []string
	for _, g := range append(read(out), read(inside)...) {
		names = append(names, g.Hook)
	}
	if got, want := strings.Join(names, " "), "prestart createRuntime createContainer poststart poststop startContainer"; got != want {
		t.Errorf("run ran the hooks %s; want %s", got, want)
	}
	b.spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/probe", Args: []string{"probe", "exit", "3"}}}}
	b.write()
	b.fails(1, "error running startContainer hook #0: exit status 3", "run", b.id)
}

func TestHookTimeout(t *testing.T) {
	one := 1
	b := newBox(t, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: &one}}}
	}, "sleep")
	b.fails(1, "error running createContainer hook #0: hook ran past specified timeout of 1s", "create", b.id)
	b.reapAll()
}

func TestPoststartFails(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/false"}}}
	}, "sleep")
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.fails(1, "error running poststart hook #0: exit status 1", "start", b.id)
	b.reap(pid)
	b.wantStatus("stopped")
}

func TestListAndPS(t *testing.T) {
	b := newBox(t, nil, "sleep")
	if out := b.ok("list", "--format", "json"); strings.TrimSpace(out) != "null" {
		t.Errorf("an empty list is %q", out)
	}
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	var list []struct {
		ID, Status, Owner string
		PID               int
	}
	b.must(json.Unmarshal([]byte(b.ok("list", "-f", "json")), &list))
	if len(list) != 1 || list[0].ID != b.id || list[0].Owner != "root" || list[0].PID != pid {
		t.Errorf("list gives %+v", list)
	}
	if out := b.ok("list", "-q"); out != b.id+"\n" {
		t.Errorf("list -q gives %q", out)
	}
	if out := b.ok("ps", "--format", "json", b.id); strings.TrimSpace(out) != fmt.Sprintf("[%d]", pid) {
		t.Errorf("ps gives %q", out)
	}
	if out := b.ok("ps", b.id); !strings.Contains(out, fmt.Sprint(pid)) {
		t.Errorf("ps gives %q", out)
	}
	if r := b.run("ps", b.id, "--no-such-option"); r.code != 1 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "run ps --no-such-option: exit status 1: error: ") {
		t.Errorf("ps with a bad option ends with %d and says %q", r.code, r.stderr)
	}
	b.ok("delete", "--force", b.id)
	b.reap(pid)
}
