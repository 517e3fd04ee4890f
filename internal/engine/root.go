package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gcr/internal/rootfile"
)

// RootKind says where the container's root file system comes from.
type RootKind string

const (
	// RootDirectory: a directory on the host; what the container writes stays in it.
	RootDirectory RootKind = "directory"
	// RootEphemeral: a directory, read-only, below an overlay in memory.
	RootEphemeral RootKind = "ephemeral"
	// RootHost: the host's own root, read-only, below an overlay in memory.
	RootHost RootKind = "host"
	// RootNone: no root is switched; the container has no mount namespace and sees the host's files.
	RootNone RootKind = "none"
)

// HostRootfs is the name of the root filesystem that is always there.
const HostRootfs = "host"

// RootFS is a root filesystem that was found, held open.
type RootFS struct {
	Name  string // as typed
	Kind  RootKind
	Path  string       // absolute
	Image *ImageConfig // nil when there is none beside the directory
	Files Files
}

// Close gives up the directory.
func (r *RootFS) Close() {
	if c, ok := r.Files.(interface{ Close() error }); ok {
		c.Close()
	}
}

// ImageConfig is the part of an OCI image configuration (image-spec, config.md) that says how to run it.
type ImageConfig struct {
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	StopSignal string
	Volumes    map[string]struct{}
	Labels     map[string]string
	// ExposedPorts has the ports that the image serves as keys, such as 80/tcp.
	ExposedPorts map[string]struct{}

	file string // where it was read, for errors
}

// RootDirs lists where root filesystems are looked for by name: ./rootfs, then the directories of
// GCR_ROOTFS, separated by colons.
func RootDirs(gcrRootfs string) []string {
	dirs := []string{"rootfs"}
	for d := range strings.SplitSeq(gcrRootfs, ":") {
		if d != "" {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// maxImageConfig bounds an image configuration, in bytes; registries allow manifests of 4 MiB.
const maxImageConfig = 4 << 20

// FindRoot finds a root filesystem. name is "host", a path (it has a slash, or is "." or ".."), or the name
// of a directory in one of dirs, the first that has it. An image configuration beside the directory,
// NAME.json, is read as well. The caller closes the result.
func FindRoot(name string, dirs []string) (*RootFS, error) {
	bad := func(cause error, hint string) error {
		return &Error{Op: "find", Object: "root filesystem " + quote(name), Cause: cause, Hint: hint}
	}
	if name == HostRootfs {
		root, err := rootfile.Open("/")
		if err != nil {
			return nil, bad(cause(err), "")
		}
		return &RootFS{Name: name, Kind: RootHost, Path: "/", Files: root}, nil
	}
	if name == "" {
		return nil, bad(text("the name is empty"), "try: gcr run host sh")
	}
	candidates := []string{name}
	if !isPath(name) {
		candidates = candidates[:0]
		for _, d := range dirs {
			candidates = append(candidates, filepath.Join(d, name))
		}
	}
	for _, c := range candidates {
		path, err := filepath.Abs(c)
		if err != nil {
			return nil, bad(err, "change to a directory that exists")
		}
		root, err := rootfile.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			if st, e := os.Stat(path); e == nil && !st.IsDir() {
				return nil, bad(fmt.Errorf("%s is a file, not a directory", path), "unpack it into a directory first")
			}
			return nil, bad(fmt.Errorf("open %s: %w", path, cause(err)), "")
		}
		r, err := checkRoot(name, path, root)
		if err != nil {
			root.Close()
			return nil, err
		}
		return r, nil
	}
	if isPath(name) {
		return nil, bad(noRoot("no such directory"), "")
	}
	return nil, unknownRoot(name, dirs)
}

func isPath(name string) bool {
	return strings.Contains(name, "/") || name == "." || name == ".."
}

func checkRoot(name, path string, root *rootfile.Root) (*RootFS, error) {
	switch empty, err := root.Empty(); {
	case err != nil:
		return nil, &Error{
			Op: "read", Object: "root filesystem " + quote(name), Cause: fmt.Errorf("open %s: %w", path, cause(err)),
			Hint: "its owner can let you: chmod o+rx " + shellWord(path) + "; or run gcr as its owner",
		}
	case empty:
		return nil, &Error{
			Op: "use", Object: "root filesystem " + quote(name), Cause: fmt.Errorf("%s is empty", path),
			Hint: "unpack a system into it, for instance: debootstrap --variant=minbase bookworm " + shellWord(path),
		}
	}
	r := &RootFS{Name: name, Kind: RootDirectory, Path: path, Files: root}
	if path == "/" {
		// The host's root is never handed out writable, however it is spelled.
		r.Kind = RootHost
		return r, nil
	}
	var err error
	r.Image, err = readImageConfig(path + ".json")
	return r, err
}

// readImageConfig reads the image configuration beside a root filesystem; without one it returns nil.
func readImageConfig(path string) (*ImageConfig, error) {
	dir, err := rootfile.Open(filepath.Dir(path))
	if err != nil {
		return nil, &Error{Op: "read", Object: path, Cause: cause(err)}
	}
	defer dir.Close()
	data, err := dir.ReadFile(filepath.Base(path), maxImageConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "read", Object: path, Cause: cause(err), Hint: "it is the image's configuration; remove it to run without"}
	}
	c, err := ParseImageConfig(data)
	if err != nil {
		return nil, &Error{Op: "read", Object: path, Cause: err, Hint: "it should be an OCI image configuration; remove it to run without"}
	}
	c.file = path
	return c, nil
}

// ParseImageConfig reads an OCI image configuration. Fields that do not say how to run it are ignored.
func ParseImageConfig(data []byte) (*ImageConfig, error) {
	var doc struct {
		OS     string      `json:"os"`
		Config ImageConfig `json:"config"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.OS != "" && doc.OS != "linux" {
		return nil, fmt.Errorf("os is %q, gcr runs linux", doc.OS)
	}
	return &doc.Config, nil
}

// noRoot is a cause in words that is also errNoRoot.
type noRoot string

func (n noRoot) Error() string        { return string(n) }
func (n noRoot) Is(target error) bool { return target == errNoRoot }

// unknownRoot says which root filesystems there are, and which was perhaps meant.
func unknownRoot(name string, dirs []string) error {
	have := []string{HostRootfs}
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if st, err := os.Stat(filepath.Join(d, e.Name())); err == nil && st.IsDir() && !slices.Contains(have, e.Name()) {
				have = append(have, e.Name())
			}
		}
	}
	hint := ""
	best := 3
	for _, h := range have {
		if d := editDistance(name, h); d < best && d < len(h) {
			best, hint = d, "did you mean "+h+"? "
		}
	}
	const most = 20
	list := have
	if len(list) > most {
		list = list[:most]
	}
	hint += "there are: " + strings.Join(list, ", ")
	if len(have) > most {
		hint += fmt.Sprintf(" and %d more", len(have)-most)
	}
	return &Error{
		Op: "find", Object: "root filesystem " + quote(name),
		Cause: noRoot("no directory of that name in " + strings.Join(dirs, ", ")), Hint: hint,
	}
}

// editDistance counts the insertions, deletions and replacements that turn a into b (Levenshtein), for
// short names; long ones are simply far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
