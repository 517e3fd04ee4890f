package systemd

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gcr/internal/cgroup"

	systemdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Property is one property of a unit.
type Property = systemdbus.Property

// Facts is what the properties depend on.
type Facts struct {
	CgroupVersion int // 1 or 2
	Version       int // of systemd, such as 252
	// Devices is the content of /proc/devices, where a whole major number has its name; used on v1.
	Devices string
	// Update tells that the unit is there already: what the resources leave out stays as it is.
	Update bool
}

func property(name string, value any) Property {
	return Property{Name: name, Value: dbus.MakeVariant(value)}
}

// Properties gives the unit properties that say the same as the files of the group
// (systemd.resource-control(5)). What systemd has no property for is left to the files, which Delegate=yes
// protects. On v2 these include the device filter, which is a program of its own beside systemd's; on v1 systemd
// would allow all devices again when it reloads, so there it gets DevicePolicy=strict with the list.
func Properties(r *specs.LinuxResources, f Facts) ([]Property, error) {
	var p []Property
	add := func(name string, value any) { p = append(p, property(name, value)) }
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if m := r.Memory; m != nil {
		memory(m, f, add)
	}
	if c := r.CPU; c != nil {
		if err := cpu(c, f, add); err != nil {
			return nil, err
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		limit := uint64(math.MaxUint64)
		if *r.Pids.Limit >= 0 {
			limit = max(1, uint64(*r.Pids.Limit)) // TasksMax takes no 0
		}
		add("TasksMax", limit)
	}
	if r.BlockIO != nil && r.BlockIO.Weight != nil && *r.BlockIO.Weight != 0 {
		if f.CgroupVersion == 2 {
			add("IOWeight", cgroup.IOWeight(*r.BlockIO.Weight))
		} else {
			add("BlockIOWeight", uint64(*r.BlockIO.Weight))
		}
	}
	if f.CgroupVersion == 2 {
		return p, unified(r.Unified, add)
	}
	if f.Update && len(r.Devices) == 0 {
		return p, nil
	}
	return p, devices(r.Devices, f, add)
}

// bytesOf turns -1 into systemd's infinity.
func bytesOf(n int64) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}

func memory(m *specs.LinuxMemory, f Facts, add func(string, any)) {
	given := func(v *int64) bool { return v != nil && *v != 0 }
	if f.CgroupVersion == 1 {
		if given(m.Limit) {
			add("MemoryLimit", bytesOf(*m.Limit))
		}
		return
	}
	if given(m.Limit) {
		add("MemoryMax", bytesOf(*m.Limit))
	}
	if given(m.Reservation) {
		add("MemoryLow", bytesOf(*m.Reservation))
	}
	switch {
	case given(m.Swap) && *m.Swap == -1, !given(m.Swap) && given(m.Limit) && *m.Limit == -1:
		add("MemorySwapMax", uint64(math.MaxUint64))
	case given(m.Swap) && given(m.Limit) && *m.Swap >= *m.Limit:
		add("MemorySwapMax", uint64(*m.Swap-*m.Limit))
	}
}

func cpu(c *specs.LinuxCPU, f Facts, add func(string, any)) error {
	if c.Shares != nil && *c.Shares != 0 {
		if f.CgroupVersion == 2 {
			weight := cgroup.CPUWeight(*c.Shares)
			if c.Idle != nil && *c.Idle == 1 && f.Version >= 252 {
				weight = 0 // idle, since systemd 252
			}
			add("CPUWeight", weight)
		} else {
			add("CPUShares", *c.Shares)
		}
	} else if c.Idle != nil && *c.Idle == 1 && f.CgroupVersion == 2 && f.Version >= 252 {
		add("CPUWeight", uint64(0))
	}
	var quota int64
	var period uint64
	if c.Quota != nil {
		quota = *c.Quota
	}
	if c.Period != nil {
		period = *c.Period
	}
	bandwidth(quota, period, f, add)
	// Versions before 244 know no cpusets, and v1's are none of systemd's business.
	if f.CgroupVersion != 2 || f.Version < 244 {
		return nil
	}
	return cpuset(c.Cpus, resource+"cpu.cpus", c.Mems, resource+"cpu.mems", add)
}

const resource = "linux.resources."

// bandwidth says quota and period in systemd's way: CPU time for each second. It rounds up to 10 ms, as systemd
// does when it writes the file, so that both agree on the value.
func bandwidth(quota int64, period uint64, f Facts, add func(string, any)) {
	if period != 0 && f.Version >= 242 {
		add("CPUQuotaPeriodUSec", period)
	}
	switch {
	case quota == 0:
	case quota < 0:
		add("CPUQuotaPerSecUSec", uint64(math.MaxUint64))
	default:
		if period == 0 {
			period = 100000
		}
		perSecond := uint64(quota) * 1000000 / period
		if rest := perSecond % 10000; rest != 0 {
			perSecond += 10000 - rest
		}
		add("CPUQuotaPerSecUSec", perSecond)
	}
}

