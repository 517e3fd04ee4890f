package cgroup

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Options of Compile.
type Options struct {
	// ID of the container: names the group when the config has no cgroupsPath.
	ID string
	// Owner, when set, gets the delegated files of a v2 group (OCI config-linux.md, "Cgroup ownership").
	Owner *Owner
	// Joined tells that the group exists and already holds the container's first process, as after
	// systemd made a scope around it; otherwise a group with processes in it is refused.
	Joined bool
}

// compiler carries the inputs and collects the plan.
type compiler struct {
	h      Host
	p      Plan
	update bool
	// current has the contents of files of a running group, by file name, for values that depend on
	// others; empty when the group is new.
	current map[string]string
}

// Compile turns OCI resources into a plan for a new group. It is pure. cgroupsPath is linux.cgroupsPath:
// absolute paths begin at the mounted root of each hierarchy, relative ones where Mount.Parent says, and
// an empty one means a relative path named by the container's id. Every error names the config field.
//
// Values follow OCI config-linux.md and what runc and crun users rely on: 0 stands for "not set" in
// memory, cpu and blkio fields, -1 for "no limit".
func Compile(h Host, cgroupsPath string, r *specs.LinuxResources, opts Options) (Plan, error) {
	c := &compiler{h: h}
	c.p.Version, c.p.Owner, c.p.joined = h.Version, opts.Owner, opts.Joined
	if h.Version == 1 {
		c.p.Owner = nil // delegation to a less privileged user is not safe on v1 (cgroups(7))
	}
	c.p.optional = h.User != 0 || h.UserNamespace
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if err := c.resources(r); err != nil {
		return Plan{}, err
	}
	if err := c.dirs(cgroupsPath, opts.ID); err != nil {
		return Plan{}, err
	}
	return c.p, nil
}

// compileUpdate is Compile for a group that is there: writes only, in an order in which the kernel
// accepts each step.
func compileUpdate(h Host, r *specs.LinuxResources, current map[string]string) (Plan, error) {
	c := &compiler{h: h, update: true, current: current}
	c.p.Version = h.Version
	c.p.optional = h.User != 0 || h.UserNamespace
	err := c.resources(r)
	return c.p, err
}

// resources collects the writes.
func (c *compiler) resources(r *specs.LinuxResources) error {
	if c.h.Version == 1 {
		return c.resourcesV1(r)
	}
	return c.resourcesV2(r)
}

// dirs says where the group goes.
func (c *compiler) dirs(cgroupsPath, id string) error {
	const field = "linux.cgroupsPath"
	if strings.ContainsRune(cgroupsPath, 0) || strings.Contains(cgroupsPath, "\n") {
		return invalid(field, strconv.Quote(cgroupsPath), "a path cannot contain zero bytes or line ends", "")
	}
	relative := !strings.HasPrefix(cgroupsPath, "/")
	if cgroupsPath == "" {
		if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
			return invalid(field, strconv.Quote(id), "neither a path nor a container id to name the group", "")
		}
		cgroupsPath = id
	}
	// ".." cannot lead out of the place it starts from.
	rooted := path.Clean("/" + cgroupsPath)
	if rooted == "/" {
		return invalid(field, strconv.Quote(cgroupsPath), "the root group cannot be a container's", "give the group a name")
	}
	for _, m := range c.h.Mounts {
		d := Dir{Key: m.Key(), Mount: m.Point, Path: rooted, Cpuset: !m.Unified && m.Has("cpuset")}
		if relative {
			if m.Parent == "" {
				if c.writes(d) {
					return c.noDelegation(m)
				}
				continue // rootless, and nothing asks for this hierarchy
			}
			d.Path = path.Join(m.Parent, rooted)
		}
		if c.h.Version == 2 {
			if err := c.controllers(&d, m); err != nil {
				return err
			}
		}
		c.p.Dirs = append(c.p.Dirs, d)
	}
	return nil
}

// writes tells whether a write goes to the directory.
func (c *compiler) writes(d Dir) bool {
	return slices.ContainsFunc(c.p.Writes, func(w Write) bool {
		return c.h.Version == 2 || keyHas(d.Key, w.Controller)
	})
}

// noDelegation is the error of limits that an ordinary user asks for without a group of his own.
func (c *compiler) noDelegation(m Mount) error {
	w := c.p.Writes[0]
	return &Error{
		Op: "limit", Object: w.File, Field: w.Field,
		Cause: errors.New("no cgroup at or above " + path.Join(m.Point, m.Self) + " may be written by this user"),
		Hint:  delegationHint(c.h.Version),
	}
}

func delegationHint(version int) string {
	if version == 1 {
		return "cgroup v1 cannot be delegated safely: run as root, leave the limits out, or boot with systemd.unified_cgroup_hierarchy=1"
	}
	return "get a delegated one: systemd-run --user --scope -p Delegate=yes COMMAND, or leave the limits out"
}

// v2Order is the order in which controllers are listed and enabled.
var v2Order = [...]string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}

// controllers fills in what must be and what can be enabled above a v2 group.
func (c *compiler) controllers(d *Dir, m Mount) error {
	need := map[string]Write{}
	for _, w := range c.p.Writes {
		if w.Controller == "cgroup" || need[w.Controller].Field != "" {
			continue // cgroup.* files are always there
		}
		if !m.Has(w.Controller) {
			return &Error{
				Op: "use", Object: "controller " + w.Controller, Field: w.Field,
				Cause: errors.New("what there is: " + strings.Join(m.Controllers, " ")),
				Hint:  controllerHint(w.Controller),
			}
		}
		need[w.Controller] = w
	}
	for _, name := range v2Order {
		if _, ok := need[name]; ok {
			d.Enable = append(d.Enable, name)
			delete(need, name)
		} else if m.Has(name) {
			d.Try = append(d.Try, name)
		}
	}
	for _, w := range c.p.Writes { // one that a future kernel has, by the unified map
		if _, ok := need[w.Controller]; ok {
			d.Enable = append(d.Enable, w.Controller)
			delete(need, w.Controller)
		}
	}
	return nil
}

func controllerHint(name string) string {
	if name == "memory" {
		return "check cgroup_disable= on the kernel command line and, for a user session, Delegate= of user@.service"
	}
	return "the kernel may lack it, a v1 hierarchy may hold it, or it is not delegated (Delegate= of user@.service)"
}

// add appends a write.
func (c *compiler) add(controller, file, value, field, why string) *Write {
	c.p.Writes = append(c.p.Writes, Write{Controller: controller, File: file, Value: value, Field: field, Why: why})
	return &c.p.Writes[len(c.p.Writes)-1]
}

func (c *compiler) note(field, text string) { c.p.Notes = append(c.p.Notes, Note{field, text}) }

// number reads a file of the running group as a number; ok is false if it is not known. "max" and v1's
// page-rounded maximum count as unlimited (-1).
func (c *compiler) number(file string) (n int64, ok bool) {
	s, ok := c.current[file]
	if !ok {
		return 0, false
	}
	s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
	if s == "max" {
		return -1, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if n >= v1Unlimited {
		n = -1
	}
	return n, err == nil
}

// v1Unlimited is the largest limit of v1's page counters: the largest int64 rounded down to 64 KiB pages,
// the largest page size (include/linux/page_counter.h).
const v1Unlimited = int64(1<<63-1) &^ 0xffff

// more orders limits with -1 as infinity.
func more(a, b int64) bool {
	if a < 0 || b < 0 {
		return a < 0 && b >= 0
	}
	return a > b
}

func itoa(n int64) string  { return strconv.FormatInt(n, 10) }
func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
