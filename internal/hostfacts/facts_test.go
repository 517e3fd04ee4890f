package hostfacts

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// status reads a field of /proc/thread-self/status, the kernel's other answer to the same question.
func status(t *testing.T, field string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s in status", field)
	return ""
}

func TestCapabilitiesAgreeWithProc(t *testing.T) {
	effective, err := Capabilities()
	if err != nil {
		t.Fatal(err)
	}
	bounding := uint64(0)
	for n := range 64 {
		if InBoundingSet(n) {
			bounding |= 1 << n
		}
	}
	for field, got := range map[string]uint64{"CapBnd": bounding, "CapEff": effective} {
		if want, _ := strconv.ParseUint(status(t, field), 16, 64); got != want {
			t.Errorf("%s: %#x, /proc says %#x", field, got, want)
		}
	}
}

func TestUname(t *testing.T) {
	host, release, err := Uname()
	want, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	if name, _ := os.Hostname(); err != nil || host != name || release != strings.TrimSpace(string(want)) {
		t.Errorf("%q %q %v", host, release, err)
	}
}

func TestTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsTerminal(int(r.Fd())) {
		t.Error("a pipe is a terminal")
	}
	if rows, cols := WindowSize(int(r.Fd())); rows != 0 || cols != 0 {
		t.Errorf("a pipe of %dx%d", rows, cols)
	}
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs /dev/ptmx:", err)
	}
	defer ptmx.Close()
	unix.IoctlSetWinsize(int(ptmx.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77})
	if rows, cols := WindowSize(int(ptmx.Fd())); !IsTerminal(int(ptmx.Fd())) || rows != 33 || cols != 77 {
		t.Errorf("a pty of %dx%d", rows, cols)
	}
}

func TestRlimit(t *testing.T) {
	var want unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &want); err != nil {
		t.Fatal(err)
	}
	if soft, hard, err := Rlimit(RlimitNofile); err != nil || hard != want.Max || soft > hard {
		t.Errorf("%d %d %v", soft, hard, err)
	}
	if _, _, err := Rlimit(99); err == nil {
		t.Error("resource 99 exists")
	}
}

func TestStatAndDevices(t *testing.T) {
	dir := t.TempDir()
	if f, err := Stat(dir); err != nil || f.Type != 'd' {
		t.Errorf("%+v %v", f, err)
	}
	if f, err := Stat("/dev/null"); err != nil || f.Type != 'c' || f.Major != 1 || f.Minor != 3 {
		t.Errorf("%+v %v", f, err)
	}
	unix.Mkfifo(filepath.Join(dir, "p"), 0o640)
	if f, err := Stat(filepath.Join(dir, "p")); err != nil || f.Type != 'p' {
		t.Errorf("%+v %v", f, err)
	}
	if _, err := Stat(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	one, err := Devices("/dev/null")
	if err != nil || len(one) != 1 || one[0].Minor != 3 {
		t.Errorf("%+v %v", one, err)
	}
	all, err := Devices("/dev")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range all {
		if d.Type != 'c' && d.Type != 'b' || strings.HasPrefix(d.Path, "/dev/pts/") {
			t.Errorf("%+v", d)
		}
		found = found || d.Path == "/dev/null"
	}
	if !found {
		t.Errorf("no /dev/null in %v", all)
	}
	if none, err := Devices(dir); err != nil || none != nil {
		t.Errorf("a directory without devices: %v %v", none, err)
	}
}

func TestRandom(t *testing.T) {
	// More than 256 bytes may come in parts (getrandom(2)).
	a, b := make([]byte, 5000), make([]byte, 5000)
	if err := Random(a); err != nil {
		t.Fatal(err)
	}
	if err := Random(b); err != nil {
		t.Fatal(err)
	}
	if string(a) == string(b) || string(a[4968:]) == string(make([]byte, 32)) {
		t.Error("not random, or not filled to the end")
	}
}
