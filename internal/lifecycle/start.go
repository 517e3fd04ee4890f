package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gcr/internal/launch"
	"gcr/internal/plan"
	"gcr/internal/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets the process of a created container become the user's command. With the path of a service manager's
// socket as notify it waits until the container has said that it is ready, and passes that on.
func (s Store) Start(id, notify string) error {
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.unlock()
	var n *notifier
	if notify != "" && c.rec.Notify && c.status() == specs.StateCreated {
		if n, err = c.listenNotify(notify); err != nil {
			return err
		}
		defer n.close()
	}
	if err := c.start(); err != nil || n == nil {
		return err
	}
	pidfd, err := c.pidfd()
	if err != nil {
		return nil // it has ended without a word
	}
	defer pidfd.Close()
	c.unlock() // other commands may work on the container meanwhile
	if err := n.untilReady(pidfd, c.rec.PID); err != nil {
		s.warn("%v", err)
	}
	return nil
}

func (c *Container) start() error {
	switch c.status() {
	case specs.StateCreated:
	case specs.StateStopped:
		return errors.New("cannot start a container that has stopped")
	case Paused:
		return errors.New("cannot start a paused container; resume it first")
	case specs.StateCreating:
		return errors.New("cannot start a container that is being created")
	default:
		return errors.New("cannot start an already running container")
	}
	config := &specs.Spec{}
	if !c.rec.Plain {
		var err error
		if config, err = c.config(); err != nil {
			return err
		}
		if config.Process == nil {
			return c.abort(errNoProcess)
		}
	}
	conn, err := launch.Dial(filepath.Join(c.dir, socketName), unix.SOCK_SEQPACKET)
	if err != nil {
		return fmt.Errorf("connect to the waiting container: %w", err)
	}
	defer conn.Close()
	if err := c.startContainerHooks(config); err != nil {
		return c.abort(err)
	}
	err = launch.Resume(conn, launch.ResumeOptions{
		Failure: func(call int, errno unix.Errno) error {
			config, err := c.config()
			if err != nil {
				return fmt.Errorf("start container: call %d of its program: %w", call, errno)
			}
			return c.failure(config, call, errno)
		},
		OnNotify: func(l *os.File) error {
			config, err := c.config()
			if err != nil {
				l.Close()
				return err
			}
			return c.sendListener(config, c.rec.PID, l)
		},
	})
	if err != nil {
		return c.abort(err)
	}
	_ = os.Remove(filepath.Join(c.dir, socketName))
	return c.poststart(config)
}

// errNoProcess is the error of a start without anything to start.
var errNoProcess = errors.New("process property must not be empty")

// abort ends a container whose start has failed; it stays there, stopped, to be deleted (runtime.md, "Lifecycle").
func (c *Container) abort(err error) error {
	if pidfd, perr := c.pidfd(); perr == nil {
		_ = unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0)
		waitGone(pidfd)
		pidfd.Close()
	}
	return err
}

func (c *Container) startContainerHooks(config *specs.Spec) error {
	if config.Hooks == nil || len(config.Hooks.StartContainer) == 0 {
		return nil
	}
	pidfd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	return c.runInside("startContainer", config.Hooks.StartContainer, c.hookState(specs.StateCreated), config, pidfd)
}

// poststart runs the hooks that follow the start. When one fails the container is stopped (runtime.md, "Lifecycle",
// step 10).
func (c *Container) poststart(config *specs.Spec) error {
	if config.Hooks == nil {
		return nil
	}
	if err := runHooks("poststart", config.Hooks.Poststart, c.hookState(specs.StateRunning)); err != nil {
		return c.abort(err)
	}
	return nil
}

// config reads the configuration that the container was created with.
func (c *Container) config() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	config, _, err := loadConfig(filepath.Join(c.dir, configName))
	return config, err
}

// failure puts into words which call of the container's program failed. The plan is a pure function, so it is made
// again from what it was made from.
func (c *Container) failure(config *specs.Spec, call int, errno unix.Errno) error {
	in, err := c.input()
	if err != nil {
		return fmt.Errorf("start container: call %d of its program: %w", call, errno)
	}
	c.effective(config)
	in.Spec = config
	p, err := plan.New(in)
	if err != nil {
		return fmt.Errorf("start container: call %d of its program: %w", call, errno)
	}
	return p.Failure(call, errno)
}

// sendListener gives the seccomp listener to the agent (config-linux.md, "Seccomp", listenerPath).
func (c *Container) sendListener(config *specs.Spec, pid int, listener *os.File) error {
	defer listener.Close()
	profile := config.Linux.Seccomp
	status := specs.StateCreating
	if pid != c.rec.PID {
		status = specs.StateRunning // a process that exec adds
	}
	msg, err := seccomp.ProcessState(pid, profile.ListenerMetadata, c.hookState(status), seccomp.PidFD)
	if err != nil {
		return err
	}
	return launch.SendListener(profile.ListenerPath, msg, pid, listener)
}

// waitGone waits until the process behind a pidfd has ended; a pidfd is readable then (pidfd_open(2)). It gives up
// after ten seconds: a process in an uninterruptible sleep takes no signal.
func waitGone(pidfd *os.File) bool {
	for range 100 {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, 100)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
	return false
}
