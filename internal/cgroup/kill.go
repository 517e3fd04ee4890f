package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kill sends a signal to every process of the group and of the groups below it, such that none that
// forks meanwhile is missed. A group that was frozen stays so, except for SIGKILL, which must take effect.
// No processes is no error. It does not wait for the processes to be gone; Delete does.
func (g *Group) Kill(ctx context.Context, sig unix.Signal) error {
	d, err := g.main()
	if err != nil {
		return &Error{Op: "send " + unix.SignalName(sig) + " to", Object: "all processes of the container", Cause: err}
	}
	fail := func(err error) error {
		return &Error{Op: "send " + unix.SignalName(sig) + " to", Object: "the processes of " + d.path, Cause: err}
	}
	if sig == unix.SIGKILL && d.key == "" {
		// The kernel kills the whole tree at once, forks included, frozen or not (cgroup.kill, Linux 5.14).
		if err := writeFile(d.dir, "cgroup.kill", "1"); err != nil && !gone(err) {
			return fail(err)
		}
		if f, ok := g.with("freezer"); ok && f.key != "" {
			_ = writeFile(f.dir, "freezer.state", "THAWED") // another tool may have frozen it there, where SIGKILL waits
		}
		return nil
	}
	if sig == unix.SIGKILL {
		g.killElsewhere(d)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	freezer, err := g.freezable("freeze")
	if err != nil {
		if err := killUnfrozen(ctx, d, sig); err != nil {
			return fail(err)
		}
		return nil
	}
	before, err := g.Frozen()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	// Stopped processes neither fork nor exit, so the list is whole and every number on it means the
	// process that it named.
	if !before {
		half, cancelHalf := halfway(ctx)
		err := g.Freeze(half)
		cancelHalf()
		if err != nil {
			if sig != unix.SIGKILL {
				return err
			}
			// A process that cannot be stopped must not save the others from being killed.
			if err := killUnfrozen(ctx, d, sig); err != nil {
				return fail(err)
			}
			return nil
		}
	}
	_, signalErr := signalAll(d, sig)
	if !before || sig == unix.SIGKILL {
		if err := thawDir(ctx, freezer); err != nil && !gone(err) {
			return errors.Join(signalErr, &Error{Op: "thaw", Object: freezer.path, Cause: err})
		}
	}
	if signalErr != nil {
		return fail(signalErr)
	}
	return nil
}

// killElsewhere kills the processes that are in the group in some hierarchy other than the main one: on their way
// in, a process enters one after the other, and it may have been frozen or left by its parent half-way.
func (g *Group) killElsewhere(main groupDir) {
	for _, d := range g.dirs {
		switch d.key {
		case main.key:
		case "":
			_ = writeFile(d.dir, "cgroup.kill", "1")
		default:
			_, _ = signalAll(d, unix.SIGKILL)
		}
	}
}

// halfway leaves half of the time for what comes after.
func halfway(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline()
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// signalAll signals each process once and says which there were.
func signalAll(d groupDir, sig unix.Signal) (map[int]bool, error) {
	pids, err := procsBelow(d.dir, d.path)
	seen := map[int]bool{}
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		seen[pid] = true
		if killErr := unix.Kill(pid, sig); killErr != nil && killErr != unix.ESRCH {
			err = errors.Join(err, fmt.Errorf("process %d: %w", pid, killErr))
		}
	}
	return seen, err
}

// killUnfrozen is for hosts without a freezer: it goes round until nobody new is found.
func killUnfrozen(ctx context.Context, d groupDir, sig unix.Signal) error {
	known := map[int]bool{}
	return retry(ctx, func() (bool, error) {
		pids, err := procsBelow(d.dir, d.path)
		if err != nil {
			return false, err
		}
		fresh := false
		for _, pid := range pids {
			if pid == os.Getpid() || known[pid] && sig != unix.SIGKILL {
				continue
			}
			fresh, known[pid] = true, true
			if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
				return false, fmt.Errorf("process %d: %w", pid, err)
			}
		}
		return !fresh, nil
	})
}
