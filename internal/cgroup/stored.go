package cgroup

import (
	"context"
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"gcr/internal/hostfile"

	"golang.org/x/sys/unix"
)

// This file has what can be done with a stored group without opening all of it first: a command about a container
// lives for two milliseconds, and on cgroup v1 a group is a dozen directories.

// Frozen tells whether the stored group itself was asked to freeze. The error is fs.ErrNotExist when it is gone.
func (s State) Frozen() (bool, error) {
	// As in Group.freezable.
	file := ""
	for key, dir := range s.Paths {
		switch {
		case key == "":
			file = path.Join(dir, "cgroup.freeze")
		case file == "" && keyHas(key, "freezer"):
			file = path.Join(dir, "freezer.self_freezing")
		}
	}
	if file == "" {
		return false, &Error{Op: "look at", Object: "the container", Cause: ErrNoGroup}
	}
	b, err := hostfile.Read(file, 1<<12)
	if err != nil {
		return false, &Error{Op: "read", Object: file, Cause: errnoOf(err)}
	}
	return strings.TrimSpace(string(b)) == "1", nil
}

// Entry is the way into a stored group for a new process; launch.Options.MakeCgroup takes it.
type Entry struct {
	state State
	into  int
	tasks []*os.File
}

// Enter opens what a process needs to start in the group: CgroupFD and TaskFiles are as those of the Group.
// Hierarchies in which the group is gone are left out; if it is gone from all of them the error is fs.ErrNotExist.
func (s State) Enter() (*Entry, error) {
	e := &Entry{state: State{Version: s.Version, Paths: map[string]string{}}, into: -1}
	var missing error
	for _, key := range slices.Sorted(maps.Keys(s.Paths)) {
		file, flags := s.Paths[key], unix.O_PATH|unix.O_DIRECTORY
		if key != "" {
			file, flags = path.Join(file, "tasks"), unix.O_WRONLY
		}
		fd, err := unix.Open(file, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if errors.Is(err, unix.ENOENT) {
			missing = &Error{Op: "open", Object: file, Cause: err}
			continue
		}
		if err != nil {
			e.Close()
			return nil, &Error{Op: "open", Object: file, Cause: err}
		}
		e.state.Paths[key] = s.Paths[key]
		if key == "" {
			e.into = fd
			continue
		}
		e.tasks = append(e.tasks, os.NewFile(uintptr(fd), file))
	}
	if len(e.state.Paths) == 0 && missing != nil {
		return nil, missing
	}
	return e, nil
}

// State is what has been opened.
func (e *Entry) State() State { return e.state }

// CgroupFD is the directory for clone3 with CLONE_INTO_CGROUP, -1 on plain v1; it belongs to the Entry.
func (e *Entry) CgroupFD() int { return e.into }

// TaskFiles hands over the tasks file of each v1 hierarchy; the caller closes them.
func (e *Entry) TaskFiles() ([]*os.File, error) {
	files := e.tasks
	e.tasks = nil
	return files, nil
}

// Close lets go of what TaskFiles has not handed over. A second call does nothing.
func (e *Entry) Close() {
	if e.into >= 0 {
		unix.Close(e.into)
		e.into = -1
	}
	for _, f := range e.tasks {
		f.Close()
	}
	e.tasks = nil
}

// Remove kills what is in the stored group and removes it. What is gone already is fine. A directory can only be
// removed when no process and no other group is in it, so most often there is nobody to kill.
func (s State) Remove(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	busy := false
	// The unified one first: where it goes, nobody is left to be killed in it.
	for _, key := range slices.Sorted(maps.Keys(s.Paths)) {
		err := unix.Rmdir(s.Paths[key])
		if busy = err != nil && !gone(err); busy {
			break
		}
	}
	if !busy {
		return nil
	}
	g, err := Load(s)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.Close()
	return errors.Join(g.Kill(ctx, unix.SIGKILL), g.Delete(ctx))
}
