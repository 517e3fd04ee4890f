package plan

import (
	"encoding/binary"
	"fmt"

	"gcr/internal/seccomp"

	"golang.org/x/sys/unix"
)

// Extras are wishes that the specification has no field for; OCI runtimes take them from annotations.
type Extras struct {
	// Landlock, unless empty, lists all files that the user's command may reach.
	Landlock []LandlockRule `json:",omitempty"`
	// KeepGroups leaves the process the supplementary groups of the caller.
	KeepGroups bool `json:",omitempty"`
	// Filter is a classic BPF program in the place of linux.seccomp, as seccomp(2) takes it.
	Filter []byte `json:",omitempty"`
	// StrictFilter refuses a profile with names that no architecture knows.
	StrictFilter bool `json:",omitempty"`
	// LabelOption is the mount option that linux.mountLabel is given with, empty for "context".
	LabelOption string `json:",omitempty"`
}

// maxFilter is the longest program that the kernel takes, in instructions (BPF_MAXINSNS).
const maxFilter = 4096

// rawFilter is the filter that an annotation brings.
func (x *Extras) rawFilter() (seccomp.Filter, error) {
	n := len(x.Filter) / 8
	if len(x.Filter)%8 != 0 || n == 0 || n > maxFilter {
		return seccomp.Filter{}, fmt.Errorf("%d bytes are no BPF program: an instruction has 8 bytes, and there are 1 to %d", len(x.Filter), maxFilter)
	}
	f := seccomp.Filter{Program: make([]unix.SockFilter, n)}
	for i := range f.Program {
		b := x.Filter[8*i:]
		f.Program[i] = unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	return f, nil
}
