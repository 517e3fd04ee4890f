package cgroup

import (
	"fmt"
	"path"
	"strings"
)

// Plan is what will be done to the host for one group, in order: directories, writes, the device filter,
// the change of owner. It is a value: print it, compare it, apply it with Create.
type Plan struct {
	Version int
	Dirs    []Dir
	Writes  []Write
	// Devices is the device filter of cgroup v2 (v1 has writes for it); nil when none is to be attached.
	Devices *DeviceFilter
	// Owner gets the delegated files of the v2 group, for a container with its own user namespace.
	Owner *Owner
	// Notes are wishes of the config that the kernel cannot or need not fulfil, worth a warning.
	Notes []Note

	optional bool // no group at all is acceptable where the caller has no right to make one
	joined   bool // Options.Joined
}

// Dir is one directory to make, in one hierarchy.
type Dir struct {
	Key   string // of the hierarchy, as Mount.Key
	Mount string // where the hierarchy is mounted
	Path  string // of the group below Mount, beginning with a slash
	// Enable lists the controllers that must be enabled in cgroup.subtree_control of the directories
	// above (v2); Try those that are enabled where possible, for statistics and later updates.
	Enable, Try []string
	// Cpuset asks for cpuset.cpus and cpuset.mems to be copied down from the nearest ancestor that has
	// them: on v1 a process cannot join a cpuset without (cpusets(7)).
	Cpuset bool
}

// Dir gives the absolute path of the directory.
func (d Dir) Dir() string { return path.Join(d.Mount, d.Path) }

// Write is one value for one file of the group.
type Write struct {
	Controller string // which controller reads it; on v1 this chooses the hierarchy
	File       string // relative to the group's directory
	Value      string
	Field      string // config field that asked for it
	Why        string // in words
	// IfExists skips the write where the kernel does not offer the file; Unless skips it where the
	// kernel offers that other file, which is the better one.
	IfExists bool
	Unless   string
}

// Owner is who gets the delegated files (cgroups(7), "Delegation").
type Owner struct{ UID, GID int }

// Note is a warning about a config field.
type Note struct{ Field, Text string }

// State is what a later process needs to find the group again; it is meant to be stored as JSON.
type State struct {
	Version int `json:"version"`
	// Paths has the absolute directory of the group for each hierarchy, by Mount.Key ("" is the unified one).
	Paths map[string]string `json:"paths"`
}

// State gives the state that the plan will have once created. Store it before Create, and a crash in
// between leaves nothing that Load and Delete cannot remove.
func (p Plan) State() State {
	s := State{Version: p.Version, Paths: map[string]string{}}
	for _, d := range p.Dirs {
		s.Paths[d.Key] = d.Dir()
	}
	return s
}

// dirOf finds the directory that a write goes to.
func (p Plan) dirOf(controller string) (Dir, bool) {
	for _, d := range p.Dirs {
		if p.Version == 2 || keyHas(d.Key, controller) {
			return d, true
		}
	}
	return Dir{}, false
}

// keyHas tells whether a hierarchy's key contains the controller.
func keyHas(key, controller string) bool {
	for k := range strings.SplitSeq(key, ",") {
		if k == controller {
			return true
		}
	}
	return false
}

// String is the listing for --explain: one line for each step, aligned, with the reason.
func (p Plan) String() string {
	var b strings.Builder
	for _, d := range p.Dirs {
		fmt.Fprintf(&b, "mkdir %s\n", d.Dir())
		if len(d.Enable) > 0 {
			fmt.Fprintf(&b, "  enable %s above it where missing\n", strings.Join(d.Enable, " "))
		}
		if len(d.Try) > 0 {
			fmt.Fprintf(&b, "  enable %s above it where missing and possible\n", strings.Join(d.Try, " "))
		}
		if d.Cpuset {
			b.WriteString("  copy cpuset.cpus and cpuset.mems from the parent\n")
		}
	}
	for _, w := range p.Writes {
		fmt.Fprintf(&b, "write %-28s %-24s", w.File, w.Value)
		if w.IfExists {
			b.WriteString(" if the kernel has it")
		}
		if w.Unless != "" {
			b.WriteString(" unless the kernel has " + w.Unless)
		}
		fmt.Fprintf(&b, "  # %s: %s\n", w.Field, w.Why)
	}
	if p.Devices != nil {
		b.WriteString("attach device filter (eBPF, BPF_CGROUP_DEVICE):\n")
		for _, r := range p.Devices.Rules {
			fmt.Fprintf(&b, "  %s\n", r)
		}
	}
	if p.Owner != nil {
		fmt.Fprintf(&b, "chown %d:%d the delegated files\n", p.Owner.UID, p.Owner.GID)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note %s: %s\n", n.Field, n.Text)
	}
	return b.String()
}

// Shell gives the plan as a shell script that does the same by hand, for --explain=shell.
func (p Plan) Shell() string {
	var b strings.Builder
	for _, d := range p.Dirs {
		fmt.Fprintf(&b, "mkdir -p %s\n", quote(d.Dir()))
		if controllers := append(append([]string{}, d.Enable...), d.Try...); len(controllers) > 0 {
			fmt.Fprintf(&b, "for c in %s; do\n", strings.Join(controllers, " "))
			for _, dir := range ancestors(d.Path) {
				fmt.Fprintf(&b, "  echo +$c > %s\n", quote(path.Join(d.Mount, dir, "cgroup.subtree_control")))
			}
			b.WriteString("done\n")
		}
		if d.Cpuset {
			up := append(ancestors(d.Path), d.Path)
			for i := 1; i < len(up); i++ {
				for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
					fmt.Fprintf(&b, "cat %s > %s\n", quote(path.Join(d.Mount, up[i-1], f)), quote(path.Join(d.Mount, up[i], f)))
				}
			}
		}
	}
	for _, w := range p.Writes {
		d, _ := p.dirOf(w.Controller)
		file := quote(path.Join(d.Dir(), w.File))
		switch {
		case w.IfExists:
			fmt.Fprintf(&b, "[ ! -e %s ] || ", file)
		case w.Unless != "":
			fmt.Fprintf(&b, "[ -e %s ] || ", quote(path.Join(d.Dir(), w.Unless)))
		}
		fmt.Fprintf(&b, "echo %s > %s  # %s\n", quote(w.Value), file, w.Field)
	}
	if p.Devices != nil {
		b.WriteString("# the device filter is an eBPF program: bpf(BPF_PROG_LOAD), then bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)\n")
	}
	if p.Owner != nil {
		for _, d := range p.Dirs {
			fmt.Fprintf(&b, "chown %d:%d %s\n", p.Owner.UID, p.Owner.GID, quote(d.Dir()))
			fmt.Fprintf(&b, "(cd %s && cat /sys/kernel/cgroup/delegate | xargs -r chown %d:%d 2>/dev/null)\n",
				quote(d.Dir()), p.Owner.UID, p.Owner.GID)
		}
	}
	// The group limits whoever joins it.
	for _, d := range p.Dirs {
		fmt.Fprintf(&b, "echo $$ > %s\n", quote(path.Join(d.Dir(), "cgroup.procs")))
	}
	return b.String()
}

// ancestors lists the directories above a group path, from the root down.
func ancestors(p string) []string {
	var up []string
	for d := path.Dir(p); ; d = path.Dir(d) {
		up = append([]string{d}, up...)
		if d == "/" {
			return up
		}
	}
}

// quote makes a word safe for the shell.
func quote(s string) string {
	safe := func(r rune) bool {
		return r == '/' || r == '.' || r == '_' || r == '-' || r == '+' || r == ':' || r == ',' || r == '=' ||
			(r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
