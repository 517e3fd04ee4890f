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
func Debian(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(Module(t), "build", "test", "debian")
	if _, err := os.Stat(filepath.Join(dir, "bin/bash")); err == nil {
		return dir
	}
	if !IsRoot() {
		t.Skip("a Debian root filesystem is missing: as root, run the tests once, or mmdebstrap --variant=minbase bookworm " + dir)
	}
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		t.Skip("mmdebstrap is missing (package mmdebstrap)")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bin/bash")); err == nil {
		return dir
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "--quiet", "--variant=minbase", "--include=procps,iproute2", "bookworm", part)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("mmdebstrap cannot make a Debian system here (it needs a Debian mirror in /etc/apt): %v: %s", err, out)
	}
	if err := os.Rename(part, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
