package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/hostfacts"
)

// buildDevices reads --device and, for a privileged container, takes every device of the host.
func (b *builder) buildDevices() error {
	if !b.set.has(nsMount) {
		return nil
	}
	where := map[string]string{}
	if b.o.Privileged {
		devices, err := b.h.Devices("/dev")
		if err != nil {
			return &Error{Op: "list", Object: "/dev", Flag: "--privileged", Cause: cause(err)}
		}
		for _, d := range devices {
			if !isDefaultDevice(d.Path) {
				where[d.Path] = "--privileged"
				b.addDevice(d, d.Path)
			}
		}
	}
	for _, value := range b.o.Devices {
		if err := b.buildDevice(value, where); err != nil {
			return err
		}
	}
	b.buildDeviceRules()
	return nil
}

// buildDevice reads SRC[:DST[:rwm]] or SRC:rwm. A directory stands for every device below it.
func (b *builder) buildDevice(value string, where map[string]string) error {
	const flag = "--device"
	parts := strings.Split(value, ":")
	src, dst, access := parts[0], parts[0], "rwm"
	switch {
	case len(parts) == 2 && isAccess(parts[1]):
		access = parts[1]
	case len(parts) == 2:
		dst = parts[1]
	case len(parts) == 3:
		dst, access = parts[1], parts[2]
	case len(parts) > 3:
		return badValue(flag, value, "has more than two colons", "write SRC[:DST[:rwm]]")
	}
	if !isAccess(access) {
		return badValue(flag, value, "access "+quote(access)+" is not made of r, w and m, each at most once", "for instance rw")
	}
	if !strings.HasPrefix(src, "/") {
		if strings.Contains(src, "=") {
			return badValue(flag, value, "devices by CDI name are not there yet", "name the device's path, such as /dev/fuse")
		}
		return badValue(flag, value, "the source is not an absolute path", "for instance /dev/fuse")
	}
	dst, err := destination(flag, value, dst)
	if err != nil {
		return err
	}
	if within(dst, "/proc") || within(dst, "/sys") {
		return badValue(flag, value, "a device cannot stand in /proc or /sys", "put it below /dev")
	}
	src = filepath.Clean(src)
	devices, err := b.h.Devices(src)
	if err != nil {
		e := &Error{Op: "add", Object: "device " + quote(src), Flag: flag, Cause: cause(err)}
		if errors.Is(err, fs.ErrNotExist) {
			e.Cause, e.Hint = text("it does not exist on the host"), "perhaps its kernel module is not loaded"
		}
		return e
	}
	for _, d := range devices {
		if d.Type != 'c' && d.Type != 'b' {
			return &Error{Op: "add", Object: "device " + quote(src), Flag: flag, Cause: text("it is not a device"), Hint: "use -v for files and directories"}
		}
		to := path.Join(dst, strings.TrimPrefix(d.Path, src))
		if isDefaultDevice(to) {
			return &Error{Op: "add", Object: "device " + quote(src), Flag: flag, Cause: fmt.Errorf("every container has its own %s", to), Hint: "give another destination, or leave the flag out"}
		}
		if where[to] == "--privileged" && to == d.Path {
			continue
		}
		if other, dup := where[to]; dup {
			return &Error{Op: "add", Object: "device " + quote(src), Flag: flag, Cause: fmt.Errorf("%s is already the place of %s", to, other)}
		}
		where[to] = flag + " " + value
		b.addDevice(d, to)
		b.rules = append(b.rules, specs.LinuxDeviceCgroup{
			Allow: true, Type: string(d.Type), Major: int64p(int64(d.Major)), Minor: int64p(int64(d.Minor)), Access: access,
		})
	}
	if len(devices) == 0 {
		return &Error{Op: "add", Object: "device " + quote(src), Flag: flag, Cause: text("there is no device in that directory that you may see")}
	}
	return nil
}

func (b *builder) addDevice(d hostfacts.Device, to string) {
	if b.ids.own && to != d.Path {
		// A user namespace may not make nodes, and an entry of linux.devices knows no source.
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: to, Type: "bind", Source: d.Path, Options: []string{"bind", "rprivate"}})
		return
	}
	mode := os.FileMode(d.Mode & 0o777)
	dev := specs.LinuxDevice{
		Path: to, Type: string(d.Type), Major: int64(d.Major), Minor: int64(d.Minor), FileMode: &mode,
	}
	if !b.ids.own {
		// In a user namespace the host's node is bound and keeps its owner.
		uid, gid := d.UID, d.GID
		dev.UID, dev.GID = &uid, &gid
	}
	b.spec.Linux.Devices = append(b.spec.Linux.Devices, dev)
}

// buildDeviceRules tells the device controller: nothing but the OCI default devices, which every runtime
// adds (config-linux.md, "Default Devices"), and those asked for. Only root can set rules.
func (b *builder) buildDeviceRules() {
	if b.h.rootless() || !b.h.CgroupWritable {
		return
	}
	rules := append([]specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, b.rules...)
	if b.o.Privileged {
		rules = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	b.resources().Devices = rules
}

func isAccess(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !strings.Contains("rwm", s[i:i+1]) || strings.Contains(s[:i], s[i:i+1]) {
			return false
		}
	}
	return true
}

// isDefaultDevice tells whether a path is one that the OCI specification has in every container.
func isDefaultDevice(p string) bool {
	switch p {
	case "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx",
		"/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd":
		return true
	}
	return false
}

func int64p(n int64) *int64 { return &n }
