package attacks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gcr/test/lab"
)

// museum is what one run of an attack has at hand: a root filesystem of the attacker's making, and a
// directory of the host that a container must not reach.
type museum struct {
	t      *testing.T
	rootfs string // the attacker's
	// outside is a directory of the host. The root filesystem has an empty one at the same path, so that a link
	// to it leads somewhere on either side.
	outside string
	extra   []*os.File // further descriptors that the program under test inherits, from 3 on
	stdin   *os.File
	user    uint32    // that the program under test runs as
	groups  []uint32  // supplementary groups of the program under test
	caps    []uintptr // ambient and inheritable capabilities of the program under test
}

// secret is what stands in the file "secret" of the outside directory.
const secret = "only the host knows this"

func open(t *testing.T) *museum {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the museum needs root: most attacks are those on containers of root")
	}
	dir := t.TempDir()
	m := &museum{t: t, rootfs: filepath.Join(dir, "rootfs"), outside: filepath.Join(dir, "outside")}
	m.mkdir(m.rootfs)
	m.mkdir(m.outside)
	m.mkdir(filepath.Join(m.rootfs, m.outside))
	m.mkdir(filepath.Join(m.rootfs, "tmp"))
	m.write(filepath.Join(m.outside, "secret"), secret)
	self, err := os.Executable()
	m.must(err)
	m.must(copyFile(self, filepath.Join(m.rootfs, "museum"), 0o755))
	return m
}

func (m *museum) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *museum) mkdir(dir string) {
	m.t.Helper()
	m.must(os.MkdirAll(dir, 0o755))
}

func (m *museum) write(file, text string) {
	m.t.Helper()
	m.must(os.WriteFile(file, []byte(text), 0o644))
}

func copyFile(from, to string, mode os.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// run starts a program and reads the outcome from what it says.
func (m *museum) run(flags uintptr, name string, args ...string) outcome {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.ExtraFiles = m.extra
	if m.stdin != nil {
		cmd.Stdin = m.stdin
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if m.groups != nil || m.user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: m.user, Gid: m.user, Groups: m.groups}
	}
	cmd.SysProcAttr.AmbientCaps = m.caps
	err := cmd.Run()
	for line := range strings.SplitSeq(out.String(), "\n") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "worked: "); ok {
			return worked("%s", text)
		}
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "refused: "); ok {
			return refused("%s", text)
		}
	}
	if err == nil {
		m.t.Fatalf("%s %q ended well and said nothing of an attack: %q %q", name, args, &out, &errs)
	}
	text := strings.TrimSpace(errs.String())
	if i := strings.LastIndex(text, "\ngcr: "); i >= 0 && !strings.HasPrefix(text[i+1:], "gcr: note") {
		text = text[i+1:]
	}
	if text = strings.TrimSpace(text + " " + out.String()); text == "" {
		text = err.Error()
	}
	return refused("%s", text)
}

// gcr runs the attacker in a container of its root filesystem: flags of gcr run, then the attack's name.
func (m *museum) gcr(flags []string, attack string, args ...string) outcome {
	m.t.Helper()
	argv := append([]string{"run", "--quiet"}, flags...)
	if !slices.Contains(flags, "--without=net") {
		// Nothing of the host's network is touched for attacks on something else.
		argv = append(argv, "--network=none")
	}
	argv = append(argv, m.rootfs, "/museum", "attack", attack)
	return m.run(0, gcrProgram(m.t), append(argv, args...)...)
}

// naive runs a part of the naive runtime, in a mount namespace of its own.
func (m *museum) naive(part string, args ...string) outcome {
	m.t.Helper()
	self, err := os.Executable()
	m.must(err)
	return m.run(syscall.CLONE_NEWNS|syscall.CLONE_NEWPID, self, append([]string{"naive", part}, args...)...)
}

// unchanged fails the test when something was made, mounted or changed in the outside directory.
func (m *museum) unchanged() {
	m.t.Helper()
	entries, err := os.ReadDir(m.outside)
	m.must(err)
	if len(entries) != 1 {
		m.t.Fatalf("the host's directory has changed: %v", entries)
	}
	b, err := os.ReadFile(filepath.Join(m.outside, "secret"))
	m.must(err)
	if string(b) != secret {
		m.t.Fatalf("the host's file was changed to %q", b)
	}
}

// built is the directory of the programs that were built for the test.
var built string

// programs are gcr and gcrun under test: built from the source, or, where there is no go command, those that were
// brought along.
var programs = sync.OnceValues(func() (string, error) {
	if !lab.HasGo() {
		return filepath.Abs("../..")
	}
	dir, err := os.MkdirTemp("", "museum")
	if err != nil {
		return "", err
	}
	built = dir
	for name, pkg := range map[string]string{"gcr": ".", "gcrun/gcrun": "./gcrun"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	return dir, nil
})

func gcrProgram(t *testing.T) string   { t.Helper(); return find(t, "gcr") }
func gcrunProgram(t *testing.T) string { t.Helper(); return find(t, "gcrun/gcrun") }

func find(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// withFlags is an attack inside a container that succeeds with some flags of gcr run and not without them.
func withFlags(weak []string, attack string, args ...string) func(*museum, bool) outcome {
	return func(m *museum, weakened bool) outcome {
		if weakened {
			return m.gcr(weak, attack, args...)
		}
		return m.gcr(nil, attack, args...)
	}
}
