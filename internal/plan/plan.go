package plan

import (
	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Input is everything that a plan depends on.
type Input struct {
	// Spec is the configuration, config.json of the OCI runtime specification.
	Spec *specs.Spec
	// Root says what the root filesystem is made from.
	Root Root
	// StateDir is a directory of the host that belongs to this container alone (mode 0700). Root filesystems
	// that are put together from others are mounted at its sub-directory "root", inside the container's own
	// mount namespace.
	StateDir string
	// Host holds facts about the host.
	Host Host
	// Cgroup says where the container's cgroup is.
	Cgroup Cgroup

	// Files are generated files that mounts of the configuration have as their source, in StateDir.
	Files []File

	Extras

	// Network has the host side connect the container; nil for none.
	Network *Network

	// Announce makes the first process tell its own process id, as it sees it.
	Announce bool
	// Narrate makes the program report the start of each step with its time.
	Narrate bool
	// Stops makes the program wait for a word before each step.
	Stops bool
	// Wait makes the program stop before the user's command until the host side says on the sync socket that it
	// has written down what it has to.
	Wait bool
	// Listen makes the program wait, after that, for a connection on the listening socket FDListen, over which a
	// later process tells it to start the user's command (OCI create and start).
	Listen bool
	// Hooks makes the program stop before it changes the root, while the host side runs the hooks prestart,
	// createRuntime and createContainer.
	Hooks bool
	// NoCommand makes a container without a command, which waits for a start that must fail: the configuration has
	// no process (config.md, "Process").
	NoCommand bool
	// NoPivot moves the root filesystem over / instead of calling pivot_root, which an initial ramfs refuses.
	NoPivot bool
	// Resctrl is an open "tasks" file of the resctrl file system that the process enters, see linux.intelRdt.
	Resctrl bool
	// DieWithParent kills the first process when the thread that started it ends (PR_SET_PDEATHSIG).
	DieWithParent bool
	// Init puts a small init process before the user's command: it passes signals on and reaps orphans.
	Init bool
	// CreateCwd makes a working directory that does not exist, as root of the container, instead of refusing it.
	CreateCwd bool
	// Volumes are directories inside the root filesystem that stay writable when the rest is read-only. What is
	// missing is made.
	Volumes []string
	// PreserveFDs is the number of descriptors from 3 on that the user's command inherits.
	PreserveFDs int
}

// File is a small file that is written before the container starts.
type File struct {
	Name    string // in Input.StateDir
	Content string
}

// Host holds the facts about the host that a plan depends on.
type Host struct {
	UID, GID int
	// Landlock is the version of the kernel's Landlock interface, 0 without one.
	Landlock int
	// UserNamespace says that the caller is in a user namespace already, where root is not the host's: it may not
	// make device nodes, for instance.
	UserNamespace bool
	// Capabilities is the bounding set of the caller; bit n stands for capability n.
	Capabilities uint64
	// LastCap is the highest capability that the kernel knows (/proc/sys/kernel/cap_last_cap).
	LastCap int
	// Keyring says whether the kernel has session keyrings (keyctl(2)).
	Keyring bool
	// NoSetgroups says that setgroups(2) is forbidden in the caller's user namespace (/proc/self/setgroups).
	NoSetgroups bool
	// SysAdmin says that the caller has CAP_SYS_ADMIN: it enters namespaces itself before it starts the process.
	SysAdmin bool
	// AppArmorExec is the file below /proc/self that takes a profile for the next execve, "attr/apparmor/exec" or
	// "attr/exec"; empty without AppArmor.
	AppArmorExec string
	// SELinux says whether the kernel enforces or permits by SELinux labels.
	SELinux bool
}

// Root says what the root filesystem is made from.
type Root struct {
	// Path is a directory that is the root filesystem, used as it is when Lower is empty.
	Path string
	// Lower lists the directories of an overlay, topmost first. What the container writes goes to Upper.
	Lower []string
	// LowerDir is the directory that relative names in Lower start from: many layers fit into the 4096 bytes of
	// mount options only by short names.
	LowerDir string
	// Upper and Work are the directories of the overlay's writable layer; both empty stands for a tmpfs that
	// vanishes with the container.
	Upper, Work string
	// IDMap shows the owners of the files through the id map of the container's new user namespace: what belongs to
	// root in the directories belongs to the container's root, and nothing needs another owner (chown). The host
	// side prepares the mount (mount_setattr(2), MOUNT_ATTR_IDMAP; for Lower Linux 5.19).
	IDMap bool
	// Volatile says that what is in Upper dies with the container, so that nothing of it needs to reach the disk.
	Volatile bool
	// Host lists what of the host's own root file system is shown, when the root is made of it.
	Host []HostDir
	// Links are symbolic links in the root of the host's file system, name to target.
	Links map[string]string
}

// HostDir is a directory at the top of the host's file system.
type HostDir struct {
	Name string // without the leading slash
	// Overlay says that an overlay can be laid over it. Where mounts below it are locked by a user namespace,
	// the kernel refuses (overlayfs would show what they cover), and the directory is shown read-only.
	Overlay bool
}

// Cgroup says where the container's cgroup is.
type Cgroup struct {
	// Version is 1 or 2; 0 stands for no cgroup of its own.
	Version int
	// Into says that clone3 puts the process into the cgroup (v2).
	Into bool
	// TaskFiles is the number of v1 hierarchies that the process joins by writing to "tasks".
	TaskFiles int
	// Mounts lists what a mount of type cgroup shows: for v1 one directory for each hierarchy, for v2 a single
	// entry with an empty name.
	Mounts []CgroupMount
	// Writes says in words what is made and written, one a line; Shell does the same in a script.
	Writes, Shell []string
	// Join are the lines of the script by which a process enters; those of Shell take the script itself there if it is
	// empty. Undo takes the cgroup away when the process has ended.
	Join, Undo []string
}

// CgroupMount is one cgroup hierarchy as the container sees it.
type CgroupMount struct {
	Name string // directory below /sys/fs/cgroup, empty for v2
	Path string // directory on the host
}

// Plan is what New makes of an Input.
type Plan struct {
	// CloneFlags are the namespaces that clone3 makes.
	CloneFlags uint64
	// HostJoins are the namespaces that the host side enters, in a thread that does nothing else, before clone3.
	HostJoins []HostJoin
	// Host is what the host side does, in order.
	Host []HostStep
	// Steps are what the first process does, in order.
	Steps []Step
	// Program is what the steps recorded, nil before Record; Call.Step is an index into Steps.
	Program *program.Program
	// FDs are the descriptors that the first process inherits beyond its standard streams.
	FDs []FD
	// Trees are the mounts that the host side prepares.
	Trees []Tree
	// UIDMap and GIDMap are the id maps of the new user namespace.
	UIDMap, GIDMap []specs.LinuxIDMapping
	// Notes tell of what the configuration asks for and does not get, without that being an error.
	Notes []string

	in Input
	// exec describes a process that joins a container, nil for a container's first process.
	exec *execInput
}

// HostJoin is a namespace that exists already.
type HostJoin struct {
	Flags uint64 // CLONE_NEW*
	Path  string // empty for those of the process behind launch.Options.Target
	Field string
}

// FD is a descriptor that the first process inherits.
type FD struct {
	Num  int
	Kind FDKind
	// Index counts among those of the same kind; Path is what to open for FDPath.
	Index int
	Path  string
}

// FDKind says what an inherited descriptor is.
type FDKind int

// The kinds of inherited descriptors.
const (
	FDSync      FDKind = iota // socket to the host side
	FDTasks                   // v1 "tasks" file of hierarchy Index
	FDNamespace               // the namespace at Path
	FDListen                  // listening socket for the command that starts the container
	FDTarget                  // pidfd of the process whose namespaces are joined
	FDResctrl                 // "tasks" file of a resctrl group
	FDTree                    // detached mount Index of Plan.Trees
	FDProc                    // the host's /proc directory
)

// Sync is the number of the sync socket in the first process.
func (p *Plan) Sync() int { return p.in.syncFD() }

func (in *Input) syncFD() int { return 3 + in.PreserveFDs }

// New plans the container. An error names the field of the configuration that is wrong.
func New(in Input) (*Plan, error) {
	p, err := Settle(in)
	if err != nil {
		return nil, err
	}
	if err := p.Record(); err != nil {
		return nil, err
	}
	return p, nil
}

// Settle plans the container without its program, which Record adds: all that may be wrong with the configuration is
// found, and the host side can begin.
func Settle(in Input) (*Plan, error) {
	p := &Plan{in: in}
	b := &builder{in: &p.in, plan: p, spec: in.Spec, first: true}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	for _, part := range order {
		if err := part(b); err != nil {
			return nil, err
		}
	}
	p.Steps = b.steps
	p.Host = b.hostSteps()
	return p, nil
}

// order is the life of a container from its first instruction to the user's command, in the sequence of the
// OCI runtime specification (runtime.md, "Lifecycle"). Each part adds its steps to the list.
var order = []func(*builder) error{
	(*builder).closeStrangers,
	(*builder).announce,
	(*builder).joinCgroup,
	(*builder).joinResctrl,
	(*builder).oomScore,
	(*builder).labels,
	(*builder).joinNamespaces,
	(*builder).newSession,
	(*builder).loopback,
	(*builder).propagation,
	(*builder).rootfs,
	(*builder).volumes,
	(*builder).mounts,
	(*builder).makeCwd,
	(*builder).devices,
	(*builder).console,
	(*builder).netDevices,
	(*builder).hooks,
	(*builder).hostname,
	(*builder).sysctls,
	(*builder).readonlyPaths,
	(*builder).maskedPaths,
	(*builder).readonlyMounts,
	(*builder).readonlyRoot,
	(*builder).pivot,
	(*builder).rootPropagation,
	(*builder).scheduling,
	(*builder).checkAffinity,
	(*builder).memoryPolicy,
	(*builder).rlimits,
	(*builder).umask,
	(*builder).boundingSet,
	(*builder).rootCwd,
	(*builder).ids,
	(*builder).cwd,
	(*builder).capabilities,
	(*builder).searchExecutable,
	(*builder).dieWithParent,
	(*builder).awaitNetwork,
	(*builder).ready,
	(*builder).handOver,
	(*builder).noNewPrivs,
	(*builder).landlock,
	(*builder).seccomp,
	(*builder).finalCapabilities,
	(*builder).exec,
}

// builder collects the steps.
type builder struct {
	in    *Input
	plan  *Plan
	spec  *specs.Spec
	steps []Step
	ns    map[specs.LinuxNamespaceType]specs.LinuxNamespace
	late  uint64      // namespaces that are made after joining a user namespace
	trees map[int]int // index of a mount to the descriptor of its tree
	root  int         // descriptor of the root filesystem's tree, 0 without one
	first bool        // the plan is that of a container's first process
	// readonly are mounts that become read-only when everything is in its place.
	readonly []readonlyMount
}

func (b *builder) add(s ...Step) { b.steps = append(b.steps, s...) }

// Record turns the steps into the program.
func (p *Plan) Record() error {
	p.Program = program.New(p.Sync())
	e := &emitter{Program: p.Program, in: &p.in, late: map[string]program.Ref{}}
	e.Mark(-1)
	e.Umask(0) // what is made from here on has exactly the mode that it is made with
	for i, s := range p.Steps {
		e.Mark(-1) // what narrates a step is not part of it
		if p.in.Narrate || p.in.Stops {
			e.SendTime(program.Message{Kind: program.AtStep, Arg: uint32(i)})
		}
		if p.in.Stops {
			e.Program.Wait()
		}
		e.Mark(i)
		s.Emit(e)
	}
	return p.Program.Err()
}

// MakesCgroupMeanwhile reports whether the host side goes on while it makes the cgroup. It does not where there is one
// already; nor where the first process would wait for its cgroup in namespaces of another container; nor where it
// inherits descriptors of the caller, among which there may be gaps: files that come over a socket get the lowest numbers
// that are free.
func (p *Plan) MakesCgroupMeanwhile() bool {
	return p.exec == nil && len(p.HostJoins) == 0 && p.in.PreserveFDs == 0
}

// WaitsOnce reports whether the program waits for a single word, the one to go on to the command, so that this may be
// said before it asks.
func (p *Plan) WaitsOnce() bool { return p.Waits() && !p.Listens() && p.Program.Waits() == 1 }

// Waits reports whether the program waits for a word after it has reported that it is ready.
func (p *Plan) Waits() bool { return p.in.Wait || p.in.Listen }

// Listens reports whether the program waits for a connection before the user's command.
func (p *Plan) Listens() bool { return p.in.Listen }

// Stops reports whether the program waits for a word before each step.
func (p *Plan) Stops() bool { return p.in.Stops }
