package seccomp

//go:generate go run ./gen/defaults

import (
	_ "embed"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultEntry is an entry of default.json.
type defaultEntry struct {
	names    []string
	action   specs.LinuxSeccompAction
	errno    uint // 0 is none
	args     []specs.LinuxSeccompArg
	needCaps []string // all of them
	needArch []string // any of them
	notCaps  []string // none of them
	notArch  []string
}

//go:embed default.json
var defaultFile string

// DefaultFile returns the default profile as a file in Docker's format, with its conditions and comments, for people
// who want to read it or to write their own.
func DefaultFile() string { return defaultFile }

// Default returns the profile of containers that bring none: a list of allowed calls, everything else fails with
// EPERM. It depends on the capabilities that the container may have at most (its bounding set) and on the
// architecture of the image (as in GOARCH; amd64, arm64, 386, …), which is not always the machine's.
//
// It allows what Docker's allows, but for socket(2) of families that few programs need, and but for socketcall(2)
// in 64-bit x86 images, through which 32-bit code could make sockets of every family. See docs/seccomp.md.
//
// The lists in the result are shared and must not be changed.
func Default(caps []string, arch string) *specs.LinuxSeccomp {
	errno := uint(defaultErrno)
	p := &specs.LinuxSeccomp{
		DefaultAction:   defaultAction,
		DefaultErrnoRet: &errno,
		Syscalls:        make([]specs.LinuxSyscall, 0, len(defaultEntries)),
	}
	a := archOfGo(arch)
	for _, m := range defaultArchs {
		if string(m[0]) == a.String() {
			p.Architectures = slices.Clip(m)
			break
		}
	}
	for i := range defaultEntries {
		e := &defaultEntries[i]
		if !e.applies(caps, a.Short()) {
			continue
		}
		s := specs.LinuxSyscall{Names: slices.Clip(e.names), Action: e.action, Args: slices.Clip(e.args)}
		if e.errno != 0 {
			n := e.errno
			s.ErrnoRet = &n
		}
		p.Syscalls = append(p.Syscalls, s)
	}
	return p
}

func (e *defaultEntry) applies(caps []string, arch string) bool {
	if e.needArch != nil && !slices.Contains(e.needArch, arch) || slices.Contains(e.notArch, arch) {
		return false
	}
	for _, c := range e.needCaps {
		if !slices.Contains(caps, c) {
			return false
		}
	}
	for _, c := range e.notCaps {
		if slices.Contains(caps, c) {
			return false
		}
	}
	return true
}
