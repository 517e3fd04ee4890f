package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Host is what the conditions of a profile in Docker's format are about.
type Host struct {
	Arch   Arch     // of the image's programs
	Caps   []string // the container's bounding set: CAP_CHOWN, …
	Kernel Kernel
}

// Kernel is a kernel release; only the first two numbers count.
type Kernel struct{ Major, Minor int }

// ParseKernel reads a release as uname(2) and profiles write it: 6.12, 6.12.57-1-amd64, 6.19-rc3.
func ParseKernel(release string) (Kernel, error) {
	major, rest, _ := strings.Cut(release, ".")
	minor := rest
	for i := range len(rest) {
		if rest[i] < '0' || rest[i] > '9' {
			minor = rest[:i]
			break
		}
	}
	a, err1 := strconv.ParseUint(major, 10, 16)
	b, err2 := strconv.ParseUint(minor, 10, 16)
	if err1 != nil || err2 != nil {
		return Kernel{}, fmt.Errorf("read kernel release %q: want MAJOR.MINOR", release)
	}
	return Kernel{int(a), int(b)}, nil
}

// Before says whether k is older than other.
func (k Kernel) Before(other Kernel) bool {
	return k.Major < other.Major || k.Major == other.Major && k.Minor < other.Minor
}

// file is a profile in Docker's format, which is the OCI's with an architecture map instead of a list, and with
// conditions on each entry. An OCI profile is the special case without either.
type file struct {
	specs.LinuxSeccomp
	Date     string      `json:"date,omitempty"`
	ArchMap  []fileArch  `json:"archMap,omitempty"`
	Syscalls []fileEntry `json:"syscalls"`
}

type fileArch struct {
	Arch     specs.Arch   `json:"architecture"`
	SubArchs []specs.Arch `json:"subArchitectures"`
}

type fileEntry struct {
	specs.LinuxSyscall
	Name     string      `json:"name,omitempty"` // before Docker 1.13
	Comment  string      `json:"comment,omitempty"`
	Includes fileMatcher `json:"includes,omitzero"`
	Excludes fileMatcher `json:"excludes,omitzero"`
}

type fileMatcher struct {
	Caps      []string `json:"caps,omitempty"`
	Archs     []string `json:"arches,omitempty"`
	MinKernel string   `json:"minKernel,omitempty"`
}

// Load reads a profile from a file, in Docker's format or in the OCI's, and settles its conditions for a host.
// The result still has to pass Compile; Load only fails on what is not a profile at all.
func Load(data []byte, host Host) (*specs.LinuxSeccomp, error) {
	f, err := parseFile(data)
	if err != nil {
		return nil, err
	}
	return f.resolve(host)
}

func parseFile(data []byte) (*file, error) {
	f := &file{}
	if err := json.Unmarshal(data, f); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
			return nil, fmt.Errorf("read seccomp profile (line %d): %w", line, err)
		}
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			// Embedded structs show in the path, though not in the file.
			field := strings.NewReplacer("LinuxSeccomp.", "", "LinuxSyscall.", "").Replace(kind.Field)
			return nil, fmt.Errorf("read seccomp profile (%s): a %s stands where a %s belongs", field, kind.Value, jsonKind(kind.Type))
		}
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	return f, nil
}

// jsonKind names a type in the words of JSON.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "list"
	case reflect.Struct:
		return "object"
	case reflect.Pointer:
		return jsonKind(t.Elem())
	default:
		return "number (not negative, in range)"
	}
}

func (f *file) resolve(host Host) (*specs.LinuxSeccomp, error) {
	if f.DefaultAction == "" {
		return nil, errors.New("read seccomp profile (defaultAction): missing; for no filter at all say unconfined")
	}
	if len(f.Architectures) != 0 && len(f.ArchMap) != 0 {
		return nil, errors.New("read seccomp profile (architectures, archMap): both are given; use one of them")
	}
	p := f.LinuxSeccomp
	p.Syscalls = make([]specs.LinuxSyscall, 0, len(f.Syscalls))
	for _, m := range f.ArchMap {
		if string(m.Arch) == host.Arch.String() {
			p.Architectures = append([]specs.Arch{m.Arch}, m.SubArchs...)
			break
		}
	}
	for i := range f.Syscalls {
		e := &f.Syscalls[i]
		if e.Name != "" {
			if len(e.Names) != 0 {
				return nil, fmt.Errorf("read seccomp profile (syscalls[%d]): both name and names are given; use names", i)
			}
			e.Names = []string{e.Name}
		}
		keep, err := e.applies(host)
		if err != nil {
			return nil, fmt.Errorf("read seccomp profile (syscalls[%d]): %w", i, err)
		}
		if keep {
			p.Syscalls = append(p.Syscalls, e.LinuxSyscall)
		}
	}
	return &p, nil
}

// applies says whether an entry counts: every condition of includes holds and none of excludes. A list of
// capabilities in includes means all of them, in excludes any of them.
func (e *fileEntry) applies(host Host) (bool, error) {
	in, ex := &e.Includes, &e.Excludes
	if len(in.Archs) > 0 && !slices.Contains(in.Archs, host.Arch.Short()) || slices.Contains(ex.Archs, host.Arch.Short()) {
		return false, nil
	}
	for _, c := range in.Caps {
		if !slices.Contains(host.Caps, c) {
			return false, nil
		}
	}
	for _, c := range ex.Caps {
		if slices.Contains(host.Caps, c) {
			return false, nil
		}
	}
	if in.MinKernel != "" {
		k, err := ParseKernel(in.MinKernel)
		if err != nil {
			return false, fmt.Errorf("includes.minKernel: %w", err)
		}
		if host.Kernel.Before(k) {
			return false, nil
		}
	}
	if ex.MinKernel != "" {
		k, err := ParseKernel(ex.MinKernel)
		if err != nil {
			return false, fmt.Errorf("excludes.minKernel: %w", err)
		}
		if !host.Kernel.Before(k) {
			return false, nil
		}
	}
	return true, nil
}
