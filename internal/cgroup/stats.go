package cgroup

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Unlimited is the value of a limit that is not set.
const Unlimited = math.MaxUint64

// Stats is what a group has used, the same on both versions. Times are nanoseconds, sizes bytes. What a
// host does not measure is zero or nil.
type Stats struct {
	CPU     CPUStats
	Cpuset  *CpusetStats // v1 details; nil where there is no cpuset controller
	Memory  MemoryStats
	Pids    PidsStats
	IO      IOStats
	Hugetlb map[string]Counter // by page size, such as "2MB"
	RDMA    map[string]RDMAStats
}

// CPUStats is the use of CPU time.
type CPUStats struct {
	Total, User, System           uint64   // ns
	PerCPU, PerCPUUser, PerCPUSys []uint64 // ns, v1 only
	Periods, Throttled            uint64   // enforcement periods of the quota, and how many ran into it
	ThrottledTime                 uint64   // ns
	Bursts, BurstTime             uint64   // periods that used saved-up time, and how much in ns
	Pressure                      *Pressure
}

// Counter is a use with its limit.
type Counter struct {
	Usage, Peak uint64
	Limit       uint64 // Unlimited if there is none
	Failures    uint64 // how often the limit was hit
}

// MemoryStats is the use of memory.
type MemoryStats struct {
	Counter
	// WithSwap counts memory and swap together, as v1's memsw does; on v2 it is computed, without a peak.
	WithSwap Counter
	// Swap is swap alone.
	Swap uint64
	// Kernel and KernelTCP are v1's separate counters.
	Kernel, KernelTCP *Counter
	File, Anon, Slab  uint64            // page cache, process memory, kernel objects
	OOMKills          uint64            // processes killed because the group ran out of memory
	Raw               map[string]uint64 // memory.stat as it is
	Pressure          *Pressure
}

// PidsStats counts processes and threads.
type PidsStats struct{ Current, Peak, Limit uint64 }

// IOStats is the use of block devices.
type IOStats struct {
	Entries  []IOEntry
	Pressure *Pressure
}

// IOEntry is what a group has read from or written to one device.
type IOEntry struct {
	Major, Minor                         uint64
	ReadBytes, WriteBytes, DiscardBytes  uint64
	Reads, Writes, Discards              uint64
	SyncBytes, AsyncBytes, Syncs, Asyncs uint64 // v1 only: the same split another way
}

// RDMAStats counts handles and objects of an RDMA device.
type RDMAStats struct{ Handles, Objects, HandleLimit, ObjectLimit uint64 }

// Pressure is stall information (Documentation/accounting/psi.rst, Linux 4.20): Some tells of the time in which
// at least one process waited for the resource, Full of the time in which all did.
type Pressure struct{ Some, Full PressureLine }

// PressureLine has the share of time in percent over the last 10, 60 and 300 s, and the total.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64
	Total                uint64 // microseconds
}

// CpusetStats is what v1 tells of a cpuset.
type CpusetStats struct {
	CPUs, Mems                              []uint16
	CPUExclusive, MemExclusive, MemHardwall uint64
	MemoryMigrate, SpreadPage, SpreadSlab   uint64
	MemoryPressure, SchedLoadBalance        uint64
	SchedRelaxDomainLevel                   int64
}

// Stats reads all that the host measures of the group. A file that the host does not have counts as zero.
func (g *Group) Stats() (Stats, error) {
	if g.Empty() {
		return Stats{}, &Error{Op: "measure", Object: "the container", Cause: ErrNoGroup}
	}
	r := &reader{g: g}
	var s Stats
	if g.version == 1 {
		r.statsV1(&s)
	} else {
		r.statsV2(&s)
	}
	return s, errors.Join(r.errs...)
}

// reader reads files of a group and collects the errors.
type reader struct {
	g    *Group
	errs []error
}

// has tells whether the host has the controller's hierarchy.
func (r *reader) has(controller string) bool {
	_, ok := r.g.with(controller)
	return ok
}

// text reads a file; a missing one is empty.
func (r *reader) text(controller, file string) string {
	d, ok := r.g.with(controller)
	if !ok {
		return ""
	}
	s, err := readFile(d.dir, file)
	if err != nil {
		// EOPNOTSUPP: pressure files when psi=0.
		if !gone(err) && !strings.HasSuffix(file, ".pressure") {
			r.errs = append(r.errs, &Error{Op: "read", Object: d.path + "/" + file, Cause: err})
		}
		return ""
	}
	return s
}

// limit is number for a limit: one that the host does not have is Unlimited.
func (r *reader) limit(controller, file string) uint64 {
	s := strings.TrimSpace(r.text(controller, file))
	if s == "" {
		return Unlimited
	}
	return parseNumber(s)
}

// number reads a file with one number; "max" is Unlimited.
func (r *reader) number(controller, file string) uint64 {
	return parseNumber(strings.TrimSpace(r.text(controller, file)))
}

func parseNumber(s string) uint64 {
	if s == "max" {
		return Unlimited
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// flat reads a "key value" file.
func (r *reader) flat(controller, file string) map[string]uint64 {
	m := map[string]uint64{}
	for line := range strings.Lines(r.text(controller, file)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(v, 10, 64); ok && err == nil {
			m[k] = n
		}
	}
	return m
}

// pressure reads a PSI file: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", then the same for full.
func (r *reader) pressure(file string) *Pressure {
	text := r.text("", file)
	if text == "" {
		return nil
	}
	return parsePressure(text)
}

func parsePressure(text string) *Pressure {
	p := &Pressure{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		l := &p.Some
		if fields[0] == "full" {
			l = &p.Full
		}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			switch k {
			case "avg10":
				l.Avg10, _ = strconv.ParseFloat(v, 64)
			case "avg60":
				l.Avg60, _ = strconv.ParseFloat(v, 64)
			case "avg300":
				l.Avg300, _ = strconv.ParseFloat(v, 64)
			case "total":
				l.Total, _ = strconv.ParseUint(v, 10, 64)
			}
		}
	}
	return p
}

// rdma reads the two files that are the same on both versions: "mlx5_0 hca_handle=2 hca_object=max".
func (r *reader) rdma(s *Stats) {
	if !r.has("rdma") {
		return
	}
	for _, file := range []string{"rdma.current", "rdma.max"} {
		for line := range strings.Lines(r.text("rdma", file)) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			if s.RDMA == nil {
				s.RDMA = map[string]RDMAStats{}
			}
			d := s.RDMA[fields[0]]
			for _, f := range fields[1:] {
				k, v, _ := strings.Cut(f, "=")
				n := parseNumber(v)
				switch {
				case k == "hca_handle" && file == "rdma.max":
					d.HandleLimit = n
				case k == "hca_handle":
					d.Handles = n
				case k == "hca_object" && file == "rdma.max":
					d.ObjectLimit = n
				case k == "hca_object":
					d.Objects = n
				}
			}
			s.RDMA[fields[0]] = d
		}
	}
}

// pids reads the files that are the same on both versions.
func (r *reader) pids(s *Stats) {
	s.Pids = PidsStats{
		Current: r.number("pids", "pids.current"), Peak: r.number("pids", "pids.peak"), Limit: r.limit("pids", "pids.max"),
	}
}
