package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var errBusy = errors.New("processes are still in it")

// Delete removes the group from every hierarchy, with all groups that the container made below it. The
// processes must be dead or dying (see Kill): it waits for them until ctx ends, 10 s if that has no deadline.
// What is gone already is fine, so Delete may be repeated after any interruption.
func (g *Group) Delete(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var errs []error
	// The unified group first: it tells when it is empty, and the others are empty at the same time.
	first := func(a, b groupDir) int { return strings.Compare(a.key, b.key) }
	for _, d := range slices.SortedFunc(slices.Values(g.dirs), first) {
		err := d.remove(ctx)
		if err != nil {
			errs = append(errs, err)
		}
		if errors.Is(err, errBusy) {
			break // it is the same processes everywhere
		}
	}
	return errors.Join(errs...)
}

func (d groupDir) remove(ctx context.Context) error {
	if !d.current() {
		return nil
	}
	err := retry(ctx, func() (bool, error) {
		err := removeTree(d)
		if !errors.Is(err, unix.EBUSY) {
			return true, err
		}
		if d.key != "" {
			return false, nil
		}
		waitErr := waitFor(ctx, d.dir, "cgroup.events", func(events string) bool {
			populated, _ := flat(events, "populated")
			return populated == "0"
		})
		if gone(waitErr) {
			return true, nil
		}
		return false, waitErr
	})
	if err == nil {
		return nil
	}
	e := &Error{Op: "remove", Object: d.path, Cause: err}
	if pids, listErr := procsBelow(d.dir, d.path); listErr == nil && len(pids) > 0 {
		e.Cause = fmt.Errorf("%d %w: %s", len(pids), errBusy, someOf(pids))
		e.Hint = "kill them first; one in uninterruptible sleep (state D in ps) goes when its input or output is done"
	}
	return e
}

// current tells whether the path still names the directory that was opened.
func (d groupDir) current() bool {
	var opened, named unix.Stat_t
	return unix.Fstat(int(d.dir.Fd()), &opened) == nil && unix.Lstat(d.path, &named) == nil &&
		opened.Ino == named.Ino && opened.Dev == named.Dev
}

// removeTree removes the group, and before it the groups below if there are any: a group that has some, or
// processes, is busy.
func removeTree(d groupDir) error {
	err := unix.Rmdir(d.path)
	if errors.Is(err, unix.EBUSY) {
		if err := removeChildren(d.dir); err != nil {
			return err
		}
		err = unix.Rmdir(d.path)
	}
	if err != nil && !gone(err) {
		return err
	}
	return nil
}

func removeChildren(dir *os.File) error {
	names, err := children(dir)
	if err != nil && !gone(err) {
		return errnoOf(err)
	}
	for _, name := range names {
		sub, err := openDir(int(dir.Fd()), name, unix.O_PATH)
		if err == nil {
			err = removeChildren(sub)
			sub.Close()
		}
		if err == nil {
			err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
		}
		if err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// someOf lists up to eight process ids.
func someOf(pids []int) string {
	var s []string
	for i, pid := range pids {
		if i == 8 {
			s = append(s, "...")
			break
		}
		s = append(s, itoa(int64(pid)))
	}
	return strings.Join(s, " ")
}
