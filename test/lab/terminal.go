package lab

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience bounds the wait for something that should happen at once. It is no measure of speed: a test that
// runs into it has failed.
const patience = 30 * time.Second

// Terminal is a program on a terminal of its own, as a person would use it.
type Terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	done chan struct{} // closed when there is no more output

	mu   sync.Mutex
	news *sync.Cond
	out  []byte
	seen int // of out, by Expect
	eof  bool
}

// Start starts the command on a new terminal of 24 lines of 80 characters.
func Start(t *testing.T, cmd *exec.Cmd) *Terminal {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	term := &Terminal{t: t, cmd: cmd, pty: f, done: make(chan struct{})}
	term.news = sync.NewCond(&term.mu)
	go term.read()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		f.Close()
	})
	return term
}

func (t *Terminal) read() {
	defer close(t.done)
	buf := make([]byte, 4096)
	for {
		n, err := t.pty.Read(buf)
		t.mu.Lock()
		t.out = append(t.out, buf[:n]...)
		if err != nil {
			t.eof = true
		}
		t.news.Broadcast()
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Type types text.
func (t *Terminal) Type(text string) {
	t.t.Helper()
	if _, err := t.pty.WriteString(text); err != nil {
		t.t.Fatalf("type %q: %v\n%s", text, err, t.Output())
	}
}

// Expect waits until the pattern shows in the output after what Expect has found before, and returns its
// submatches.
func (t *Terminal) Expect(pattern string) []string {
	t.t.Helper()
	re := regexp.MustCompile(pattern)
	timer := time.AfterFunc(patience, func() {
		t.mu.Lock()
		t.eof = true
		t.news.Broadcast()
		t.mu.Unlock()
	})
	defer timer.Stop()
	t.mu.Lock()
	for {
		if m := re.FindSubmatchIndex(t.out[t.seen:]); m != nil {
			rest := t.out[t.seen:]
			var groups []string
			for i := 0; i < len(m); i += 2 {
				if m[i] < 0 {
					groups = append(groups, "")
					continue
				}
				groups = append(groups, string(rest[m[i]:m[i+1]]))
			}
			t.seen += m[1]
			t.mu.Unlock()
			return groups
		}
		if t.eof {
			t.mu.Unlock()
			t.t.Fatalf("%q does not show in the output:\n%s", pattern, t.Output())
		}
		t.news.Wait()
	}
}

// Resize changes the size of the terminal, as a window manager does.
func (t *Terminal) Resize(rows, columns uint16) {
	t.t.Helper()
	if err := pty.Setsize(t.pty, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		t.t.Fatal(err)
	}
}

// Output is all output so far.
func (t *Terminal) Output() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ReplaceAll(t.out, []byte("\r\n"), []byte("\n")))
}

// PID is the program's process id.
func (t *Terminal) PID() int { return t.cmd.Process.Pid }

// Wait waits for the end of the program and its output, and returns its exit status as a shell would.
func (t *Terminal) Wait() int {
	t.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = t.cmd.Process.Kill() })
	err := t.cmd.Wait()
	if !timer.Stop() {
		t.t.Fatalf("the program does not end:\n%s", t.Output())
	}
	select {
	case <-t.done:
	case <-time.After(patience):
		t.t.Fatalf("somebody holds on to the terminal:\n%s", t.Output())
	}
	return ExitStatus(t.t, err)
}

// ExitStatus is the exit status behind the error of exec.Cmd, 128 + n for an end by signal n.
func ExitStatus(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &e):
		t.Fatal(err)
	}
	if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return e.ExitCode()
}
