// Package clone starts a process with clone3(2) without a second start-up of the Go runtime.
//
// Between clone3 and execve a child must not run Go code: it has only one of the threads that the runtime
// believes in, and with CLONE_VM it even shares the parent's memory. Package syscall solves this with a list
// of fixed steps that its SysProcAttr describes. Here the child runs a table of system calls that the parent
// has written, from registers alone, and touches neither stack nor heap:
//
//	child, err := clone.Start(clone.Attr{
//		Flags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
//		Calls: []clone.Call{
//			clone.Dup3(sync, 3),
//			clone.Execveat(image, &argv, &envp),
//		},
//	})
//
// The parent does not stop until the child has become another program (there is no CLONE_VFORK), so it can
// write id maps or do other work meanwhile; the memory that the table refers to lives as long as the Child.
package clone

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one system call of the child: its number and arguments. The assembly code relies on the layout.
type Call struct {
	NR   uintptr
	Args [6]uintptr
}

// Attr says what kind of process to start.
type Attr struct {
	// Flags are CLONE_NEW* flags of clone3(2). CLONE_VM, CLONE_PIDFD and CLONE_CLEAR_SIGHAND are added.
	Flags uint64
	// Cgroup is a descriptor of the cgroup v2 directory that the child starts in; used when Flags has
	// CLONE_INTO_CGROUP (Linux 5.7).
	Cgroup int
	// Calls are made by the child in order. The last one should be execveat(2); a child whose calls are
	// all done, or one of whose calls fails, exits with status 125.
	Calls []Call
	// Keep holds what the addresses in Calls point to.
	Keep []any
	// Enter are calls that the calling thread makes before it clones, and Leave those that take them back, on success
	// and on failure: a child is born into the namespaces that its parent has entered with setns(2). No Go code and no
	// signal handler runs between.
	Enter, Leave []Call
}

// EnterError says which of Attr.Enter failed.
type EnterError struct {
	Index int
	Errno unix.Errno
}

func (e *EnterError) Error() string { return fmt.Sprintf("enter (call %d): %v", e.Index, e.Errno) }
func (e *EnterError) Unwrap() error { return e.Errno }

// Child is a started process.
type Child struct {
	PID   int
	PIDFD int // close-on-exec; belongs to the caller

	table  []Call
	resets int // calls at the beginning of the table that are not Attr.Calls
	keep   []any
	// failed is written by the child while it shares our memory: the result of the call that failed and how
	// many calls were left.
	failed *[2]int64
}

// cloneArgs is struct clone_args of clone3(2), as of Linux 5.7; what is not used stays zero.
type cloneArgs struct {
	flags, pidfd uint64
	_            [2]uint64 // child_tid, parent_tid
	exitSignal   uint64
	_            [5]uint64 // stack, stack_size, tls, set_tid, set_tid_size
	cgroup       uint64
}

// raw is what the assembly code is told and what it answers. It makes every call from registers; see there.
type raw struct {
	all uint64 // signal mask that blocks all signals
	//lint:ignore U1000 the assembly code keeps the mask of the thread here
	old     uint64
	enter   *Call
	entries uintptr
	leave   *Call
	leaves  uintptr
	args    *cloneArgs
	size    uintptr
	table   *Call // what the child does
	n       uintptr
	failed  *[2]int64

	result int64   // the process id, or the negative errno of clone3 or of a call of enter
	left   uintptr // calls of enter that were left when one failed
	lost   int64   // negative errno of a call of leave
}

// rawClone blocks all signals, makes the calls of enter, clones, makes the calls of leave and unblocks the signals.
func rawClone(r *raw)

