package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gcr/internal/cgroup"

	"golang.org/x/sys/unix"
)

// groupsName is the cgroup below which all contenders make theirs.
const groupsName = "gcr-bench"

// groups is the cgroup of the benchmark in every hierarchy.
type groups struct {
	version int
	mounts  []cgroup.Mount
	hugetlb string // mounted by us
}

// makeGroups makes the parent group. On a host with cgroup v1 the hierarchy hugetlb is mounted where it is
// missing, for as long as the bench runs: crun 1.8 does not start without it. That adds a hierarchy and changes none.
func makeGroups() (*groups, error) {
	g := &groups{}
	host, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	if host.Version == 1 && !mounted(host, "hugetlb") {
		dir := "/sys/fs/cgroup/hugetlb"
		if err := os.MkdirAll(dir, 0o755); err == nil {
			if err := unix.Mount("cgroup", dir, "cgroup", 0, "hugetlb"); err == nil {
				g.hugetlb = dir
				fmt.Println("mounted the cgroup v1 hierarchy hugetlb, which crun 1.8 needs")
			} else {
				_ = os.Remove(dir)
			}
		}
		if host, err = cgroup.Detect(); err != nil {
			return nil, err
		}
	}
	g.version, g.mounts = host.Version, host.Mounts
	for _, m := range g.mounts {
		dir := filepath.Join(m.Point, groupsName)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make the cgroup of the benchmark: %w", err)
		}
		if m.Has("cpuset") && !m.Unified {
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(filepath.Join(m.Point, f))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, f), b, 0)
				}
				if err != nil {
					return nil, fmt.Errorf("prepare the cpuset of the benchmark: %w", err)
				}
			}
		}
	}
	return g, nil
}

func mounted(h cgroup.Host, controller string) bool {
	for _, m := range h.Mounts {
		if m.Has(controller) {
			return true
		}
	}
	return false
}

// path is the value of linux.cgroupsPath for a container.
func (g *groups) path(id string) string { return "/" + groupsName + "/" + id }

// dir is the directory of a container's group that has the controller.
func (g *groups) dir(id, controller string) string {
	for _, m := range g.mounts {
		if g.version == 2 || m.Has(controller) {
			return filepath.Join(m.Point, groupsName, id)
		}
	}
	return ""
}

// floorArgs are the arguments that tell the floor its groups.
func (g *groups) floorArgs(id string) []string {
	var v1, v2 []string
	for _, m := range g.mounts {
		if d := filepath.Join(m.Point, groupsName, id); m.Unified {
			v2 = []string{"-u", d}
		} else {
			v1 = append(v1, d)
		}
	}
	return append(v1, v2...)
}

// number reads a file of a group that holds a number.
func (g *groups) number(dir, file string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// peak is the most memory that a container's group has had, in bytes.
func (g *groups) peak(id string) (int64, error) {
	if g.version == 2 {
		return g.number(g.dir(id, "memory"), "memory.peak")
	}
	return g.number(g.dir(id, "memory"), "memory.max_usage_in_bytes")
}

// usage is the memory charged to the groups of all containers, in bytes: that of processes and of the kernel on
// their behalf.
func (g *groups) usage() (int64, error) {
	if g.version == 2 {
		return g.number(g.dir("", "memory"), "memory.current")
	}
	return g.number(g.dir("", "memory"), "memory.usage_in_bytes")
}

// pids are the processes of a container.
func (g *groups) pids(id string) []int {
	b, _ := os.ReadFile(filepath.Join(g.dir(id, "memory"), "cgroup.procs"))
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// each calls f for the groups of all containers, the lowest first.
func (g *groups) each(f func(dir string)) {
	for _, m := range g.mounts {
		top := filepath.Join(m.Point, groupsName)
		var dirs []string
		_ = filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			f(dirs[i])
		}
	}
}

// kill ends what an interrupted measure has left.
func (g *groups) kill() {
	g.each(func(dir string) {
		b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	})
}

func (g *groups) remove() {
	g.each(func(dir string) { _ = unix.Rmdir(dir) })
	if g.hugetlb != "" {
		_ = unix.Unmount(g.hugetlb, unix.MNT_DETACH)
		_ = os.Remove(g.hugetlb)
	}
}
