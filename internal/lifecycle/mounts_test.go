package lifecycle

import (
	"errors"
	"strings"
	"testing"

	"gcr/internal/plan"
	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What is taken away after an error: all mounts that are in their places, and no other, which were there before.
func TestMountsMade(t *testing.T) {
	in := plan.MountsInput{Namespaces: unix.CLONE_NEWNS, Spec: &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}}}, Mounts: []specs.Mount{
		{Destination: "/a", Type: "tmpfs"},
		{Destination: "/b", Type: "tmpfs", Options: []string{"nosuid", "shared"}},
	}}
	p, err := plan.NewMounts(in)
	if err != nil {
		t.Fatal(err)
	}
	attached, calls := 0, 0
	for i, c := range p.Program.Calls() {
		failure := p.Failure(i, unix.EPERM)
		var e *plan.Error
		if !errors.As(failure, &e) || !strings.HasPrefix(e.Field, "mounts[") {
			continue
		}
		if got := mountsMade(failure); got != attached && c.Sys != program.SysClose {
			t.Errorf("%s fails: %d mounts are made, want %d", c, got, attached)
		}
		calls++
		if c.Sys == program.SysMoveMount {
			attached++
		}
	}
	if attached != 2 || calls < 8 {
		t.Errorf("the program makes %d mounts with %d calls", attached, calls)
	}
	if got := mountsMade(errors.New("another")); got != 0 {
		t.Errorf("another error: %d", got)
	}
}
