package plan

import (
	"fmt"
	"path"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaceType is one row of the table of namespaces(7).
type namespaceType struct {
	oci  specs.LinuxNamespaceType
	flag uint64
	man  string
	why  string
}

// namespaceTypes lists the namespaces in the order in which they must be joined: the user namespace first,
// for it gives the rights to join the others.
var namespaceTypes = []namespaceType{
	{specs.UserNamespace, unix.CLONE_NEWUSER, "user_namespaces(7)", "ids of its own: root inside is an ordinary user outside"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "cgroup_namespaces(7)", "its cgroup looks like the root of the hierarchy"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "ipc_namespaces(7)", "System V IPC objects and POSIX message queues of its own"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "uts_namespaces(7)", "a hostname of its own"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "network_namespaces(7)", "network devices, addresses, routes and ports of its own"},
	{specs.PIDNamespace, unix.CLONE_NEWPID, "pid_namespaces(7)", "process ids of its own: the first process is number 1"},
	{specs.TimeNamespace, unix.CLONE_NEWTIME, "time_namespaces(7)", "boot and monotonic clocks with offsets of its own"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "mount_namespaces(7)", "a list of mounts of its own"},
}

// has reports whether the container has a namespace of its own of the given type, new or joined.
func (b *builder) has(t specs.LinuxNamespaceType) bool {
	_, ok := b.ns[t]
	return ok
}

// prepare reads the parts of the configuration that many steps depend on.
func (b *builder) prepare() error {
	if b.spec == nil {
		return fieldError("", "read configuration", "there is none", "")
	}
	if b.spec.Process == nil {
		return fieldError("process", "read configuration", "it is missing", "")
	}
	if len(b.spec.Process.Args) == 0 && !b.in.NoCommand {
		return fieldError("process.args", "read configuration", "there is no command to run", "")
	}
	if b.spec.Linux == nil {
		spec := *b.spec // the caller's stays as it is
		spec.Linux = &specs.Linux{}
		b.spec, b.in.Spec = &spec, &spec
	}
	if err := b.checkText(); err != nil {
		return err
	}
	b.ns = map[specs.LinuxNamespaceType]specs.LinuxNamespace{}
	for i, ns := range b.spec.Linux.Namespaces {
		field := fmt.Sprintf("linux.namespaces[%d]", i)
		if _, ok := b.ns[ns.Type]; ok {
			return fieldError(field, "make namespaces", fmt.Sprintf("%s is listed twice", ns.Type), "")
		}
		known := false
		for _, t := range namespaceTypes {
			if t.oci != ns.Type {
				continue
			}
			known = true
			if ns.Path == "" && t.flag&(unix.CLONE_NEWCGROUP|unix.CLONE_NEWTIME) == 0 {
				b.plan.CloneFlags |= t.flag
			}
			if ns.Path != "" && !path.IsAbs(ns.Path) {
				return fieldError(field+".path", "join namespace", fmt.Sprintf("%q is not an absolute path", ns.Path), "")
			}
		}
		if !known {
			return fieldError(field+".type", "make namespaces", fmt.Sprintf("there is no namespace of type %q", ns.Type), "")
		}
		b.ns[ns.Type] = ns
	}
	if b.ns[specs.UserNamespace].Path != "" {
		// The new namespaces shall belong to the user namespace, so they are made once the process is in it.
		b.late = b.plan.CloneFlags
		b.plan.CloneFlags = 0
	}
	if b.in.Cgroup.Into {
		b.plan.CloneFlags |= unix.CLONE_INTO_CGROUP
	}
	if b.plan.CloneFlags&unix.CLONE_NEWUSER != 0 {
		b.plan.UIDMap, b.plan.GIDMap = b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings
		if len(b.plan.UIDMap) == 0 {
			return fieldError("linux.uidMappings", "make user namespace", "no user id is mapped", "map at least container id 0")
		}
		if len(b.plan.GIDMap) == 0 {
			return fieldError("linux.gidMappings", "make user namespace", "no group id is mapped", "map at least container id 0")
		}
		const hint = "the container is set up by its root user: map user and group id 0"
		if !mapped(b.plan.UIDMap, 0) {
			return fieldError("linux.uidMappings", "make user namespace", "user id 0 of the container is not mapped", hint)
		}
		if !mapped(b.plan.GIDMap, 0) {
			return fieldError("linux.gidMappings", "make user namespace", "group id 0 of the container is not mapped", hint)
		}
	}
	if !b.has(specs.MountNamespace) {
		switch {
		case len(b.spec.Mounts) > 0:
			return fieldError("mounts", "plan mounts", "there is no mount namespace to mount them in", "add a namespace of type mount, or remove the mounts")
		case len(b.spec.Linux.MaskedPaths) > 0:
			return fieldError("linux.maskedPaths", "plan mounts", "there is no mount namespace to hide paths in", "add a namespace of type mount")
		case len(b.spec.Linux.ReadonlyPaths) > 0:
			return fieldError("linux.readonlyPaths", "plan mounts", "there is no mount namespace to change paths in", "add a namespace of type mount")
		}
	}
	sync := b.plan.Sync()
	b.plan.FDs = append(b.plan.FDs, FD{Num: sync, Kind: FDSync})
	if b.in.Listen {
		b.addFD(FD{Kind: FDListen})
	}
	for _, t := range namespaceTypes {
		ns := b.ns[t.oci]
		switch {
		case ns.Path == "":
		case b.in.Host.SysAdmin && t.flag&threadJoins != 0:
			b.plan.HostJoins = append(b.plan.HostJoins, HostJoin{t.flag, ns.Path, b.namespaceField(t.oci) + ".path"})
		default:
			b.addFD(FD{Kind: FDNamespace, Path: ns.Path})
		}
	}
	if b.in.Resctrl {
		b.addFD(FD{Kind: FDResctrl})
	}
	if err := b.idMaps(); err != nil {
		return err
	}
	// Last, so that they can be handed over when the process is there already.
	for i := range b.in.Cgroup.TaskFiles {
		b.addFD(FD{Kind: FDTasks, Index: i})
	}
	return nil
}

// threadJoins are the namespaces that a single thread may enter for itself. The others need a process with one
// thread (setns(2)), so the program enters them. The cgroup namespace is left to it as well: from inside it a
// process could not be cloned into a cgroup, as the one that it comes from does not exist there (cgroup v2 with
// nsdelegate gives ENOENT).
const threadJoins = unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWPID

// addFD gives the program one more descriptor and returns its number.
func (b *builder) addFD(f FD) int {
	f.Num = b.plan.Sync() + len(b.plan.FDs)
	b.plan.FDs = append(b.plan.FDs, f)
	return f.Num
}

// namespaceField is the place of a namespace in config.json.
func (b *builder) namespaceField(t specs.LinuxNamespaceType) string {
	for i, ns := range b.spec.Linux.Namespaces {
		if ns.Type == t {
			return fmt.Sprintf("linux.namespaces[%d]", i)
		}
	}
	return "linux.namespaces"
}

// mapped reports whether the container id has a counterpart on the host.
func mapped(m []specs.LinuxIDMapping, id uint32) bool {
	for _, r := range m {
		if id >= r.ContainerID && uint64(id) < uint64(r.ContainerID)+uint64(r.Size) {
			return true
		}
	}
	return false
}

// inUserNamespace reports whether the container's root is not the host's root.
func (b *builder) inUserNamespace() bool {
	return b.has(specs.UserNamespace) || b.in.Host.UID != 0 || b.in.Host.UserNamespace
}

func (b *builder) joinNamespaces() error {
	if b.has(specs.UserNamespace) || b.hasPaths() {
		b.add(undumpable{joins: b.hasPaths()})
	}
	for _, f := range b.plan.FDs {
		if f.Kind != FDNamespace {
			continue
		}
		for i, ns := range b.spec.Linux.Namespaces {
			if ns.Path != f.Path {
				continue
			}
			for _, t := range namespaceTypes {
				if t.oci == ns.Type && !(b.in.Host.SysAdmin && t.flag&threadJoins != 0) {
					b.add(joinNamespace{t: t, path: ns.Path, fd: f.Num, field: fmt.Sprintf("linux.namespaces[%d].path", i)})
				}
			}
		}
	}
	if b.ns[specs.UserNamespace].Path != "" {
		b.add(becomeRoot{setgroups: !b.in.Host.NoSetgroups})
	}
	if b.late != 0 {
		b.add(unshareLate{b.late})
	}
	if b.late&unix.CLONE_NEWPID != 0 || b.ns[specs.PIDNamespace].Path != "" && !b.in.Host.SysAdmin {
		b.add(enterPID{})
	}
	if ns, ok := b.ns[specs.CgroupNamespace]; ok && ns.Path == "" {
		b.add(unshareCgroup{})
	}
	if ns, ok := b.ns[specs.TimeNamespace]; ok && ns.Path == "" {
		b.add(unshareTime{offsets: b.spec.Linux.TimeOffsets})
	}
	return nil
}

func (b *builder) hasPaths() bool {
	for _, ns := range b.ns {
		if ns.Path != "" {
			return true
		}
	}
	return false
}

// undumpable keeps other processes of the namespaces from reading or tracing the half-built container.
type undumpable struct{ joins bool }

func (s undumpable) Info() Info {
	return Info{
		What: "make the process untraceable",
		Why:  "other processes in its namespaces must not read or trace a container that is half built and still holds descriptors of the host; execve undoes it",
		Man:  "PR_SET_DUMPABLE(2const)",
	}
}

func (s undumpable) Emit(e *emitter) {
	e.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", program.Num(0))
}
func (s undumpable) Shell() []string { return nil }

// joinNamespace enters a namespace that exists already.
type joinNamespace struct {
	t     namespaceType
	path  string
	fd    int
	field string
}

func (s joinNamespace) Info() Info {
	return Info{What: fmt.Sprintf("join the %s namespace at %s", s.t.oci, s.path), Field: s.field, Why: "the configuration names an existing namespace: " + s.t.why, Man: "setns(2)"}
}

func (s joinNamespace) Emit(e *emitter) {
	e.Setns(program.FD(s.fd), s.t.flag)
	e.Close(program.FD(s.fd))
}
func (s joinNamespace) Shell() []string { return nil }

// unshareCgroup makes the cgroup namespace. It comes after the process has entered its cgroup, for the cgroup
// that a process is in at that moment becomes the root that it sees.
type unshareCgroup struct{}

func (s unshareCgroup) Info() Info {
	return Info{
		What: "make a cgroup namespace", Field: "linux.namespaces",
		Why: "the cgroup that the process is in now becomes the root of what it sees; that is why clone3 does not do it",
		Man: "cgroup_namespaces(7)",
	}
}
func (s unshareCgroup) Emit(e *emitter) { e.Unshare(unix.CLONE_NEWCGROUP) }
func (s unshareCgroup) Shell() []string { return nil }

// unshareTime makes the time namespace and sets its clocks; the process enters it by execve.
type unshareTime struct {
	offsets map[string]specs.LinuxTimeOffset
}

func (s unshareTime) Info() Info {
	return Info{
		What: "make a time namespace", Field: "linux.namespaces",
		Why: "offsets can be set only while no process is in it, so the process makes it for the program that it will become",
		Man: "time_namespaces(7)",
	}
}

func (s unshareTime) Emit(e *emitter) {
	e.Unshare(unix.CLONE_NEWTIME)
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := s.offsets[clock]; ok {
			f := e.Open("/proc/self/timens_offsets", unix.O_WRONLY)
			e.Write(f, fmt.Sprintf("%s %d %d", clock, o.Secs, o.Nanosecs))
			e.Close(f)
		}
	}
}
func (s unshareTime) Shell() []string { return nil }

