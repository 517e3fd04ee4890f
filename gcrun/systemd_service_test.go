package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// service makes a transient service, with the properties of systemd-run's options, that runs a container.
func (m *managed) service(name string, options ...string) {
	m.t.Helper()
	args := append([]string{"--quiet", "--unit=" + name, "--property=WorkingDirectory=" + m.bundle}, options...)
	if m.user {
		args = append([]string{"--user"}, args...)
	}
	args = append(args, binary, "--root", m.root, "--systemd-cgroup", "run", m.id)
	if out, err := exec.Command("systemd-run", args...).CombinedOutput(); err != nil {
		m.t.Fatalf("systemd-run %v: %v: %s", args, err, out)
	}
	m.t.Cleanup(func() {
		for _, command := range []string{"stop", "reset-failed"} {
			c := exec.Command("systemctl", command, name+".service", name+".socket")
			if m.user {
				c.Args = append([]string{"systemctl", "--user"}, c.Args[1:]...)
			}
			_ = c.Run()
		}
	})
}

func (m *managed) property(unit, name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.systemctl("show", "-P", name, unit))
}

// A service of Type=notify is active when the process in the container says so, and not before; when it ends the
// service ends with its status.
func TestSystemdServiceNotify(t *testing.T) {
	m := newManaged(t, func(s *specs.Spec) { s.Root.Readonly = false }, "notify", "STATUS=half way")
	unit := "gcrtest-" + m.id
	m.service(unit, "--no-block", "--property=Type=notify")
	unit += ".service"
	waitFor(t, "the container to speak", func() bool { return m.property(unit, "StatusText") == "half way" })
	m.wantStatus("running")
	want(t, "state before it is ready", m.property(unit, "ActiveState"), "activating")

	pidFile := filepath.Join(m.bundle, "exec.pid")
	m.ok("exec", "--detach", "--pid-file", pidFile, "--env", "NOTIFY_SOCKET=/run/notify/notify.sock", m.id, "/probe", "notify", "STATUS=there\nREADY=1")
	waitFor(t, "the service to be active", func() bool { return m.property(unit, "ActiveState") == "active" })
	want(t, "status", m.property(unit, "StatusText"), "there")

	m.ok("kill", m.id, "KILL")
	m.reap(m.pidFile(pidFile)) // the container's first process ends after all others of its PID namespace
	waitFor(t, "the service to end", func() bool { return m.property(unit, "ActiveState") == "failed" })
	want(t, "exit status", m.property(unit, "ExecMainStatus"), "137")
	if entries, _ := os.ReadDir(m.root); len(entries) != 0 {
		t.Errorf("state is left: %v", entries)
	}
}

// systemd listens, and starts the container for the first connection, with the socket.
func TestSystemdServiceSocket(t *testing.T) {
	m := newManaged(t, nil, "accept")
	unit := "gcrtest-" + m.id
	socket := filepath.Join(m.bundle, "listen.sock")
	m.service(unit, "--socket-property=ListenStream="+socket)
	want(t, "state before somebody connects", m.property(unit+".service", "ActiveState"), "inactive")
	c, err := net.Dial("unix", socket)
	m.must(err)
	defer c.Close()
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "hello from process 1\n" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	waitFor(t, "the service to end", func() bool { return m.property(unit+".service", "ActiveState") != "active" })
	want(t, "its result", m.property(unit+".service", "Result"), "success")
}
