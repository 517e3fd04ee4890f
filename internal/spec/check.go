package spec

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FieldError says what is wrong with a field.
type FieldError struct {
	Field string // such as "mounts[2].destination"
	Cause string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Cause }

func wrong(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// Check refuses a configuration that no container can be made from.
func Check(s *specs.Spec) error {
	for _, check := range []func(*specs.Spec) error{checkVersion, checkPlatform, checkRoot, checkMounts, checkHooks, checkLinux} {
		if err := check(s); err != nil {
			return err
		}
	}
	if s.Process != nil {
		return CheckProcess(s.Process)
	}
	return nil
}

// checkVersion takes every version 1.x: the specification promises that they can be read (spec.md, "Specification
// version").
func checkVersion(s *specs.Spec) error {
	if s.Version == "" {
		return wrong("ociVersion", "it is missing")
	}
	core, _, _ := strings.Cut(s.Version, "-")
	core, _, _ = strings.Cut(core, "+")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return wrong("ociVersion", "%q is no version in SemVer format", s.Version)
	}
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 16); err != nil {
			return wrong("ociVersion", "%q is no version in SemVer format", s.Version)
		}
	}
	if parts[0] != "1" {
		return wrong("ociVersion", "version %s is not supported: versions 1.x are", s.Version)
	}
	return nil
}

func checkPlatform(s *specs.Spec) error {
	switch {
	case s.Windows != nil && s.Linux == nil, s.Solaris != nil && s.Linux == nil, s.VM != nil, s.ZOS != nil && s.Linux == nil, s.FreeBSD != nil && s.Linux == nil:
		return wrong("linux", "it is missing: the configuration is for another platform")
	}
	return nil
}

func checkRoot(s *specs.Spec) error {
	if s.Root == nil {
		return wrong("root", "it is missing")
	}
	if s.Root.Path == "" {
		return wrong("root.path", "it is missing")
	}
	return noNUL("root.path", s.Root.Path)
}

func noNUL(field, value string) error {
	if strings.IndexByte(value, 0) >= 0 {
		return wrong(field, "it holds a NUL byte")
	}
	return nil
}

func checkMounts(s *specs.Spec) error {
	for i, m := range s.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		if m.Destination == "" {
			return wrong(field+".destination", "it is missing")
		}
		for name, v := range map[string]string{".destination": m.Destination, ".source": m.Source, ".type": m.Type} {
			if err := noNUL(field+name, v); err != nil {
				return err
			}
		}
		if err := checkIDMap(field+".uidMappings", m.UIDMappings); err != nil {
			return err
		}
		if err := checkIDMap(field+".gidMappings", m.GIDMappings); err != nil {
			return err
		}
	}
	return nil
}

// maxMappings is UID_GID_MAP_MAX_EXTENTS of Linux 4.15 and later.
const maxMappings = 340

func checkIDMap(field string, maps []specs.LinuxIDMapping) error {
	if len(maps) > maxMappings {
		return wrong(field, "%d ranges: the kernel takes %d", len(maps), maxMappings)
	}
	for i, m := range maps {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case m.Size == 0:
			return wrong(at+".size", "it must not be 0")
		case uint64(m.ContainerID)+uint64(m.Size) > 1<<32-1, uint64(m.HostID)+uint64(m.Size) > 1<<32-1:
			return wrong(at+".size", "the range goes beyond the last id, 4294967294")
		}
		for j, o := range maps[:i] {
			if m.ContainerID < o.ContainerID+o.Size && o.ContainerID < m.ContainerID+m.Size || m.HostID < o.HostID+o.Size && o.HostID < m.HostID+m.Size {
				return wrong(at, "it overlaps with range %d", j)
			}
		}
	}
	return nil
}

func checkHooks(s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	for _, k := range []struct {
		name string
		list []specs.Hook
	}{
		//lint:ignore SA1019 deprecated, but Docker up to 26 and many tools use it
		{"prestart", s.Hooks.Prestart},
		{"createRuntime", s.Hooks.CreateRuntime},
		{"createContainer", s.Hooks.CreateContainer},
		{"startContainer", s.Hooks.StartContainer},
		{"poststart", s.Hooks.Poststart},
		{"poststop", s.Hooks.Poststop},
	} {
		for i, h := range k.list {
			field := fmt.Sprintf("hooks.%s[%d]", k.name, i)
			if err := noNUL(field+".path", h.Path); err != nil {
				return err
			}
			if !path.IsAbs(h.Path) {
				return wrong(field+".path", "%q is not an absolute path", h.Path)
			}
			for name, list := range map[string][]string{"args": h.Args, "env": h.Env} {
				for j, text := range list {
					if err := noNUL(fmt.Sprintf("%s.%s[%d]", field, name, j), text); err != nil {
						return err
					}
				}
			}
			if h.Timeout != nil && *h.Timeout <= 0 {
				return wrong(field+".timeout", "%d is not greater than 0", *h.Timeout)
			}
		}
	}
	return nil
}

