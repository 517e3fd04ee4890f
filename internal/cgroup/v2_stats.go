package cgroup

import (
	"strings"
)

func (r *reader) statsV2(s *Stats) {
	cpu := r.flat("cpu", "cpu.stat") // in microseconds
	s.CPU = CPUStats{
		Total: cpu["usage_usec"] * 1000, User: cpu["user_usec"] * 1000, System: cpu["system_usec"] * 1000,
		Periods: cpu["nr_periods"], Throttled: cpu["nr_throttled"], ThrottledTime: cpu["throttled_usec"] * 1000,
		Bursts: cpu["nr_bursts"], BurstTime: cpu["burst_usec"] * 1000,
		Pressure: r.pressure("cpu.pressure"),
	}
	r.memoryV2(&s.Memory)
	r.pids(s)
	r.ioV2(&s.IO)
	s.Hugetlb = r.hugetlbV2()
	r.rdma(s)
}

func (r *reader) memoryV2(m *MemoryStats) {
	m.Counter = Counter{
		Usage: r.number("memory", "memory.current"), Peak: r.number("memory", "memory.peak"),
		Limit: r.limit("memory", "memory.max"),
	}
	events := r.flat("memory", "memory.events")
	m.Failures, m.OOMKills = events["max"], events["oom_kill"]
	m.Swap = r.number("memory", "memory.swap.current")
	m.WithSwap = Counter{Usage: m.Usage + m.Swap, Limit: r.limit("memory", "memory.swap.max")}
	m.WithSwap.Failures = r.flat("memory", "memory.swap.events")["max"]
	if m.WithSwap.Limit != Unlimited {
		if m.Limit == Unlimited {
			m.WithSwap.Limit = Unlimited
		} else {
			m.WithSwap.Limit += m.Limit
		}
	}
	m.Raw = r.flat("memory", "memory.stat")
	m.File, m.Anon, m.Slab = m.Raw["file"], m.Raw["anon"], m.Raw["slab"]
	m.Pressure = r.pressure("memory.pressure")
}

// ioV2 reads io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
func (r *reader) ioV2(io *IOStats) {
	for line := range strings.Lines(r.text("io", "io.stat")) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue // a device that the group never used
		}
		major, minor, ok := strings.Cut(fields[0], ":")
		if !ok {
			continue
		}
		e := IOEntry{Major: parseNumber(major), Minor: parseNumber(minor)}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			n := parseNumber(v)
			switch k {
			case "rbytes":
				e.ReadBytes = n
			case "wbytes":
				e.WriteBytes = n
			case "dbytes":
				e.DiscardBytes = n
			case "rios":
				e.Reads = n
			case "wios":
				e.Writes = n
			case "dios":
				e.Discards = n
			}
		}
		io.Entries = append(io.Entries, e)
	}
	io.Pressure = r.pressure("io.pressure")
}

// hugetlbV2 prefers the reservation counters, which the limits are set on as well.
func (r *reader) hugetlbV2() map[string]Counter {
	sizes := map[string]Counter{}
	for _, size := range r.hugepageSizes("hugetlb.", ".max") {
		c := Counter{Limit: r.limit("hugetlb", "hugetlb."+size+".max"), Failures: r.flat("hugetlb", "hugetlb."+size+".events")["max"]}
		if d, _ := r.g.with("hugetlb"); exists(d.dir, "hugetlb."+size+".rsvd.current") {
			c.Usage = r.number("hugetlb", "hugetlb."+size+".rsvd.current")
		} else {
			c.Usage = r.number("hugetlb", "hugetlb."+size+".current")
		}
		sizes[size] = c
	}
	return sizes
}
