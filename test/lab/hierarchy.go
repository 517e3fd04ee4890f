package lab

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MountHierarchy mounts the hierarchy of a controller where the machine has cgroup v1 and nobody has mounted it, as some do
// with hugetlb. It stays there, for others may have groups in it by the end of the test.
func MountHierarchy(controller string) error {
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		return nil // version 2
	}
	dir := filepath.Join("/sys/fs/cgroup", controller)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.NewSyscallError("mount cgroup on "+dir, unix.Mount("cgroup", dir, "cgroup", 0, controller))
}
