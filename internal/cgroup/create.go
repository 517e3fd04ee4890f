package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Create makes the directories and writes the values. On any error it removes what it made. A group that
// exists is used if it is empty (its owner may have prepared it) and refused if processes are in it.
//
// A rootless caller without the right to make the group gets an Empty one if nothing asks for a limit.
func (p Plan) Create() (*Group, error) { return p.CreateAround(nil) }

// CreateAround is Create for a caller who wants to start a process in the group meanwhile. On a hybrid host, where the
// unified hierarchy has no limits, born is called with its directory as soon as that is there, before those of the
// other hierarchies. When they cannot be made, what born returned is called before the directory is taken away again:
// it ends the process. On other hosts born is not called. It may be nil.
func (p Plan) CreateAround(born func(dir int) (end func())) (*Group, error) {
	g := &Group{version: p.Version}
	var made []madeDir
	var end func()
	undo := func() {
		if end != nil {
			end()
		}
		g.Close()
		remove(made)
		made = nil
	}
	defer func() {
		for _, m := range made {
			m.parent.Close()
		}
	}()
	for _, d := range p.inOrder() {
		before := len(made)
		dir, err := p.makeDir(d, &made)
		if err != nil && p.optional && denied(err) && !p.writesTo(d) {
			remove(made[before:])
			made = made[:before]
			continue
		}
		if err != nil {
			undo()
			return nil, err
		}
		g.dirs = append(g.dirs, groupDir{d.Key, d.Dir(), dir})
		if d.Key == "" && p.Version == 1 && born != nil {
			end = born(int(dir.Fd()))
		}
	}
	if err := p.apply(g); err != nil {
		undo()
		return nil, err
	}
	return g, nil
}

// inOrder gives the directories in the order in which they are made: the unified one first.
func (p Plan) inOrder() []Dir {
	dirs := slices.Clone(p.Dirs)
	slices.SortStableFunc(dirs, func(a, b Dir) int {
		return cmp.Compare(min(len(a.Key), 1), min(len(b.Key), 1))
	})
	return dirs
}

func (p Plan) writesTo(d Dir) bool {
	return slices.ContainsFunc(p.Writes, func(w Write) bool { return p.Version == 2 || keyHas(d.Key, w.Controller) })
}

// madeDir remembers a directory to take back.
type madeDir struct {
	parent *os.File // a descriptor of its own
	name   string
}

// remove takes directories back, the last one first.
func remove(made []madeDir) {
	for _, m := range slices.Backward(made) {
		// A process that has just ended may still count as one of the group's.
		for range 100 {
			if err := unix.Unlinkat(int(m.parent.Fd()), m.name, unix.AT_REMOVEDIR); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		m.parent.Close()
	}
}

// makeDir makes one directory with all above it and returns it open.
func (p Plan) makeDir(d Dir, made *[]madeDir) (*os.File, error) {
	names := components(d.Path)
	first := max(0, len(names)-1)
	// Most groups are made below one that is there.
	at, err := openDir(unix.AT_FDCWD, path.Join(append([]string{d.Mount}, names[:first]...)...), unix.O_PATH)
	if errors.Is(err, unix.ENOENT) && first > 0 {
		first = 0
		at, err = openDir(unix.AT_FDCWD, d.Mount, unix.O_PATH)
	}
	if err != nil {
		return nil, &Error{Op: "open", Object: d.Mount, Cause: err}
	}
	fresh := false
	for i := first; i < len(names); i++ {
		name := names[i]
		err := unix.Mkdirat(int(at.Fd()), name, 0o755)
		last := i == len(names)-1
		fresh = err == nil
		below := path.Join(append([]string{d.Mount}, names[:i+1]...)...)
		if err == nil {
			*made = append(*made, madeDir{at, name})
		} else if !errors.Is(err, unix.EEXIST) {
			at.Close()
			return nil, mkdirError(p.Version, below, err)
		}
		next, openErr := openDir(int(at.Fd()), name, unix.O_PATH)
		if err != nil {
			at.Close()
		}
		if openErr != nil {
			return nil, &Error{Op: "open", Object: below, Cause: openErr}
		}
		if last && err != nil && !p.joined {
			if err := checkVacant(next, d.Key, below); err != nil {
				next.Close()
				return nil, err
			}
		}
		at = next
	}
	var prepareErr error
	switch {
	case p.Version == 2:
		prepareErr = enable(d, at)
	case d.Cpuset:
		prepareErr = inheritCpuset(d, at, fresh)
	}
	if prepareErr != nil {
		at.Close()
		return nil, prepareErr
	}
	return at, nil
}

func mkdirError(version int, dir string, err error) error {
	e := &Error{Op: "create", Object: dir, Field: "linux.cgroupsPath", Cause: err}
	switch {
	case errors.Is(err, unix.EROFS):
		e.Hint = "the cgroup file system is mounted read-only here, as inside most containers"
	case denied(err):
		e.Hint = delegationHint(version)
	case errors.Is(err, unix.EAGAIN):
		e.Hint = "cgroup.max.descendants or cgroup.max.depth of a group above is reached"
	}
	return e
}

// checkVacant refuses an existing group that is in use: limits of one container must not fall on another.
func checkVacant(dir *os.File, key, name string) error {
	procs, err := readFile(dir, "cgroup.procs")
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded group does not list its processes
		return &Error{Op: "read", Object: name + "/cgroup.procs", Cause: err}
	}
	if n := strings.Count(procs, "\n"); n > 0 {
		return &Error{
			Op: "use", Object: name, Field: "linux.cgroupsPath",
			Cause: fmt.Errorf("%d processes are in it", n), Hint: "give each container a path of its own",
		}
	}
	file, frozen := "freezer.state", "FROZEN"
	if key == "" {
		file, frozen = "cgroup.freeze", "1"
	}
	if state, err := readFile(dir, file); err == nil && strings.TrimSpace(state) == frozen {
		return &Error{
			Op: "use", Object: name, Field: "linux.cgroupsPath",
			Cause: errors.New("it is frozen, so a process in it would never run"), Hint: "thaw or remove it",
		}
	}
	return nil
}

