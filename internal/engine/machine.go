package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/hostfacts"
	"gcr/internal/plan"
	"gcr/internal/procfs"
	"gcr/internal/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const goarch = runtime.GOARCH

// checkKernel refuses kernels below the floor of the design, Linux 5.15, before anything else goes wrong on them.
func checkKernel(release string) error {
	k, err := seccomp.ParseKernel(release)
	if err != nil {
		return err
	}
	if k.Before(seccomp.Kernel{Major: 5, Minor: 15}) {
		return &Error{Op: "run", Object: "a container", Cause: text("this is Linux " + release), Hint: "gcr needs Linux 5.15 or later"}
	}
	return nil
}

func isTerminal(fd int) bool { return hostfacts.IsTerminal(fd) }

// monotonic is the time of CLOCK_MONOTONIC, the clock that the container's program reads as well.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// swapAccounting reports whether v1 can limit memory and swap together.
func swapAccounting(h cgroup.Host) bool {
	for _, m := range h.Mounts {
		if m.Has("memory") {
			_, err := os.Stat(filepath.Join(m.Point, "memory.memsw.limit_in_bytes"))
			return err == nil
		}
	}
	return false
}

// hostTree looks at the top of the host's file system, for the rootfs "host".
func hostTree(rootless bool) (plan.Root, error) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return plan.Root{}, &Error{Op: "read", Object: "the host's root directory", Cause: cause(err)}
	}
	r := plan.Root{Links: map[string]string{}}
	var names []string
	for _, e := range entries {
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink("/" + e.Name())
			if err != nil {
				return plan.Root{}, &Error{Op: "read", Object: "link /" + e.Name(), Cause: cause(err)}
			}
			r.Links[e.Name()] = target
		case e.IsDir():
			names = append(names, e.Name())
		}
	}
	var mounts []string
	if rootless {
		data, err := procfs.Read(fmt.Sprintf("%d/mountinfo", os.Getpid()))
		if err != nil {
			return plan.Root{}, err
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 4 {
				mounts = append(mounts, unescapeMount(f[4]))
			}
		}
	}
	r.Host = plan.HostDirs(names, mounts, rootless)
	return r, nil
}

// unescapeMount takes the escapes for space, tab, line break and backslash off a path of mountinfo
// (proc_pid_mountinfo(5)).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// setgroupsDenied reports whether setgroups(2) is denied where gcr runs, as it is for root in the user namespace of
// an ordinary user (user_namespaces(7), "The /proc/pid/setgroups file").
func setgroupsDenied() bool {
	data, err := procfs.Read(fmt.Sprintf("%d/setgroups", os.Getpid()))
	return err == nil && strings.TrimSpace(string(data)) == "deny"
}

// hierarchyDir is the directory under which a v1 hierarchy is commonly mounted: "systemd" for name=systemd.
func hierarchyDir(key string) string { return strings.TrimPrefix(key, "name=") }

// hasLimits reports whether the resources limit anything; rules about devices alone are no limit.
func hasLimits(r *specs.LinuxResources) bool {
	return r != nil && (r.Memory != nil || r.CPU != nil || r.Pids != nil || r.BlockIO != nil || len(r.HugepageLimits) > 0 || len(r.Unified) > 0 || len(r.Rdma) > 0)
}

func lines(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }
