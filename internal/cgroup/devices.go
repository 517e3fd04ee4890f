package cgroup

import (
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Access is a set of ways to use a device; the bits are those of linux/bpf.h, BPF_DEVCG_ACC_*.
type Access uint8

// The three ways to use a device.
const (
	Mknod Access = 1 << iota
	Read
	WriteAccess
	allAccess = Mknod | Read | WriteAccess
)

func (a Access) String() string {
	var b []byte
	for _, x := range []struct {
		bit Access
		c   byte
	}{{Read, 'r'}, {WriteAccess, 'w'}, {Mknod, 'm'}} {
		if a&x.bit != 0 {
			b = append(b, x.c)
		}
	}
	return string(b)
}

// wildcard stands for every major or minor number.
const wildcard = -1

// Device numbers have 12 and 20 bits (kdev_t.h).
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// DeviceRule allows or denies some ways to use some devices. Of several rules that match, the last one
// decides, for each way by itself.
type DeviceRule struct {
	Allow        bool
	Type         byte  // 'c' character, 'b' block, 'a' all
	Major, Minor int64 // wildcard (-1) for all
	Access       Access
}

// device gives the rule's device and access as the files of cgroup v1 write it: "c 1:3 rwm".
func (r DeviceRule) device() string {
	star := func(n int64) string {
		if n == wildcard {
			return "*"
		}
		return itoa(n)
	}
	return fmt.Sprintf("%c %s:%s %s", r.Type, star(r.Major), star(r.Minor), r.Access)
}

func (r DeviceRule) String() string {
	if r.Allow {
		return "allow " + r.device()
	}
	return "deny " + r.device()
}

// defaultDevices are what every container may use (OCI config-linux.md, "Default Devices", and what runc
// adds): to make any node, but open only these.
var defaultDevices = [...]DeviceRule{
	{true, 'c', wildcard, wildcard, Mknod},
	{true, 'b', wildcard, wildcard, Mknod},
	{true, 'c', 1, 3, allAccess},          // /dev/null
	{true, 'c', 1, 5, allAccess},          // /dev/zero
	{true, 'c', 1, 7, allAccess},          // /dev/full
	{true, 'c', 1, 8, allAccess},          // /dev/random
	{true, 'c', 1, 9, allAccess},          // /dev/urandom
	{true, 'c', 5, 0, allAccess},          // /dev/tty
	{true, 'c', 5, 2, allAccess},          // /dev/ptmx
	{true, 'c', 136, wildcard, allAccess}, // /dev/pts/*, which /dev/console is one of
	{true, 'c', 10, 200, allAccess},       // /dev/net/tun, for VPNs
}

// deviceRules checks the rules of the config and appends the default devices. The list begins with "deny all".
func deviceRules(devices []specs.LinuxDeviceCgroup) ([]DeviceRule, error) {
	rules := []DeviceRule{{false, 'a', wildcard, wildcard, allAccess}}
	for i, d := range devices {
		r, err := deviceRule(fmt.Sprintf("%sdevices[%d]", resourcesField, i), d)
		if err != nil {
			return nil, err
		}
		if r.Type == 'a' {
			rules = rules[:0] // it overrides all before it
		}
		rules = append(rules, r)
	}
	if len(rules) == 1 && rules[0].Allow {
		return rules, nil // everything is allowed already
	}
	return append(rules, defaultDevices[:]...), nil
}

func deviceRule(field string, d specs.LinuxDeviceCgroup) (DeviceRule, error) {
	r := DeviceRule{Allow: d.Allow, Major: wildcard, Minor: wildcard}
	switch d.Type {
	case "", "a":
		r.Type = 'a'
	case "c", "u":
		r.Type = 'c'
	case "b":
		r.Type = 'b'
	default:
		return r, invalid(field+".type", strconv.Quote(d.Type), "not a, b or c", "")
	}
	number := func(n *int64, most int64, name string) (int64, error) {
		switch {
		case n == nil || *n == wildcard:
			return wildcard, nil
		case *n < 0 || *n > most:
			return 0, invalid(field+"."+name, itoa(*n), fmt.Sprintf("outside of 0..%d", most), "-1 or nothing means all")
		}
		return *n, nil
	}
	var err error
	if r.Major, err = number(d.Major, maxMajor, "major"); err != nil {
		return r, err
	}
	if r.Minor, err = number(d.Minor, maxMinor, "minor"); err != nil {
		return r, err
	}
	if r.Type == 'a' {
		// The kernel's v1 interface has no "all" with numbers, and clients mean everything by it.
		r.Major, r.Minor, r.Access = wildcard, wildcard, allAccess
		return r, nil
	}
	for _, c := range d.Access {
		switch c {
		case 'r':
			r.Access |= Read
		case 'w':
			r.Access |= WriteAccess
		case 'm':
			r.Access |= Mknod
		default:
			return r, invalid(field+".access", strconv.Quote(d.Access), "not made of r, w and m", "")
		}
	}
	if d.Access == "" {
		r.Access = allAccess
	}
	return r, nil
}

// parseDevice reads one line of devices.list.
func parseDevice(line string) (DeviceRule, bool) {
	f := strings.Fields(line)
	if len(f) != 3 || len(f[0]) != 1 {
		return DeviceRule{}, false
	}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return DeviceRule{}, false
	}
	d := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[2]}
	for _, x := range []struct {
		s string
		p **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		if x.s != "*" {
			n, err := strconv.ParseInt(x.s, 10, 64)
			if err != nil {
				return DeviceRule{}, false
			}
			*x.p = &n
		}
	}
	r, err := deviceRule("devices.list", d)
	return r, err == nil
}
