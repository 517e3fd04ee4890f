package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// manager is a service manager: it reads what comes to its socket.
type manager struct {
	conn *net.UnixConn
	path string
}

func newManager(b *box) *manager {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "manager.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	b.must(err)
	b.t.Cleanup(func() { conn.Close() })
	return &manager{conn, path}
}

func (m *manager) env(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path) }

// next is the next message. Nothing waits for long: the deadline is for a gcrun that is broken.
func (m *manager) next(t *testing.T) string {
	t.Helper()
	buf := make([]byte, 4096)
	if err := m.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := m.conn.Read(buf)
	if err != nil {
		t.Fatalf("the service manager hears nothing: %v", err)
	}
	return string(buf[:n])
}

// A container says that it is ready; start returns then, and the service manager knows which process to watch.
func TestNotifyStart(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){
		"root":           func(*specs.Spec) {},
		"ordinary user":  func(s *specs.Spec) { s.Process.User.UID = 1000 },
		"user namespace": userNS,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) {
				s.Root.Readonly = false
				edit(s)
			}, "notify", "STATUS=half way\nMAINPID=1", "STATUS=there\nREADY=1\nFDSTORE=1", "STATUS=later")
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
			b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs/run/notify"), 0o755))
			b.must(os.Chmod(b.root, 0o711))
			m := newManager(b)
			r := b.runWith(m.env, "create", b.id)
			want(t, "status of create", r.code, 0)
			pid := b.wantStatus("created")
			started := make(chan result)
			go func() { started <- b.runWith(m.env, "start", b.id) }()
			want(t, "message", m.next(t), fmt.Sprintf("STATUS=there\nREADY=1\nMAINPID=%d\n", pid))
			want(t, "message", m.next(t), "BARRIER=1")
			r = <-started
			want(t, "status of start", r.code, 0)
			want(t, "errors of start", r.stderr, "")
			b.wantStatus("running")
			b.ok("delete", "--force", b.id)
			want(t, "status", b.reap(pid), 137)
		})
	}
}

// A run in the foreground passes everything on, and stays the process that is watched.
func TestNotifyRun(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "notify", "READY=1", "WATCHDOG=1\nNONSENSE=1")
	m := newManager(b)
	cmd := exec.Command(binary, "--root", b.root, "run", b.id)
	cmd.Dir = b.bundle
	m.env(cmd)
	b.must(cmd.Start())
	want(t, "message", m.next(t), "READY=1\n")
	want(t, "message", m.next(t), "WATCHDOG=1\n")
	b.ok("kill", b.id, "KILL")
	_ = cmd.Wait()
	want(t, "status", cmd.ProcessState.ExitCode(), 137)

	b = newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "notify", "READY=1")
	m = newManager(b)
	detached := make(chan result)
	go func() { detached <- b.runWith(m.env, "run", "--detach", b.id) }()
	if got := m.next(t); !strings.HasPrefix(got, "READY=1\nMAINPID=") {
		t.Errorf("the message is %q", got)
	}
	m.next(t)
	want(t, "status of run", (<-detached).code, 0)
	b.wantStatus("running")
	b.ok("delete", "--force", b.id)
	b.reapAll()
}

// Who ends without a word is not waited for, and a configuration that has a socket keeps it.
func TestNotifyNothing(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "exit", "0")
	m := newManager(b)
	want(t, "status of create", b.runWith(m.env, "create", b.id).code, 0)
	pid := b.wantStatus("created")
	r := b.runWith(m.env, "start", b.id)
	want(t, "status of start", r.code, 0)
	want(t, "status", b.reap(pid), 0)
	b.ok("delete", b.id)

	b = newBox(t, func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "NOTIFY_SOCKET=/own") }, "report")
	r = b.runWith(newManager(b).env, "run", b.id)
	rep := b.parse(r.stdout)
	if env := strings.Join(rep.Env, " "); !strings.Contains(env, "NOTIFY_SOCKET=/own") || strings.Contains(env, "/run/notify") {
		t.Errorf("the environment is %q", env)
	}
	want(t, "mount", rep.mount("/run/notify").Type, "")
}

// A pidfd of the container's process reaches whoever asks for it.
func TestPidfdSocket(t *testing.T) {
	b := newBox(t, nil, "sleep")
	pidOf := func(f *os.File) int {
		data, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
		b.must(err)
		for _, l := range strings.Split(string(data), "\n") {
			if v, ok := strings.CutPrefix(l, "Pid:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(v))
				b.must(err)
				return n
			}
		}
		return 0
	}
	socket := filepath.Join(b.bundle, "pidfd.sock")
	receive := receiveConsole(b, socket)
	b.ok("create", "--pidfd-socket", socket, b.id)
	f, _ := receive()
	pid := b.wantStatus("created")
	want(t, "process of the pidfd", pidOf(f), pid)
	b.ok("start", b.id)
	receive = receiveConsole(b, socket)
	b.ok("exec", "-d", "--pid-file", filepath.Join(b.bundle, "p"), "--pidfd-socket", socket, b.id, "/probe", "sleep")
	g, _ := receive()
	exec := b.pidFile(filepath.Join(b.bundle, "p"))
	want(t, "process of the pidfd", pidOf(g), exec)
	b.must(unix.PidfdSendSignal(int(g.Fd()), unix.SIGKILL, nil, 0))
	want(t, "status", b.reap(exec), 137)
	b.must(unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0))
	want(t, "status", b.reap(pid), 137)
	b.ok("delete", b.id)
}

func TestNoPivot(t *testing.T) {
	b := newBox(t, nil, "report")
	r := b.parse(b.ok("run", "--no-pivot", b.id))
	// The host's root lies under the container's and cannot be reached.
	over := 0
	for _, m := range r.Mounts {
		if m.Point == "/" {
			over++
		}
	}
	want(t, "mounts on /", over, 1)
	want(t, "program", r.Exe, "/probe")
	wantOptions(t, r.mount("/").Options, "ro")
}

// A container has a session keyring of its own, unless it is to keep the caller's.
func TestKeyring(t *testing.T) {
	runtime.LockOSThread() // each thread has its own, and commands are started from this one
	defer runtime.UnlockOSThread()
	own, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
	if err != nil {
		t.Skipf("the kernel has no session keyrings: %v", err)
	}
	b := newBox(t, nil, "report")
	if r := b.report(); r.Keyring == own || r.Keyring == 0 {
		t.Errorf("the session keyring is %d, the caller's is %d", r.Keyring, own)
	}
	b = newBox(t, nil, "report")
	want(t, "keyring", b.parse(b.ok("run", "--no-new-keyring", "--no-subreaper", b.id)).Keyring, own)
	b, _ = running(t, nil)
	if r := b.parse(b.ok("exec", b.id, "/probe", "report")); r.Keyring == own || r.Keyring == 0 {
		t.Errorf("the session keyring of exec is %d, the caller's is %d", r.Keyring, own)
	}
	want(t, "keyring of exec", b.parse(b.ok("exec", "--no-new-keyring", b.id, "/probe", "report")).Keyring, own)
}
