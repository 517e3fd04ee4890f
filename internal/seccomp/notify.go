package seccomp

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ProcessState returns the message that an agent gets at listenerPath, together with the descriptor of the
// listener as SCM_RIGHTS (OCI runtime specification, config-linux.md, "The Container Process State"). The message
// names that descriptor seccompFd.
//
// more names further descriptors that go with the message after the listener, in their order.
//
// pid is the container process as the runtime's namespace numbers it, metadata is listenerMetadata of the profile,
// and state the container's state as the runtime's state command prints it. The state's status must be the one at
// the time of the message: creating, or running for a process that exec adds.
func ProcessState(pid int, metadata string, state specs.State, more ...string) ([]byte, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("write container process state (pid): %d is no process", pid)
	}
	if state.Version == "" {
		state.Version = specs.Version
	}
	return json.Marshal(specs.ContainerProcessState{
		Version:  specs.Version,
		Fds:      append([]string{specs.SeccompFdName}, more...),
		Pid:      pid,
		Metadata: metadata,
		State:    state,
	})
}

// SendListener hands the listener that seccomp(2) has returned to the agent whose socket is at path, with a message of
// ProcessState.
func SendListener(path string, message []byte, listener *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("connect to the seccomp agent at %s (listenerPath): %w", path, err)
	}
	if err := unix.Sendmsg(fd, message, unix.UnixRights(int(listener.Fd())), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send the seccomp listener to %s (listenerPath): %w", path, err)
	}
	return nil
}
