package criu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The bytes of the encoding's own documentation, and what a parser of it must refuse.
func TestMessage(t *testing.T) {
	var m, inner message
	m.number(1, 150)
	m.text(2, "testing")
	inner.number(1, 150)
	m.bytes(3, inner)
	m.truth(4, false)
	m.number(5, -1)
	const want = "\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	if string(m) != want {
		t.Errorf("got %q, want %q", m, want)
	}
	f, err := read(m)
	if err != nil || f[1].number != 150 || string(f[2].bytes) != "testing" || string(f[3].bytes) != string(inner) || f[5].number != -1 {
		t.Errorf("%v, %v", f, err)
	}
	for _, bad := range []string{"\x08", "\x12\x07test", "\x00\x01", "\x0f", "\x09\x01", "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if _, err := read([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a message", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x08\x96\x01\x12\x07testing"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseAnswer(b)
	})
}

// The messages mean what the .proto file says: protoc, where it is installed, reads them by number.
func TestRequestIsReadable(t *testing.T) {
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("needs protoc (package protobuf-compiler)")
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := Request{
		Type: Restore, Images: dir, LogFile: "restore.log", Root: "/r", Cgroups: CgroupDefault, External: []string{"mnt[/a]:/b"},
		Inherit: []Inherited{{"pipe:[7]", 1}}, CgroupRoots: []CgroupRoot{{"", "/c"}},
	}
	cmd := exec.Command(protoc, "--decode_raw")
	cmd.Stdin = strings.NewReader(string(r.encode()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{"1: 2 2 {", `10: "restore.log"`, `13: "/r"`, "26: 1", `27 { 1: "pipe:[7]" 2: 1 }`, "34: 6", `37: "mnt[/a]:/b"`, `25 { 1: "" 2: "/c" }`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s has no %s", text, want)
		}
	}
}

// CRIU's errors are those lines of its log that say so.
func TestComplaints(t *testing.T) {
	log := filepath.Join(t.TempDir(), "dump.log")
	text := "(00.000001) Running\n(00.012345) Error (criu/mount.c:1081): mnt: Mount 41 has no root\n(00.02) Warn  (x.c:1): no\n(00.03)    1: Error (criu/cr-dump.c:9): Dumping FAILED.\n"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(complaints(log), "|"); got != "mnt: Mount 41 has no root|Dumping FAILED." {
		t.Errorf("%q", got)
	}
}