func checkLinux(s *specs.Spec) error {
	l := s.Linux
	if l == nil {
		return nil
	}
	if err := checkIDMap("linux.uidMappings", l.UIDMappings); err != nil {
		return err
	}
	if err := checkIDMap("linux.gidMappings", l.GIDMappings); err != nil {
		return err
	}
	has := map[specs.LinuxNamespaceType]bool{}
	for i, ns := range l.Namespaces {
		if err := noNUL(fmt.Sprintf("linux.namespaces[%d].path", i), ns.Path); err != nil {
			return err
		}
		has[ns.Type] = true
	}
	for i, d := range l.Devices {
		if err := checkDevice(fmt.Sprintf("linux.devices[%d]", i), d); err != nil {
			return err
		}
	}
	if err := noNUL("linux.mountLabel", l.MountLabel); err != nil {
		return err
	}
	for clock, o := range l.TimeOffsets {
		if o.Nanosecs >= 1e9 {
			return wrong("linux.timeOffsets["+clock+"].nanosecs", "%d is a second or more", o.Nanosecs)
		}
		if clock != "monotonic" && clock != "boottime" {
			return wrong("linux.timeOffsets", "there is no clock %q: use monotonic or boottime", clock)
		}
	}
	if len(l.TimeOffsets) > 0 && !has[specs.TimeNamespace] {
		return wrong("linux.timeOffsets", "there is no time namespace: add a namespace of type time")
	}
	if r := l.IntelRdt; r != nil {
		if err := CheckIntelRdt(r); err != nil {
			return err
		}
	}
	return checkNetDevices(l.NetDevices, has[specs.NetworkNamespace])
}

// checkDevice refuses numbers that mknod(2) would take for others (include/linux/kdev_t.h: 12 and 20 bits).
func checkDevice(field string, d specs.LinuxDevice) error {
	if d.Major < 0 || d.Major >= 1<<12 {
		return wrong(field+".major", "%d is not between 0 and 4095", d.Major)
	}
	if d.Minor < 0 || d.Minor >= 1<<20 {
		return wrong(field+".minor", "%d is not between 0 and 1048575", d.Minor)
	}
	return nil
}

// CheckIntelRdt looks at names and lines that go to the resctrl file system (config-linux.md, "IntelRdt"). The class
// "/" is the default one.
func CheckIntelRdt(r *specs.LinuxIntelRdt) error {
	if id := r.ClosID; id != "/" && (id == "." || id == ".." || strings.ContainsAny(id, "/\x00\n")) {
		return wrong("linux.intelRdt.closID", "%q is no name of a directory", id)
	}
	if r.MemBwSchema != "" && !strings.HasPrefix(r.MemBwSchema, "MB:") {
		return wrong("linux.intelRdt.memBwSchema", "%q does not start with MB:", r.MemBwSchema)
	}
	lines := []string{r.L3CacheSchema, r.MemBwSchema}
	for i, l := range append(lines, r.Schemata...) {
		if !strings.ContainsAny(l, "\n\x00") {
			continue
		}
		field := []string{"l3CacheSchema", "memBwSchema"}
		if i < len(field) {
			return wrong("linux.intelRdt."+field[i], "%q holds a line break", l)
		}
		return wrong(fmt.Sprintf("linux.intelRdt.schemata[%d]", i-len(field)), "%q holds a line break", l)
	}
	return nil
}

// CheckProcess refuses a process that cannot be run.
func CheckProcess(p *specs.Process) error {
	if p.Cwd == "" {
		return wrong("process.cwd", "it is missing")
	}
	if !path.IsAbs(p.Cwd) {
		return wrong("process.cwd", "%q is not an absolute path", p.Cwd)
	}
	if err := noNUL("process.cwd", p.Cwd); err != nil {
		return err
	}
	if len(p.Args) == 0 {
		return wrong("process.args", "there is no command to run")
	}
	for i, a := range p.Args {
		if err := noNUL(fmt.Sprintf("process.args[%d]", i), a); err != nil {
			return err
		}
	}
	for i, v := range p.Env {
		field := fmt.Sprintf("process.env[%d]", i)
		if err := noNUL(field, v); err != nil {
			return err
		}
		if strings.IndexByte(v, '=') < 1 {
			return wrong(field, "%q is not of the form NAME=VALUE", v)
		}
	}
	for name, label := range map[string]string{"apparmorProfile": p.ApparmorProfile, "selinuxLabel": p.SelinuxLabel} {
		if err := noNUL("process."+name, label); err != nil {
			return err
		}
	}
	// struct winsize of ioctl_tty(2) has 16 bits for each.
	if c := p.ConsoleSize; c != nil && c.Height > math.MaxUint16 {
		return wrong("process.consoleSize.height", "%d is more than 65535", c.Height)
	} else if c != nil && c.Width > math.MaxUint16 {
		return wrong("process.consoleSize.width", "%d is more than 65535", c.Width)
	}
	if v := p.OOMScoreAdj; v != nil && (*v < -1000 || *v > 1000) {
		return wrong("process.oomScoreAdj", "%d is not between -1000 and 1000", *v)
	}
	return nil
}
