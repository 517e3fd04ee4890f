package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownMounts gives this process a mount namespace of its own and begins anew in it: what the bench mounts is seen by
// nobody else, and is gone when it ends, however it ends.
func ownMounts() error {
	const mark = "GCR_BENCH_MOUNTS"
	if os.Getenv(mark) != "" {
		return os.Unsetenv(mark)
	}
	runtime.LockOSThread() // unshare(2) is for one thread, and so is what it becomes by execve(2)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return fmt.Errorf("begin anew: %w", unix.Exec(self, os.Args, append(os.Environ(), mark+"=own")))
}

// recordsOf is where gcr keeps what it knows about running containers (state.Root). It has no flag for another place.
const recordsOf = "/run/gcr"

// recordsInMemory puts a tmpfs there, as there is below the records of the other contenders. It must not be seen by others.
func recordsInMemory() error {
	if err := os.MkdirAll(recordsOf, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", recordsOf, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
		return fmt.Errorf("mount a tmpfs for gcr's records: %w", err)
	}
	return nil
}
