package systemd

import (
	"fmt"
	"strings"

	"gcr/internal/cgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// allowDevice is an entry of DeviceAllow, type (ss).
type allowDevice struct{ Path, Access string }

// devices says DevicePolicy and DeviceAllow (systemd.resource-control(5)).
func devices(rules []specs.LinuxDeviceCgroup, f Facts, add func(string, any)) error {
	list, all, err := cgroup.AllowedDevices(rules)
	if err != nil {
		return err
	}
	allow := []allowDevice{}
	if all {
		add("DevicePolicy", "auto")
		add("DeviceAllow", allow)
		return nil
	}
	for _, r := range list {
		if path := devicePath(r, f.Devices); path != "" {
			allow = append(allow, allowDevice{path, r.Access.String()})
		}
	}
	add("DevicePolicy", "strict")
	add("DeviceAllow", allow)
	return nil
}

// devicePath names a device as systemd does: by number for one, by the driver's name for a whole major
// number, "*" for all. One that this machine has no driver for has no name, and needs none.
func devicePath(r cgroup.DeviceRule, procDevices string) string {
	kind := "char"
	if r.Type == 'b' {
		kind = "block"
	}
	switch {
	case r.Major < 0:
		return kind + "-*"
	case r.Minor >= 0:
		return fmt.Sprintf("/dev/%s/%d:%d", kind, r.Major, r.Minor)
	}
	section := ""
	for line := range strings.Lines(procDevices) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Character"):
			section = "char"
		case strings.HasPrefix(line, "Block"):
			section = "block"
		case len(fields) == 2 && section == kind && fields[0] == fmt.Sprint(r.Major):
			return kind + "-" + fields[1]
		}
	}
	return ""
}
