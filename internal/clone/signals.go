package clone

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inherited are the signals that may be ignored here. The Go runtime installs no handler for them, or none where it finds
// them ignored (HUP, INT), so a caller may have left them so: nohup(1), a shell's background job, a daemon. 32 to 34 are those of C
// libraries. SIGPIPE is what programs ignore themselves.
var inherited = [...]unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, 32, 33, 34,
}

// sigaction is struct sigaction of the kernel; zero means SIG_DFL. (amd64 and arm64)
type sigaction struct {
	handler uintptr
	_       [2]uintptr // flags, restorer
	_       uint64     // mask
}

const (
	ignored = 1 // SIG_IGN
	setSize = 8 // bytes of a signal set
)

// byDefault is what a signal is set to. The kernel only reads it.
var byDefault sigaction

// defaults returns the calls by which a child gives the signals that are ignored here their default action: a
// container shall not depend on how its runtime was called. CLONE_CLEAR_SIGHAND resets handlers alone (clone(2)), and execve
// leaves ignored signals ignored.
func defaults() ([]Call, error) {
	var calls []Call
	for _, s := range inherited {
		var now sigaction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&now)), setSize, 0, 0)
		if errno != 0 {
			return nil, fmt.Errorf("ask for the action of signal %d: %w", s, errno)
		}
		if now.handler == ignored {
			calls = append(calls, Call{unix.SYS_RT_SIGACTION, [6]uintptr{uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, setSize}})
		}
	}
	return calls, nil
}
