package plan

import (
	"fmt"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecInput is everything that the plan of a further process in a container depends on.
type ExecInput struct {
	// Spec is the configuration of the container; its process is not looked at.
	Spec *specs.Spec
	// Process is what to run.
	Process *specs.Process
	Host    Host
	Extras
	// Namespaces are those of the container that are not the caller's: CLONE_NEW* flags.
	Namespaces uint64
	// Cgroup says which cgroup to enter.
	Cgroup Cgroup
	// Wait makes the program stop before the command until the host side lets it go.
	Wait bool
	// PreserveFDs is the number of descriptors from 3 on that the command inherits.
	PreserveFDs int
	// Hook says that the process is a createContainer hook: it keeps all rights that it gets, since the container
	// is not there yet.
	Hook bool
	// Path is the executable when Process.Args[0] is not what names it.
	Path string
}

type execInput struct {
	namespaces uint64
	path       string
	target     int // descriptor of the pidfd
}

// left are the namespaces that the program has to join itself.
func (b *builder) left() uint64 {
	flags := b.plan.exec.namespaces
	if b.in.Host.SysAdmin {
		flags &^= unix.CLONE_NEWPID
	}
	return flags
}

// execOrder is the way of a further process into a container.
var execOrder = []func(*builder) error{
	(*builder).closeStrangers,
	(*builder).initialAffinity,
	(*builder).joinCgroup,
	(*builder).finalAffinity,
	(*builder).oomScore,
	(*builder).labels,
	(*builder).joinTarget,
	(*builder).newSession,
	(*builder).execConsole,
	(*builder).scheduling,
	(*builder).rlimits,
	(*builder).umask,
	(*builder).boundingSet,
	(*builder).rootCwd,
	(*builder).ids,
	(*builder).cwd,
	(*builder).capabilities,
	(*builder).searchExecutable,
	(*builder).ready,
	(*builder).handOver,
	(*builder).noNewPrivs,
	(*builder).landlock,
	(*builder).seccomp,
	(*builder).finalCapabilities,
	(*builder).exec,
}

// hookOrder is the way of a hook into the container's namespaces: with every right that the container's root has.
var hookOrder = []func(*builder) error{
	(*builder).closeStrangers,
	(*builder).joinCgroup,
	(*builder).joinTarget,
	(*builder).newSession,
	(*builder).ready,
	(*builder).execHook,
}

// NewExec plans a process that joins a container. Its namespaces are those of the process behind the pidfd
// launch.Options.Target.
func NewExec(in ExecInput) (*Plan, error) {
	spec := *in.Spec
	spec.Process = in.Process
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	if in.Process == nil || len(in.Process.Args) == 0 {
		return nil, fieldError("process.args", "plan command", "there is no command to run", "")
	}
	p := &Plan{in: Input{Spec: &spec, Host: in.Host, Extras: in.Extras, Cgroup: in.Cgroup, Wait: in.Wait, PreserveFDs: in.PreserveFDs}}
	p.exec = &execInput{namespaces: in.Namespaces, path: in.Path}
	b := &builder{in: &p.in, plan: p, spec: &spec, ns: map[specs.LinuxNamespaceType]specs.LinuxNamespace{}}
	for _, t := range namespaceTypes {
		if in.Namespaces&t.flag != 0 {
			b.ns[t.oci] = specs.LinuxNamespace{Type: t.oci}
		}
	}
	if in.Cgroup.Into {
		p.CloneFlags |= unix.CLONE_INTO_CGROUP
	}
	b.addFD(FD{Kind: FDSync})
	for i := range in.Cgroup.TaskFiles {
		b.addFD(FD{Kind: FDTasks, Index: i})
	}
	p.HostJoins = in.Host.joinPID(in.Namespaces)
	if b.left() != 0 {
		p.exec.target = b.addFD(FD{Kind: FDTarget})
	}
	order := execOrder
	if in.Hook {
		order = hookOrder
	}
	for _, part := range order {
		if err := part(b); err != nil {
			return nil, err
		}
	}
	p.Steps = b.steps
	p.Host = b.hostSteps()
	return p, p.Record()
}

// joinPID has the host side enter the PID namespace, where it may: only the children of those who enter it are in it, and
// the program would need one. It enters the others by itself.
func (h Host) joinPID(namespaces uint64) []HostJoin {
	if namespaces&unix.CLONE_NEWPID == 0 || !h.SysAdmin {
		return nil
	}
	return []HostJoin{{Flags: unix.CLONE_NEWPID}}
}

// joinTarget enters what is left of the container's namespaces after the host side has entered its own part.
func (b *builder) joinTarget() error {
	left := b.left()
	b.add(undumpable{joins: true})
	if left == 0 {
		return nil
	}
	b.add(joinTarget{fd: b.plan.exec.target, flags: left})
	if left&unix.CLONE_NEWUSER != 0 {
		b.add(becomeRoot{})
	}
	if left&unix.CLONE_NEWPID != 0 {
		b.add(enterPID{})
	}
	return nil
}

// joinTarget enters the namespaces of a process of the container.
type joinTarget struct {
	fd    int
	flags uint64
}

func (s joinTarget) Info() Info {
	return Info{
		What: "join the namespaces of the container", Field: "linux.namespaces", Man: "setns(2)",
		Why: "all at once through the pidfd of its first process, so none can be exchanged meanwhile; the program's memory still belongs to the host's user namespace, so nobody inside can trace it",
	}
}

func (s joinTarget) Emit(e *emitter) {
	e.Setns(program.FD(s.fd), s.flags)
	e.Close(program.FD(s.fd))
}
func (s joinTarget) Shell() []string { return nil }

func (b *builder) execConsole() error {
	if b.spec.Process.Terminal {
		b.add(console{own: b.has(specs.MountNamespace), joined: true, size: b.spec.Process.ConsoleSize, uid: int64(b.spec.Process.User.UID)})
	}
	return nil
}

// execHook runs the program of a hook, whose path is not searched for.
func (b *builder) execHook() error {
	p := b.spec.Process
	b.add(runHook{path: b.plan.exec.path, args: p.Args, env: p.Env, cwd: p.Cwd, first: b.plan.Sync()})
	return nil
}

type runHook struct {
	path, cwd string
	args, env []string
	first     int
}

func (s runHook) Info() Info {
	return Info{What: fmt.Sprintf("run hook %s", s.path), Field: "hooks", Why: "the hook runs in the container's namespaces", Man: "execve(2)"}
}

func (s runHook) Emit(e *emitter) {
	e.CloseFrom(s.first, true)
	// In a user namespace the bundle may be out of reach; the hook is then where setns(2) has put it, in /.
	e.Chdir(s.cwd).Ignore(unix.EACCES)
	e.UnblockSignals()
	e.Execve(e.String(s.path), s.args, s.env)
}
func (s runHook) Shell() []string { return nil }
