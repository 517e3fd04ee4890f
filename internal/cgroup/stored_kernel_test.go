package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestStored does with a stored group what later commands do: start a process in it, see whether it is frozen, and
// remove it while that process and one in a group below still run.
func TestStored(t *testing.T) {
	forHosts(t, nil, func(t *testing.T, g *Group) {
		s := g.State()
		e, err := s.Enter()
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if got := e.State(); len(got.Paths) != len(s.Paths) || got.Version != s.Version {
			t.Errorf("entered %v of %v", got, s)
		}
		p := start(t, e, "sleep", "1000")
		eventually(t, "the process is in the group", func() bool {
			pids, err := g.Procs()
			return err == nil && slices.Contains(pids, p.Process.Pid)
		})
		for key, dir := range s.Paths {
			if key == "" && s.Version == 1 {
				continue // the hybrid one is looked at by Procs
			}
			eventually(t, "the process is in the group", func() bool {
				b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
				return err == nil && len(b) > 0
			})
		}

		frozen := func() bool {
			t.Helper()
			now, err := s.Frozen()
			if err != nil {
				t.Fatal(err)
			}
			return now
		}
		if frozen() {
			t.Error("frozen from the beginning")
		}
		if err := g.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !frozen() {
			t.Error("not frozen after Freeze")
		}
		if err := g.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if frozen() {
			t.Error("frozen after Thaw")
		}

		for _, dir := range s.Paths {
			if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if status := p.wait(t); status != 128+9 {
			t.Errorf("the process in the group ended with status %d", status)
		}
		for _, dir := range s.Paths {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", dir, err)
			}
		}
		if err := s.Remove(t.Context()); err != nil {
			t.Errorf("removing it again: %v", err)
		}
		if _, err := s.Enter(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("entering it: %v", err)
		}
		if _, err := s.Frozen(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("looking at it: %v", err)
		}
	})
}

// TestRemoveKeepsOthers leaves a file system alone that is no cgroup: only empty directories go.
func TestRemoveKeepsOthers(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "file")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (State{Version: 2, Paths: map[string]string{"": dir}}).Remove(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
