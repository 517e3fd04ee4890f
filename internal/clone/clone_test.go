package clone_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"testing"

	"gcr/internal/clone"
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// image puts the program into a memfd.
func image(t *testing.T, p *program.Program) int {
	t.Helper()
	b, err := p.Compile(program.Native)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Write(fd, b); err != nil {
		t.Fatal(err)
	}
	return fd
}

func wait(t *testing.T, c *clone.Child) unix.WaitStatus {
	t.Helper()
	defer unix.Close(c.PIDFD)
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(c.PID, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				t.Fatal(err)
			}
			return ws
		}
	}
}

func TestStartBecomesTheImage(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := program.New(3)
	p.Write(program.FD(5), "hello from the image")
	p.Exit(7)
	run, keep := clone.ExecImage(image(t, p), "gcr")
	c, err := clone.Start(clone.Attr{Calls: []clone.Call{clone.Dup3(int(w.Fd()), 5), run}, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	if ws := wait(t, c); ws.ExitStatus() != 7 || string(out) != "hello from the image" {
		t.Errorf("status %v, out %q", ws, out)
	}
	if i, err := c.Failed(); i != -1 || err != nil {
		t.Errorf("Failed() = %d, %v", i, err)
	}
}

func TestFailureBeforeTheImageIsKnown(t *testing.T) {
	p := program.New(3)
	run, keep := clone.ExecImage(image(t, p), "gcr")
	c, err := clone.Start(clone.Attr{Calls: []clone.Call{clone.Dup3(1, 5), clone.Dup3(12345, 6), run}, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	if ws := wait(t, c); ws.ExitStatus() != 125 {
		t.Errorf("status %v", ws)
	}
	if i, err := c.Failed(); i != 1 || !errors.Is(err, unix.EBADF) {
		t.Errorf("Failed() = %d, %v", i, err)
	}
}

func TestCloneErrorIsReturned(t *testing.T) {
	_, err := clone.Start(clone.Attr{Flags: unix.CLONE_THREAD, Calls: []clone.Call{clone.Dup3(0, 0)}})
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("error %v", err)
	}
}

// TestManyChildrenUnderLoad starts children while other goroutines allocate and the runtime preempts them: a
// child that touched the stack or ran a handler would bring the process down.
func TestManyChildrenUnderLoad(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = make([]byte, 64<<10)
				}
			}
		}()
	}
	p := program.New(3)
	p.Exit(3)
	fd := image(t, p)
	for range 300 {
		run, keep := clone.ExecImage(fd, "gcr")
		c, err := clone.Start(clone.Attr{Calls: []clone.Call{run}, Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		if ws := wait(t, c); ws.ExitStatus() != 3 {
			t.Fatalf("status %v", ws)
		}
	}
}

// own tells in which namespace the test's process is.
func own(t *testing.T, pid int, name string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEnterAndLeave makes a child in the namespaces of another process, and finds the caller where it was.
func TestEnterAndLeave(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("joining namespaces needs root")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	start := func(a clone.Attr) *clone.Child {
		p := program.New(20)
		p.Wait()
		run, keep := clone.ExecImage(image(t, p), "gcr")
		a.Calls, a.Keep = []clone.Call{clone.Dup3(pair[1], 20), run}, keep
		c, err := clone.Start(a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			unix.Kill(c.PID, unix.SIGKILL)
			wait(t, c)
		})
		return c
	}
	const flags = unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	first := start(clone.Attr{Flags: flags})
	home, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(home)
	before := own(t, os.Getpid(), "uts")
	leave := []clone.Call{clone.Setns(home, unix.CLONE_NEWUTS)}
	second := start(clone.Attr{Enter: append(leave, clone.Setns(first.PIDFD, unix.CLONE_NEWUTS)), Leave: leave})
	if got, want := own(t, second.PID, "uts"), own(t, first.PID, "uts"); got != want || got == before {
		t.Errorf("the child is in %s, the first one in %s, the caller in %s", got, want, before)
	}
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if s, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/uts"); err == nil && s != before {
			t.Errorf("thread %s is in %s", task.Name(), s)
		}
	}
	p := program.New(3)
	p.Exit(0)
	run, keep := clone.ExecImage(image(t, p), "gcr")
	_, err = clone.Start(clone.Attr{Enter: append(leave, clone.Setns(12345, unix.CLONE_NEWUTS)), Leave: leave, Calls: []clone.Call{run}, Keep: keep})
	var refused *clone.EnterError
	if !errors.As(err, &refused) || refused.Index != 1 || refused.Errno != unix.EBADF {
		t.Errorf("entering nothing: %v", err)
	}
	_, err = clone.Start(clone.Attr{Flags: 1 << 60, Calls: []clone.Call{run}, Keep: keep})
	if !errors.Is(err, unix.EINVAL) || errors.As(err, &refused) {
		t.Errorf("a flag that is not there: %v", err)
	}
}

// A signal that the caller ignores has its default action in the child.
func TestIgnoredSignals(t *testing.T) {
	ignore := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGPIPE}
	signal.Ignore(ignore...)
	t.Cleanup(func() { signal.Reset(ignore...) })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := program.New(3)
	p.Execve(p.String("/bin/cat"), []string{"cat", "/proc/self/status"}, nil)
	run, keep := clone.ExecImage(image(t, p), "gcr")
	c, err := clone.Start(clone.Attr{Calls: []clone.Call{clone.Dup3(int(w.Fd()), 1), run}, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	if ws := wait(t, c); ws.ExitStatus() != 0 {
		t.Errorf("status %v", ws)
	}
	if !strings.Contains(string(out), "\nSigIgn:\t0000000000000000\n") {
		t.Errorf("some signals are still ignored:\n%s", out)
	}
	// The index of a call that fails counts the caller's own.
	if c, err = clone.Start(clone.Attr{Calls: []clone.Call{clone.Dup3(12345, 6), run}, Keep: keep}); err != nil {
		t.Fatal(err)
	}
	wait(t, c)
	if i, err := c.Failed(); i != 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("Failed() = %d, %v, want 0 and EBADF", i, err)
	}
}
