package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// running starts a container that sleeps.
func running(t *testing.T, edit func(*specs.Spec)) (*box, int) {
	t.Helper()
	b := newBox(t, edit, "sleep")
	if b.spec.Linux.UIDMappings != nil {
		b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
	}
	b.ok("run", "-d", b.id)
	pid := b.wantStatus("running")
	t.Cleanup(func() {
		b.run("delete", "--force", b.id)
		b.reapAll()
	})
	return b, pid
}

func userNS(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
}

// A further process is in the namespaces, the cgroup and the limits of the container, and nothing of the host comes
// with it.
func TestExecIsInside(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){
		"plain":          func(*specs.Spec) {},
		"user namespace": userNS,
		"time namespace": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		},
		"host PIDs and network": func(s *specs.Spec) {
			s.Linux.Namespaces = without(without(s.Linux.Namespaces, specs.PIDNamespace), specs.NetworkNamespace)
		},
		"seccomp without no_new_privs": func(s *specs.Spec) {
			s.Process.NoNewPrivileges = false
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActErrno}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, pid := running(t, edit)
			r := b.parse(b.ok("exec", b.id, "/probe", "report"))
			for name := range r.Namespaces {
				if strings.HasSuffix(name, "_for_children") {
					continue
				}
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
				b.must(err)
				want(t, name+" namespace", r.Namespaces[name], link)
			}
			want(t, "descriptors", strings.Join(r.FDs, " "), "0 1 2")
			want(t, "bounding set", r.Status["CapBnd"], "0000000020000420")
			want(t, "hostname", r.Hostname, "gcrun")
			for _, l := range strings.Split(strings.TrimSpace(r.Cgroup), "\n") {
				if !strings.HasSuffix(l, ":/") {
					t.Errorf("the process sees its cgroup as %q", l)
				}
			}
			if b.spec.Linux.Seccomp != nil {
				want(t, "seccomp", r.Status["Seccomp"], "2")
			}
		})
	}
}

func TestExecOptions(t *testing.T) {
	b, _ := running(t, nil)
	r := b.parse(b.ok("exec", "--cwd", "/tmp", "-e", "A=1", "--env", "B=2", "-u", "5:6", "-g", "7", "--additional-gids", "8", "--cap", "CAP_CHOWN", b.id, "/probe", "report"))
	want(t, "cwd", r.Cwd, "/tmp")
	want(t, "uid", r.Status["Uid"], "5 5 5 5")
	want(t, "groups", r.Status["Groups"], "6 7 8")
	want(t, "bounding", r.Status["CapBnd"], "0000000020000421")
	env := strings.Join(r.Env, " ")
	for _, v := range []string{"A=1", "B=2", "TERM=xterm", "HOME="} {
		if !strings.Contains(env, v) {
			t.Errorf("the environment %q has no %s", env, v)
		}
	}
	// Of several values the last counts, also for getenv(3), which takes the first that it finds.
	r = b.parse(b.ok("exec", "-e", "TERM=dumb", "-e", "A=1", "-e", "A=2", b.id, "/probe", "report"))
	want(t, "environment", strings.Join(r.Env, " "), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb A=2 HOME=/")
	b.fails(255, `process.env[2]: "A" is not of the form NAME=VALUE`, "exec", "-e", "A", b.id, "/probe")
	file := filepath.Join(b.bundle, "process.json")
	data, err := json.Marshal(specs.Process{Args: []string{"/probe", "report"}, Cwd: "/", Env: []string{"X=y"}, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}})
	b.must(err)
	b.must(os.WriteFile(file, data, 0o644))
	r = b.parse(b.ok("exec", "--process", file, b.id))
	want(t, "core limit", r.Limits["4"], [2]uint64{1, 2})
	want(t, "environment", strings.Join(r.Env, " "), "X=y HOME=/")
	b.ok("exec", "-d", "--pid-file", filepath.Join(b.bundle, "execpid"), b.id, "/probe", "sleep")
	pid := b.pidFile(filepath.Join(b.bundle, "execpid"))
	var pids []int
	b.must(json.Unmarshal([]byte(b.ok("ps", "-f", "json", b.id)), &pids))
	if len(pids) != 2 {
		t.Errorf("the container has the processes %v", pids)
	}
	b.must(unix.Kill(pid, unix.SIGKILL))
	want(t, "status", b.reap(pid), 137)
}

