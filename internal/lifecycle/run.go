package lifecycle

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"gcr/internal/launch"

	"golang.org/x/sys/unix"
)

// Running is a container whose command runs and whose end the caller waits for.
type Running struct {
	*launch.Process
	// Master is the container's terminal, nil when it has none or a console socket has got it.
	Master *os.File
	cr     *creation
}

// Run makes a container and starts it.
func (s Store) Run(o CreateOptions) (*Running, error) {
	cr, err := s.create(o, false)
	if err != nil {
		return nil, err
	}
	if err := cr.c.poststart(cr.spec); err != nil {
		cr.undo()
		return nil, err
	}
	r := &Running{Process: cr.process, Master: cr.master, cr: cr}
	if cr.word != nil && !o.Detached {
		go cr.word.untilEnd(cr.process.Pidfd())
	}
	if o.ConsoleSocket != "" && r.Master != nil {
		r.Master.Close()
		r.Master = nil
	}
	// From here on other commands may work on the container.
	cr.c.unlock()
	if cr.word != nil && o.Detached {
		if err := cr.word.untilReady(cr.process.Pidfd(), cr.process.PID); err != nil {
			s.warn("%v", err)
		}
	}
	return r, nil
}

// environment takes over what systemd gives to a service: the sockets of LISTEN_FDS (sd_listen_fds(3)) come after
// the standard streams, and the container is told so, as well as of the socket for its word (sd_notify(3)).
func (cr *creation) environment() {
	var fds, names string
	for _, v := range cr.o.Environ {
		key, value, _ := strings.Cut(v, "=")
		switch key {
		case "LISTEN_FDS":
			fds = value
		case "LISTEN_FDNAMES":
			names = value
		}
	}
	if wantsNotify(cr.o.Environ, cr.spec) {
		cr.c.rec.Notify = true
		cr.spec.Process.Env = append(cr.spec.Process.Env, "NOTIFY_SOCKET="+notifyDir+"/"+notifyName)
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n <= 0 || n > 1024 {
		return
	}
	cr.o.PreserveFDs += n
	p := cr.spec.Process
	p.Env = append(p.Env, "LISTEN_FDS="+fds, "LISTEN_PID=1")
	if names != "" {
		p.Env = append(p.Env, "LISTEN_FDNAMES="+names)
	}
}

// Release lets go of the container, which runs on.
func (r *Running) Release() { r.cr.close() }

// End takes the container away after its process has ended.
func (r *Running) End() error {
	defer r.cr.close()
	c, err := r.cr.c.store.openLocked(r.cr.o.ID)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.unlock()
	if c.rec.PID == r.PID && c.rec.Image == r.cr.c.rec.Image {
		// Still the same container: what is known about it need not be read again.
		c.spec, c.cgroup = r.cr.spec, r.cr.group
	}
	return c.delete(true)
}

// Stop ends the container at once.
func (r *Running) Stop() { _ = r.Signal(unix.SIGKILL) }
