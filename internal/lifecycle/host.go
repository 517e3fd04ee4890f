package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"gcr/internal/cgroup"
	"gcr/internal/hostfacts"
	"gcr/internal/plan"
	"gcr/internal/procfs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// readHost gathers the facts that plans depend on.
func readHost() (plan.Host, error) {
	effective, err := hostfacts.Capabilities()
	if err != nil {
		return plan.Host{}, err
	}
	bounding, last := hostfacts.BoundingSet()
	h := plan.Host{
		UID: os.Geteuid(), GID: os.Getegid(), Capabilities: bounding, LastCap: last, Keyring: true,
		SysAdmin: effective>>unix.CAP_SYS_ADMIN&1 != 0,
	}
	h.UserNamespace = InUserNamespace()
	if h.UserNamespace || h.UID != 0 {
		h.NoSetgroups = setgroupsDenied(os.Getpid())
	}
	return h, nil
}

// facts are what a creation needs to know of the host.
type facts struct {
	host    plan.Host
	cgroups cgroup.Host
	err     error
}

func readFacts() (f facts) {
	if f.host, f.err = readHost(); f.err == nil {
		f.cgroups, f.err = cgroup.Detect()
	}
	return f
}

// setgroupsDenied reports whether setgroups(2) is forbidden in the user namespace of a process (user_namespaces(7),
// "The /proc/pid/setgroups file").
func setgroupsDenied(pid int) bool {
	deny, err := procfs.Read(fmt.Sprintf("%d/setgroups", pid))
	return err == nil && strings.TrimSpace(string(deny)) == "deny"
}

// readLabels finds out about security modules, when the process has labels.
func readLabels(h *plan.Host, p *specs.Process, mountLabel string) {
	if p.ApparmorProfile != "" {
		h.AppArmorExec = hostfacts.AppArmorExec()
	}
	if p.SelinuxLabel != "" || mountLabel != "" {
		h.SELinux = hostfacts.SELinux()
	}
}

// InUserNamespace reports whether the caller is in a user namespace other than the first one, by its id map
// (user_namespaces(7)).
func InUserNamespace() bool {
	data, err := procfs.Read(fmt.Sprintf("%d/uid_map", os.Getpid()))
	if err != nil {
		return false
	}
	f := strings.Fields(string(data))
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295"
}

// cgroupDir is the directory name under which a v1 hierarchy is mounted in a container: "systemd" for name=systemd.
func cgroupDir(key string) string { return strings.TrimPrefix(key, "name=") }

// planCgroup tells the plan where a cgroup is: dirs are the group's directories in the order of Group.TaskFiles.
func planCgroup(host cgroup.Host, dirs []cgroupPlace) plan.Cgroup {
	out := plan.Cgroup{Version: host.Version}
	for _, d := range dirs {
		switch {
		case d.key != "":
			out.TaskFiles++
			out.Mounts = append(out.Mounts, plan.CgroupMount{Name: cgroupDir(d.key), Path: d.path})
		default:
			out.Into = true
			if host.Version == 2 {
				out.Mounts = []plan.CgroupMount{{Path: d.path}}
			}
		}
	}
	if len(out.Mounts) > 0 {
		return out
	}
	// Without a group of its own the container sees the caller's.
	for _, m := range host.Mounts {
		switch {
		case host.Version == 2:
			out.Mounts = []plan.CgroupMount{{Path: m.Point + m.Self}}
		case !m.Unified:
			out.Mounts = append(out.Mounts, plan.CgroupMount{Name: cgroupDir(m.Key()), Path: m.Point + m.Self})
		}
	}
	return out
}

// cgroupPlace is a cgroup in one hierarchy.
type cgroupPlace struct{ key, path string }

// places lists the directories of a group as it is on disk.
func places(s cgroup.State) []cgroupPlace {
	var out []cgroupPlace
	for _, key := range slices.Sorted(maps.Keys(s.Paths)) {
		out = append(out, cgroupPlace{key, s.Paths[key]})
	}
	return out
}
