package cgroup

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// checkEventKeys compares the keys of an event with the ones of runc's own output in testdata: every key
// that is always there must be, and those that are compared have the same type.
func checkEventKeys(t *testing.T, line []byte) {
	t.Helper()
	sample, err := os.ReadFile("testdata/events-stats.json")
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := json.Unmarshal(sample, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	data := got["data"].(map[string]any)
	for key, value := range want["data"].(map[string]any) {
		mine, ok := data[key]
		if !ok || reflect.TypeOf(mine) != reflect.TypeOf(value) {
			t.Errorf("data.%s is %v, runc has %v", key, mine, value)
		}
	}
}

// What runc printed, read back into Stats and printed again, is the same to the byte.
func TestEventsStatsIsWhatRuncPrints(t *testing.T) {
	want, err := os.ReadFile("testdata/events-stats.json")
	if err != nil {
		t.Fatal(err)
	}
	raw := struct {
		Data struct {
			CPU    eventsCPU    `json:"cpu"`
			Cpuset eventsCpuset `json:"cpuset"`
			Memory eventsMemory `json:"memory"`
			Pids   eventsPids   `json:"pids"`
		}
	}{}
	if err := json.Unmarshal(want, &raw); err != nil {
		t.Fatal(err)
	}
	d := raw.Data
	counter := func(e eventsMemoryEntry) Counter {
		c := Counter{Usage: e.Usage, Peak: e.Max, Limit: e.Limit, Failures: e.Failcnt}
		if c.Limit >= uint64(v1Unlimited) {
			c.Limit = Unlimited
		}
		return c
	}
	kernel, tcp := counter(d.Memory.Kernel), counter(d.Memory.KernelTCP)
	s := Stats{
		CPU: CPUStats{
			Total: d.CPU.Usage.Total, PerCPU: d.CPU.Usage.PerCPU, PerCPUSys: d.CPU.Usage.PerCPUSys, PerCPUUser: d.CPU.Usage.PerCPUUsr,
		},
		Cpuset: &CpusetStats{CPUs: d.Cpuset.CPUs, Mems: d.Cpuset.Mems, SchedLoadBalance: 1, SchedRelaxDomainLevel: -1},
		Memory: MemoryStats{
			Counter: counter(d.Memory.Usage), WithSwap: counter(d.Memory.Swap), Kernel: &kernel, KernelTCP: &tcp, Raw: d.Memory.Raw,
		},
		Pids:    PidsStats{Current: d.Pids.Current, Limit: Unlimited},
		Hugetlb: map[string]Counter{"2MB": {}, "1GB": {}},
	}
	got, err := EventsStats("g1", s)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestParsePressure(t *testing.T) {
	p := parsePressure("some avg10=1.50 avg60=0.25 avg300=0.10 total=12345\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=99\n")
	if p.Some != (PressureLine{1.5, 0.25, 0.1, 12345}) || p.Full != (PressureLine{0.5, 0, 0, 99}) {
		t.Errorf("%+v", p)
	}
}
