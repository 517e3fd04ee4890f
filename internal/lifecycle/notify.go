package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gcr/internal/launch"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Services of systemd say that they are ready over a unix socket (sd_notify(3)). When NOTIFY_SOCKET is set, as for a
// unit of Type=notify, the container gets a socket of ours at notifyDir, as with runc and crun, and what it says is
// passed on: with start or a detached run the word READY=1 together with the process id, after which gcrun ends; with a
// run in the foreground everything that concerns the state of the service.

const (
	notifyDir  = "/run/notify" // in the container
	notifyName = "notify.sock"
	notifySub  = "notify" // in the state directory
)

// notifyMount shows the directory of the socket in the container. It is there from the beginning, for the mount is made
// with the container; the socket comes with the start.
func (c *Container) notifyMount() specs.Mount {
	return specs.Mount{
		Destination: notifyDir, Source: filepath.Join(c.store.Root, c.rec.ID, notifySub), Type: "bind",
		Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"},
	}
}

// wantsNotify reports whether the caller waits for the word of the container: it does not where the configuration has a
// socket of its own.
func wantsNotify(environ []string, s *specs.Spec) bool {
	for _, v := range s.Process.Env {
		if strings.HasPrefix(v, "NOTIFY_SOCKET=") {
			return false
		}
	}
	return NotifySocket(environ) != "" && hasMountNamespace(s)
}

// NotifySocket is the value of NOTIFY_SOCKET in an environment, if it is a unix socket: a path, or @ and an abstract
// name.
func NotifySocket(environ []string) string {
	for _, v := range environ {
		if p, ok := strings.CutPrefix(v, "NOTIFY_SOCKET="); ok && (strings.HasPrefix(p, "/") || strings.HasPrefix(p, "@")) {
			return p
		}
	}
	return ""
}

// notifier passes on what a container says about its state.
type notifier struct {
	socket *os.File // the container's
	host   string
	path   string
}

// listenNotify makes the container's socket. Any user of the container may write to it.
func (c *Container) listenNotify(host string) (*notifier, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make notify socket: %w", err)
	}
	n := &notifier{socket: os.NewFile(uintptr(fd), "notify socket"), host: host, path: filepath.Join(c.dir, notifySub, notifyName)}
	_ = os.Remove(n.path) // of a start that was killed
	sa, done, err := launch.SocketAddress(n.path)
	if err == nil {
		err = unix.Bind(fd, sa)
		done()
	}
	if err == nil {
		err = os.Chmod(n.path, 0o777)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("make notify socket: %w", err)
	}
	return n, nil
}

func (n *notifier) close() {
	if n != nil {
		_ = os.Remove(n.path)
		n.socket.Close()
	}
}

// passed are the assignments that say something about the service as the service manager sees it. Process ids and
// descriptors of the container mean nothing to it (sd_notify(3)).
var passed = []string{"READY=", "RELOADING=", "STOPPING=", "MONOTONIC_USEC=", "STATUS=", "ERRNO=", "BUSERROR=", "EXIT_STATUS=", "WATCHDOG=", "WATCHDOG_USEC=", "EXTEND_TIMEOUT_USEC="}

// filter keeps the lines of a message that are passed on, and reports whether it says that the service is ready.
func filter(message []byte) (out []byte, ready bool) {
	for _, l := range bytes.Split(message, []byte("\n")) {
		for _, p := range passed {
			if bytes.HasPrefix(l, []byte(p)) {
				out = append(append(out, l...), '\n')
			}
		}
		ready = ready || bytes.Equal(l, []byte("READY=1"))
	}
	return out, ready
}

// untilReady waits for the container's word and passes it on with the process id that the service manager is to watch
// from now on. It returns without a word when the container ends before.
func (n *notifier) untilReady(pidfd *os.File, pid int) error {
	return n.relay(pidfd, func(out []byte, ready bool) (bool, error) {
		if !ready {
			return false, nil
		}
		if err := n.send(append(out, "MAINPID="+strconv.Itoa(pid)+"\n"...)); err != nil {
			return true, err
		}
		return true, n.barrier()
	})
}

// untilEnd passes on all that the container says until it ends. The foreground process stays the one that the service
// manager watches.
func (n *notifier) untilEnd(pidfd *os.File) {
	_ = n.relay(pidfd, func(out []byte, _ bool) (bool, error) {
		if len(out) > 0 {
			_ = n.send(out) // a service manager that is gone is no reason to end the container
		}
		return false, nil
	})
}

// relay reads messages until f says that it is done, or the container has ended.
func (n *notifier) relay(pidfd *os.File, f func(out []byte, ready bool) (done bool, err error)) error {
	buf := make([]byte, 64<<10)
	fds := []unix.PollFd{{Fd: int32(n.socket.Fd()), Events: unix.POLLIN}, {Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("wait for the container's word: %w", err)
		}
		// Descriptors that come along are not taken, and so closed: whoever waits for that (sd_notify_barrier(3)) goes on.
		size, _, err := unix.Recvfrom(int(n.socket.Fd()), buf, 0)
		switch {
		case err == nil:
			out, ready := filter(buf[:size])
			if done, err := f(out, ready); done || err != nil {
				return err
			}
		case errors.Is(err, unix.EAGAIN) && fds[1].Revents != 0:
			return nil // it has ended, and all that it said has been read
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("read the container's word: %w", err)
		}
	}
}

// send sends a message to the service manager.
func (n *notifier) send(message []byte, rights ...int) error {
	conn, err := launch.Dial(n.host, unix.SOCK_DGRAM)
	if err != nil {
		return fmt.Errorf("notify %s: %w", n.host, err)
	}
	defer conn.Close()
	var oob []byte
	if len(rights) > 0 {
		oob = unix.UnixRights(rights...)
	}
	if err := unix.Sendmsg(int(conn.Fd()), message, oob, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify %s: %w", n.host, err)
	}
	return nil
}

// barrierTimeout bounds the wait for the service manager, in milliseconds; systemd-notify(1) waits as long.
const barrierTimeout = 5000

// barrier waits until the service manager has read everything so far. It looks up who sent a message when it reads
// it, and a process that has ended by then is nobody.
func (n *notifier) barrier() error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("notify %s: %w", n.host, err)
	}
	defer unix.Close(p[0])
	err := n.send([]byte("BARRIER=1"), p[1])
	unix.Close(p[1])
	if err != nil {
		return err
	}
	for {
		// The other end is closed once the message has been read.
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(p[0])}}, barrierTimeout)
		if !errors.Is(err, unix.EINTR) {
			return nil
		}
	}
}

// makeNotify makes the directory of the container's socket and, when the command starts at once, the socket.
func (cr *creation) makeNotify(listen bool) error {
	if !cr.c.rec.Notify {
		return nil
	}
	if err := os.Mkdir(filepath.Join(cr.c.dir, notifySub), 0o755); err != nil {
		return fmt.Errorf("make directory of the notify socket: %w", err)
	}
	if listen {
		return nil
	}
	var err error
	cr.word, err = cr.c.listenNotify(NotifySocket(cr.o.Environ))
	return err
}
