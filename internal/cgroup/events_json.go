package cgroup

import (
	"encoding/json"
	"slices"
)

// EventsStats gives the line that "runc events --stats" prints, with its line end, field by field as
// containerd and Docker read it. Numbers that are absent here are absent there.
func EventsStats(id string, s Stats) ([]byte, error) {
	line, err := json.Marshal(struct {
		Type string     `json:"type"`
		ID   string     `json:"id"`
		Data eventsData `json:"data"`
	}{"stats", id, eventsOf(s)})
	return append(line, '\n'), err
}

type eventsData struct {
	CPU     eventsCPU                `json:"cpu"`
	Cpuset  eventsCpuset             `json:"cpuset"`
	Memory  eventsMemory             `json:"memory"`
	Pids    eventsPids               `json:"pids"`
	Blkio   eventsBlkio              `json:"blkio"`
	Hugetlb map[string]eventsHugetlb `json:"hugetlb"`
	RDT     struct{}                 `json:"intel_rdt"`
	Network []struct{}               `json:"network_interfaces"` // runc knows its own interfaces only: null
}

type eventsCPU struct {
	Usage struct {
		Total     uint64   `json:"total,omitempty"`
		PerCPU    []uint64 `json:"percpu,omitempty"`
		PerCPUSys []uint64 `json:"percpu_kernel,omitempty"`
		PerCPUUsr []uint64 `json:"percpu_user,omitempty"`
		Kernel    uint64   `json:"kernel"`
		User      uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods   uint64 `json:"periods,omitempty"`
		Throttled uint64 `json:"throttledPeriods,omitempty"`
		Time      uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling,omitzero"`
	PSI *eventsPSI `json:"psi,omitempty"`
}

type eventsPSI struct {
	Some eventsPSILine `json:"some"`
	Full eventsPSILine `json:"full"`
}

type eventsPSILine struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

type eventsCpuset struct {
	CPUs             []uint16 `json:"cpus,omitempty"`
	CPUExclusive     uint64   `json:"cpu_exclusive"`
	Mems             []uint16 `json:"mems,omitempty"`
	MemHardwall      uint64   `json:"mem_hardwall"`
	MemExclusive     uint64   `json:"mem_exclusive"`
	MemoryMigrate    uint64   `json:"memory_migrate"`
	SpreadPage       uint64   `json:"memory_spread_page"`
	SpreadSlab       uint64   `json:"memory_spread_slab"`
	MemoryPressure   uint64   `json:"memory_pressure"`
	SchedLoadBalance uint64   `json:"sched_load_balance"`
	RelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

type eventsMemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type eventsMemory struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     eventsMemoryEntry `json:"usage"`
	Swap      eventsMemoryEntry `json:"swap"`
	Kernel    eventsMemoryEntry `json:"kernel"`
	KernelTCP eventsMemoryEntry `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *eventsPSI        `json:"psi,omitempty"`
}

type eventsPids struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type eventsBlkio struct {
	Bytes      []eventsBlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	Operations []eventsBlkioEntry `json:"ioServicedRecursive,omitempty"`
	PSI        *eventsPSI         `json:"psi,omitempty"`
}

type eventsBlkioEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type eventsHugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

func eventsOf(s Stats) eventsData {
	var d eventsData
	u := &d.CPU.Usage
	u.Total, u.PerCPU, u.PerCPUSys, u.PerCPUUsr = s.CPU.Total, s.CPU.PerCPU, s.CPU.PerCPUSys, s.CPU.PerCPUUser
	u.Kernel, u.User = s.CPU.System, s.CPU.User
	t := &d.CPU.Throttling
	t.Periods, t.Throttled, t.Time = s.CPU.Periods, s.CPU.Throttled, s.CPU.ThrottledTime
	v1 := s.Memory.Kernel != nil
	if c := s.Cpuset; c != nil {
		d.Cpuset = eventsCpuset{
			c.CPUs, c.CPUExclusive, c.Mems, c.MemHardwall, c.MemExclusive, c.MemoryMigrate,
			c.SpreadPage, c.SpreadSlab, c.MemoryPressure, c.SchedLoadBalance, c.SchedRelaxDomainLevel,
		}
	}
	d.Memory = eventsMemory{
		Cache: s.Memory.File, Usage: eventsEntry(s.Memory.Counter, v1), Swap: eventsEntry(s.Memory.WithSwap, v1), Raw: s.Memory.Raw,
	}
	if v1 {
		d.Memory.Cache = s.Memory.Raw["cache"]
		d.Memory.Kernel, d.Memory.KernelTCP = eventsEntry(*s.Memory.Kernel, true), eventsEntry(*s.Memory.KernelTCP, true)
	}
	d.Pids.Current = s.Pids.Current
	if s.Pids.Limit != Unlimited {
		d.Pids.Limit = s.Pids.Limit
	}
	for _, e := range s.IO.Entries {
		d.Blkio.Bytes = append(d.Blkio.Bytes, eventsBlkioOf(e, v1, e.ReadBytes, e.WriteBytes, e.SyncBytes, e.AsyncBytes, e.DiscardBytes)...)
		d.Blkio.Operations = append(d.Blkio.Operations, eventsBlkioOf(e, v1, e.Reads, e.Writes, e.Syncs, e.Asyncs, e.Discards)...)
	}
	d.Hugetlb = map[string]eventsHugetlb{}
	for size, c := range s.Hugetlb {
		d.Hugetlb[size] = eventsHugetlb{Usage: c.Usage, Max: c.Peak, Failcnt: c.Failures}
	}
	if !v1 { // runc reports pressure on v2 only
		d.CPU.PSI, d.Memory.PSI, d.Blkio.PSI = eventsPressure(s.CPU.Pressure), eventsPressure(s.Memory.Pressure), eventsPressure(s.IO.Pressure)
	}
	return d
}

// eventsEntry writes "no limit" as each version's kernel would: v1 as its largest number of whole pages.
func eventsEntry(c Counter, v1 bool) eventsMemoryEntry {
	if v1 && c.Limit == Unlimited {
		c.Limit = v1LimitOfPage
	}
	return eventsMemoryEntry{Limit: c.Limit, Usage: c.Usage, Max: c.Peak, Failcnt: c.Failures}
}

func eventsBlkioOf(e IOEntry, v1 bool, read, write, sync, async, discard uint64) []eventsBlkioEntry {
	list := []eventsBlkioEntry{{e.Major, e.Minor, "Read", read}, {e.Major, e.Minor, "Write", write}}
	if v1 {
		list = append(list, eventsBlkioEntry{e.Major, e.Minor, "Sync", sync}, eventsBlkioEntry{e.Major, e.Minor, "Async", async})
	}
	list = append(list, eventsBlkioEntry{e.Major, e.Minor, "Discard", discard})
	if v1 {
		list = append(list, eventsBlkioEntry{e.Major, e.Minor, "Total", read + write + discard})
	}
	return slices.Clip(list)
}

func eventsPressure(p *Pressure) *eventsPSI {
	if p == nil {
		return nil
	}
	return &eventsPSI{Some: eventsPSILine(p.Some), Full: eventsPSILine(p.Full)}
}
