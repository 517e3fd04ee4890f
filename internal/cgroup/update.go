package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// currentFiles are the files whose content decides the order or the values of an update.
func currentFiles(version int) [][2]string {
	if version == 1 {
		return [][2]string{
			{"memory", "memory.memsw.limit_in_bytes"},
			{"cpu", "cpu.cfs_quota_us"},
			{"cpu", "cpu.cfs_period_us"},
			{"cpu", "cpu.cfs_burst_us"},
			{"devices", "devices.list"},
		}
	}
	return [][2]string{
		{"memory", "memory.max"},
		{"memory", "memory.current"},
		{"cpu", "cpu.max"},
		{"cpu", "cpu.max.burst"},
	}
}

// CompileUpdate says what Update would do, for --explain.
func (g *Group) CompileUpdate(r *specs.LinuxResources) (Plan, error) {
	if r == nil {
		r = &specs.LinuxResources{}
	}
	current := map[string]string{}
	for _, f := range currentFiles(g.version) {
		if d, ok := g.with(f[0]); ok {
			if content, err := readFile(d.dir, f[1]); err == nil {
				current[f[1]] = content
			}
		}
	}
	h := Host{Version: g.version, User: unix.Geteuid(), UserNamespace: inUserNamespace()}
	for _, d := range g.dirs {
		m := Mount{Unified: d.key == ""}
		if !m.Unified {
			m.Controllers = strings.Split(d.key, ",")
		}
		h.Mounts = append(h.Mounts, m)
	}
	return compileUpdate(h, r, current)
}

// Update changes the limits of the running container; what r leaves out stays. If the kernel refuses a
// value, those written before it are put back, in reverse, and the error names the refused one.
func (g *Group) Update(r *specs.LinuxResources) error {
	p, err := g.CompileUpdate(r)
	if err != nil {
		return err
	}
	if g.Empty() && (len(p.Writes) > 0 || p.Devices != nil) {
		return &Error{Op: "update", Object: "the limits of the container", Cause: ErrNoGroup, Hint: delegationHint(g.version)}
	}
	var done []Write // what puts back the old values
	for _, w := range p.Writes {
		back, err := g.inverse(w)
		if err == nil {
			err = w.apply(g, g.version)
		}
		if err != nil {
			return errors.Join(err, g.putBack(done))
		}
		done = append(done, back...)
	}
	if p.Devices != nil {
		if err := p.Devices.attach(g.dirs[0].dir); err != nil {
			return errors.Join(err, g.putBack(done))
		}
	}
	return nil
}

func (g *Group) putBack(done []Write) error {
	var errs []error
	for _, w := range slices.Backward(done) {
		if err := w.apply(g, g.version); err != nil {
			errs = append(errs, fmt.Errorf("put back the old value: %w", err))
		}
	}
	return errors.Join(errs...)
}

// inverse reads what a write is about to change and gives the write that restores it.
func (g *Group) inverse(w Write) ([]Write, error) {
	d, ok := g.with(w.Controller)
	if !ok || w.skip(d.dir) {
		return nil, nil // apply knows what to say
	}
	file := w.File
	isDevices := file == "devices.allow" || file == "devices.deny"
	if isDevices {
		file = "devices.list"
	}
	old, err := readFile(d.dir, file)
	if err != nil {
		if gone(err) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) {
			return nil, nil // a file for writing only (memory.reclaim) or none at all: nothing to restore
		}
		return nil, &Error{Op: "read", Object: d.path + "/" + file, Field: w.Field, Cause: err}
	}
	if isDevices {
		return inverseDevices(w, old), nil
	}
	w.Value = oldValue(file, old, w.Value)
	return []Write{w}, nil
}

// oldValue picks from the old content of a file what, written to it, undoes the new value.
func oldValue(file, old, value string) string {
	old = strings.TrimRight(old, "\n")
	key, _, keyed := strings.Cut(value, " ")
	switch {
	case file == "memory.oom_control":
		v, _ := flat(old, "oom_kill_disable")
		return v
	case file == "cgroup.subtree_control":
		return invertControllers(old, value)
	case file == "io.bfq.weight" || file == "blkio.bfq.weight":
		if !keyed { // one number sets the default, which the file shows as "default N"
			key = "default"
		}
		line, _ := flat(old, key)
		if line == "" {
			return strings.TrimSpace(old)
		}
		if !keyed {
			return line
		}
		return key + " " + line
	case keyed && (strings.Contains(key, ":") || file == "rdma.max" || file == "net_prio.ifpriomap" || file == "io.weight" || file == "misc.max"):
		if line, ok := flat(old, key); ok {
			return key + " " + line
		}
		return key + " " + noLimit(file)
	case old == "":
		return "\n" // an empty cpuset; writing nothing would not reach the kernel
	}
	return old
}

// noLimit is what a keyed file takes to forget a key.
func noLimit(file string) string {
	switch {
	case file == "io.max":
		return "rbps=max wbps=max riops=max wiops=max"
	case file == "rdma.max":
		return "hca_handle=max hca_object=max"
	case file == "misc.max":
		return "max"
	case file == "io.weight" || strings.HasSuffix(file, "weight_device"):
		return "default"
	}
	return "0"
}

// invertControllers turns "+a -b" into what restores the old list.
func invertControllers(old, value string) string {
	enabled := strings.Fields(old)
	var back []string
	for _, c := range strings.Fields(value) {
		name := strings.TrimLeft(c, "+-")
		if slices.Contains(enabled, name) {
			back = append(back, "+"+name)
		} else {
			back = append(back, "-"+name)
		}
	}
	return strings.Join(back, " ")
}

// inverseDevices undoes a line of devices.allow or devices.deny, given devices.list of before. (That does not
// show exceptions of a group that allows everything, so these cannot be restored.)
func inverseDevices(w Write, list string) []Write {
	old := parseDeviceList(list)
	r, ok := parseDevice(w.Value)
	if !ok {
		return nil
	}
	write := func(file string, r DeviceRule) Write {
		w := w
		w.File, w.Value = file, r.device()
		return w
	}
	if r.Type == 'a' {
		if old.allow {
			return []Write{write("devices.allow", r)}
		}
		// Applied from the last to the first: deny all, then allow what was allowed.
		var back []Write
		for _, e := range old.exceptions {
			back = append(back, write("devices.allow", e))
		}
		return append(back, write("devices.deny", r))
	}
	for _, e := range old.exceptions {
		if e.Type == r.Type && e.Major == r.Major && e.Minor == r.Minor {
			if w.File == "devices.deny" {
				return []Write{write("devices.allow", e)}
			}
			r.Access &^= e.Access // what was there already stays
		}
	}
	if w.File == "devices.deny" || r.Access == 0 {
		return nil
	}
	return []Write{write("devices.deny", r)}
}
