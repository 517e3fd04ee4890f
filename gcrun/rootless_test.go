package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A user without rights runs a container, joins it and deletes it.
func TestRootless(t *testing.T) {
	const user = 12345
	b := newBox(t, func(s *specs.Spec) { spec.MakeRootless(s, user, user) }, "sleep")
	for _, dir := range []string{b.bundle, b.root, filepath.Dir(b.bundle), filepath.Dir(b.root)} {
		b.must(os.Chmod(dir, 0o755))
	}
	b.must(filepath.Walk(b.bundle, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, user, user)
	}))
	b.must(os.Chown(b.root, user, user))
	b.must(os.Chmod(filepath.Dir(binary), 0o755))
	as := func(args ...string) (string, int) {
		cmd := exec.Command(binary, append([]string{"--root", b.root}, args...)...)
		cmd.Dir, cmd.Env = b.bundle, []string{"PATH=/usr/bin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, errs := b.file(), b.file()
		defer out.Close()
		defer errs.Close()
		cmd.Stdout, cmd.Stderr = out, errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if text := content(errs); text != "" && bytes.Contains([]byte(text), []byte("user namespace")) && strings.Contains(text, "operation not permitted") {
			t.Skip("users may not make user namespaces here: " + text)
		}
		return content(out) + content(errs), cmd.ProcessState.ExitCode()
	}
	if out, code := as("run", "-d", b.id); code != 0 {
		t.Fatalf("run: status %d, %s", code, out)
	}
	out, code := as("exec", b.id, "/probe", "report")
	if code != 0 {
		t.Fatalf("exec: status %d, %s", code, out)
	}
	r := b.parse(out)
	want(t, "uid", r.Status["Uid"], "0 0 0 0")
	want(t, "hostname", r.Hostname, "gcrun")
	want(t, "descriptors", strings.Join(r.FDs, " "), "0 1 2")
	if r.PID < 2 {
		t.Errorf("the process has id %d in the container", r.PID)
	}
	if out, code := as("exec", b.id, "/probe", "exit", "6"); code != 6 {
		t.Errorf("exec: status %d, %s", code, out)
	}
	if out, code := as("exec", b.id, "nonexistent"); code != 255 || !strings.Contains(out, "executable file not found in $PATH") {
		t.Errorf("exec: status %d, %s", code, out)
	}
	if out, code := as("delete", "--force", b.id); code != 0 {
		t.Errorf("delete: status %d, %s", code, out)
	}
}