func cpuset(cpus, cpusField, mems, memsField string, add func(string, any)) error {
	for _, x := range []struct{ property, value, field string }{{"AllowedCPUs", cpus, cpusField}, {"AllowedMemoryNodes", mems, memsField}} {
		if x.value == "" {
			continue
		}
		bits, err := bitmap(x.value)
		if err != nil {
			return &cgroup.Error{Op: "use", Object: strconv.Quote(x.value), Field: x.field, Cause: err}
		}
		add(x.property, bits)
	}
	return nil
}

// bitmap turns a list such as "0-3,8" into bytes, the lowest CPU in the lowest bit of the first.
func bitmap(list string) ([]byte, error) {
	var bits []byte
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(lo, 10, 13)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(hi, 10, 13)
		}
		if err != nil || b < a {
			return nil, fmt.Errorf("%q is not a range such as 0-3", part)
		}
		for ; a <= b; a++ {
			for uint64(len(bits)) <= a/8 {
				bits = append(bits, 0)
			}
			bits[a/8] |= 1 << (a % 8)
		}
	}
	return bits, nil
}

// unified translates the files that systemd has properties for.
func unified(files map[string]string, add func(string, any)) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	simple := map[string]string{
		"cpu.weight": "CPUWeight", "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
		"memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
	}
	for _, name := range names {
		value := strings.TrimSpace(files[name])
		field := fmt.Sprintf("%sunified[%q]", resource, name)
		bad := func(err error) error {
			return &cgroup.Error{Op: "use", Object: strconv.Quote(value), Field: field, Cause: err}
		}
		switch {
		case simple[name] != "":
			n := uint64(math.MaxUint64)
			if value != "max" {
				var err error
				if n, err = strconv.ParseUint(value, 10, 64); err != nil {
					return bad(fmt.Errorf("neither a number nor max"))
				}
			}
			add(simple[name], n)
		case name == "cpu.max":
			quotaText, periodText, _ := strings.Cut(value, " ")
			quota, period := int64(-1), uint64(100000)
			var err error
			if quotaText != "max" {
				quota, err = strconv.ParseInt(quotaText, 10, 64)
			}
			if err == nil && periodText != "" {
				period, err = strconv.ParseUint(periodText, 10, 64)
			}
			if err != nil || period == 0 {
				return bad(fmt.Errorf("not \"QUOTA PERIOD\" in microseconds"))
			}
			bandwidth(quota, period, Facts{Version: math.MaxInt}, add)
		case name == "cpuset.cpus":
			if err := cpuset(value, field, "", "", add); err != nil {
				return err
			}
		case name == "cpuset.mems":
			if err := cpuset("", "", value, field, add); err != nil {
				return err
			}
		}
	}
	return nil
}

// Annotations gives the properties that the container's annotations ask for by name:
// "org.systemd.property.TimeoutStopUSec": "uint64 5000000", values in GVariant text as busctl and runc take
// them. A name that ends in Sec is given in seconds and becomes USec.
func Annotations(annotations map[string]string) ([]Property, error) {
	const prefix = "org.systemd.property."
	names := make([]string, 0, len(annotations))
	for key := range annotations {
		if strings.HasPrefix(key, prefix) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	var p []Property
	for _, key := range names {
		name, text := strings.TrimPrefix(key, prefix), annotations[key]
		fail := func(err error, hint string) error {
			return &cgroup.Error{Op: "use", Object: strconv.Quote(text), Field: "annotations[" + strconv.Quote(key) + "]", Cause: err, Hint: hint}
		}
		if len(name) < 3 || strings.TrimFunc(name, letter) != "" || name[0] < 'A' || name[0] > 'Z' {
			return nil, fail(fmt.Errorf("%q is not the name of a property", name), "")
		}
		v, err := dbus.ParseVariant(text, dbus.Signature{})
		if err != nil {
			return nil, fail(err, "values are GVariant text: 'string', true, uint64 5, ['a', 'b']")
		}
		if seconds, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(name, "USec") {
			var n float64
			switch x := v.Value().(type) {
			case float64:
				n = x
			case int32:
				n = float64(x)
			case uint32:
				n = float64(x)
			case int64:
				n = float64(x)
			case uint64:
				n = float64(x)
			default:
				return nil, fail(fmt.Errorf("seconds are a number"), "")
			}
			if !(n >= 0 && n <= maxSeconds) { // NaN is neither
				return nil, fail(fmt.Errorf("seconds are between 0 and %d", uint64(maxSeconds)), "")
			}
			name, v = seconds+"USec", dbus.MakeVariant(uint64(n*1e6))
		}
		p = append(p, Property{Name: name, Value: v})
	}
	return p, nil
}

// maxSeconds is a span of time that fits into microseconds in 64 bits: 31 thousand years.
const maxSeconds = 1e12

func letter(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