// apply does the writes, the device filter and the change of owner.
func (p Plan) apply(g *Group) error {
	// The default device rules are eleven lines for one file of v1: it stays open from one to the next.
	var last openWrite
	defer last.close()
	for _, w := range p.Writes {
		if err := last.apply(g, p.Version, w); err != nil {
			return err
		}
	}
	if p.Devices != nil && len(g.dirs) > 0 {
		if err := p.Devices.attach(g.dirs[0].dir); err != nil {
			return err
		}
	}
	if p.Owner != nil && len(g.dirs) > 0 {
		return p.Owner.delegate(g.dirs[0])
	}
	return nil
}

// openWrite is a file of the group that the last write went to.
type openWrite struct {
	file string
	f    *os.File
}

func (o *openWrite) close() {
	if o.f != nil {
		o.f.Close()
	}
	o.f = nil
}

// apply does one write.
func (o *openWrite) apply(g *Group, version int, w Write) error {
	d, ok := g.with(w.Controller)
	if !ok {
		return w.fail("", ErrNoGroup, version)
	}
	if w.skip(d.dir) {
		return nil
	}
	if o.f == nil || o.file != w.File {
		o.close()
		f, err := openFile(d.dir, w.File, unix.O_WRONLY)
		if err != nil {
			return w.fail(d.path, err, version)
		}
		o.file, o.f = w.File, f
	}
	if err := writeOnce(int(o.f.Fd()), w.Value); err != nil {
		return w.fail(d.path, err, version)
	}
	return nil
}

// apply does this one write.
func (w Write) apply(g *Group, version int) error {
	var o openWrite
	defer o.close()
	return o.apply(g, version, w)
}

// skip tells that the kernel's choice of files makes the write needless.
func (w Write) skip(dir *os.File) bool {
	return w.IfExists && !exists(dir, w.File) || w.Unless != "" && exists(dir, w.Unless)
}

// fail makes the error of a refused write, with what is known about why.
func (w Write) fail(dir string, err error, version int) error {
	return &Error{
		Op: "write " + quote(w.Value) + " to", Object: path.Join(dir, w.File), Field: w.Field, Cause: err,
		Hint: writeHint(w, err, version),
	}
}

// delegate gives the group to the container's root: the directory, so that it can make groups below, and
// the files that the kernel names as safe (cgroups(7), "Delegation"; /sys/kernel/cgroup/delegate since Linux 4.15).
func (o Owner) delegate(d groupDir) error {
	fail := func(name string, err error) error {
		return &Error{Op: fmt.Sprintf("give to %d:%d", o.UID, o.GID), Object: name, Cause: err}
	}
	if err := unix.Fchownat(int(d.dir.Fd()), "", o.UID, o.GID, unix.AT_EMPTY_PATH); err != nil {
		return fail(d.path, err)
	}
	list, err := os.ReadFile("/sys/kernel/cgroup/delegate")
	if err != nil {
		list = []byte("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n")
	}
	for _, name := range strings.Fields(string(list)) {
		err := unix.Fchownat(int(d.dir.Fd()), name, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.ENOENT) { // the list also names files of absent controllers
			return fail(d.path+"/"+name, err)
		}
	}
	return nil
}
