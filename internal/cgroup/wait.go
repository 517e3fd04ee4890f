package cgroup

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds what waits for the kernel where the caller's context has no deadline.
const patience = 10 * time.Second

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, patience, errors.New("still so after "+patience.String()))
}

// canceller gives a descriptor that becomes readable when ctx ends; stop releases it.
func canceller(ctx context.Context) (fd int, stop func(), err error) {
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, nil, err
	}
	ran := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(ran)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	return fd, func() {
		if !unregister() {
			<-ran // it must not write to a number that means something else by then
		}
		unix.Close(fd)
	}, nil
}

// waitFor reads a file of the group until done likes its content. In between it sleeps until the kernel
// tells of a change (POLLPRI, cgroup-v2.rst "Notifications"), not by the clock. The error is ctx's cause,
// or ENODEV when the group is removed.
func waitFor(ctx context.Context, dir *os.File, name string, done func(content string) bool) error {
	f, err := openFile(dir, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	cancel, stop, err := canceller(ctx)
	if err != nil {
		return err
	}
	defer stop()
	fd := int(f.Fd())
	var buf [4096]byte
	for {
		// Reading arms the notification: a change after this point wakes the poll.
		n, err := unix.Pread(fd, buf[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if done(string(buf[:n])) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(cancel), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// retry calls f with growing pauses, 1 to 20 ms, until it is done or fails, or ctx ends: for the things
// that cgroup v1 has no notification for.
func retry(ctx context.Context, f func() (done bool, err error)) error {
	pause := time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		done, err := f()
		if done || err != nil {
			return err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}

// flat reads one value of a "key value" file.
func flat(content, key string) (string, bool) {
	for line := range strings.Lines(content) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return v, true
		}
	}
	return "", false
}
