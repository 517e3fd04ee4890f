package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestSeccompListener hands calls of a container, and of a process that joins it, to an agent.
func TestSeccompListener(t *testing.T) {
	agent := lab.SeccompAgent(t, unix.EMULTIHOP)
	b := newBox(t, func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Annotations = map[string]string{"a.b": "c"}
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: agent.Path, ListenerMetadata: "for the agent",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdirat"}, Action: specs.ActNotify}},
		}
	}, "mkdir", "/made")
	check := func(status specs.ContainerState, out string) specs.ContainerProcessState {
		t.Helper()
		if strings.TrimSpace(out) != unix.EMULTIHOP.Error() {
			t.Errorf("mkdirat says %q, want the agent's answer", out)
		}
		if nr := <-agent.Calls; nr != unix.SYS_MKDIRAT {
			t.Errorf("the agent was asked about call %d", nr)
		}
		st := <-agent.States
		if len(st.Fds) != 2 || st.Fds[0] != specs.SeccompFdName || st.Fds[1] != "pidFd" || <-agent.PIDs != st.Pid || st.Metadata != "for the agent" || st.State.ID != b.id ||
			st.State.Status != status || st.State.Bundle != b.bundle || st.State.Annotations["a.b"] != "c" || st.Pid == 0 {
			t.Errorf("the agent was told %+v", st)
		}
		return st
	}
	st := check(specs.StateCreating, b.ok("run", b.id))
	if st.State.Pid != st.Pid {
		t.Errorf("the first process is %d, and the container's %d", st.Pid, st.State.Pid)
	}
	if _, err := os.Stat(b.bundle + "/rootfs/made"); err == nil {
		t.Error("the directory was made all the same")
	}

	// Between create and start nothing is handed over yet; a process that joins has a listener of its own.
	b.spec.Process.Args = []string{"/probe", "sleep"}
	b.write()
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	if len(agent.States) != 0 {
		t.Errorf("the agent has the listener before the start: %+v", <-agent.States)
	}
	b.ok("start", b.id)
	if first := <-agent.States; first.Pid != pid {
		t.Errorf("the agent was told process %d, not %d", first.Pid, pid)
	} else if behind := <-agent.PIDs; behind != pid {
		t.Errorf("the pidfd is that of process %d, not %d", behind, pid)
	}
	// The message names a process that is there.
	fd, err := unix.PidfdOpen(pid, 0)
	b.must(err)
	unix.Close(fd)
	st = check(specs.StateRunning, b.ok("exec", b.id, "/probe", "mkdir", "/made"))
	if st.State.Pid != pid || st.Pid == pid {
		t.Errorf("the process that joins is told as %d of container %d", st.Pid, st.State.Pid)
	}
	b.ok("kill", b.id, "KILL")
	b.reap(pid)
	b.ok("delete", b.id)

	// Without an agent nothing starts.
	b.spec.Linux.Seccomp.ListenerPath = agent.Path + ".none"
	b.spec.Process.Args = []string{"/probe", "mkdir", "/made"}
	b.write()
	b.fails(1, fmt.Sprintf("send seccomp listener (linux.seccomp.listenerPath): connect to socket %s.none: no such file or directory", agent.Path), "run", b.id)
}
