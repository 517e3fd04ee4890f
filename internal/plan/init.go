package plan

import (
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// initProcess splits off the command as a child and stays as process 1: it hands on the signals that it gets
// and reaps the orphans that end up with it, the two duties of an init. It is part of the same small program,
// so no helper is copied into the container.
type initProcess struct{}

func (s initProcess) Info() Info {
	return Info{
		What: "stay as init and start the command as a child", Man: "pid_namespaces(7)",
		Why: "process 1 gets only those signals that it has a handler for and must reap orphans; most programs are not written for that",
	}
}

// Offsets in siginfo_t of a SIGCHLD (sigaction(2)).
const (
	siginfoSize   = 128
	siginfoCode   = 8
	siginfoPID    = 16
	siginfoStatus = 24
	cldExited     = 1
)

func (s initProcess) Emit(e *emitter) {
	zero := program.Num(0)
	child := e.Call(program.SysClone, program.Named(uint64(unix.SIGCHLD), "SIGCHLD"), zero, zero, zero, zero)
	command := e.NewLabel()
	e.If(child, 0, command)

	// The host side takes the end of the sync socket for the start of the command: only the child may hold it.
	e.CloseFrom(e.in.syncFD(), false)
	all := e.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, func() string { return "~[]" })
	info := e.Buffer(siginfoSize)
	next := e.Forever()
	broken := map[string]program.Label{"rt_sigtimedwait": e.NewLabel(), "kill": e.NewLabel(), "waitid": e.NewLabel()}
	sig := e.Call(program.SysRtSigtimedwait, all, program.Named(0, "NULL"), program.Named(0, "NULL"), program.Num(8)).
		OnError(unix.EINTR, next).OnError(0, broken["rt_sigtimedwait"])
	reap := e.NewLabel()
	e.If(sig, int64(unix.SIGCHLD), reap)
	e.Call(program.SysKill, child, sig).Ignore(unix.ESRCH).OnError(0, broken["kill"])
	e.Jump(next)

	e.Bind(reap)
	more := e.Forever()
	e.Store32(info, siginfoPID, zero)
	e.Call(program.SysWaitid, program.Named(unix.P_ALL, "P_ALL"), zero, info.At(0), program.Named(unix.WEXITED|unix.WNOHANG, "WEXITED|WNOHANG"), program.Named(0, "NULL")).
		Ignore(unix.ECHILD).OnError(0, broken["waitid"])
	pid := e.Load32(info, siginfoPID)
	e.If(pid, 0, next)
	done := e.NewLabel()
	e.IfSame(pid, child, done)
	e.Jump(more)
	e.Bind(done)

	status := e.Load32(info, siginfoStatus)
	exited := e.NewLabel()
	e.If(e.Load32(info, siginfoCode), cldExited, exited)
	e.Add(status, 128)
	e.Bind(exited)
	e.ExitWith(status)

	// Nobody listens on the socket any more, so standard error is told.
	for _, name := range []string{"rt_sigtimedwait", "kill", "waitid"} {
		e.Bind(broken[name])
		e.Write(program.FD(2), "gcr: the container's init (--init) cannot go on: "+name+"(2) failed; a system call filter may forbid it\n")
		e.Exit(program.FailureStatus)
	}

	e.Bind(command)
	if e.in.Spec.Process.Terminal {
		// A foreground process group of its own, so that the keys of the terminal reach the command once.
		e.Call(program.SysSetpgid, zero, zero)
		pgid := e.Buffer(8)
		e.Store32(pgid, 0, e.Getpid())
		e.Ioctl(program.FD(0), unix.TIOCSPGRP, "TIOCSPGRP", pgid.At(0))
	}
}
func (s initProcess) Shell() []string { return nil }
