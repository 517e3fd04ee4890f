package plan

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// makeResctrl tells of the group of the resctrl file system that the host side makes.
func (b *builder) makeResctrl() []HostStep {
	if !b.first || !b.in.Resctrl || b.spec.Linux.IntelRdt == nil {
		return nil
	}
	r := b.spec.Linux.IntelRdt
	dir := "/sys/fs/resctrl/" + r.ClosID
	detail := []string{"look at " + dir}
	switch {
	case r.ClosID == "/":
		dir = "/sys/fs/resctrl"
		detail = []string{"look at " + dir}
	case r.ClosID == "":
		dir += "ID"
		detail = []string{"mkdir " + dir}
	case len(Schemata(r)) > 0:
		detail = []string{"mkdir " + dir}
	}
	for _, text := range Schemata(r) {
		detail = append(detail, "write schemata: "+strings.ReplaceAll(strings.TrimSpace(text), "\n", " and "))
	}
	if r.EnableMonitoring {
		detail = append(detail, "mkdir "+dir+"/mon_groups/ID")
	}
	return []HostStep{{MakeResctrl, Info{
		What: "make the resctrl group", Field: "linux.intelRdt", Man: "Documentation/filesystems/resctrl.rst",
		Why: "a group of processes with its share of the cache and of the memory's bandwidth, kept by the processor",
	}, detail, nil}}
}

// Schemata lists what is written to a resctrl group's file schemata, one write each: the two older fields, and then
// the list, which may name the same resources again (config-linux.md, "IntelRdt").
func Schemata(r *specs.LinuxIntelRdt) []string {
	var first, writes []string
	for _, l := range []string{r.L3CacheSchema, r.MemBwSchema} {
		if l != "" {
			first = append(first, l)
		}
	}
	for _, lines := range [][]string{first, r.Schemata} {
		if len(lines) > 0 {
			writes = append(writes, strings.Join(lines, "\n")+"\n")
		}
	}
	return writes
}
