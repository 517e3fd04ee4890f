// Package scripts_test runs the project's shell scripts as a person would.
package scripts_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

// demo is the script as it is called: from its directory.
const (
	demoDir = "../.."
	demo    = "./cgroups.sh"
)

func TestMain(m *testing.M) {
	lab.HearSignals()
	os.Exit(m.Run())
}

// patience is how long the tests wait for something that must come, emulated machines included.
const patience = 2 * time.Minute

// able skips where nobody but root could run the demonstration: that is the script's own message then, which
// TestCgroupsRefusal looks at.
func able(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if _, err := os.Stat(fmt.Sprintf("/run/user/%d/systemd/private", os.Getuid())); err != nil {
		t.Skip("an ordinary user needs a systemd manager to get a cgroup from")
	}
}

// leftovers returns the demonstration's cgroups that exist, of any version.
func leftovers(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "gcr-demo") {
			found = append(found, name)
		}
		return nil // cgroups come and go while this looks at them
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantNothingLeft(t *testing.T) {
	t.Helper()
	if left := leftovers(t); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

// number finds the one number that the expression's group matches.
func number(t *testing.T, expression, text string) int {
	t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the output has no match for %q:\n%s", expression, text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkOutput checks what a complete run says.
func checkOutput(t *testing.T, stdout, stderr string) {
	t.Helper()
	shell := number(t, `this shell, (\d+), moves in`, stdout)
	pids := map[string]bool{}
	for n := 1; n <= 10; n++ {
		pids[strconv.Itoa(number(t, fmt.Sprintf(`background process %d of 10 runs as pid (\d+)`, n), stdout))] = true
	}
	if len(pids) != 10 {
		t.Errorf("%d different pids, want 10:\n%s", len(pids), stdout)
	}
	if want := "fork: retry: Resource temporarily unavailable"; !strings.Contains(stderr, want) {
		t.Errorf("standard error %q, want %q in it", stderr, want)
	}
	if n := number(t, `pids\.current: (\d+)`, stdout); n < 1 || n > 5 {
		t.Errorf("pids.current is %d, want at most the five of pids.max", n)
	}
	procs := regexp.MustCompile(`(?m)^cgroup\.procs:(.*)`).FindStringSubmatch(stdout)
	if procs == nil || !strings.Contains(procs[1]+" ", fmt.Sprintf(" %d ", shell)) {
		t.Errorf("cgroup.procs is %q, want the shell, %d, in it", procs, shell)
	}
	if n := number(t, `pids\.events: max (\d+)`, stdout); n < 1 {
		t.Error("pids.events says that no fork was refused")
	}
	if n := number(t, `pids\.max: (\d+)`, stdout); n != 5 {
		t.Errorf("pids.max is %d, want 5", n)
	}
}

func TestCgroupsDemonstration(t *testing.T) {
	able(t)
	cmd := exec.Command(demo, "0")
	cmd.Dir = demoDir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", demo, err, stdout.String(), stderr.String())
	}
	checkOutput(t, stdout.String(), stderr.String())
	wantNothingLeft(t)
}

// TestCgroupsTwice runs the demonstration after the one of TestCgroupsDemonstration, and twice at the same time.
func TestCgroupsTwice(t *testing.T) {
	able(t)
	var wg sync.WaitGroup
	outputs, errs := make([]bytes.Buffer, 2), make([]error, 2)
	for i := range outputs {
		wg.Go(func() {
			cmd := exec.Command(demo, "0")
			cmd.Dir = demoDir
			cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
			errs[i] = cmd.Run()
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("run %d: %v", i, err)
		}
		checkOutput(t, outputs[i].String(), outputs[i].String())
	}
	wantNothingLeft(t)
}

// A session is a running demonstration.
type session struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	seen  strings.Builder
}

// start starts the demonstration with both streams into one pipe.
func start(t *testing.T, seconds string) *session {
	t.Helper()
	s := &session{t: t, cmd: exec.Command(demo, seconds), lines: make(chan string, 1000)}
	s.cmd.Dir = demoDir
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	go s.read(r)
	return s
}

func (s *session) read(r *os.File) {
	defer close(s.lines)
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.lines <- lines.Text()
	}
}

