package cgroup

import (
	"os"
	"path"
	"strings"

	"gcr/internal/hostfile"

	"golang.org/x/sys/unix"
)

// inheritCpuset copies cpuset.cpus and cpuset.mems from the nearest ancestor that has them down to the new
// group: v1 makes cpusets empty, and no process can join an empty one (cpusets(7)).
//
// Where the group is fresh, the group above has values as a rule, and they are copied without a further look: what
// cgroup.clone_children may have put there is the same.
func inheritCpuset(d Dir, leaf *os.File, fresh bool) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if fresh {
			above, err := hostfile.Read(path.Join(path.Dir(d.Dir()), file), 1<<16)
			if value := strings.TrimSpace(string(above)); err == nil && value != "" {
				if err := writeFile(leaf, file, value); err != nil {
					return &Error{Op: "write " + quote(value) + " to", Object: path.Join(d.Dir(), file), Cause: err}
				}
				continue
			}
		}
		value, err := readFile(leaf, file)
		if err != nil {
			return &Error{Op: "read", Object: path.Join(d.Dir(), file), Cause: err}
		}
		if strings.TrimSpace(value) != "" {
			continue // cgroup.clone_children did it, or the owner of the group
		}
		if err := copyDown(d, file); err != nil {
			return err
		}
	}
	return nil
}

func copyDown(d Dir, file string) error {
	at, err := openDir(unix.AT_FDCWD, d.Mount, unix.O_PATH)
	if err != nil {
		return &Error{Op: "open", Object: d.Mount, Cause: err}
	}
	defer func() { at.Close() }()
	name := d.Mount
	above := ""
	for i, c := range append([]string{"."}, components(d.Path)...) {
		next, err := openDir(int(at.Fd()), c, unix.O_PATH)
		if err != nil {
			return &Error{Op: "open", Object: path.Join(name, c), Cause: err}
		}
		at.Close()
		at, name = next, path.Join(name, c)
		value, err := readFile(at, file)
		if err != nil {
			return &Error{Op: "read", Object: path.Join(name, file), Cause: err}
		}
		if value = strings.TrimSpace(value); value == "" && i > 0 {
			if err := writeFile(at, file, above); err != nil {
				return &Error{Op: "write " + quote(above) + " to", Object: path.Join(name, file), Cause: err}
			}
			value = above
		}
		above = value
	}
	return nil
}