// --cgroup takes a path, or controllers and a path. A process never runs outside the container's cgroup for lack of a
// group that was named.
func TestExecSubCgroup(t *testing.T) {
	b, pid := running(t, nil)
	groups := func(text string) map[string]string {
		out := map[string]string{}
		for l := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			if part := strings.SplitN(l, ":", 3); len(part) == 3 {
				out[part[1]] = part[2]
			}
		}
		return out
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	b.must(err)
	all := groups(string(data))
	file, version := cgroupFile(pid, limitFile{controller: "pids"})
	if file == "" {
		t.Skip("the container has no cgroup with the controller pids")
	}
	sub := filepath.Join(file, "sub")
	b.must(os.Mkdir(sub, 0o755))
	t.Cleanup(func() { os.Remove(sub) })
	inside := func(args ...string) map[string]string {
		t.Helper()
		pidFile := filepath.Join(b.bundle, "execpid")
		b.ok(append(append([]string{"exec", "-d", "--pid-file", pidFile}, args...), b.id, "/probe", "sleep")...)
		pid := b.pidFile(pidFile)
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		b.must(err)
		b.must(unix.Kill(pid, unix.SIGKILL))
		b.reap(pid)
		return groups(string(data))
	}
	b.fails(255, "is not below the container's cgroup", "exec", "--cgroup", "../x", b.id, "/probe")
	b.fails(255, "(missing <controller>: prefix)", "exec", "--cgroup", "sub", "--cgroup", "pids:sub", b.id, "/probe")
	b.fails(255, `with the controller "nope"`, "exec", "--cgroup", "nope:sub", b.id, "/probe")
	if version == 2 {
		for key, path := range inside("--cgroup", "sub") {
			want(t, "cgroup "+key, path, all[key]+"/sub")
		}
		b.fails(255, "no such file or directory", "exec", "--cgroup", "other", b.id, "/probe")
		return
	}
	// Only one hierarchy has the group: as a path for all it is missing in the others.
	b.fails(255, "/sub (--cgroup): no such file or directory", "exec", "--cgroup", "sub", b.id, "/probe")
	for key, path := range inside("--cgroup", "pids:sub") {
		if expect := all[key]; slices.Contains(strings.Split(key, ","), "pids") {
			want(t, "cgroup "+key, path, expect+"/sub")
		} else {
			want(t, "cgroup "+key, path, expect)
		}
	}
}

// A capability that nobody knows, and one that the caller cannot give, is a warning and no error (config.md, "Linux
// Process"), of the first process as of exec.
func TestCapabilitiesThatCannotBe(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) {
		c := s.Process.Capabilities
		c.Bounding, c.Permitted = append(c.Bounding, "CAP_FLY"), append(c.Permitted, "CAP_FLY")
	}, "report")
	log := filepath.Join(b.bundle, "log.json")
	for _, c := range []struct {
		text string
		args []string
	}{
		{`process.capabilities.bounding[3]: there is no capability "CAP_FLY"; it is left out`, []string{"run", b.id}},
		{`process.capabilities.permitted[3]: there is no capability "CAP_FLY"; it is left out`, []string{"run", b.id}},
		{"", []string{"run", "-d", b.id}},
		{`process.capabilities.effective[3]: there is no capability "CAP_SWIM"; it is left out`, []string{"exec", "-c", "CAP_SWIM", b.id, "/probe", "report"}},
	} {
		os.Remove(log)
		if c.text == "" {
			b.spec.Process.Args = []string{"/probe", "sleep"}
			b.write()
		}
		out := b.ok(append([]string{"--log", log, "--log-format", "json"}, c.args...)...)
		if c.text == "" {
			continue
		}
		want(t, "bounding", b.parse(out).Status["CapBnd"], "0000000020000420")
		data, err := os.ReadFile(log)
		b.must(err)
		found := false
		for l := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
			var entry struct{ Level, Msg string }
			b.must(json.Unmarshal([]byte(l), &entry))
			found = found || entry.Level == "warning" && entry.Msg == c.text
		}
		if !found {
			t.Errorf("the log of %v does not say %q:\n%s", c.args, c.text, data)
		}
	}
}

