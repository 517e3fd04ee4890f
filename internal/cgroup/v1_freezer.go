package cgroup

import (
	"context"
	"strings"
)

// setFreezerV1 asks and looks until the state is reached: v1 tells nobody (freezer-subsystem.rst). The
// request is repeated, since a process that comes in at the wrong moment can keep the state at FREEZING.
func setFreezerV1(ctx context.Context, d groupDir, want string) error {
	return retry(ctx, func() (bool, error) {
		if err := writeFile(d.dir, "freezer.state", want); err != nil {
			return false, err
		}
		now, err := readFile(d.dir, "freezer.state")
		return strings.TrimSpace(now) == want, err
	})
}

// frozenV1 counts FREEZING as frozen, as "pause" was asked for.
func frozenV1(d groupDir) (bool, error) {
	s, err := readFile(d.dir, "freezer.self_freezing")
	if err != nil {
		return false, &Error{Op: "read", Object: d.path + "/freezer.self_freezing", Cause: err}
	}
	return strings.TrimSpace(s) == "1", nil
}
