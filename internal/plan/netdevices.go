package plan

import (
	"maps"
	"slices"
	"strings"

	"gcr/internal/program"
)

func (b *builder) netDevices() error {
	if d := b.spec.Linux.NetDevices; len(d) > 0 {
		names := slices.Sorted(maps.Keys(d))
		for i, n := range names {
			if as := d[n].Name; as != "" && as != n {
				names[i] += " as " + as
			}
		}
		b.add(awaitDevices{names})
	}
	return nil
}

// awaitDevices waits while the host side moves network devices. It comes after the mounts, so that what is wrong with
// them is known before anything is moved, and before the hooks and sysctls, which are about devices as well.
type awaitDevices struct{ names []string }

func (s awaitDevices) Info() Info {
	return Info{
		What: "wait for the network devices " + strings.Join(s.names, ", "), Field: "linux.netDevices", Man: "rtnetlink(7)",
		Why: "the host side moves them into the network namespace, gives them their addresses again, which they lose on the way, and sets them up",
	}
}

func (s awaitDevices) Emit(e *emitter) {
	e.Send(program.Message{Kind: program.Devices})
	e.Program.Wait()
}

func (s awaitDevices) Shell() []string { return nil }
