package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownNamespaces gives this process a mount and a network namespace of its own and begins anew in them: what the bench
// mounts, and the bridges and firewall rules of the tools, are nobody else's, and are gone when it ends, however it ends.
func ownNamespaces() error {
	const mark = "GCR_BENCH_NAMESPACES"
	if os.Getenv(mark) != "" {
		return os.Unsetenv(mark)
	}
	runtime.LockOSThread() // unshare(2) is for one thread, and so is what it becomes by execve(2)
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make namespaces for the bench: %w", err)
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

// records are the directories in /run in which gcr and Podman keep what they know about running containers, and which no
// flag moves: those of containers, of leased addresses, of network namespaces.
var records = []string{"/run/gcr", "/run/gcr-net", "/run/netns", "/run/libpod", "/run/containers"}

// furnish prepares the namespaces: records on a tmpfs, as those of the other contenders are, and a loopback device. It
// must be called where the host does not see it.
func furnish() error {
	for _, dir := range records {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount a tmpfs for records: %w", err)
		}
	}
	// crun gives the device that is its standard input to the container's user.
	null := filepath.Join(records[0], "null")
	if err := unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("make a null device: %w", err)
	}
	err := errors.Join(os.Chmod(null, 0o666), unix.Mount(null, "/dev/null", "", unix.MS_BIND, ""))
	if err == nil { // without nodev, which it has from the tmpfs
		err = unix.Mount("", "/dev/null", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID, "")
	}
	if err != nil {
		return fmt.Errorf("cover /dev/null: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("set lo up: %w: %s", err, out)
	}
	return nil
}
