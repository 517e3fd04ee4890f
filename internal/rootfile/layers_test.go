package rootfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is read from the layers is what overlayfs shows: random layers of directories, files, symbolic links,
// whiteouts and opaque directories, and every path there can be among them.
func TestLayersAsOverlayfs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts an overlay")
	}
	names := []string{"a", "b", "c"}
	var paths []string
	for _, x := range names {
		paths = append(paths, x)
		for _, y := range names {
			paths = append(paths, x+"/"+y, x+"/../"+y, x+"/./"+y+"/")
			for _, z := range names {
				paths = append(paths, x+"/"+y+"/"+z, x+"/"+y+"/../"+z, "../"+x+"/"+y+"//"+z)
			}
		}
	}
	found := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		base := t.TempDir()
		var dirs []string
		for n := range 2 + r.IntN(3) {
			d := filepath.Join(base, fmt.Sprintf("l%d", n))
			dirs = append(dirs, d)
			randomTree(t, r, d, names, 0)
		}
		merged := filepath.Join(base, "merged")
		if err := os.Mkdir(merged, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+strings.Join(dirs, ":")); err != nil {
			t.Fatal(err)
		}
		got, err := OpenLayers(dirs...)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Open(merged)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			a, aerr := got.ReadFile(p, 100)
			b, berr := want.ReadFile(p, 100)
			if !bytes.Equal(a, b) || plain(aerr) != plain(berr) {
				t.Errorf("seed %d: read %s: %q, %v; overlayfs has %q, %v", seed, p, a, aerr, b, berr)
			}
			ai, aerr := got.Stat(p)
			bi, berr := want.Stat(p)
			if plain(aerr) != plain(berr) || ai.Kind != bi.Kind || ai.Executable != bi.Executable {
				t.Errorf("seed %d: stat %s: %v, %v; overlayfs has %v, %v", seed, p, ai, aerr, bi, berr)
			}
			if aerr == nil && ai.Kind == Regular {
				found++
			}
		}
		got.Close()
		want.Close()
		if err := unix.Unmount(merged, 0); err != nil {
			t.Fatal(err)
		}
	}
	if found < 100 {
		t.Errorf("only %d files found: the trees are too bare to say anything", found)
	}
}

// plain is the errno behind an error, or the error.
func plain(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, ErrNotRegular) {
		return ErrNotRegular
	}
	return err
}

func randomTree(t *testing.T, r *rand.Rand, dir string, names []string, depth int) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if depth > 0 && r.IntN(4) == 0 {
		if err := unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			t.Skipf("the file system below %s takes no trusted attributes: %v", dir, err)
		}
	}
	for _, n := range names {
		p := filepath.Join(dir, n)
		var err error
		switch k := r.IntN(10); {
		case k < 4 && depth < 2:
			randomTree(t, r, p, names, depth+1)
		case k < 6:
			err = os.WriteFile(p, []byte(p), fs.FileMode(0o644|r.IntN(2)*0o111))
		case k < 8:
			to := names[r.IntN(3)]
			if r.IntN(2) == 0 {
				to += "/" + names[r.IntN(3)]
			}
			if r.IntN(3) == 0 {
				to = "../" + to
			}
			// overlayfs is mounted somewhere; an absolute link is one below the root for whoever resolves
			// with RESOLVE_IN_ROOT.
			if r.IntN(3) == 0 {
				to = "/" + to
			}
			err = os.Symlink(to, p)
		case k < 9:
			err = unix.Mknod(p, unix.S_IFCHR, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
