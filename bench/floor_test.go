package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The floor stays the floor of the same thing: between clone3 and the user's command it makes the calls that the program
// of gcrun makes for the default bundle, in the same order.
func TestFloorMakesTheSameCalls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers with cgroups need root")
	}
	for _, tool := range []string{"strace", "gcc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("there is no " + tool)
		}
	}
	gcrun := filepath.Join(t.TempDir(), "gcrun")
	cmd := exec.Command("go", "build", "-o", gcrun, "gcr/gcrun")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build gcrun: %v\n%s", err, out)
	}
	b, err := newBench(true, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cleanUp)
	if err := b.makeRootfs(); err != nil {
		t.Fatal(err)
	}
	floor, err := b.buildFloor("floor/floor.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []variant{plain, hostNet} {
		id := b.newID()
		dir, err := b.bundle(id, v.change, "/bin/true")
		if err != nil {
			t.Fatal(err)
		}
		ours := programCalls(t, b, gcrun, "--root", filepath.Join(b.state, "gcrun"), "run", "--bundle", dir, id)
		floors := programCalls(t, b, b.floorCommand(floor, b.newID(), v)...)
		for i := range min(len(ours), len(floors)) {
			if ours[i] != floors[i] {
				t.Fatalf("%s: call %d of gcrun's program is %s, of the floor %s\n%s\n%s", v.name, i, ours[i], floors[i],
					strings.Join(ours[max(0, i-5):], " "), strings.Join(floors[max(0, i-5):], " "))
			}
		}
		if len(ours) != len(floors) {
			t.Errorf("%s: gcrun's program makes %d calls, the floor %d", v.name, len(ours), len(floors))
		}
	}
}

var straceCall = regexp.MustCompile(`^(\d+) +(\w+)\((.*)`)

// programCalls runs a command under strace and gives the names of the calls of the process that becomes /bin/true, from
// its first own call to that execve: without what moves descriptors before the program of gcrun begins.
func programCalls(t *testing.T, b *bench, argv ...string) []string {
	t.Helper()
	record := b.path("calls")
	args := append([]string{"-f", "-qq", "-e", "signal=none", "-o", record, "--"}, argv...)
	if out, err := exec.Command("strace", args...).CombinedOutput(); err != nil {
		t.Fatalf("%s under strace: %v\n%s", argv[0], err, out)
	}
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		m := straceCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		pid, name, rest := m[1], m[2], m[3]
		switch {
		case name == "execveat" || name == "execve" && !strings.HasPrefix(rest, `"/bin/true"`):
			calls[pid] = nil
			continue
		case name == "execve":
			return calls[pid]
		}
		calls[pid] = append(calls[pid], name)
	}
	t.Fatalf("%s never executes /bin/true", argv[0])
	return nil
}

// A floor that leaves a call out, or makes one more, must show: the comparison is of whole lists.
func TestProgramCallsSeesEveryCall(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("there is no strace")
	}
	b := &bench{dir: t.TempDir()}
	got := programCalls(t, b, "/bin/sh", "-c", "umask 022; exec /bin/true")
	if !slices.Contains(got, "umask") {
		t.Errorf("the call umask is not among %v", got)
	}
}
