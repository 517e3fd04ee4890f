package sigpipe

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wait waits for the next signal.
func wait(t *testing.T, c *Caught) unix.Signal {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.FD), Events: unix.POLLIN}}, 10_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("no signal came: %d %v", n, err)
		}
		if s, ok := c.Next(); ok {
			return s
		}
	}
}

func TestEverySignalArrives(t *testing.T) {
	var all []unix.Signal
	for s := unix.Signal(1); s <= 64; s++ {
		switch s {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGCHLD, unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGPROF:
			continue
		case 32, 33, 34: // the C library's, and the Go runtime's for setuid
			continue
		}
		all = append(all, s)
	}
	// Whoever runs the tests may have had them ignored, as nohup(1) and "&" of a shell do.
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT} {
		if err := rtSigaction(s, &sigaction{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Catch(all...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := unix.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, c); got != s {
			t.Errorf("sent %d, caught %d", s, got)
		}
	}
	if s, ok := c.Next(); ok {
		t.Errorf("one more: %d", s)
	}
}

// TestWhileGoWorks sends signals to a program whose threads compute, allocate, collect and change stacks.
func TestWhileGoWorks(t *testing.T) {
	c, err := Catch(unix.SIGUSR1)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					deep(200)
					runtime.Gosched()
				}
			}
		})
	}
	const n = 2000
	for range n {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if s := wait(t, c); s != unix.SIGUSR1 {
			t.Fatalf("caught %d", s)
		}
	}
	runtime.GC()
	close(stop)
	work.Wait()
}

//go:noinline
func deep(n int) []byte {
	b := make([]byte, n)
	if n > 0 {
		b = append(b, deep(n-1)...)[:n]
	}
	return b
}

// TestIgnoredStaysIgnored is what nohup(1) relies on.
func TestIgnoredStaysIgnored(t *testing.T) {
	if os.Getenv("SIGPIPE_TEST_CHILD") != "" {
		c, err := Catch(unix.SIGHUP, unix.SIGTERM)
		if err != nil {
			t.Fatal(err)
		}
		unix.Kill(os.Getpid(), unix.SIGHUP)
		unix.Kill(os.Getpid(), unix.SIGTERM)
		if s := wait(t, c); s != unix.SIGTERM {
			t.Errorf("caught %d", s)
		}
		return
	}
	cmd := exec.Command("nohup", os.Args[0], "-test.run=TestIgnoredStaysIgnored", "-test.v")
	cmd.Env = append(os.Environ(), "SIGPIPE_TEST_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestChildrenHaveTheirOwn says that another program starts with default actions, and is ended by the signal.
func TestChildrenHaveTheirOwn(t *testing.T) {
	if _, err := Catch(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The signal must not come before the program does.
	for {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/comm")
		if err != nil || string(name) == "sleep\n" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	unix.Kill(cmd.Process.Pid, unix.SIGTERM)
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("%v", err)
	}
}
