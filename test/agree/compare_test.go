package agree

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// difference is one fact that the two see differently.
type difference struct{ key, gcrun, crun string }

// kind is what stays the same of a difference while the configuration gets smaller.
func (d difference) kind() string {
	if d.key != "refused" {
		return d.key
	}
	cause, _, _ := strings.Cut(d.gcrun+d.crun, "`")
	return "refused: " + cause
}

// report is what test/probe prints, as far as it is not taken as it is.
type report struct {
	Args, Env, FDs, Dev []string
	Status              map[string]string
	Mounts              []struct{ Root, Point, Options, Optional, Type, Source, Super string }
	Namespaces          map[string]string
	PID, PPID, SID      int
	PGID                int
	Places              map[string]json.RawMessage
}

// taken are the lines of /proc/PID/status that a configuration decides about.
var taken = []string{
	"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "Cpus_allowed_list",
	"Mems_allowed_list", "THP_enabled", "Speculation_Store_Bypass", "SpeculationIndirectBranch",
}

// parse turns the output of the probe into facts with names.
func parse(out string, cgroup map[string]string, b *bench, bundle string, s *specs.Spec) (map[string]string, error) {
	out = strings.ReplaceAll(out, bundle, "BUNDLE")
	out = strings.ReplaceAll(out, strings.TrimPrefix(bundle, os.TempDir()), "BUNDLE")
	out = strings.ReplaceAll(out, b.id, "ID")
	var r report
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil {
		return nil, fmt.Errorf("read the probe's report: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&all); err != nil {
		return nil, err
	}
	facts := map[string]string{}
	for _, k := range []string{
		"Cwd", "Umask", "Hostname", "Domainname", "OOMScore", "Policy", "Nice", "IOPrio", "Persona", "CPUs", "FDs", "Exe", "Terminal", "Rows", "Cols",
		"Machine", "UIDMap", "GIDMap", "Clocks", "SessionKeys", "Loopback", "Network", "Dumpable", "Cgroup",
	} {
		facts[k] = string(all[k])
	}
	for _, k := range []string{"Limits", "Sysctl", "Calls"} {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(all[k], &m); err != nil {
			return nil, err
		}
		for name, v := range m {
			facts[k+" "+name] = string(v)
		}
	}
	for _, k := range taken {
		facts["status "+k] = r.Status[k]
	}
	// crun's container ignores what crun's caller does; gcrun's does not (TestIgnoredSignals of gcrun).
	ignored, err := strconv.ParseUint(r.Status["SigIgn"], 16, 64)
	if err != nil {
		return nil, fmt.Errorf("read SigIgn of the probe's report: %w", err)
	}
	facts["status SigIgn"] = fmt.Sprintf("%016x", ignored&^b.ignored)
	facts["Env"], facts["Args"] = strings.Join(r.Env, " | "), strings.Join(r.Args, " | ")
	for _, d := range r.Dev {
		path, rest, _ := strings.Cut(d, " ")
		facts["device "+path] = rest
	}
	for path, place := range r.Places {
		facts["place "+path] = string(place)
	}
	seen := map[string]int{}
	for _, m := range r.Mounts {
		key := "mount " + m.Point
		if seen[m.Point]++; seen[m.Point] > 1 {
			key += fmt.Sprintf(" #%d", seen[m.Point])
		}
		facts[key+" root"], facts[key+" options"], facts[key+" propagation"] = m.Root, sorted(m.Options), m.Optional
		facts[key+" type"], facts[key+" source"], facts[key+" super"] = m.Type, m.Source, sorted(m.Super)
	}
	for name, link := range r.Namespaces {
		facts["namespace "+name] = "new"
		for _, known := range []struct {
			whose string
			pid   int
		}{{"joined", b.holder}, {"host", os.Getpid()}} {
			if theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", known.pid, name)); err == nil && theirs == link {
				facts["namespace "+name] = known.whose
			}
		}
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.PIDNamespace && n.Path == "" {
			facts["process"] = fmt.Sprintf("pid %d, parent %d, session %d, group %d", r.PID, r.PPID, r.SID, r.PGID)
		}
	}
	for k, v := range cgroup {
		facts["cgroup "+k] = v
	}
	return facts, nil
}

func sorted(list string) string {
	words := strings.Split(list, ",")
	sort.Strings(words)
	return strings.Join(words, ",")
}

func differences(ours, theirs map[string]string) []difference {
	var out []difference
	for k, v := range ours {
		if theirs[k] != v {
			out = append(out, difference{k, v, theirs[k]})
		}
	}
	for k, v := range theirs {
		if _, ok := ours[k]; !ok {
			out = append(out, difference{k, "", v})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out
}

// unallowed leaves out what is allowed, and counts it.
func unallowed(diffs []difference, s *specs.Spec, used map[string]int) []difference {
	var out []difference
next:
	for _, d := range diffs {
		for _, a := range allowed {
			if a.is(d, s) {
				used[a.name]++
				continue next
			}
		}
		out = append(out, d)
	}
	return out
}
