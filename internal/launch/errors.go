package launch

import (
	"errors"

	"gcr/internal/plan"
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// cloneError says what the errors of clone3(2) mean for a person.
func cloneError(err error, flags uint64) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOSPC):
		hint = "the limit on namespaces is reached: see the sysctls user.max_user_namespaces, user.max_pid_namespaces and their kin, and raise the one that is 0 or used up: sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.EPERM) && flags&unix.CLONE_NEWUSER != 0:
		hint = "this system does not let ordinary users make user namespaces. Look at the sysctls kernel.unprivileged_userns_clone (Debian) and kernel.apparmor_restrict_unprivileged_userns (Ubuntu), or run gcr with sudo"
	case errors.Is(err, unix.EPERM):
		hint = "making these namespaces needs root, or a user namespace as well: add user to --ns, or run gcr with sudo"
	case errors.Is(err, unix.EAGAIN):
		hint = "the limit on processes is reached: see ulimit -u and pids.max of the cgroup"
	case errors.Is(err, unix.EBUSY):
		hint = "the cgroup has controllers enabled for its children, so it takes no processes itself (cgroups(7), no internal processes)"
	case errors.Is(err, unix.ENOSYS):
		hint = "clone3 is missing: the kernel is older than 5.3, or a seccomp filter hides the call; gcr needs Linux 5.15 or later"
	}
	return &plan.Error{What: "start the first process", Field: "linux.namespaces", Cause: err, Hint: hint, Call: "clone3({flags=" + program.CloneFlags(flags) + "})"}
}
