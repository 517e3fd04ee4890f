package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gcr/test/lab"
)

// outside are the packages beyond the standard library that gcrun may link. Each costs start-up time, and each is
// code that runs as root: docs/dependencies.md says why it is there.
var outside = []string{
	"github.com/coreos/go-systemd/v22/dbus",
	"github.com/godbus/dbus/v5",
	"github.com/opencontainers/runtime-spec/specs-go",
	"github.com/opencontainers/runtime-spec/specs-go/features",
	"golang.org/x/sys/unix",
	"golang.org/x/term",
}

// inside are the packages of GCR that it may link.
var inside = []string{
	"gcr/gcrun", "gcr/internal/account", "gcr/internal/cgroup", "gcr/internal/cgroup/systemd", "gcr/internal/clone", "gcr/internal/criu", "gcr/internal/hostfacts", "gcr/internal/hostfile",
	"gcr/internal/jsonlean", "gcr/internal/launch", "gcr/internal/lifecycle", "gcr/internal/netdevice", "gcr/internal/sigpipe",
	"gcr/internal/plan", "gcr/internal/prefault", "gcr/internal/procfs", "gcr/internal/program", "gcr/internal/rootfile", "gcr/internal/seccomp", "gcr/internal/spec", "gcr/internal/stack",
}

func TestLinksOnlyWhatARuntimeNeeds(t *testing.T) {
	if !lab.HasGo() {
		t.Skip("the go command is missing")
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(pkg, "/")
		switch {
		case first == "gcr":
			if !slices.Contains(inside, pkg) {
				t.Errorf("gcrun links %s, which belongs to another command", pkg)
			}
		case strings.Contains(first, "."):
			if !slices.Contains(outside, pkg) {
				t.Errorf("gcrun links %s: is it worth its start-up time? Then it gets a line here and in docs/dependencies.md", pkg)
			}
		}
	}
}

// A package-level variable that allocates much is paid for at every start.
func TestInitIsCheap(t *testing.T) {
	cmd := exec.Command(binary, "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	const most = 64 << 10 // bytes
	total := 0
	for _, l := range strings.Split(string(out), "\n") {
		f := strings.Fields(l)
		for i, w := range f {
			if w == "bytes," {
				n := 0
				for _, c := range f[i-1] {
					n = n*10 + int(c-'0')
				}
				total += n
			}
		}
	}
	if total == 0 || total > most {
		t.Errorf("initialization allocates %d bytes, want at most %d:\n%s", total, most, out)
	}
}
