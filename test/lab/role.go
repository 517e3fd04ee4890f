package lab

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Role is a kind of caller.
type Role string

// The kinds of callers.
const (
	Root   Role = "root"
	User   Role = "user"   // an ordinary user without subordinate ids
	SubIDs Role = "subids" // an ordinary user with subordinate ids
	Self   Role = "self"   // whoever runs the tests, not root
)

// The ordinary user that root's tests play. No account of any distribution has this id.
const (
	UserID   = 12345
	UserName = "gcrlab"
)

const (
	roleVar  = "GCR_LAB_ROLE"
	stageVar = "GCR_LAB_STAGE"
	dirVar   = "GCR_LAB_DIR"
)

// Current is the role that this process plays, empty while it plays none.
func Current() Role { return Role(os.Getenv(roleVar)) }

// IsRoot reports whether gcr runs as root here.
func IsRoot() bool { return os.Geteuid() == 0 }

// HasSubIDs reports whether the caller has a range of ids.
func HasSubIDs() bool {
	if Current() != Self {
		return Current() == SubIDs
	}
	data, err := os.ReadFile("/etc/subuid")
	_, tool := exec.LookPath("newuidmap")
	return err == nil && tool == nil && bytes.Contains(data, []byte(os.Getenv("USER")+":"))
}

// Main runs the tests of a package. It takes the place of m.Run in TestMain.
func Main(m *testing.M) {
	if os.Getenv(stageVar) != "" {
		fmt.Fprintln(os.Stderr, "lab:", become(Current()))
		os.Exit(1)
	}
	HearSignals()
	code := m.Run()
	removeBuilt()
	os.Exit(code)
}

// HearSignals gives signals their effect in what the tests start, where whoever runs the tests has had them ignored, as
// nohup(1) and "&" of a script do: programs start with the default for what this one catches.
func HearSignals() {
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// Each runs a test once for each role that can be played here. It must be called by a top-level test, once.
func Each(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if Current() != "" {
		body(t)
		return
	}
	GCR(t) // built once, before the roles need it
	roles := []Role{Root, User, SubIDs}
	if os.Geteuid() != 0 {
		roles = []Role{Self}
	}
	for _, r := range roles {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			if r == SubIDs {
				if _, err := exec.LookPath("newuidmap"); err != nil {
					t.Skip("newuidmap is missing (package uidmap)")
				}
			}
			play(t, r)
		})
	}
}

// play starts this test again in another process and repeats its results.
func play(t *testing.T, r Role) {
	t.Helper()
	top, _, _ := strings.Cut(t.Name(), "/")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gcr-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The binary may lie where an ordinary user may not go.
	program := filepath.Join(dir, filepath.Base(exe))
	if err := copyFile(exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + top + "$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short())}
	// What -run selects below the role: "TestX/root/some" plays only those subtests.
	if parts := strings.SplitN(flag.Lookup("test.run").Value.String(), "/", 3); len(parts) == 3 {
		args[0] += "/" + parts[2]
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+string(r), dirVar+"="+dir, gcrVar+"="+GCR(t))
	if r != Self {
		cmd.Env = append(cmd.Env, stageVar+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}
	// It ends with the test, however that ends.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	failed, seen := repeat(t, top, out)
	if err != nil && !failed || seen == 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

var result = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): ([^ ]+) \(`)

// repeat makes a subtest of each subtest that a test binary has printed the result of.
func repeat(t *testing.T, top string, out []byte) (failed bool, seen int) {
	t.Helper()
	text := map[string]*strings.Builder{} // what each test has logged
	current := top
	type line struct{ verdict, name string }
	var results []line
	in := bufio.NewScanner(bytes.NewReader(out))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		l := in.Text()
		if m := result.FindStringSubmatch(l); m != nil {
			results = append(results, line{m[1], m[2]})
			current = m[2]
			continue
		}
		if f := strings.Fields(l); len(f) == 3 && f[0] == "===" {
			current = f[2]
			continue
		}
		if l == "PASS" || l == "FAIL" {
			continue // the binary's, not a test's
		}
		if text[current] == nil {
			text[current] = &strings.Builder{}
		}
		text[current].WriteString(l + "\n")
	}
	said := func(name string) string {
		if b := text[name]; b != nil {
			return strings.TrimSpace(b.String())
		}
		return ""
	}
	for _, r := range results {
		seen++
		name, sub := strings.CutPrefix(r.name, top+"/")
		if !sub {
			if r.verdict == "SKIP" {
				t.Skip(said(r.name))
			}
			if r.verdict == "FAIL" {
				failed = true
				t.Errorf("%s", said(r.name))
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			switch r.verdict {
			case "SKIP":
				t.Skip(said(r.name))
			case "FAIL":
				failed = true
				t.Errorf("%s", said(r.name))
			}
		})
	}
	return failed, seen
}

// become makes the scene and the user, in a mount namespace of its own, and starts the program again. It returns
// only when something went wrong.
func become(r Role) error {
	dir := os.Getenv(dirVar)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	etc := filepath.Join(dir, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	for name, text := range map[string]string{
		"passwd":      "root:x:0:0:root:/root:/bin/sh\n" + UserName + ":x:12345:12345::/tmp:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
		"group":       "root:x:0:\n" + UserName + ":x:12345:\nnogroup:x:65534:\n",
		"subuid":      ids(r),
		"subgid":      ids(r),
		"resolv.conf": "nameserver 192.0.2.53\nnameserver 127.0.0.53\nsearch lab.example\n",
		"hosts":       "127.0.0.1\tlocalhost\n192.0.2.7\tneighbour\n",
	} {
		path := filepath.Join(etc, name)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount(etc, "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	if err := os.MkdirAll("/run/gcr", 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/gcr", "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount /run/gcr: %w", err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	env := []string{"TMPDIR=" + tmp, "HOME=" + tmp, "XDG_RUNTIME_DIR="}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case stageVar, "TMPDIR", "HOME", "XDG_RUNTIME_DIR", "USER", "LOGNAME", "SUDO_UID":
		default:
			env = append(env, v)
		}
	}
	if r != Root {
		env = append(env, "USER="+UserName, "LOGNAME="+UserName)
		if err := os.Chown(tmp, UserID, UserID); err != nil {
			return err
		}
		// All threads change together (package syscall sees to that), but only those that are Go's: execve
		// follows at once.
		if err := syscall.Setgroups([]int{UserID}); err != nil {
			return err
		}
		if err := syscall.Setresgid(UserID, UserID, UserID); err != nil {
			return err
		}
		if err := syscall.Setresuid(UserID, UserID, UserID); err != nil {
			return err
		}
	}
	// The change of user has taken the signal of the parent's death away; execve keeps it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	exe := filepath.Join(dir, filepath.Base(os.Args[0]))
	return fmt.Errorf("start %s again: %w", exe, syscall.Exec(exe, os.Args, env))
}

func ids(r Role) string {
	if r != SubIDs {
		return ""
	}
	return UserName + ":" + strconv.Itoa(200000) + ":65536\n"
}
