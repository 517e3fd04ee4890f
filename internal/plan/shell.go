package plan

import (
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// Descriptors of the program of ShellProgram.
const (
	ShellSync  = 3
	ShellPidfd = 4
)

// ShellProgram joins the namespaces of the process behind ShellPidfd and runs a shell there.
func (p *Plan) ShellProgram() *program.Program {
	s := program.New(ShellSync)
	flags := p.CloneFlags &^ unix.CLONE_INTO_CGROUP
	if flags != 0 {
		s.Setns(program.FD(ShellPidfd), flags)
	}
	if len(p.UIDMap) > 0 {
		s.Setresgid(0)
		s.Setresuid(0)
	}
	zero := program.Num(0)
	// A PID namespace is entered by children only.
	child := s.Call(program.SysClone, program.Named(uint64(unix.SIGCHLD), "SIGCHLD"), zero, zero, zero, zero)
	shell := s.NewLabel()
	s.If(child, 0, shell)
	s.CloseFrom(ShellSync, false)
	s.Call(program.SysWaitid, program.Named(unix.P_ALL, "P_ALL"), zero, program.Named(0, "NULL"), program.Named(unix.WEXITED, "WEXITED"), program.Named(0, "NULL"))
	s.Exit(0)
	s.Bind(shell)
	s.Setsid()
	s.Ioctl(program.FD(0), unix.TIOCSCTTY, "TIOCSCTTY", program.Num(0))
	s.UnblockSignals()
	s.CloseFrom(ShellSync, true)
	s.Execve(s.String("/bin/sh"), []string{"sh"}, []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "HOME=/", "PS1=(half-built) # ",
	})
	return s
}
