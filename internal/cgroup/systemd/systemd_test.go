package systemd

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		path string
		m    Manager
		want string
	}{
		{"", System, "system.slice gcr-c1.scope"},
		{"", User, "user.slice gcr-c1.scope"},
		{"machine.slice:libpod:abc", System, "machine.slice libpod-abc.scope"},
		{":x:y", System, "system.slice x-y.scope"},
		{"user.slice::y", User, "user.slice y.scope"},
		{"kubepods-besteffort-pod1.slice:cri-containerd:abc", System, "kubepods-besteffort-pod1.slice cri-containerd-abc.scope"},
		{"a.slice::b.slice", System, "a.slice b.slice"},
		{"/a/b", System, "error"},
		{"a.slice:b", System, "error"},
		{"a:b:c", System, "error"},
		{"a--b.slice:b:c", System, "error"},
		{"a/b.slice:b:c", System, "error"},
		{"a.slice:b:c/../d", System, "error"},
		{"a.slice:b:c d", System, "error"},
	} {
		u, err := ParsePath(c.path, "c1", c.m)
		got := u.Slice + " " + u.Name
		if err != nil {
			got = "error"
			if !strings.Contains(err.Error(), "linux.cgroupsPath") {
				t.Errorf("%q: %v", c.path, err)
			}
		}
		if got != c.want {
			t.Errorf("%q: %s, %v; want %s", c.path, got, err, c.want)
		}
	}
	for slice, want := range map[string]string{
		"a.slice": "/a.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice", "-.slice": "/",
	} {
		if got, err := ExpandSlice(slice); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", slice, got, err, want)
		}
	}
}

func ref[T any](v T) *T { return &v }

// show lists properties in the notation of busctl.
func show(p []Property) string {
	var s []string
	for _, x := range p {
		s = append(s, fmt.Sprintf("%s=%v", x.Name, x.Value))
	}
	return strings.Join(s, "\n")
}

