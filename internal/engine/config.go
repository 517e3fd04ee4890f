package engine

import (
	"fmt"
	"path/filepath"
	"slices"

	"gcr/internal/network"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Config is everything that the launcher needs to know to run one container.
type Config struct {
	// ID is 64 random hexadecimal digits; the first twelve are shown and serve as the host name.
	ID   string
	Name string // of --name; may be empty

	// Spec is the OCI runtime configuration. Mounts of Files have a StatePath as source: use Place.
	Spec *specs.Spec
	Root Root
	// Files have to be written to the container's state directory before it starts.
	Files []File

	// Landlock, unless empty, lists all files that the command may reach.
	Landlock []LandlockRule `json:",omitempty"`
	// Shifted: the container's ids stand for others on the host, and the root filesystem is shown through the same map.
	Shifted bool `json:",omitempty"`
	// MapTool: newuidmap and newgidmap have to write the id maps.
	MapTool bool
	// DenySetgroups: "deny" has to be written to /proc/PID/setgroups before gid_map.
	DenySetgroups bool

	// Network is what the flags ask for; names of GatewayNames stand for the host in /etc/hosts.
	Network      *network.Request
	GatewayNames []string `json:",omitempty"`
	// MakeCwd: the working directory comes from an image, which need not have it, and is made where it is missing.
	MakeCwd bool
	// ImageVolumes are directories that the image declares to be written to: they stay writable under --read-only.
	ImageVolumes []string

	// Interactive: the caller's standard input reaches the command; otherwise it reads /dev/null.
	Interactive bool
	Init        bool // an init is process 1
	StopSignal  int
	Labels      map[string]string
	// Seccomp is the profile: empty for gcr's default, "unconfined" for none, or the absolute path of a
	// file. Spec.Linux.Seccomp is left nil for the caller to fill in.
	Seccomp string
	// AppArmor is a profile's name, "unconfined", or empty for the default.
	AppArmor string
	// SELinux has the parts of --security-opt label=…: "disable", "type:T", "user:U", "role:R", "level:L",
	// "filetype:T", "nested".
	SELinux []string
	// Relabel lists sources of volumes to give the container's SELinux label (z, Z).
	Relabel []Relabel

	// Notes tell the user what will not work, and why. They are warnings, not errors.
	Notes []string
}

// ShortID is the form of the id that is shown.
func (c *Config) ShortID() string { return c.ID[:12] }

// Root says where the root file system comes from.
type Root struct {
	Kind RootKind
	Path string // absolute; "/" for RootHost and RootNone
}

// Relabel asks for an SELinux label on a path of the host.
type Relabel struct {
	Path   string
	Shared bool // other containers may use it too
}

// File is a file that is generated for the container and bound into it.
type File struct {
	Name        string // in the state directory
	Destination string // in the container
	Content     []byte
	Mode        uint32 // permission bits
}

// statePrefix marks a source as lying in the state directory. Every other source is an absolute path, so
// the two cannot be taken for each other.
const statePrefix = "state:"

// StatePath is a path relative to the container's state directory, which is not known yet when the
// configuration is made.
type StatePath string

// Source returns the place of the file.
func (f *File) Source() StatePath { return StatePath(statePrefix + f.Name) }

// In returns the path of the file in a state directory.
func (p StatePath) In(dir string) string { return filepath.Join(dir, string(p[len(statePrefix):])) }

// Place returns a copy of the specification in which every StatePath is a path below dir, which is
// absolute.
func (c *Config) Place(dir string) *specs.Spec {
	s := *c.Spec
	s.Mounts = slices.Clone(s.Mounts)
	for i := range s.Mounts {
		for j := range c.Files {
			if p := c.Files[j].Source(); s.Mounts[i].Source == string(p) {
				s.Mounts[i].Source = p.In(dir)
			}
		}
	}
	return &s
}

func (b *builder) note(format string, args ...any) {
	b.config.Notes = append(b.config.Notes, fmt.Sprintf(format, args...))
}
