package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// action is a filter's return value (SECCOMP_RET_* with its data, linux/seccomp.h).
type action uint32

const (
	retKillProcess = action(unix.SECCOMP_RET_KILL_PROCESS)
	retKillThread  = action(unix.SECCOMP_RET_KILL_THREAD)
	retTrap        = action(unix.SECCOMP_RET_TRAP)
	retErrno       = action(unix.SECCOMP_RET_ERRNO)
	retNotify      = action(unix.SECCOMP_RET_USER_NOTIF)
	retTrace       = action(unix.SECCOMP_RET_TRACE)
	retLog         = action(unix.SECCOMP_RET_LOG)
	retAllow       = action(unix.SECCOMP_RET_ALLOW)

	retENOSYS = retErrno | action(unix.ENOSYS)

	// retBadArch answers a call through an architecture that the filter does not list; runc and crun take over
	// libseccomp's choice.
	retBadArch = retKillThread
)

// maxErrno is the largest error number that a filter can make a call return (MAX_ERRNO in linux/err.h).
const maxErrno = 4095

func parseAction(a specs.LinuxSeccompAction, errno *uint, actionField, errnoField string) (action, error) {
	var ret action
	data := uint(unix.EPERM)
	switch a {
	case specs.ActErrno, specs.ActTrace:
		limit := uint(maxErrno)
		ret = retErrno
		if a == specs.ActTrace {
			ret, limit = retTrace, 0xffff
		}
		if errno != nil {
			data = *errno
		}
		if data > limit {
			return 0, &ProfileError{fmt.Sprintf("read seccomp action %s", a), errnoField, fmt.Sprintf("%d is not an error number; the largest is %d", data, limit)}
		}
		return ret | action(data), nil
	case specs.ActKill, specs.ActKillThread:
		ret = retKillThread
	case specs.ActKillProcess:
		ret = retKillProcess
	case specs.ActTrap:
		ret = retTrap
	case specs.ActAllow:
		ret = retAllow
	case specs.ActLog:
		ret = retLog
	case specs.ActNotify:
		ret = retNotify
	case "":
		return 0, &ProfileError{"read seccomp action", actionField, "missing"}
	default:
		return 0, &ProfileError{fmt.Sprintf("read seccomp action %q", a), actionField, "not one of SCMP_ACT_ALLOW, ERRNO, LOG, TRAP, TRACE, NOTIFY, KILL, KILL_THREAD, KILL_PROCESS"}
	}
	if errno != nil {
		// The specification asks the runtime to fail rather than to drop the number (config-linux.md, errnoRet).
		return 0, &ProfileError{fmt.Sprintf("read seccomp action %s", a), errnoField, "this action returns no error number"}
	}
	return ret, nil
}

// String names the action in the words of the kernel's documentation.
func (a action) String() string {
	data := uint32(a) & unix.SECCOMP_RET_DATA
	switch a &^ action(unix.SECCOMP_RET_DATA) {
	case retKillProcess:
		return "KILL_PROCESS"
	case retKillThread:
		return "KILL_THREAD"
	case retTrap:
		return "TRAP"
	case retErrno:
		if name := unix.ErrnoName(unix.Errno(data)); name != "" {
			return "ERRNO " + name
		}
		return fmt.Sprintf("ERRNO %d", data)
	case retNotify:
		return "NOTIFY"
	case retTrace:
		return fmt.Sprintf("TRACE %d", data)
	case retLog:
		return "LOG"
	case retAllow:
		return "ALLOW"
	}
	return fmt.Sprintf("unknown action %#x", uint32(a))
}
