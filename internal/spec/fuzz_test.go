package spec

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// seeds are configurations that reach different checks.
var seeds = []string{
	`{"ociVersion":"1.2.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"]}}`,
	`{"ociVersion":"1.0.2-dev","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"],"user":{"uid":4294967295}},"mounts":[{"destination":"/proc","type":"proc","options":["ro","size=1"],"uidMappings":[{"containerID":0,"hostID":1000,"size":1}]}],
	  "linux":{"namespaces":[{"type":"user"},{"type":"mount"}],"uidMappings":[{"containerID":0,"hostID":0,"size":4294967295},{"containerID":0,"hostID":0,"size":2}]}}`,
	`{"ociVersion":"1.2.0","root":{"path":"r"},"hooks":{"prestart":[{"path":"/x","timeout":-1}]},"linux":{"timeOffsets":{"boottime":{"secs":-1}},"netDevices":{"eth0":{"name":"a/b"}},"intelRdt":{"closID":".."}}}`,
	`{"ociVersion":"1.2.0","root":{"path":"r"},"annotations":{"org.example/x":"\u0000","":"y"},"linux":{"sysctl":{"net/../x":"1\n2"},"devices":[{"path":"/dev/x","type":"c","major":-1}]}}`,
	`{"ociVersion":1}`, `[]`, "{\n\"root\":", `{"ociVersion":"1.99999.0"}`, `null`, `{"linux":{"uidMappings":[{"hostID":4294967296}]}}`,
}

// FuzzParse holds that a configuration is accepted or refused in words, never with a panic, and that what is accepted
// is accepted again after it was written out.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatalf("%q is refused without a word", data)
			}
			var field *FieldError
			if errors.As(err, &field) && field.Field == "" {
				t.Fatalf("%q: no field is named: %v", data, err)
			}
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err != nil {
			t.Fatalf("%q was accepted, but not in the form %q: %v", data, b, err)
		}
	})
}

// FuzzIDMap holds that an accepted id map gives each id of the container at most one on the host and back, and wraps
// nowhere.
func FuzzIDMap(f *testing.F) {
	f.Add(uint32(0), uint32(1000), uint32(1), uint32(1), uint32(100000), uint32(65536))
	f.Add(uint32(0), uint32(0), uint32(1<<32-1), uint32(5), uint32(5), uint32(1))
	f.Add(uint32(1<<32-2), uint32(0), uint32(1), uint32(0), uint32(1<<32-2), uint32(2))
	f.Fuzz(func(t *testing.T, c1, h1, n1, c2, h2, n2 uint32) {
		maps := []specs.LinuxIDMapping{{ContainerID: c1, HostID: h1, Size: n1}, {ContainerID: c2, HostID: h2, Size: n2}}
		if checkIDMap("linux.uidMappings", maps) != nil {
			return
		}
		apart := func(a, an, b, bn uint32) bool {
			return uint64(a)+uint64(an) <= uint64(b) || uint64(b)+uint64(bn) <= uint64(a)
		}
		for _, m := range maps {
			const last = 1<<32 - 2
			if m.Size == 0 || uint64(m.ContainerID)+uint64(m.Size)-1 > last || uint64(m.HostID)+uint64(m.Size)-1 > last {
				t.Fatalf("%+v goes beyond the last id", m)
			}
		}
		if !apart(c1, n1, c2, n2) || !apart(h1, n1, h2, n2) {
			t.Fatalf("%+v overlap", maps)
		}
	})
}
