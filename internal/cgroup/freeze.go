package cgroup

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
)

// Freeze stops all processes of the group and of the groups below it, also ones that fork meanwhile, and
// returns when all are stopped. Without a deadline in ctx it gives up after 10 s; then the group runs on.
func (g *Group) Freeze(ctx context.Context) error {
	d, err := g.freezable("freeze")
	if err != nil {
		return err
	}
	pids, err := procsBelow(d.dir, d.path)
	if err != nil {
		return err
	}
	if slices.Contains(pids, os.Getpid()) {
		return &Error{Op: "freeze", Object: d.path, Cause: errors.New("this very process is in it, and nobody would be left to thaw it")}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err = freezeDir(ctx, d); err != nil {
		// Half frozen is the worst of both.
		_ = thawDir(context.WithoutCancel(ctx), d)
		return &Error{
			Op: "freeze", Object: d.path, Cause: err,
			Hint: "a process in uninterruptible sleep (state D in ps) cannot be stopped until its input or output is done",
		}
	}
	return nil
}

// Thaw lets a frozen group run on.
func (g *Group) Thaw(ctx context.Context) error {
	d, err := g.freezable("thaw")
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := thawDir(ctx, d); err != nil {
		return &Error{Op: "thaw", Object: d.path, Cause: err, Hint: "a group above may be frozen too"}
	}
	return nil
}

// Frozen tells whether the group itself was asked to freeze.
func (g *Group) Frozen() (bool, error) {
	d, err := g.freezable("look at")
	if err != nil {
		return false, err
	}
	if d.key != "" {
		return frozenV1(d)
	}
	s, err := readFile(d.dir, "cgroup.freeze")
	if err != nil {
		return false, &Error{Op: "read", Object: d.path + "/cgroup.freeze", Cause: err}
	}
	return strings.TrimSpace(s) == "1", nil
}

// freezable finds where to freeze: in the unified hierarchy where there is one (it notifies, and frozen
// processes can still be killed), else in the freezer's.
func (g *Group) freezable(verb string) (groupDir, error) {
	for _, controller := range []string{"", "freezer"} {
		if d, ok := g.with(controller); ok {
			return d, nil
		}
	}
	if g.Empty() {
		return groupDir{}, &Error{Op: verb, Object: "the container", Cause: ErrNoGroup}
	}
	return groupDir{}, &Error{
		Op: verb, Object: g.Path(), Cause: errors.New("no mounted cgroup v1 hierarchy has the freezer controller"),
		Hint: "mount it: mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer",
	}
}

func freezeDir(ctx context.Context, d groupDir) error {
	if d.key != "" {
		return setFreezerV1(ctx, d, "FROZEN")
	}
	return setFreezerV2(ctx, d, "1")
}

func thawDir(ctx context.Context, d groupDir) error {
	if d.key != "" {
		return setFreezerV1(ctx, d, "THAWED")
	}
	return setFreezerV2(ctx, d, "0")
}

// setFreezerV2 asks and waits for cgroup.events to agree (cgroup-v2.rst, cgroup.freeze; Linux 5.2).
func setFreezerV2(ctx context.Context, d groupDir, want string) error {
	if err := writeFile(d.dir, "cgroup.freeze", want); err != nil {
		return err
	}
	return waitFor(ctx, d.dir, "cgroup.events", func(events string) bool {
		now, _ := flat(events, "frozen")
		return now == want
	})
}