// Start makes the child. It returns the bare error of clone3(2), for instance EPERM where namespaces may not be made or
// ENOSPC where user.max_user_namespaces is used up, or an *EnterError.
func Start(a Attr) (*Child, error) {
	if len(a.Calls) == 0 {
		return nil, errors.New("start process: no calls to make")
	}
	resets, err := defaults()
	if err != nil {
		return nil, err
	}
	c := &Child{table: append(resets, a.Calls...), resets: len(resets), keep: a.Keep, failed: new([2]int64), PIDFD: -1}
	// A descriptor of 32 bits is written by the kernel.
	pidfd := new(int32)
	args := &cloneArgs{
		flags:      a.Flags | unix.CLONE_VM | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		pidfd:      uint64(uintptr(unsafe.Pointer(pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
		cgroup:     uint64(a.Cgroup),
	}
	// A signal handler must not run in the child: it has our memory and no stack of its own. So all signals are blocked
	// around the call, and the program that the child becomes starts with all of them blocked and decides itself when
	// to accept them. As no Go code runs between, the thread need not be locked (runtime.LockOSThread would start one
	// thread more, from which the runtime could start others).
	r := &raw{
		all: ^uint64(0), args: args, size: unsafe.Sizeof(*args), table: &c.table[0], n: uintptr(len(c.table)), failed: c.failed,
		enter: unsafe.SliceData(a.Enter), entries: uintptr(len(a.Enter)), leave: unsafe.SliceData(a.Leave), leaves: uintptr(len(a.Leave)),
	}
	// No other thread may fork a copy of a descriptor that is not yet marked close-on-exec; ours all are, but
	// the lock is the convention of package syscall.
	syscall.ForkLock.RLock()
	rawClone(r)
	syscall.ForkLock.RUnlock()
	runtime.KeepAlive(a)
	if r.lost != 0 {
		// This thread is not where it was, and no other code may run there: it ends with the goroutine.
		runtime.LockOSThread()
		if r.result > 0 {
			_ = unix.PidfdSendSignal(int(*pidfd), unix.SIGKILL, nil, 0)
		}
		return nil, fmt.Errorf("return from the namespaces of the container: %w", unix.Errno(-r.lost))
	}
	if r.left > 0 {
		return nil, &EnterError{len(a.Enter) - int(r.left), unix.Errno(-r.result)}
	}
	if r.result < 0 {
		return nil, unix.Errno(-r.result)
	}
	c.PID, c.PIDFD = int(r.result), int(*pidfd)
	return c, nil
}

// Failed returns the index of the call that failed before the child became another program, and its error;
// -1 and nil when none did. It is meaningful once the child has exited or has shown a sign of its new life.
func (c *Child) Failed() (int, error) {
	if c.failed[0] == 0 {
		return -1, nil
	}
	return len(c.table) - c.resets - int(c.failed[1]), unix.Errno(-c.failed[0])
}

// Dup3 is dup3(2) without O_CLOEXEC.
func Dup3(from, to int) Call {
	return Call{unix.SYS_DUP3, [6]uintptr{uintptr(from), uintptr(to)}}
}

// Dup3Cloexec is dup3(2) with O_CLOEXEC: the copy is for calls of the child only.
func Dup3Cloexec(from, to int) Call {
	return Call{unix.SYS_DUP3, [6]uintptr{uintptr(from), uintptr(to), unix.O_CLOEXEC}}
}

// CloseRange is close_range(2) of the descriptors from first to last.
func CloseRange(first, last int) Call {
	return Call{unix.SYS_CLOSE_RANGE, [6]uintptr{uintptr(first), uintptr(last)}}
}

// Recvmsg is recvmsg(2). What it is told, struct msghdr and what that points to, must be kept alive; descriptors that
// come stay open in the program that the child becomes.
func Recvmsg(fd int, hdr unsafe.Pointer) Call {
	return Call{unix.SYS_RECVMSG, [6]uintptr{uintptr(fd), uintptr(hdr)}}
}

// Close is close(2).
func Close(fd int) Call { return Call{unix.SYS_CLOSE, [6]uintptr{uintptr(fd)}} }

// Read is read(2) of one byte into b, which must be kept alive: the child waits for the parent.
func Read(fd int, b *byte) Call {
	return Call{unix.SYS_READ, [6]uintptr{uintptr(fd), uintptr(unsafe.Pointer(b)), 1}}
}

// Setresuid is setresuid(2) with one id thrice.
func Setresuid(id int) Call {
	return Call{unix.SYS_SETRESUID, [6]uintptr{uintptr(id), uintptr(id), uintptr(id)}}
}

// Setresgid is setresgid(2) with one id thrice.
func Setresgid(id int) Call {
	return Call{unix.SYS_SETRESGID, [6]uintptr{uintptr(id), uintptr(id), uintptr(id)}}
}

// Setns is setns(2).
func Setns(fd int, flags uint64) Call {
	return Call{unix.SYS_SETNS, [6]uintptr{uintptr(fd), uintptr(flags)}}
}

// ExecImage is execveat(2) with AT_EMPTY_PATH: the child becomes the program behind the descriptor, without
// any path. The argument list is the single name, the environment is empty.
func ExecImage(fd int, name string) (Call, []any) {
	arg0 := append([]byte(name), 0)
	argv := &[2]uintptr{uintptr(unsafe.Pointer(&arg0[0])), 0}
	envp := new(uintptr)
	empty := new(byte)
	return Call{unix.SYS_EXECVEAT, [6]uintptr{
		uintptr(fd), uintptr(unsafe.Pointer(empty)), uintptr(unsafe.Pointer(argv)),
		uintptr(unsafe.Pointer(envp)), unix.AT_EMPTY_PATH,
	}}, []any{arg0, argv, envp, empty}
}

// ClearCloexec is fcntl(2), F_SETFD with no flag: the descriptor stays open in the program that the child becomes.
func ClearCloexec(fd int) Call {
	return Call{unix.SYS_FCNTL, [6]uintptr{uintptr(fd), unix.F_SETFD, 0}}
}
