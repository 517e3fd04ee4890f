package hostfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReadWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, n := range []int{0, 1, 4095, 4096, 4097, 100000} {
		want := bytes.Repeat([]byte("x"), n)
		if err := Write(path, want, 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, n)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
		if n > 0 {
			if _, err := Read(path, n-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes where %d are allowed: %v", n, n-1, err)
			}
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o177 != 0o040 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	var p *fs.PathError
	if _, err := Read(filepath.Join(dir, "no"), 1); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &p) {
		t.Error(err)
	}
	if _, err := Read(dir, 1); !errors.As(err, &p) {
		t.Error(err)
	}
	if err := Write(filepath.Join(dir, "no", "f"), nil, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestPseudoFile(t *testing.T) {
	got, err := Read("/proc/self/mountinfo", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%q is not %q", got, want)
	}
}
