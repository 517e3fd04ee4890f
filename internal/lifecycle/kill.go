package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"gcr/internal/cgroup"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Kill sends a signal to the container's process, or with all to every process of its cgroup. All of a stopped
// container are those that it has left behind, and none is no error.
func (s Store) Kill(id string, sig unix.Signal, all bool) error {
	c, err := s.open(id)
	if err != nil {
		return err
	}
	pidfd, err := c.pidfd()
	if all || err == nil && sig == unix.SIGKILL && !c.rec.OwnPIDs && !c.configOwnPIDs() {
		if pidfd != nil {
			defer pidfd.Close()
		}
		return c.killAll(pidfd, sig)
	}
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), sig, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return ErrNotRunning
		}
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	if sig == unix.SIGKILL {
		// On cgroup v1 a frozen process does not even die.
		c.thaw()
	}
	return nil
}

// configOwnPIDs is what the record does not know when it was written by an older version.
func (c *Container) configOwnPIDs() bool {
	config, err := c.config()
	return err == nil && ownPIDs(config)
}

// ownPIDs reports whether the container has a PID namespace of its own, with whose first process all others end.
func ownPIDs(config *specs.Spec) bool {
	if config.Linux == nil {
		return false
	}
	for _, ns := range config.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

func (c *Container) killAll(pidfd *os.File, sig unix.Signal) error {
	g, err := c.group()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, cgroup.ErrNoGroup):
		if pidfd != nil {
			if err := unix.PidfdSendSignal(int(pidfd.Fd()), sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("signal container %s: %w", c.rec.ID, err)
			}
		}
		return nil
	case err != nil:
		return err
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	return g.Kill(ctx, sig)
}

func (c *Container) thaw() {
	g, err := c.group()
	if err != nil {
		return
	}
	defer g.Close()
	if frozen, err := g.Frozen(); err == nil && frozen {
		ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
		defer cancel()
		_ = g.Thaw(ctx)
	}
}

// Delete takes away what is left of a stopped container, and with force also of one that is not stopped. With force
// one that does not exist is no error: engines clean up twice.
func (s Store) Delete(id string, force bool) error {
	c, err := s.openLocked(id)
	if errors.Is(err, ErrNotExist) && force {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.unlock()
	return c.delete(force)
}

func (c *Container) delete(force bool) error {
	status := c.status()
	if status == specs.StateCreating && c.rec.PID == 0 {
		status = specs.StateStopped // we hold the lock, so nobody is creating it any more
	}
	if status != specs.StateStopped {
		if !force && status != specs.StateCreated {
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.rec.ID, status)
		}
		if err := c.end(); err != nil {
			return err
		}
	}
	return c.destroy()
}

// end kills the container's process and waits until it is gone.
func (c *Container) end() error {
	pidfd, err := c.pidfd()
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill container %s: %w", c.rec.ID, err)
	}
	c.thaw()
	if !waitGone(pidfd) {
		return fmt.Errorf("kill container %s: its process does not end", c.rec.ID)
	}
	return nil
}

// removeGroup ends what still runs in the container's cgroup and removes it.
func (c *Container) removeGroup() error {
	if c.rec.Cgroup == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	if c.cgroup == nil {
		return c.rec.Cgroup.Remove(ctx)
	}
	g := c.cgroup
	c.cgroup = nil
	defer g.Close()
	return errors.Join(g.Kill(ctx, unix.SIGKILL), g.Delete(ctx))
}

// destroy removes the cgroup with whatever still runs in it, runs the last hooks and removes the record.
func (c *Container) destroy() error {
	if err := c.removeGroup(); err != nil {
		return err
	}
	if err := c.stopUnit(); err != nil {
		// Its processes are gone, and with them the scope, whether or not systemd has an ear for us.
		c.store.warn("%v", err)
	}
	c.removeResctrl()
	if !c.rec.Plain {
		if config, err := c.config(); err == nil { // it is missing where an earlier delete was cut short
			pid := c.rec.PID
			c.rec.PID = 0
			c.runPoststop(config)
			c.rec.PID = pid
		}
	}
	return c.remove()
}
