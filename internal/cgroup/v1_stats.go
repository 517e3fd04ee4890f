package cgroup

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (r *reader) statsV1(s *Stats) {
	r.cpuV1(&s.CPU)
	if r.has("cpuset") {
		s.Cpuset = r.cpusetV1()
	}
	r.memoryV1(&s.Memory)
	r.pids(s)
	r.blkioV1(&s.IO)
	if r.has("hugetlb") {
		s.Hugetlb = map[string]Counter{}
		for _, size := range r.hugepageSizes("hugetlb.", ".limit_in_bytes") {
			prefix := "hugetlb." + size + "."
			// Where reservations count, they are what the limit refuses; as in v2.
			if d, ok := r.g.with("hugetlb"); ok && exists(d.dir, prefix+"rsvd.limit_in_bytes") {
				prefix += "rsvd."
			}
			s.Hugetlb[size] = r.counterV1("hugetlb", prefix)
		}
	}
	r.rdma(s)
	// A hybrid host measures pressure in the unified hierarchy.
	s.CPU.Pressure = r.pressure("cpu.pressure")
	s.Memory.Pressure = r.pressure("memory.pressure")
	s.IO.Pressure = r.pressure("io.pressure")
}

// userHz is the unit of cpuacct.stat: USER_HZ is 100 on every architecture that GCR runs on.
const userHz = 100

func (r *reader) cpuV1(c *CPUStats) {
	c.Total = r.number("cpuacct", "cpuacct.usage")
	ticks := r.flat("cpuacct", "cpuacct.stat")
	c.User, c.System = ticks["user"]*(1e9/userHz), ticks["system"]*(1e9/userHz)
	for f := range strings.FieldsSeq(r.text("cpuacct", "cpuacct.usage_percpu")) {
		c.PerCPU = append(c.PerCPU, parseNumber(f))
	}
	// "cpu user system", then a line for each CPU, in nanoseconds.
	for line := range strings.Lines(r.text("cpuacct", "cpuacct.usage_all")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] != "cpu" {
			c.PerCPUUser = append(c.PerCPUUser, parseNumber(f[1]))
			c.PerCPUSys = append(c.PerCPUSys, parseNumber(f[2]))
		}
	}
	stat := r.flat("cpu", "cpu.stat") // in nanoseconds
	c.Periods, c.Throttled, c.ThrottledTime = stat["nr_periods"], stat["nr_throttled"], stat["throttled_time"]
	c.Bursts, c.BurstTime = stat["nr_bursts"], stat["burst_time"]
}

// counterV1 reads usage, peak, limit and failures, which have the same names everywhere.
func (r *reader) counterV1(controller, prefix string) Counter {
	c := Counter{
		Usage: r.number(controller, prefix+"usage_in_bytes"), Peak: r.number(controller, prefix+"max_usage_in_bytes"),
		Limit: r.limit(controller, prefix+"limit_in_bytes"), Failures: r.number(controller, prefix+"failcnt"),
	}
	if c.Limit >= uint64(v1Unlimited) {
		c.Limit = Unlimited
	}
	return c
}

func (r *reader) memoryV1(m *MemoryStats) {
	if !r.has("memory") {
		return
	}
	m.Counter = r.counterV1("memory", "memory.")
	m.WithSwap = r.counterV1("memory", "memory.memsw.")
	kernel, tcp := r.counterV1("memory", "memory.kmem."), r.counterV1("memory", "memory.kmem.tcp.")
	m.Kernel, m.KernelTCP = &kernel, &tcp
	m.Raw = r.flat("memory", "memory.stat")
	m.File, m.Anon, m.Swap, m.Slab = m.Raw["total_cache"], m.Raw["total_rss"], m.Raw["total_swap"], kernel.Usage
	m.OOMKills = r.flat("memory", "memory.oom_control")["oom_kill"]
}

// blkioV1 reads the throttling layer's counters, which see all input and output, whatever the scheduler.
func (r *reader) blkioV1(io *IOStats) {
	at := map[[2]uint64]int{}
	read := func(file string, field func(e *IOEntry, op string) *uint64) {
		for line := range strings.Lines(r.text("blkio", file)) {
			f := strings.Fields(line) // "8:0 Read 4096", and at the end "Total 4096"
			if len(f) != 3 {
				continue
			}
			major, minor, _ := strings.Cut(f[0], ":")
			id := [2]uint64{parseNumber(major), parseNumber(minor)}
			i, known := at[id]
			if !known {
				i = len(io.Entries)
				at[id] = i
				io.Entries = append(io.Entries, IOEntry{Major: id[0], Minor: id[1]})
			}
			if p := field(&io.Entries[i], f[1]); p != nil {
				*p = parseNumber(f[2])
			}
		}
	}
	read("blkio.throttle.io_service_bytes_recursive", func(e *IOEntry, op string) *uint64 {
		return map[string]*uint64{
			"Read": &e.ReadBytes, "Write": &e.WriteBytes, "Discard": &e.DiscardBytes, "Sync": &e.SyncBytes, "Async": &e.AsyncBytes,
		}[op]
	})
	read("blkio.throttle.io_serviced_recursive", func(e *IOEntry, op string) *uint64 {
		return map[string]*uint64{
			"Read": &e.Reads, "Write": &e.Writes, "Discard": &e.Discards, "Sync": &e.Syncs, "Async": &e.Asyncs,
		}[op]
	})
}

func (r *reader) cpusetV1() *CpusetStats {
	n := func(file string) uint64 { return r.number("cpuset", "cpuset."+file) }
	level, _ := strconv.ParseInt(strings.TrimSpace(r.text("cpuset", "cpuset.sched_relax_domain_level")), 10, 64)
	return &CpusetStats{
		CPUs: parseList(r.text("cpuset", "cpuset.cpus")), Mems: parseList(r.text("cpuset", "cpuset.mems")),
		CPUExclusive: n("cpu_exclusive"), MemExclusive: n("mem_exclusive"), MemHardwall: n("mem_hardwall"),
		MemoryMigrate: n("memory_migrate"), SpreadPage: n("memory_spread_page"), SpreadSlab: n("memory_spread_slab"),
		MemoryPressure: n("memory_pressure"), SchedLoadBalance: n("sched_load_balance"), SchedRelaxDomainLevel: level,
	}
}

// parseList expands the list format of cpuset files (cpusets(7)).
func parseList(s string) []uint16 {
	var list []uint16
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(lo, 10, 16)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(hi, 10, 16)
		}
		if err != nil {
			continue
		}
		for ; a <= b; a++ {
			list = append(list, uint16(a))
		}
	}
	return list
}

// hugepageSizes finds the page sizes that the group counts, by its file names.
func (r *reader) hugepageSizes(prefix, suffix string) []string {
	d, ok := r.g.with("hugetlb")
	if !ok {
		return nil
	}
	dir, err := openDir(int(d.dir.Fd()), ".", unix.O_RDONLY)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var sizes []string
	for _, name := range names {
		size, ok1 := strings.CutPrefix(name, prefix)
		size, ok2 := strings.CutSuffix(size, suffix)
		if ok1 && ok2 && !strings.Contains(size, ".") {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// v1LimitOfPage is what memory.limit_in_bytes shows when there is no limit (PAGE_COUNTER_MAX times the page size).
var v1LimitOfPage = uint64(math.MaxInt64) / uint64(os.Getpagesize()) * uint64(os.Getpagesize())
