package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// enable makes the controllers available in the new group: each group above must list them in
// cgroup.subtree_control (cgroup-v2.rst, "Enabling and Disabling"). Usually they are there already, which
// one look into the leaf tells.
func enable(d Dir, leaf *os.File) error {
	have, err := readFile(leaf, "cgroup.controllers")
	if err != nil {
		return &Error{Op: "read", Object: path.Join(d.Dir(), "cgroup.controllers"), Cause: err}
	}
	missing := func(names []string) (list []string) {
		for _, n := range names {
			if !slices.Contains(strings.Fields(have), n) {
				list = append(list, n)
			}
		}
		return list
	}
	need, try := missing(d.Enable), missing(d.Try)
	if len(need)+len(try) == 0 {
		return nil
	}
	at, err := openDir(unix.AT_FDCWD, d.Mount, unix.O_PATH)
	if err != nil {
		return &Error{Op: "open", Object: d.Mount, Cause: err}
	}
	defer func() { at.Close() }()
	name := d.Mount
	for _, c := range components(d.Path) {
		if err := enableIn(at, name, need, try); err != nil {
			return err
		}
		next, err := openDir(int(at.Fd()), c, unix.O_PATH)
		if err != nil {
			return &Error{Op: "open", Object: path.Join(name, c), Cause: err}
		}
		at.Close()
		at, name = next, path.Join(name, c)
	}
	return nil
}

// enableIn enables controllers in one directory, each by a write of its own: one write of several takes
// effect all or nothing.
func enableIn(dir *os.File, name string, need, try []string) error {
	list, err := readFile(dir, "cgroup.subtree_control")
	if err != nil {
		return &Error{Op: "read", Object: path.Join(name, "cgroup.subtree_control"), Cause: err}
	}
	enabled := strings.Fields(list)
	have := func(c string) bool { return slices.Contains(enabled, c) }
	need, try = slices.DeleteFunc(slices.Clone(need), have), slices.DeleteFunc(slices.Clone(try), have)
	if len(need)+len(try) == 0 {
		return nil
	}
	// Asked before anything is changed: the kernel refuses memory in a group with processes, but takes cpu and
	// turns the group into a threaded one, which no container can live in. Only the real root, known by its
	// lack of cgroup.type, may have both.
	if procs, err := readFile(dir, "cgroup.procs"); (err != nil || procs != "") && exists(dir, "cgroup.type") {
		if len(need) == 0 {
			return nil
		}
		return &Error{
			Op: "enable controller " + need[0] + " in", Object: name, Field: "linux.resources",
			Cause: unix.EBUSY, Hint: enableHint(unix.EBUSY),
		}
	}
	for _, c := range need {
		if err := writeFile(dir, "cgroup.subtree_control", "+"+c); err != nil {
			return &Error{
				Op: "enable controller " + c + " in", Object: name, Field: "linux.resources",
				Cause: err, Hint: enableHint(err),
			}
		}
	}
	for _, c := range try {
		_ = writeFile(dir, "cgroup.subtree_control", "+"+c) // only statistics would miss it
	}
	return nil
}

func enableHint(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "processes sit in that group itself, and cgroup v2 limits only groups below one without any: move them into a child group first"
	case gone(err):
		return "the group above it does not have the controller; a user session gets it by Delegate= of user@.service"
	case denied(err):
		return delegationHint(2)
	}
	return ""
}
