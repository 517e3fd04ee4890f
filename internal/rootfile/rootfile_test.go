package rootfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func tree(t *testing.T) (string, *Root) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"rootfs/etc", "rootfs/usr/lib", "outside"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("rootfs/etc/passwd", "inside\n")
	write("rootfs/usr/lib/passwd", "usr\n")
	write("outside/secret", "secret\n")
	r, err := Open(filepath.Join(dir, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return dir, r
}

func TestReadFileStaysBelowTheRoot(t *testing.T) {
	dir, r := tree(t)
	for name, target := range map[string]string{
		"up":       "../../outside/secret",
		"absolute": filepath.Join(dir, "outside/secret"),
		"deep":     "../../../../../../../../../../../../../../.." + dir + "/outside/secret",
		"proc":     "/proc/self/root/etc/passwd",
	} {
		if err := os.Symlink(target, filepath.Join(dir, "rootfs/etc", name)); err != nil {
			t.Fatal(err)
		}
		data, err := r.ReadFile("/etc/"+name, 1<<20)
		if err == nil {
			t.Errorf("link to %s was read: %q", target, data)
		}
		// The kernel would follow the same link to the secret: the test would notice an escape.
		if name == "absolute" {
			if data, _ := os.ReadFile(filepath.Join(dir, "rootfs/etc", name)); string(data) != "secret\n" {
				t.Fatalf("control: %q", data)
			}
		}
	}
	if _, err := r.ReadFile("../outside/secret", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dot-dot path: %v", err)
	}
	// A link whose target is inside means the file inside, also when it is absolute.
	os.Symlink("/usr/lib/passwd", filepath.Join(dir, "rootfs/etc/nix"))
	if data, err := r.ReadFile("/etc/nix", 100); err != nil || string(data) != "usr\n" {
		t.Errorf("inner absolute link: %q %v", data, err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir, r := tree(t)
	etc := filepath.Join(dir, "rootfs/etc")
	if err := unix.Mkfifo(filepath.Join(etc, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(etc, "big"), bytes.Repeat([]byte("x"), 4097), 0o644)
	os.Truncate(filepath.Join(etc, "big"), 1<<40)
	os.WriteFile(filepath.Join(etc, "exact"), bytes.Repeat([]byte("x"), 4096), 0o644)
	os.Symlink("loop", filepath.Join(etc, "loop"))
	for name, want := range map[string]error{
		"fifo": ErrNotRegular, ".": ErrNotRegular, "big": ErrTooLarge,
		"none": fs.ErrNotExist, "loop": unix.ELOOP,
	} {
		if _, err := r.ReadFile("/etc/"+name, 4096); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if data, err := r.ReadFile("/etc/exact", 4096); err != nil || len(data) != 4096 {
		t.Errorf("a file of exactly the cap: %d bytes, %v", len(data), err)
	}
}

// A procfs file says that it has 0 bytes and holds more.
func TestReadFileDoesNotTrustTheSize(t *testing.T) {
	r, err := Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := r.ReadFile("version", 1<<20); err != nil || len(data) == 0 {
		t.Errorf("%q %v", data, err)
	}
	if _, err := r.ReadFile("version", 8); !errors.Is(err, ErrTooLarge) {
		t.Errorf("cap of 8 bytes: %v", err)
	}
}

func TestStatAndEmpty(t *testing.T) {
	dir, r := tree(t)
	os.Chmod(filepath.Join(dir, "rootfs/usr/lib/passwd"), 0o755)
	for path, want := range map[string]Info{
		"/etc":            {Kind: Dir, Executable: true},
		"/etc/passwd":     {Kind: Regular, Size: 7},
		"/usr/lib/passwd": {Kind: Regular, Executable: true, Size: 4},
	} {
		got, err := r.Stat(path)
		if want.Kind == Dir {
			got.Size = 0
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", path, got, err)
		}
	}
	if empty, err := r.Empty(); empty || err != nil {
		t.Errorf("full directory: %v %v", empty, err)
	}
	bare, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if empty, err := bare.Empty(); !empty || err != nil {
		t.Errorf("empty directory: %v %v", empty, err)
	}
	if _, err := Open(filepath.Join(dir, "outside/secret")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file as root: %v", err)
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	dir, r := tree(t)
	unix.Mkfifo(filepath.Join(dir, "rootfs/etc/fifo"), 0o644)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	for range 20 {
		r.ReadFile("/etc/passwd", 100)
		r.ReadFile("/etc/passwd", 1)
		r.ReadFile("/etc/fifo", 100)
		r.Stat("/etc")
		r.Empty()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
