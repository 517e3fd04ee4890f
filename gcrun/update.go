package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func runUpdate(g *globals, c *command, args []string) error {
	fs := flagSet("update")
	var u updateFlags
	u.define(fs)
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	r, err := u.resources(fs)
	if err != nil {
		return err
	}
	if *u.values["kernel-memory"] != "" {
		g.log.warn("--kernel-memory is ignored: the kernel no longer has this limit")
	}
	if rdt := u.intelRdt(); rdt != nil {
		if err := g.store().UpdateResctrl(rest[0], rdt); err != nil {
			return err
		}
	}
	return g.store().Update(rest[0], r)
}

// updateFlags are the options of update; those that were not given change nothing.
type updateFlags struct {
	file   string
	values map[string]*string
}

// updateOptions are the options that set one value each.
var updateOptions = []struct{ name, help string }{
	{"blkio-weight", "block I/O `weight`, 10 to 1000"},
	{"cpu-period", "`time` in microseconds over which the quota counts"},
	{"cpu-quota", "CPU `time` in microseconds in each period"},
	{"cpu-burst", "saved-up CPU `time` in microseconds that may be used beyond the quota"},
	{"cpu-share", "CPU `weight` against other containers, 1024 is ordinary"},
	{"cpu-rt-period", "`time` in microseconds over which the real-time runtime counts"},
	{"cpu-rt-runtime", "real-time CPU `time` in microseconds in each period"},
	{"cpuset-cpus", "processors to run on, a `list` such as 0-3,7"},
	{"cpuset-mems", "memory nodes to use, a `list`"},
	{"cpu-idle", "1 makes the container run only when nothing else wants to"},
	{"memory", "`bytes` of memory, with a suffix K, M, G or T; -1 for no limit"},
	{"memory-reservation", "`bytes` of memory that the container keeps when memory is short"},
	{"memory-swap", "`bytes` of memory and swap together; -1 for no limit"},
	{"kernel-memory-tcp", "`bytes` of memory for TCP buffers, with cgroup version 1; -1 for no limit"},
	{"l3-cache-schema", "`line` such as L3:0=7f0 for the container's resctrl group"},
	{"mem-bw-schema", "`line` such as MB:0=20 for the container's resctrl group"},
	{"pids-limit", "`number` of processes and threads; -1 for no limit"},
}

func (u *updateFlags) define(fs *flag.FlagSet) {
	u.values = map[string]*string{}
	bothText(fs, &u.file, "resources", "r", "`file` with LinuxResources as JSON, - for standard input; other options then count for nothing")
	for _, o := range updateOptions {
		u.values[o.name] = fs.String(o.name, "", o.help)
	}
	u.values["kernel-memory"] = fs.String("kernel-memory", "", "accepted for compatibility; the kernel no longer has it")
}

// intelRdt is what the options say about the resctrl group, nil for nothing.
func (u *updateFlags) intelRdt() *specs.LinuxIntelRdt {
	r := &specs.LinuxIntelRdt{L3CacheSchema: *u.values["l3-cache-schema"], MemBwSchema: *u.values["mem-bw-schema"]}
	if u.file != "" || r.L3CacheSchema == "" && r.MemBwSchema == "" {
		return nil
	}
	return r
}

func (u *updateFlags) resources(fs *flag.FlagSet) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{}
	if u.file != "" {
		var data []byte
		var err error
		if u.file == "-" {
			data, err = spec.ReadAll(os.Stdin, "standard input")
		} else {
			data, err = spec.ReadFile(u.file)
		}
		if err != nil {
			return nil, err
		}
		return r, spec.Decode(data, r)
	}
	var err error
	fs.Visit(func(f *flag.Flag) {
		if v, ok := u.values[f.Name]; ok && *v != "" && err == nil { // an empty value is none, as for runc
			err = setResource(r, f.Name, *v)
		}
	})
	return r, err
}

func setResource(r *specs.LinuxResources, name, value string) error {
	if r.CPU == nil && strings.HasPrefix(name, "cpu") {
		r.CPU = &specs.LinuxCPU{}
	}
	if r.Memory == nil && isBytes(name) {
		r.Memory = &specs.LinuxMemory{}
	}
	switch name {
	case "cpuset-cpus":
		r.CPU.Cpus = value
		return nil
	case "cpuset-mems":
		r.CPU.Mems = value
		return nil
	case "kernel-memory", "l3-cache-schema", "mem-bw-schema":
		return nil
	}
	n, err := parseNumber(name, value)
	if err != nil {
		return err
	}
	unsigned := uint64(n)
	switch name {
	case "blkio-weight":
		if n < 0 || n > math.MaxUint16 {
			return fmt.Errorf("invalid value for %s: %s", name, value)
		}
		w := uint16(n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
	case "cpu-period":
		r.CPU.Period = &unsigned
	case "cpu-quota":
		r.CPU.Quota = &n
	case "cpu-burst":
		r.CPU.Burst = &unsigned
	case "cpu-share":
		r.CPU.Shares = &unsigned
	case "cpu-rt-period":
		r.CPU.RealtimePeriod = &unsigned
	case "cpu-rt-runtime":
		r.CPU.RealtimeRuntime = &n
	case "cpu-idle":
		r.CPU.Idle = &n
	case "memory":
		r.Memory.Limit = &n
	case "memory-reservation":
		r.Memory.Reservation = &n
	case "memory-swap":
		r.Memory.Swap = &n
	case "kernel-memory-tcp":
		r.Memory.KernelTCP = &n
	case "pids-limit":
		r.Pids = &specs.LinuxPids{Limit: &n}
	}
	return nil
}

func isBytes(name string) bool {
	return strings.HasPrefix(name, "memory") || name == "kernel-memory-tcp"
}

// parseNumber takes a whole number. Bytes may be a decimal number with a suffix of powers of 1024.
func parseNumber(name, value string) (int64, error) {
	text, factor := value, int64(1)
	if isBytes(name) {
		text = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(value), "b"), "i")
		if i := strings.IndexByte("kmgtp", lastByte(text)); i >= 0 {
			text = strings.TrimSuffix(text[:len(text)-1], " ")
			factor <<= 10 * (i + 1)
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n <= math.MaxInt64/factor {
		return n * factor, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && factor > 1 && f >= 0 && f*float64(factor) < math.MaxInt64 {
		return int64(f * float64(factor)), nil
	}
	return 0, fmt.Errorf("invalid value for %s: %q", name, value)
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}
