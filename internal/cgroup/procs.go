package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Procs lists the processes of the group and of all groups below it, sorted, as the caller's pid namespace
// numbers them. Zombies are not members any more.
func (g *Group) Procs() ([]int, error) {
	d, err := g.main()
	if errors.Is(err, ErrNoGroup) {
		return nil, &Error{Op: "list", Object: "the processes of the container", Cause: err}
	}
	return procsBelow(d.dir, d.path)
}

func procsBelow(dir *os.File, name string) ([]int, error) {
	var pids []int
	err := walk(dir, name, func(dir *os.File, name string) error {
		list, err := readFile(dir, "cgroup.procs")
		if gone(err) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // removed meanwhile; or threaded: its processes are listed in the domain above
		}
		if err != nil {
			return &Error{Op: "read", Object: path.Join(name, "cgroup.procs"), Cause: err}
		}
		for line := range strings.Lines(list) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// walk calls f for a group and everything below it, deepest first, each with its open directory. Groups
// that vanish meanwhile are skipped.
func walk(dir *os.File, name string, f func(dir *os.File, name string) error) error {
	names, err := children(dir)
	if err != nil && !gone(err) {
		return &Error{Op: "list", Object: name, Cause: errnoOf(err)}
	}
	for _, child := range names {
		sub, err := openDir(int(dir.Fd()), child, unix.O_PATH)
		if gone(err) {
			continue
		}
		if err != nil {
			return &Error{Op: "open", Object: path.Join(name, child), Cause: err}
		}
		err = walk(sub, path.Join(name, child), f)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return f(dir, name)
}