func TestProperties(t *testing.T) {
	const proc = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n"
	all := &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: ref(int64(1 << 20)), Swap: ref(int64(3 << 20)), Reservation: ref(int64(4096))},
		CPU:     &specs.LinuxCPU{Shares: ref(uint64(1024)), Quota: ref(int64(33333)), Period: ref(uint64(100000)), Cpus: "0,9-10", Mems: "0"},
		Pids:    &specs.LinuxPids{Limit: ref(int64(10))},
		BlockIO: &specs.LinuxBlockIO{Weight: ref(uint16(1000))},
	}
	for _, c := range []struct {
		name string
		r    *specs.LinuxResources
		f    Facts
		want string
	}{
		{"all, v2", all, Facts{CgroupVersion: 2, Version: 252, Devices: proc}, `MemoryMax=@t 1048576
MemoryLow=@t 4096
MemorySwapMax=@t 2097152
CPUWeight=@t 100
CPUQuotaPeriodUSec=@t 100000
CPUQuotaPerSecUSec=@t 340000
AllowedCPUs=@ay [0x1, 0x6]
AllowedMemoryNodes=@ay [0x1]
TasksMax=@t 10
IOWeight=@t 10000`},
		{"all, v2, systemd 239", all, Facts{CgroupVersion: 2, Version: 239, Devices: proc}, `MemoryMax=@t 1048576
MemoryLow=@t 4096
MemorySwapMax=@t 2097152
CPUWeight=@t 100
CPUQuotaPerSecUSec=@t 340000
TasksMax=@t 10
IOWeight=@t 10000`},
		{"all, v1", all, Facts{CgroupVersion: 1, Version: 252, Devices: proc}, `MemoryLimit=@t 1048576
CPUShares=@t 1024
CPUQuotaPeriodUSec=@t 100000
CPUQuotaPerSecUSec=@t 340000
TasksMax=@t 10
BlockIOWeight=@t 1000
DevicePolicy="strict"
DeviceAllow=[("char-*", "m",), ("block-*", "m",), ("/dev/char/1:3", "rwm",), ("/dev/char/1:5", "rwm",), ("/dev/char/1:7", "rwm",), ("/dev/char/1:8", "rwm",), ("/dev/char/1:9", "rwm",), ("/dev/char/5:0", "rwm",), ("/dev/char/5:2", "rwm",), ("char-pts", "rwm",), ("/dev/char/10:200", "rwm",)]`},
		{"unlimited", &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ref(int64(-1))}, CPU: &specs.LinuxCPU{Quota: ref(int64(-1))}, Pids: &specs.LinuxPids{Limit: ref(int64(-1))},
		}, Facts{CgroupVersion: 2, Version: 252, Devices: proc}, `MemoryMax=@t 18446744073709551615
MemorySwapMax=@t 18446744073709551615
CPUQuotaPerSecUSec=@t 18446744073709551615
TasksMax=@t 18446744073709551615`},
		{"unified", &specs.LinuxResources{Unified: map[string]string{
			"cpu.max": "50000 100000", "memory.high": "max", "pids.max": "7", "cpuset.cpus": "1", "memory.oom.group": "1",
		}}, Facts{CgroupVersion: 2, Version: 252, Devices: proc}, `CPUQuotaPeriodUSec=@t 100000
CPUQuotaPerSecUSec=@t 500000
AllowedCPUs=@ay [0x2]
MemoryHigh=@t 18446744073709551615
TasksMax=@t 7`},
		{
			"privileged on v1", &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true}}},
			Facts{CgroupVersion: 1, Version: 252, Devices: proc},
			"DevicePolicy=\"auto\"\nDeviceAllow=@a(ss) []",
		},
		{
			"update without devices, v1", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ref(int64(10))}},
			Facts{CgroupVersion: 1, Version: 252, Update: true},
			"TasksMax=@t 10",
		},
		{"zeros", &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: ref(int64(0)), Swap: ref(int64(0))}, CPU: &specs.LinuxCPU{Shares: ref(uint64(0)), Quota: ref(int64(0))},
		}, Facts{CgroupVersion: 2, Version: 252, Devices: proc}, ""},
		{"idle", &specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: ref(int64(1)), Shares: ref(uint64(5))}}, Facts{CgroupVersion: 2, Version: 252, Devices: proc}, "CPUWeight=@t 0"},
	} {
		p, err := Properties(c.r, c.f)
		if got := show(p); err != nil || got != c.want {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
	for _, u := range []map[string]string{{"cpu.max": "x"}, {"memory.max": "1G"}, {"cpuset.cpus": "3-1"}} {
		if _, err := Properties(&specs.LinuxResources{Unified: u}, Facts{CgroupVersion: 2, Version: 252}); err == nil || !strings.Contains(err.Error(), "linux.resources.unified[") {
			t.Errorf("%v: %v", u, err)
		}
	}
}

func TestAnnotations(t *testing.T) {
	p, err := Annotations(map[string]string{
		"org.systemd.property.TimeoutStopUSec": "uint64 90000000", "org.systemd.property.KillSignal": "int32 37",
		"org.systemd.property.RuntimeMaxSec": "1.5", "org.systemd.property.After": "['a.service', 'b.service']",
		"org.systemd.property.Description": "'my own'", "other": "x",
	})
	want := "After=[\"a.service\", \"b.service\"]\nDescription=\"my own\"\nKillSignal=37\nRuntimeMaxUSec=@t 1500000\nTimeoutStopUSec=@t 90000000"
	if got := show(p); err != nil || got != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, got, want)
	}
	for name, value := range map[string]string{"x": "1", "TimeoutStopSec": "'soon'", "KillSignal": "int32 'x", "A-b": "1", "": "1"} {
		if _, err := Annotations(map[string]string{"org.systemd.property." + name: value}); err == nil || !strings.Contains(err.Error(), "annotations[") {
			t.Errorf("%s: %q: %v", name, value, err)
		}
	}
}

// A bus that takes the connection and never answers gives an error at the deadline, and says so.
func TestWedgedBus(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+socket)
	for m, name := range map[Manager]string{System: "the system bus", User: "the user's bus"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := Connect(ctx, m)
		cancel()
		if err == nil || !strings.HasPrefix(err.Error(), "connect to "+name+": no answer within 300ms; ") {
			t.Errorf("%v", err)
		}
	}
}

func TestAbsentBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := Connect(t.Context(), User); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR is set; log in through PAM") {
		t.Error(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/nonexistent")
	if _, err := Connect(t.Context(), User); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func TestBitmap(t *testing.T) {
	for list, want := range map[string][]byte{"0": {1}, "0-3,8": {0x0f, 1}, "15": {0, 0x80}} {
		if got, err := bitmap(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %x, %v; want %x", list, got, err, want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{`"252.38-1~deb12u1"`: 252, "v245.4-4ubuntu3": 245, "257": 257} {
		if got, err := parseVersion(text); got != want || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}
