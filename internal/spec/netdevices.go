package spec

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkNetDevices checks names, and that no two devices get the same one.
func checkNetDevices(devices map[string]specs.LinuxNetDevice, ownNamespace bool) error {
	if len(devices) > 0 && !ownNamespace {
		return wrong("linux.netDevices", "there is no network namespace to move the devices to: add a namespace of type network")
	}
	taken := map[string]string{}
	for host, d := range devices {
		field := fmt.Sprintf("linux.netDevices[%s]", host)
		if err := deviceName(host, false); err != nil {
			return wrong(field, "%v", err)
		}
		name := host
		if d.Name != "" {
			name = d.Name
			if err := deviceName(name, true); err != nil {
				return wrong(field+".name", "%v", err)
			}
		}
		if other, ok := taken[name]; ok && !strings.Contains(name, "%d") {
			return wrong(field+".name", "%s is the name of device %s in the container as well", name, other)
		}
		taken[name] = host
	}
	return nil
}

// maxDeviceName is the longest name of a network device in bytes: IFNAMSIZ with the NUL is 16.
const maxDeviceName = 15

// deviceName refuses what the kernel does not take for the name of a network device (dev_valid_name, net/core/dev.c);
// a template has one %d, for which the kernel puts a number.
func deviceName(name string, template bool) error {
	plain := name
	if template {
		plain = strings.Replace(name, "%d", "", 1)
	}
	switch {
	case name == "":
		return errors.New("a network device without a name")
	case len(name) > maxDeviceName:
		return fmt.Errorf("%q is longer than %d bytes", name, maxDeviceName)
	case name == ".", name == "..", strings.ContainsAny(plain, "/:% \t\n\v\f\r\x00\u00a0"):
		return fmt.Errorf("%q is no name of a network device", name)
	}
	return nil
}
