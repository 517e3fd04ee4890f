package plan

import (
	"fmt"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// preparedRoot uses a root filesystem that the host side has mounted: in its user namespace the program could
// neither map owners nor, perhaps, reach the directory.
type preparedRoot struct {
	fd   int
	root Root
	maps []specs.LinuxIDMapping
}

func (s preparedRoot) Info() Info {
	what := s.root.Path
	if len(s.root.Lower) > 0 {
		what = s.root.Lower[0]
	}
	return Info{
		What: "take the root filesystem " + what + " with mapped owners", Field: "root.path", Man: "mount_setattr(2)",
		Why: fmt.Sprintf("on disk files belong to ordinary ids, in the container too, and in between to ids from %d on that nobody else has: an idmapped mount translates, so no file needs another owner", s.maps[0].HostID),
	}
}

func (s preparedRoot) Emit(e *emitter) {
	// It goes on top of the old root, the one place that is there for everybody; pivot_root takes it from there.
	top := e.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	e.MoveMount(program.FD(s.fd), top)
	e.Close(top)
	e.root = program.FD(s.fd)
}

func (s preparedRoot) Shell() []string {
	lines := []string{"ROOT=/mnt"}
	if len(s.root.Lower) > 0 {
		return append(lines, "# an overlay over idmapped mounts of its layers, see mount(8), X-mount.idmap", `cd "$ROOT"`)
	}
	var maps string
	for _, m := range s.maps {
		maps += fmt.Sprintf(" b:%d:%d:%d", m.ContainerID, m.HostID, m.Size)
	}
	return append(lines, "mount --bind -o "+shellQuote("X-mount.idmap="+maps[1:])+" "+shellQuote(s.root.Path)+` "$ROOT"`, `cd "$ROOT"`)
}
