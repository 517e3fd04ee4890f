package engine

import (
	"slices"

	"gcr/internal/account"
	"gcr/internal/hostfacts"
	"gcr/internal/rootfile"
)

// Host holds what Build knows about the caller and the machine. It is input, so that Build gives the same
// result for the same Host anywhere; ReadHost fills one in for real.
type Host struct {
	// The caller.
	UID, GID  uint32 // effective
	Username  string // login name; empty when not known
	Effective uint64 // capabilities, bit n for capability n
	// InBounding tells whether a capability, by number, is in gcr's bounding set.
	InBounding func(n int) bool
	Cwd        string
	LookupEnv  func(name string) (string, bool)
	Rlimit     func(resource int) (soft, hard uint64, err error)

	// Ids.
	OwnIDs           func() (uids, gids []account.Range) // that exist in gcr's own user namespace
	SubUIDs, SubGIDs []account.Range                     // of /etc/subuid and /etc/subgid; read for others only
	HasNewIDMap      bool                                // newuidmap and newgidmap are installed
	// ClaimIDs takes the range of ids that begins with first for one container, until gcr ends; false when another
	// has it. Nil claims nothing.
	ClaimIDs func(first uint32) (bool, error)

	// Terminal.
	StdinTerminal, StdoutTerminal bool
	Rows, Columns                 uint16

	// The machine.
	Hostname   string
	Release    string // of the kernel
	CPUs       int    // that gcr may run on
	ResolvConf []byte // /etc/resolv.conf
	// ResolvUpstream is the resolv.conf that systemd-resolved keeps beside its stub; empty without it.
	ResolvUpstream []byte
	Thermal        []string
	// AppArmor returns the file below /proc/PID that takes a profile, empty without AppArmor; SELinux the context that gcr
	// runs in, empty without SELinux. Both are asked only when a flag names a label.
	AppArmor, SELinux func() string
	Files             Files // below the host's root; for a container without a mount namespace
	Stat              func(path string) (hostfacts.File, error)
	Devices           func(path string) ([]hostfacts.Device, error)
	ReadFile          func(path string, max int64) ([]byte, error)

	// Cgroups. ReadHost leaves these three to its caller, who knows the cgroup hierarchy.
	CgroupWritable bool
	CgroupReason   string // why not, in words
	SwapLimit      bool   // memory+swap can be limited

	// Random is what the container's id is made of.
	Random [32]byte
}

// Files reads below one root directory; *rootfile.Root is one.
type Files interface {
	ReadFile(path string, max int64) ([]byte, error)
	Stat(path string) (rootfile.Info, error)
}

// rootless tells whether gcr needs a user namespace to make the other ones: clone(2) wants CAP_SYS_ADMIN,
// which also root inside some other container lacks.
func (h *Host) rootless() bool {
	return h.UID != 0 || !h.can(capSysAdmin)
}

// inUserNamespace tells whether gcr's root is somebody else's idea of root: in the first user namespace every id
// stands for itself.
func (h *Host) inUserNamespace() bool {
	if h.UID != 0 {
		return false
	}
	uids, _ := h.OwnIDs()
	return len(uids) != 1 || uids[0].Count != 1<<32-1
}

// hasGID tells whether a group id exists where gcr runs. For an ordinary user it does: his maps lead to the first
// user namespace by way of newgidmap, or leave the id out.
func (h *Host) hasGID(id uint32) bool {
	if h.UID != 0 {
		return true
	}
	_, gids := h.OwnIDs()
	return slices.ContainsFunc(gids, func(r account.Range) bool {
		return id >= r.Start && uint64(id) < uint64(r.Start)+uint64(r.Count)
	})
}

// can tells whether gcr itself has a capability.
func (h *Host) can(c capability) bool { return h.Effective>>c&1 != 0 }
