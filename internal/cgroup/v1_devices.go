package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// deviceState is how the kernel keeps the rules of a v1 group: one answer for everything, and exceptions
// from it (security/device_cgroup.c).
type deviceState struct {
	allow      bool // the answer
	exceptions []DeviceRule
}

// deviceStateOf plays the rules through. It refuses lists that the kernel's form cannot express: taking
// one device out of a range that was given before, and the reverse.
func deviceStateOf(rules []DeviceRule) (deviceState, error) {
	var s deviceState
	for _, r := range rules {
		if r.Type == 'a' {
			s = deviceState{allow: r.Allow}
			continue
		}
		same := slices.IndexFunc(s.exceptions, func(e DeviceRule) bool {
			return e.Type == r.Type && e.Major == r.Major && e.Minor == r.Minor
		})
		if r.Allow != s.allow {
			if same >= 0 {
				s.exceptions[same].Access |= r.Access
			} else {
				s.exceptions = append(s.exceptions, r)
			}
			continue
		}
		if same >= 0 {
			s.exceptions[same].Access &^= r.Access
			if s.exceptions[same].Access == 0 {
				s.exceptions = slices.Delete(s.exceptions, same, same+1)
			}
		}
		for _, e := range s.exceptions {
			if e.Type == r.Type && overlap(e.Major, r.Major) && overlap(e.Minor, r.Minor) && e.Access&r.Access != 0 {
				return s, invalid(resourcesField+"devices", strconv.Quote(r.String()),
					fmt.Sprintf("cgroup v1 cannot carve it out of the earlier %q", e.String()), "name the devices one by one, or use cgroup v2")
			}
		}
	}
	return s, nil
}

// AllowedDevices gives what a container with these rules may use, default devices included, as a plain list
// without denials; all tells that it may use everything. Rules that have no such form are an error.
func AllowedDevices(devices []specs.LinuxDeviceCgroup) (list []DeviceRule, all bool, err error) {
	rules, err := deviceRules(devices)
	if err != nil {
		return nil, false, err
	}
	s, err := deviceStateOf(rules)
	if err != nil || s.allow {
		return nil, s.allow, err
	}
	return s.exceptions, false, nil
}

func overlap(a, b int64) bool { return a == wildcard || b == wildcard || a == b }

// devicesV1 makes the writes for devices.allow and devices.deny.
func (c *compiler) devicesV1(devices []specs.LinuxDeviceCgroup) error {
	if c.update && devices == nil || c.p.optional {
		// Rootless: the files belong to root, and a user namespace cannot make device nodes anyway.
		return nil
	}
	const field = resourcesField + "devices"
	rules, err := deviceRules(devices)
	if err != nil {
		return err
	}
	want, err := deviceStateOf(rules)
	if err != nil {
		return err
	}
	have := deviceState{allow: true}
	if list, ok := c.current["devices.list"]; ok {
		have = parseDeviceList(list)
	}
	if _, mounted := c.h.find("devices"); !mounted {
		if want.allow && len(want.exceptions) == 0 {
			return nil
		}
		return c.needV1("devices", field)
	}
	exception, answer := "devices.allow", "devices.deny"
	if want.allow {
		exception, answer = answer, exception
	}
	if want.allow != have.allow || want.allow && len(have.exceptions) > 0 {
		why := "nothing but what follows"
		if want.allow {
			why = "everything but what follows"
		}
		c.add("devices", answer, "a *:* rwm", field, why)
		have = deviceState{allow: want.allow}
	}
	why := "may be used"
	if want.allow {
		why = "may not be used"
	}
	for _, e := range want.exceptions {
		if !slices.ContainsFunc(have.exceptions, func(x DeviceRule) bool { return x.device() == e.device() }) {
			c.add("devices", exception, e.device(), field, why)
		}
	}
	// Give before taking away, so that no device that stays is out of reach for a moment.
	for _, x := range have.exceptions {
		gone := x.Access
		for _, e := range want.exceptions {
			if e.Type == x.Type && e.Major == x.Major && e.Minor == x.Minor {
				gone &^= e.Access
			}
		}
		if gone != 0 {
			x.Access = gone
			c.add("devices", answer, x.device(), field, "no longer")
		}
	}
	return nil
}

// parseDeviceList reads devices.list. The file shows a group that allows everything with exceptions the
// same as one without: both say "a *:* rwm".
func parseDeviceList(list string) deviceState {
	var s deviceState
	for line := range strings.Lines(list) {
		r, ok := parseDevice(line)
		switch {
		case ok && r.Type == 'a':
			s.allow = true
		case ok:
			s.exceptions = append(s.exceptions, r)
		}
	}
	return s
}