// Names are those of the container, and its files cannot lead to those of the host.
func TestExecUserNames(t *testing.T) {
	b, _ := running(t, nil)
	etc := filepath.Join(b.bundle, "rootfs/etc")
	b.must(os.WriteFile(filepath.Join(etc, "passwd.real"), []byte("root:x:0:0::/root:/bin/sh\nann:x:31:32::/home/ann:/bin/sh\n"), 0o644))
	b.must(os.Symlink("/etc/passwd.real", filepath.Join(etc, "passwd")))
	b.must(os.WriteFile(filepath.Join(etc, "group"), []byte("ann:x:32:\nwheel:x:33:ann\naudio:x:34:bob,ann\nvideo:x:35:bob\n"), 0o644))
	for _, c := range []struct {
		args             []string
		uid, gid, groups string
	}{
		{[]string{"-u", "ann"}, "31", "32", "32 33 34"},
		{[]string{"--user", "ann:video"}, "31", "35", "35"},
		{[]string{"-u", "ann:7", "-g", "wheel", "--additional-gids", "9"}, "31", "7", "7 9 33"},
		{[]string{"-u", "31"}, "31", "0", "0"},
		{[]string{"-u", "5:video"}, "5", "35", "35"},
	} {
		r := b.parse(b.ok(append(append([]string{"exec"}, c.args...), b.id, "/probe", "report")...))
		if r.Status["Uid"] != strings.Repeat(c.uid+" ", 3)+c.uid || r.Status["Gid"] != strings.Repeat(c.gid+" ", 3)+c.gid || r.Status["Groups"] != c.groups {
			t.Errorf("%v gives uid %s, gid %s, groups %s", c.args, r.Status["Uid"], r.Status["Gid"], r.Status["Groups"])
		}
	}
	r := b.parse(b.ok("exec", "-u", "ann", b.id, "/probe", "report"))
	if !slices.Contains(r.Env, "HOME=/home/ann") {
		t.Errorf("the environment is %q", r.Env)
	}
	b.fails(255, `find user "bob" (--user): user "bob" is not in /etc/passwd`, "exec", "-u", "bob", b.id, "/probe")
	b.fails(255, `find additional group "none" (--additional-gids)`, "exec", "-g", "none", b.id, "/probe")
	b.fails(255, `parsing user "1x" (--user)`, "exec", "-u", "1x", b.id, "/probe")
	// A link that would lead out of the container leads to a file of the container, which is not there.
	b.must(os.Remove(filepath.Join(etc, "passwd")))
	b.must(os.Symlink("../../../../../../etc/passwd.host", filepath.Join(etc, "passwd")))
	b.fails(255, `user "root" is not in /etc/passwd`, "exec", "-u", "root", b.id, "/probe")
	b.must(os.Remove(filepath.Join(etc, "passwd")))
	b.must(unix.Mkfifo(filepath.Join(etc, "passwd"), 0o644))
	b.fails(255, "read /etc/passwd of the container", "exec", "-u", "root", b.id, "/probe")
}

// The process of exec ends up on the final processors, or stays on the initial ones; without either it may use all.
func TestExecAffinity(t *testing.T) {
	b, _ := running(t, nil)
	file := filepath.Join(b.bundle, "process.json")
	processors := func(a *specs.CPUAffinity) string {
		data, err := json.Marshal(specs.Process{Args: []string{"/probe", "report"}, Cwd: "/", ExecCPUAffinity: a})
		b.must(err)
		b.must(os.WriteFile(file, data, 0o644))
		return fmt.Sprint(b.parse(b.ok("exec", "--process", file, b.id)).CPUs)
	}
	all := processors(nil)
	if all == "[0]" {
		t.Skip("this machine has one processor")
	}
	want(t, "processors", processors(&specs.CPUAffinity{Initial: "0-1", Final: "0"}), "[0]")
	want(t, "initial processors", processors(&specs.CPUAffinity{Initial: "0"}), "[0]")
	want(t, "final processors", processors(&specs.CPUAffinity{Final: "0"}), "[0]")
}

