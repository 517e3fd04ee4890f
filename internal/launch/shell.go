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

// Shell runs a shell on the caller's terminal inside the namespaces of a process that is being set up, and
// waits for its end. It sees what the process would see at this very point.
func Shell(p *plan.Plan, pidfd int) error {
	image, err := p.ShellProgram().Compile(program.Native)
	if err != nil {
		return err
	}
	f, err := sealedImage(image)
	if err != nil {
		return err
	}
	defer f.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make sync socket: %w", err)
	}
	host, guest := os.NewFile(uintptr(pair[0]), "sync"), os.NewFile(uintptr(pair[1]), "sync")
	defer host.Close()
	raised := make([]int, 3)
	for i, fd := range []int{int(guest.Fd()), pidfd, int(f.Fd())} {
		if raised[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, plan.ShellPidfd+1); err != nil {
			return fmt.Errorf("duplicate descriptor: %w", err)
		}
		defer unix.Close(raised[i])
	}
	guest.Close()
	run, keep := clone.ExecImage(raised[2], "gcr")
	calls := []clone.Call{clone.ClearCloexec(0), clone.Dup3(raised[0], plan.ShellSync), clone.Dup3(raised[1], plan.ShellPidfd)}
	child, err := clone.Start(clone.Attr{Calls: append(calls, run), Keep: keep})
	if err != nil {
		return fmt.Errorf("start a shell: %w", err)
	}
	defer unix.Close(child.PIDFD)
	unix.Close(raised[0])
	raised[0] = -1
	buf, oob := make([]byte, program.MessageSize+1), make([]byte, unix.CmsgSpace(4))
	n, _, err := receive(int(host.Fd()), buf, oob)
	if _, werr := wait(child.PID); werr != nil {
		return werr
	}
	if err != nil || n == 0 {
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
