package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// bench is one run of the whole benchmark.
type bench struct {
	quick  bool
	rounds int // how often each contender is measured, 0 for as often as the mode says
	only   string
	dir    string // scratch directory
	state  string // below it each runtime keeps its state, on a tmpfs
	groups *groups

	contenders []*contender
	system     system
	results    []*result
	steps      []step
	skipped    []string // what could not be measured, and why
	lastID     int
}

func newBench(quick bool, only string) (*bench, error) {
	// Containers whose runtime has ended become children of this process, as they do of a shim.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	dir, err := os.MkdirTemp("", "gcr-bench-")
	if err != nil {
		return nil, err
	}
	// A container with a user namespace must be able to walk to its root filesystem.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	b := &bench{quick: quick, only: only, dir: dir, state: fmt.Sprintf("/run/gcr-bench-%d", os.Getpid())}
	if err := os.MkdirAll(b.state, 0o711); err != nil {
		return nil, err
	}
	// /run is a tmpfs on most systems, but not on all: the runtimes' records shall cost the same everywhere.
	if err := unix.Mount("tmpfs", b.state, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs for the runtimes' records: %w", err)
	}
	if b.groups, err = makeGroups(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *bench) cleanUp() {
	b.groups.kill()
	reapAll()
	b.groups.remove()
	_ = unix.Unmount(b.path("podman", "overlay"), unix.MNT_DETACH) // its store is a mount of its own
	_ = unix.Unmount(b.state, unix.MNT_DETACH)
	os.RemoveAll(b.state)
	os.RemoveAll(b.dir)
}

// newID names a new container.
func (b *bench) newID() string {
	b.lastID++
	return fmt.Sprintf("bench%d", b.lastID)
}

// skip notes what could not be measured.
func (b *bench) skip(what string, err error) {
	line := fmt.Sprintf("%s: %s", what, strings.TrimSpace(err.Error()))
	b.skipped = append(b.skipped, line)
	fmt.Println("  not measured: " + line)
}

// samples is how often each contender is measured.
func (b *bench) samples(full int) int {
	if b.rounds > 0 {
		return b.rounds
	}
	if b.quick {
		return max(5, full/5)
	}
	return full
}

// wants tells whether a measure was asked for: whether its name has one of the parts in it, or ends with one that
// ends with a dollar sign.
func (b *bench) wants(name string) bool {
	return slices.ContainsFunc(strings.Split(b.only, ";"), func(part string) bool {
		if end, ok := strings.CutSuffix(part, "$"); ok {
			return strings.HasSuffix(name, end)
		}
		return strings.Contains(name, part)
	})
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}
