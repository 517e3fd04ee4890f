package lifecycle

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gcr/internal/cgroup"

	"golang.org/x/sys/unix"
)

// subgroups are the groups below a container's that exec is to use, as --cgroup names them: PATH in every hierarchy, or
// CONTROLLER[,CONTROLLER]:PATH in one of version 1, which may be repeated. A group that is not there is an error: without
// it the process would be outside the container's limits.
func subgroups(st cgroup.State, args []string) (cgroup.State, error) {
	paths := map[string]string{}
	for key, dir := range st.Paths {
		paths[key] = dir
	}
	for _, arg := range args {
		controllers, sub, split := strings.Cut(arg, ":")
		if !split {
			controllers, sub = "", arg
		}
		switch {
		case !split && len(args) > 1:
			return st, fmt.Errorf("invalid --cgroup argument: %s (missing <controller>: prefix)", arg)
		case !filepath.IsLocal(sub):
			return st, fmt.Errorf("invalid --cgroup argument: %s: it is not below the container's cgroup", arg)
		case !split:
			for key, dir := range st.Paths {
				// The unified hierarchy beside those of version 1 limits nothing, and has the group or not.
				if dir = filepath.Join(dir, sub); key != "" || st.Version == 2 || isDirectory(dir) {
					paths[key] = dir
				}
			}
		default:
			for _, c := range strings.Split(controllers, ",") {
				key, ok := hierarchyOf(st, c)
				if !ok {
					return st, fmt.Errorf("invalid --cgroup argument: %s: the container has no cgroup in a hierarchy of version 1 with the controller %q", arg, c)
				}
				paths[key] = filepath.Join(st.Paths[key], sub)
			}
		}
	}
	for key, dir := range paths {
		if dir != st.Paths[key] && !isDirectory(dir) {
			return st, fmt.Errorf("find cgroup %s (--cgroup): %w", dir, unix.ENOENT)
		}
	}
	st.Paths = paths
	return st, nil
}

// hierarchyOf finds the hierarchy of version 1 that has a controller.
func hierarchyOf(st cgroup.State, controller string) (string, bool) {
	for key := range st.Paths {
		if key != "" && slices.Contains(strings.Split(key, ","), controller) {
			return key, true
		}
	}
	return "", false
}

func isDirectory(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
