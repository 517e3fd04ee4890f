// Package flock holds advisory locks on files (flock(2)). A lock belongs to the open file: it is let go when the last
// descriptor is closed, so also when its holder is killed, and nothing has to be cleaned up.
//
//	l, err := flock.Exclusive(ctx, "/var/lib/gcr/images/locks/layer-…")
//	defer l.Close()
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy is given by the Try functions where another holder has the lock.
var ErrBusy = errors.New("in use by another process")

// Lock is a lock that is held until Close.
type Lock struct{ f *os.File }

// File is the open file behind the lock. A process that inherits it keeps the lock alive.
func (l *Lock) File() *os.File { return l.f }

// Close lets the lock go.
func (l *Lock) Close() error { return l.f.Close() }

// Exclusive waits until it alone holds the lock on the file at path, which is made with mode 0600 where missing.
func Exclusive(ctx context.Context, path string) (*Lock, error) { return wait(ctx, path, unix.LOCK_EX) }

// Shared waits until nobody holds the lock exclusively.
func Shared(ctx context.Context, path string) (*Lock, error) { return wait(ctx, path, unix.LOCK_SH) }

// TryExclusive is Exclusive, but gives ErrBusy in place of waiting.
func TryExclusive(path string) (*Lock, error) { return try(path, unix.LOCK_EX) }

// TryShared is Shared, but gives ErrBusy in place of waiting.
func TryShared(path string) (*Lock, error) { return try(path, unix.LOCK_SH) }

func try(path string, how int) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch err {
		case nil:
			return &Lock{f}, nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			f.Close()
			return nil, ErrBusy
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}

// wait polls, since a blocking flock(2) cannot be given up when ctx ends.
func wait(ctx context.Context, path string, how int) (*Lock, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		l, err := try(path, how)
		if !errors.Is(err, ErrBusy) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