// becomeRoot takes the root user of a user namespace that was joined: until then the process has the ids of the
// caller, which need not exist there.
type becomeRoot struct{ setgroups bool }

func (s becomeRoot) Info() Info {
	return Info{What: "become root of the user namespace", Field: "linux.namespaces", Why: "the caller's ids have no name in it; what is made from here on belongs to the container's root", Man: "user_namespaces(7)"}
}

func (s becomeRoot) Emit(e *emitter) {
	e.Setresgid(0)
	e.Setresuid(0)
}
func (s becomeRoot) Shell() []string { return nil }

// unshareLate makes the namespaces that belong to a user namespace which was joined.
type unshareLate struct{ flags uint64 }

func (s unshareLate) Info() Info {
	return Info{What: "make the other namespaces", Field: "linux.namespaces", Why: "made inside the user namespace that was joined, they belong to it", Man: "unshare(2)"}
}
func (s unshareLate) Emit(e *emitter) { e.Unshare(s.flags) }
func (s unshareLate) Shell() []string { return nil }

// enterPID goes on in a child, which is in the PID namespace that was joined or made.
type enterPID struct{}

func (s enterPID) Info() Info {
	return Info{
		What: "go on in a child process", Field: "linux.namespaces", Man: "pid_namespaces(7)",
		Why: "a PID namespace is entered by children only; the child becomes one of the host side (CLONE_PARENT), and this process ends",
	}
}

func (s enterPID) Emit(e *emitter) {
	child := e.NewLabel()
	pid := e.Fork(true, child)
	e.SendValue(program.Message{Kind: program.Forked}, pid)
	e.Exit(0)
	e.Bind(child)
	e.Program.Wait() // until the host side knows the new process
}
func (s enterPID) Shell() []string { return nil }