func TestExecErrors(t *testing.T) {
	b, _ := running(t, nil)
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs", "data"), nil, 0o644))
	for text, args := range map[string][]string{
		`exec: "/nonexistent": stat /nonexistent: no such file or directory`: {"/nonexistent"},
		`exec: "nonexistent": executable file not found in $PATH`:            {"nonexistent"},
		`exec: "/etc": is a directory`:                                       {"/etc"},
		`exec: "/data": permission denied`:                                   {"/data"},
		`exec: "/data/x": stat /data/x: not a directory`:                     {"/data/x"},
	} {
		b.fails(255, text, append([]string{"exec", b.id}, args...)...)
	}
	b.fails(255, `chdir to cwd ("/nope") set in config.json failed: no such file or directory`, "exec", "--cwd", "/nope", b.id, "/probe")
	b.fails(255, "cannot allocate tty if runc will detach without setting console socket", "exec", "-d", "-t", b.id, "/probe")
	pidFile := filepath.Join(b.bundle, "pid")
	b.fails(255, "executable file not found", "exec", "--pid-file", pidFile, b.id, "nonexistent")
	if _, err := os.Stat(pidFile); err == nil {
		t.Error("there is a pid file after a failure")
	}
}

// receiveConsole listens on a console socket and returns the terminal that is sent to it, with the text of the
// message.
func receiveConsole(b *box, path string) func() (*os.File, string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	b.must(err)
	return func() (*os.File, string) {
		defer l.Close()
		conn, err := l.AcceptUnix()
		b.must(err)
		defer conn.Close()
		buf, oob := make([]byte, 4096), make([]byte, 64)
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		b.must(err)
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		b.must(err)
		if len(msgs) != 1 {
			b.t.Fatalf("%d control messages", len(msgs))
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		b.must(err)
		if len(fds) != 1 {
			b.t.Fatalf("%d descriptors", len(fds))
		}
		return os.NewFile(uintptr(fds[0]), "master"), string(buf[:n])
	}
}

func TestConsoleSocket(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.ConsoleSize = &specs.Box{Height: 31, Width: 72}
	}, "report")
	receive := receiveConsole(b, filepath.Join(b.bundle, "c.sock"))
	b.ok("create", "--console-socket", filepath.Join(b.bundle, "c.sock"), b.id)
	master, name := receive()
	if name == "" {
		t.Error("the message is empty")
	}
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	out, _ := io.ReadAll(master) // ends with EIO when the other side is closed
	b.reap(pid)
	r := b.parse(string(out))
	want(t, "terminal", r.Terminal, true)
	want(t, "rows", r.Rows, 31)
	want(t, "columns", r.Cols, 72)
	found := false
	for _, d := range r.Dev {
		found = found || strings.HasPrefix(d, "/dev/console 20620 136:0")
	}
	if !found {
		t.Errorf("/dev/console is not the terminal: %q", r.Dev)
	}
	b.ok("delete", b.id)

	b, _ = running(t, nil)
	path := filepath.Join(b.bundle, strings.Repeat("long", 40))
	b.must(os.Mkdir(path, 0o755))
	dir, err := os.Open(path)
	b.must(err)
	defer dir.Close()
	receive = receiveConsole(b, fmt.Sprintf("/proc/self/fd/%d/c.sock", dir.Fd()))
	b.ok("exec", "--tty", "--detach", "--pid-file", filepath.Join(b.bundle, "p"), "--console-socket", filepath.Join(path, "c.sock"), b.id, "/probe", "report")
	master, _ = receive()
	out, _ = io.ReadAll(master)
	b.reap(b.pidFile(filepath.Join(b.bundle, "p")))
	want(t, "terminal", b.parse(string(out)).Terminal, true)
}

