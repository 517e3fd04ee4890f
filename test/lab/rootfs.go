package lab

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Busybox makes a root filesystem of a static busybox, the smallest that a person would use, and returns its
// path.
func Busybox(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "busybox")
	if err := MakeBusybox(dir); err != nil {
		if errors.Is(err, errNoBusybox) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return dir
}

var errNoBusybox = errors.New("a statically linked busybox is missing (package busybox-static)")

// MakeBusybox makes the root filesystem at dir.
func MakeBusybox(dir string) error {
	bin, err := exec.LookPath("busybox")
	if err != nil {
		return errNoBusybox
	}
	f, err := elf.Open(bin)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errNoBusybox
		}
	}
	for _, d := range []string{"bin", "etc", "root", "home/me", "tmp", "usr/share"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile(bin, filepath.Join(dir, "bin/busybox"), 0o755); err != nil {
		return err
	}
	list, err := exec.Command(bin, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the programs of busybox: %w", err)
	}
	for _, name := range strings.Fields(string(list)) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n",
		"etc/group":  "root:x:0:\nme:x:1000:\nwheel:x:10:me\n",
		"etc/motd":   "this is the root filesystem of the test\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Debian returns the path of a minimal Debian system, which is made once and kept in build/. It is shared:
// tests run it with --ephemeral.
func Debian(t testing.TB) string {
	t.Helper()
	return kept(t, "debian", "bin/bash", func(part string) {
		archive := DebianTar(t)
		if err := os.Mkdir(part, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("tar", "--numeric-owner", "-xpf", archive, "-C", part).CombinedOutput(); err != nil {
			t.Fatalf("unpack %s: %v: %s", archive, err, out)
		}
	})
}

// DebianTar returns the path of a tar archive of a minimal Debian system with a few tools, which is made once and
// kept in build/.
func DebianTar(t testing.TB) string {
	t.Helper()
	return kept(t, "debian.tar", "", func(part string) {
		tool, err := exec.LookPath("mmdebstrap")
		if err != nil {
			t.Skip("mmdebstrap is missing (package mmdebstrap)")
		}
		cmd := exec.Command(tool, "--quiet", "--variant=minbase", "--format=tar", "--aptopt=Acquire::Languages \"none\"", "--include=procps,iproute2", "bookworm", part)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("mmdebstrap cannot make a Debian system here (it needs a Debian mirror in /etc/apt): %v: %s", err, out)
		}
	})
}

// kept returns the path of what make puts there when it is missing: when there is no file called sign in it.
// What is half made counts as missing, and only one process makes it at a time.
func kept(t testing.TB, name, sign string, make func(part string)) string {
	t.Helper()
	path := filepath.Join(Module(t), "build", "test", name)
	there := func() bool {
		_, err := os.Stat(filepath.Join(path, sign))
		return err == nil
	}
	if there() {
		return path
	}
	if !IsRoot() {
		t.Skipf("%s is missing: run the tests once as root", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if there() {
		return path
	}
	part := path + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	make(part)
	if err := os.Rename(part, path); err != nil {
		t.Fatal(err)
	}
	return path
}
