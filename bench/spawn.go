package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what one or more processes took.
type usage struct {
	Wall time.Duration
	User time.Duration // processor time in user mode, of the processes that were waited for
	Sys  time.Duration // and in the kernel
}

func (u *usage) add(v usage) {
	u.Wall += v.Wall
	u.User += v.User
	u.Sys += v.Sys
}

// spawner starts processes with standard streams that go nowhere, except for errors, which it keeps.
type spawner struct {
	null, errs *os.File
}

func newSpawner() (*spawner, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("errors", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file for error messages: %w", err)
	}
	return &spawner{null, os.NewFile(uintptr(fd), "errors")}, nil
}

func (s *spawner) close() {
	s.null.Close()
	s.errs.Close()
}

// starting is held while a process is started; whoever has it locked keeps others from being started.
var starting sync.RWMutex

// start starts a process.
func (s *spawner) start(argv []string, env []string) (int, error) {
	starting.RLock()
	defer starting.RUnlock()
	return syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: env, Files: []uintptr{s.null.Fd(), s.null.Fd(), s.errs.Fd()},
	})
}

// run starts a process and waits for its end. A status other than 0 is an error with what the process has said.
func (s *spawner) run(argv ...string) (usage, error) {
	begin := time.Now()
	pid, err := s.start(argv, os.Environ())
	if err != nil {
		return usage{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	u, err := waitFor(pid)
	u.Wall = time.Since(begin)
	if err != nil {
		return u, fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, s.said())
	}
	return u, nil
}

// said returns what processes have written to standard error since the last time.
func (s *spawner) said() string {
	var buf [2048]byte
	n, _ := s.errs.ReadAt(buf[:], 0)
	_ = s.errs.Truncate(0)
	_, _ = s.errs.Seek(0, 0)
	if n == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(buf[:n]))
}

// waitFor waits for the end of one child.
func waitFor(pid int) (usage, error) {
	var ws unix.WaitStatus
	var ru unix.Rusage
	for {
		_, err := unix.Wait4(pid, &ws, 0, &ru)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return usage{}, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		break
	}
	u := usage{User: time.Duration(ru.Utime.Nano()), Sys: time.Duration(ru.Stime.Nano())}
	if ws.ExitStatus() != 0 {
		return u, fmt.Errorf("exit status %d, signal %d", ws.ExitStatus(), int(ws.Signal()))
	}
	return u, nil
}

// reapAll waits for every child that there is.
func reapAll() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