// until waits for a line with text in it.
func (s *session) until(text string) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the script ended without %q:\n%s", text, s.seen.String())
			}
			fmt.Fprintln(&s.seen, line)
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			s.t.Fatalf("%q did not come:\n%s", text, s.seen.String())
		}
	}
}

// status waits for the end.
func (s *session) status() int {
	s.t.Helper()
	for line := range s.lines {
		fmt.Fprintln(&s.seen, line)
	}
	err := s.cmd.Wait()
	if s.cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// TestCgroupsInterrupted sends the signals that end a script at the points where it is busy or idle.
func TestCgroupsInterrupted(t *testing.T) {
	able(t)
	for _, c := range []struct {
		point  string
		signal syscall.Signal
	}{
		{"mkdir /", unix.SIGINT},
		{"moves in", unix.SIGHUP},
		{"fork: retry", unix.SIGINT},
		{"fork: retry", unix.SIGTERM},
		{"sleeping for", unix.SIGINT},
	} {
		t.Run(c.point+" "+unix.SignalName(c.signal), func(t *testing.T) {
			s := start(t, "1000")
			s.until(c.point)
			if err := s.cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if got, want := s.status(), 128+int(c.signal); got != want {
				t.Errorf("exit status %d, want %d:\n%s", got, want, s.seen.String())
			}
			wantNothingLeft(t)
		})
	}
}

// TestCgroupsKilled has the next run remove what one that was killed outright left behind.
func TestCgroupsKilled(t *testing.T) {
	able(t)
	s := start(t, "1000")
	s.until("fork: retry")
	left := leftovers(t)
	if len(left) == 0 {
		t.Fatal("no cgroup of the demonstration while it runs")
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	for _, dir := range left { // what it started lives on
		killAll(t, dir)
	}
	out, err := run(t, "0")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// A scope that systemd made for the killed run ended with it.
	wantNothingLeft(t)
}

// killAll kills the processes of a cgroup and waits until they are gone.
func killAll(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		pids := strings.Fields(string(text))
		if err != nil || len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
	}
	t.Fatalf("%s: processes do not end", dir)
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(demo, args...)
	cmd.Dir = demoDir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCgroupsCtrlC presses the key: on a terminal, the whole foreground group gets the signal.
func TestCgroupsCtrlC(t *testing.T) {
	able(t)
	ptmx, tty := terminal(t)
	cmd := exec.Command(demo, "1000")
	cmd.Dir = demoDir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	tty.Close()
	var seen strings.Builder
	for lines := bufio.NewScanner(ptmx); lines.Scan(); {
		fmt.Fprintln(&seen, lines.Text())
		if strings.Contains(lines.Text(), "fork: retry") {
			if _, err := ptmx.Write([]byte{3}); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, ptmx) }() // a full terminal would block the script
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit status %d, want 130:\n%s", got, seen.String())
	}
	wantNothingLeft(t)
}

// terminal opens a new pseudoterminal (pty(7)).
func terminal(t *testing.T) (ptmx, tty *os.File) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close() })
	fd := int(ptmx.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ptmx, tty
}

func TestCgroupsUsage(t *testing.T) {
	for _, bad := range []string{"x", "-1", "1.5"} {
		out, err := run(t, bad)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, "usage:") {
			t.Errorf("argument %q: %v, %q; want status 2 and the usage", bad, err, out)
		}
	}
	wantNothingLeft(t)
}

// TestCgroupsRefusal runs the script as somebody to whom no cgroup can be given.
func TestCgroupsRefusal(t *testing.T) {
	cmd := exec.Command(demo, "0")
	cmd.Dir = demoDir
	if os.Getuid() == 0 {
		// Nobody has no systemd manager. The checkout may be where nobody cannot go.
		text, err := os.ReadFile(filepath.Join(demoDir, demo))
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command("bash", "-s", "0")
		cmd.Stdin = bytes.NewReader(text)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if _, err := os.Stat(fmt.Sprintf("/run/user/%d/systemd/private", os.Getuid())); err == nil {
		t.Skip("this user has a systemd manager, which gives it a cgroup")
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "run: sudo") {
		t.Errorf("%v, %q; want status 1 and what to do", err, out)
	}
	wantNothingLeft(t)
}
