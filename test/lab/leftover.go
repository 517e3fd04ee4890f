package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Scene is what there is of processes, mounts, cgroups, state directories and descriptors at one moment.
type Scene struct {
	state     string
	mounts    []string
	cgroups   []string
	files     []string
	processes []int
}

// Look takes down the scene. Orphans of what the test starts come to the test itself from now on, so that they
// cannot hide. state is the directory of gcr's state, /run/gcr for root.
func Look(t *testing.T, state string) *Scene {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	s, err := look(state)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// settling bounds the wait for what vanishes a little after its last user: processes and cgroups.
const settling = 20 * time.Second

// Unchanged holds the scene of now against the earlier one. Left behind is what is there at each look until settling
// has passed: whoever else runs gcr on this machine makes cgroups that are empty for a moment, each time others.
func (s *Scene) Unchanged(t *testing.T) {
	t.Helper()
	var left []string
	for began, first := time.Now(), true; first || time.Since(began) < settling; first = false {
		now, err := look(s.state)
		if err != nil {
			t.Fatal(err)
		}
		diff := now.beyond(s)
		if first {
			left = diff
		}
		left = slices.DeleteFunc(left, func(x string) bool { return !slices.Contains(diff, x) })
		if len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i, x := range left {
		if pid, ok := strings.CutPrefix(x, "process "); ok {
			cmd, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			left[i] = fmt.Sprintf("%s %q", x, cmd)
		}
	}
	t.Errorf("left behind: %s", strings.Join(left, "; "))
}

func (s *Scene) beyond(before *Scene) []string {
	var out []string
	for _, p := range s.processes {
		if !slices.Contains(before.processes, p) {
			out = append(out, fmt.Sprintf("process %d", p))
		}
	}
	for _, l := range []struct {
		what        string
		now, before []string
	}{{"mount", s.mounts, before.mounts}, {"cgroup", s.cgroups, before.cgroups}, {"file", s.files, before.files}} {
		for _, x := range l.now {
			if !slices.Contains(l.before, x) {
				out = append(out, l.what+" "+x)
			}
		}
	}
	return out
}

func look(state string) (*Scene, error) {
	s := &Scene{state: state}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for l := range strings.Lines(string(mounts)) {
		f := strings.Fields(l)
		s.mounts = append(s.mounts, f[4]+" "+f[0])
	}
	// Cgroups of gcr in which nobody is; those of others, who run gcr at the same time, are in use. An ordinary user's
	// are the user's own.
	for _, pattern := range []string{"/sys/fs/cgroup/gcr-*", "/sys/fs/cgroup/*/gcr-*", "/sys/fs/cgroup/*/*/gcr-*", "/sys/fs/cgroup/*/*/*/gcr-*", "/sys/fs/cgroup/*/*/*/*/gcr-*"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, d := range dirs {
			var st unix.Stat_t
			if unix.Stat(d, &st) != nil || int(st.Uid) != os.Geteuid() {
				continue
			}
			if procs, err := os.ReadFile(filepath.Join(d, "cgroup.procs")); err == nil && len(procs) == 0 {
				s.cgroups = append(s.cgroups, d)
			}
		}
	}
	err = filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && path != state {
			s.files = append(s.files, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.processes, err = children()
	return s, err
}

// children are the live children of this process; dead ones that nobody waits for are reaped.
func children() ([]int, error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, task := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			if stat, err := os.ReadFile("/proc/" + f + "/stat"); err == nil {
				if i := strings.LastIndexByte(string(stat), ')'); i > 0 && strings.HasPrefix(string(stat)[i:], ") Z") {
					_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
					continue
				}
			}
			out = append(out, pid)
		}
	}
	return out, nil
}

// Descriptors lists the open descriptors of this process, number to target.
func Descriptors(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out[e.Name()] = to
		}
	}
	return out
}
