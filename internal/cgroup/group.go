package cgroup

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is one container's group: one directory on cgroup v2, one in each hierarchy on v1. Its methods
// may be called from several goroutines, except Close.
type Group struct {
	version int
	dirs    []groupDir
}

// groupDir is the group in one hierarchy.
type groupDir struct {
	key  string // Mount.Key
	path string
	dir  *os.File // O_PATH
}

// Load opens a group that an earlier process made, from its State. Hierarchies in which the group is gone
// are left out; if it is gone from all of them the error is fs.ErrNotExist.
func Load(s State) (*Group, error) {
	g := &Group{version: s.Version}
	if s.Version != 1 && s.Version != 2 {
		return nil, &Error{Op: "load", Object: "the saved state of a cgroup", Cause: errors.New("version is neither 1 nor 2")}
	}
	keys := make([]string, 0, len(s.Paths))
	for key := range s.Paths {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var missing error
	for _, key := range keys {
		dir, err := openDir(unix.AT_FDCWD, s.Paths[key], unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			missing = &Error{Op: "open", Object: s.Paths[key], Cause: err}
			continue
		}
		if err != nil {
			g.Close()
			return nil, &Error{Op: "open", Object: s.Paths[key], Cause: err}
		}
		g.dirs = append(g.dirs, groupDir{key, s.Paths[key], dir})
	}
	if len(g.dirs) == 0 && missing != nil {
		return nil, missing
	}
	return g, nil
}

// Close releases the descriptors; the group stays.
func (g *Group) Close() error {
	for _, d := range g.dirs {
		d.dir.Close()
	}
	g.dirs = nil
	return nil
}

// Version is 1 or 2.
func (g *Group) Version() int { return g.version }

// Empty tells that the container has no group of its own: a rootless one where nothing was delegated and
// nothing asked for a limit.
func (g *Group) Empty() bool { return len(g.dirs) == 0 }

// State gives what Load needs.
func (g *Group) State() State {
	s := State{Version: g.version, Paths: map[string]string{}}
	for _, d := range g.dirs {
		s.Paths[d.key] = d.path
	}
	return s
}

// CgroupFD is the directory for clone3 with CLONE_INTO_CGROUP: the unified group's, also on a hybrid host; -1 on
// plain v1. It belongs to the Group.
func (g *Group) CgroupFD() int {
	for _, d := range g.dirs {
		if d.key == "" {
			return int(d.dir.Fd())
		}
	}
	return -1
}

// TaskFiles opens the tasks file of each v1 hierarchy for writing; the caller closes them. A process that
// has one thread and writes "0" to each joins the group without the wait that cgroup.procs has. On v2
// there are none: clone3 does it.
func (g *Group) TaskFiles() ([]*os.File, error) {
	var files []*os.File
	for _, d := range g.dirs {
		if d.key == "" {
			continue
		}
		f, err := openFile(d.dir, "tasks", unix.O_WRONLY)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, &Error{Op: "open", Object: d.path + "/tasks", Cause: err}
		}
		files = append(files, f)
	}
	return files, nil
}

// AddProcess moves a process that exists, with all its threads, into the group. It can take 10 ms and
// more (see docs/cgroups.md); new processes start inside by CgroupFD and TaskFiles.
func (g *Group) AddProcess(pid int) error {
	if g.Empty() {
		return &Error{Op: "move a process into", Object: "a cgroup", Cause: ErrNoGroup}
	}
	for _, d := range g.dirs {
		if err := writeFile(d.dir, "cgroup.procs", itoa(int64(pid))); err != nil {
			return &Error{Op: "move process " + itoa(int64(pid)) + " into", Object: d.path, Cause: err}
		}
	}
	return nil
}

// with finds the directory of the hierarchy that has the controller; on v2 there is only one.
func (g *Group) with(controller string) (groupDir, bool) {
	for _, d := range g.dirs {
		if g.version == 2 || controller != "" && keyHas(d.key, controller) || controller == "" && d.key == "" {
			return d, true
		}
	}
	return groupDir{}, false
}

// main is the directory whose member processes count as the group's: the unified one where there is one,
// since no process of the group can leave it without rights above; else the freezer's, so that what Freeze
// stops and what Procs lists is the same; else any.
func (g *Group) main() (groupDir, error) {
	for _, controller := range []string{"", "freezer", "pids", "name=systemd"} {
		if d, ok := g.with(controller); ok {
			return d, nil
		}
	}
	if len(g.dirs) > 0 {
		return g.dirs[0], nil
	}
	return groupDir{}, ErrNoGroup
}

// Path gives the absolute directory of the group in its main hierarchy, "" if it has none.
func (g *Group) Path() string {
	d, err := g.main()
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(d.path, "/")
}
