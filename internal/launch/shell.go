package launch

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/clone"
	"gcr/internal/plan"
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// Shell runs a shell inside the namespaces of a process that is being set up, connects it with the caller's
// terminal, and waits for its end. It sees what the process would see at this very point. The shell gets a
// terminal of its own: from within a PID namespace it could not give the caller's back.
func Shell(p *plan.Plan, pidfd int, in, out *os.File) error {
	image, err := p.ShellProgram().Compile(program.Native)
	if err != nil {
		return err
	}
	f, err := sealedImage(image)
	if err != nil {
		return err
	}
	defer f.Close()
	master, slave, err := openTerminal()
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		master.Close()
		slave.Close()
		return fmt.Errorf("make sync socket: %w", err)
	}
	host, guest := os.NewFile(uintptr(pair[0]), "sync"), os.NewFile(uintptr(pair[1]), "sync")
	defer host.Close()
	child, err := startShell(f, guest, slave, pidfd)
	guest.Close()
	slave.Close()
	if err != nil {
		master.Close()
		return fmt.Errorf("start a shell: %w", err)
	}
	defer unix.Close(child.PIDFD)
	t, err := Connect(master, in, out)
	if err != nil {
		return err
	}
	// The socket ends when the shell has started: nothing to read says that all is well.
	buf, oob := make([]byte, program.MessageSize+1), make([]byte, unix.CmsgSpace(4))
	n, _, err := receive(int(host.Fd()), buf, oob)
	_, werr := wait(child.PID)
	if err := errors.Join(err, werr, t.Close()); err != nil || n == 0 {
		return err
	}
	m, err := program.Decode(buf[:n])
	if err != nil {
		return err
	}
	if errno := unix.Errno(m.Errno); errors.Is(errno, unix.ENOENT) {
		return errors.New("start a shell: there is no /bin/sh at this point")
	}
	return fmt.Errorf("start a shell: %w", unix.Errno(m.Errno))
}

// startShell puts the descriptors where the program wants them.
func startShell(image, sync, terminal *os.File, pidfd int) (*clone.Child, error) {
	var raised []int
	for _, fd := range []int{int(sync.Fd()), pidfd, int(image.Fd()), int(terminal.Fd())} {
		up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, plan.ShellPidfd+1)
		if err != nil {
			return nil, err
		}
		defer unix.Close(up)
		raised = append(raised, up)
	}
	calls := []clone.Call{clone.Dup3(raised[0], plan.ShellSync), clone.Dup3(raised[1], plan.ShellPidfd)}
	for fd := range 3 {
		calls = append(calls, clone.Dup3(raised[3], fd))
	}
	run, keep := clone.ExecImage(raised[2], "gcr")
	return clone.Start(clone.Attr{Calls: append(calls, run), Keep: keep})
}
