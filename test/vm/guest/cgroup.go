package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// mountCgroups mounts one of the three layouts found in the field: "v2" (unified), "v1" (one hierarchy for
// each controller or usual pair of them), "hybrid" (v1 and, without controllers, v2 in "unified").
func mountCgroups(layout string) error {
	switch layout {
	case "v2":
		return mountUnified()
	case "v1":
		return mountLegacy()
	case "hybrid":
		if err := mountLegacy(); err != nil {
			return err
		}
		return mount("cgroup2", "cgroup2", cgroupRoot+"/unified", 0, "nsdelegate")
	}
	return fmt.Errorf("mount cgroups: no layout is called %q", layout)
}

// mountUnified mounts v2 with the options that systemd uses and hands every controller to the children of
// the root.
func mountUnified() error {
	if err := mount("cgroup2", "cgroup2", cgroupRoot, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "nsdelegate,memory_recursiveprot"); err != nil {
		return err
	}
	controllers, err := os.ReadFile(cgroupRoot + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(cgroupRoot+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enable controller %s: %w", c, err)
		}
	}
	return nil
}

// mountLegacy mounts the v1 hierarchies that the kernel has, in the pairs and with the symbolic links that
// systemd made.
func mountLegacy() error {
	if err := mount("tmpfs", "tmpfs", cgroupRoot, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/cgroups") // name, hierarchy, number of cgroups, enabled
	if err != nil {
		return err
	}
	enabled := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) == 4 && f[3] == "1" {
			enabled[f[0]] = true
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, pair := range [][2]string{{"cpu", "cpuacct"}, {"net_cls", "net_prio"}} {
		if !enabled[pair[0]] || !enabled[pair[1]] {
			continue
		}
		name := pair[0] + "," + pair[1]
		if err := mount("cgroup", "cgroup", cgroupRoot+"/"+name, flags, name); err != nil {
			return err
		}
		for _, c := range pair {
			delete(enabled, c)
			if err := os.Symlink(name, cgroupRoot+"/"+c); err != nil {
				return err
			}
		}
	}
	for c := range enabled {
		dir := cgroupRoot + "/" + c
		if err := mount("cgroup", "cgroup", dir, flags, c); errors.Is(err, unix.EINVAL) {
			// The kernel knows the controller but was built without its v1 files.
			if err := os.Remove(dir); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return mount("cgroup", "cgroup", cgroupRoot+"/systemd", flags, "none,name=systemd")
}
