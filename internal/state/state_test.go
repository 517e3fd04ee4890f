package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCreateBesideSweeps makes many containers while others sweep, as when many are started at once: none is taken for
// a dead one while it is made.
func TestCreateBesideSweeps(t *testing.T) {
	root := t.TempDir()
	var end atomic.Bool
	var sweepers, makers sync.WaitGroup
	var swept atomic.Int32
	for range 3 {
		sweepers.Go(func() {
			for !end.Load() {
				if err := Sweep(root, func(path string) error {
					if filepath.Base(path)[0] != '.' {
						swept.Add(1)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for m := range 4 {
		makers.Go(func() {
			for i := range 200 {
				d, err := Create(root, fmt.Sprintf("c%d-%d", m, i), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if !Alive(d.Path) {
					t.Errorf("%s is not alive", d.Path)
				}
				if err := os.WriteFile(filepath.Join(d.Path, "file"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := d.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	end.Store(true)
	sweepers.Wait()
	if err := Sweep(root, nil); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("%d directories are left, such as %s", len(left), left[0].Name())
	}
	t.Logf("%d were swept while their creator removed them", swept.Load())
}

// TestOneName gives one name to one container at a time, and to the next when that is dead.
func TestOneName(t *testing.T) {
	root := t.TempDir()
	d, err := Create(root, "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(root, "web", nil); !errors.Is(err, ErrInUse) {
		t.Errorf("the name of a running container: %v", err)
	}
	if err := os.WriteFile(filepath.Join(d.Path, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.lock.Close() // as the kernel does for a killed one
	if Alive(d.Path) {
		t.Error("a container without a lock is alive")
	}
	cleaned := ""
	n, err := Create(root, "web", func(path string) error {
		if _, err := os.Stat(filepath.Join(path, "old")); err != nil {
			t.Error("nothing is left to clean up by:", err)
		}
		cleaned = path
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if cleaned != n.Path {
		t.Errorf("cleaned up after %q", cleaned)
	}
	if _, err := os.Stat(filepath.Join(n.Path, "old")); err == nil {
		t.Error("the new container has files of the dead one")
	}
	if left, _ := filepath.Glob(filepath.Join(root, ".new-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
