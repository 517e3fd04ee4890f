package seccomp

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// PidFD is the name, in the message to an agent, of a pidfd of the container process (pidfd_open(2)). The specification
// names seccompFd only and lets agents pass over what they do not know; with the pidfd an agent that looks into the
// process cannot be led to another one that has taken over the number.
const PidFD = "pidFd"

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