// Descriptors beyond those that were asked for do not reach the container, whatever the caller leaks.
func TestPreserveFDs(t *testing.T) {
	b := newBox(t, nil, "report")
	extra := make([]*os.File, 6)
	for i := range extra {
		f, err := os.Open("/dev/null")
		b.must(err)
		defer f.Close()
		extra[i] = f
	}
	r := b.runWith(func(c *exec.Cmd) { c.ExtraFiles = extra }, "run", "--preserve-fds", "2", b.id)
	want(t, "descriptors", strings.Join(b.parse(r.stdout).FDs, " "), "0 1 2 3 4")

	// The descriptors that the program needs lie above all that is kept, which are more than there are.
	b = newBox(t, nil, "report")
	r = b.runWith(func(c *exec.Cmd) { c.ExtraFiles = extra }, "run", "--preserve-fds", "40", b.id)
	if got := strings.Join(b.parse(r.stdout).FDs, " "); !strings.HasPrefix(got, "0 1 2 3 4 5 6 7 8") { // the test may have inherited more
		t.Errorf("descriptors %s", got)
	}

	b = newBox(t, nil, "report")
	r = b.runWith(func(c *exec.Cmd) {
		c.ExtraFiles = extra
		c.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID=77")
	}, "run", b.id)
	rep := b.parse(r.stdout)
	want(t, "descriptors", strings.Join(rep.FDs, " "), "0 1 2 3")
	if env := strings.Join(rep.Env, " "); !strings.Contains(env, "LISTEN_FDS=1") || !strings.Contains(env, "LISTEN_PID=1") {
		t.Errorf("the environment is %q", env)
	}

	b, _ = running(t, nil)
	r = b.runWith(func(c *exec.Cmd) { c.ExtraFiles = extra }, "exec", "--preserve-fds", "1", b.id, "/probe", "report")
	want(t, "descriptors", strings.Join(b.parse(r.stdout).FDs, " "), "0 1 2 3")
}

// /dev/null of the host keeps its owner, pipes get the container's user.
func TestStdioOwner(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Process.User.UID = 1234 }, "owner", "/proc/self/fd/1")
	r, w, err := os.Pipe()
	b.must(err)
	defer r.Close()
	cmd := exec.Command(binary, "--root", b.root, "run", b.id)
	cmd.Dir, cmd.Stdout = b.bundle, w
	b.must(cmd.Run())
	w.Close()
	out, err := io.ReadAll(r)
	b.must(err)
	want(t, "owner of the pipe", strings.TrimSpace(string(out)), "1234:0")
	var st unix.Stat_t
	b.must(unix.Stat("/dev/null", &st))
	want(t, "owner of /dev/null", st.Uid, 0)
}

func TestUpdateAndEvents(t *testing.T) {
	b, _ := running(t, func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))} })
	var ev struct {
		Type, ID string
		Data     struct {
			Pids struct{ Current, Limit uint64 }
		}
	}
	b.must(json.Unmarshal([]byte(b.ok("events", "--stats", b.id)), &ev))
	want(t, "type", ev.Type, "stats")
	want(t, "pids limit", ev.Data.Pids.Limit, 77)
	b.ok("update", "--pids-limit", "55", b.id)
	b.must(json.Unmarshal([]byte(b.ok("events", "--stats", b.id)), &ev))
	want(t, "pids limit", ev.Data.Pids.Limit, 55)
	r := b.runWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader(`{"pids":{"limit":66}}`) }, "update", "-r", "-", b.id)
	want(t, "status of update", r.code, 0)
	b.must(json.Unmarshal([]byte(b.ok("events", "--stats", b.id)), &ev))
	want(t, "pids limit", ev.Data.Pids.Limit, 66)
}

// A limit below what is used already is refused when checkBeforeUpdate says so; version 1 refuses it in any case.
func TestCheckBeforeUpdate(t *testing.T) {
	b, _ := running(t, func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20))} })
	update := func(text string) result {
		return b.runWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader(text) }, "update", "-r", "-", b.id)
	}
	r := update(`{"memory": {"limit": 4096, "checkBeforeUpdate": true}}`)
	if r.code != 1 || !strings.Contains(r.stderr, "linux.resources.memory.limit") {
		t.Errorf("status %d, stderr %q", r.code, r.stderr)
	}
	b.wantStatus("running")
}

func TestDeleteForceWithExecs(t *testing.T) {
	b, pid := running(t, func(s *specs.Spec) { s.Linux.Namespaces = without(s.Linux.Namespaces, specs.PIDNamespace) })
	var pids []int
	for i := range 3 {
		file := filepath.Join(b.bundle, fmt.Sprint("p", i))
		b.ok("exec", "-d", "--pid-file", file, b.id, "/probe", "ignore")
		pids = append(pids, b.pidFile(file))
	}
	b.ok("delete", "--force", b.id)
	for _, p := range append(pids, pid) {
		want(t, "status", b.reap(p), 137)
	}
}
