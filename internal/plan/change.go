package plan

import (
	"fmt"
	"path"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// MountsInput is everything that the plan of a change of a running container's mounts depends on.
type MountsInput struct {
	// Spec is the configuration of the container; its own mounts are not looked at.
	Spec *specs.Spec
	// Mounts are those to add or, with Remove, to take away.
	Mounts []specs.Mount
	Remove bool
	Host   Host
	// Namespaces are those of the container that are not the caller's: CLONE_NEW* flags.
	Namespaces uint64
}

// NewMounts plans a small program that joins a container, adds or removes mounts there, and ends. The namespaces
// are those of the process behind the pidfd launch.Options.Target. Sources are copied by the host side
// (launch.MakeTrees), which alone can see them.
func NewMounts(in MountsInput) (*Plan, error) {
	spec := *in.Spec
	spec.Mounts = in.Mounts
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	p := &Plan{in: Input{Spec: &spec, Host: in.Host}}
	p.exec = &execInput{namespaces: in.Namespaces}
	b := &builder{in: &p.in, plan: p, spec: &spec, ns: map[specs.LinuxNamespaceType]specs.LinuxNamespace{}, trees: map[int]int{}}
	if in.Namespaces&unix.CLONE_NEWNS == 0 {
		return nil, fieldError("linux.namespaces", "change mounts", "the container has no mount namespace of its own: the change would be made on the host", "")
	}
	if len(in.Mounts) == 0 {
		return nil, fieldError("mounts", "change mounts", "there are none", "")
	}
	b.addFD(FD{Kind: FDSync})
	p.HostJoins = in.Host.joinPID(in.Namespaces)
	p.exec.target = b.addFD(FD{Kind: FDTarget})
	parts := []func(*builder) error{(*builder).newTrees, (*builder).closeStrangers, (*builder).joinTarget, (*builder).containerRoot, (*builder).mounts, (*builder).end}
	if in.Remove {
		parts = []func(*builder) error{(*builder).closeStrangers, (*builder).joinTarget, (*builder).containerRoot, (*builder).unmounts, (*builder).end}
		b.addFD(FD{Kind: FDProc})
	}
	for _, part := range parts {
		if err := part(b); err != nil {
			return nil, err
		}
	}
	p.Steps = b.steps
	p.Host = b.hostSteps()
	return p, p.Record()
}

// newTrees has the host side copy the sources of bind mounts, and refuses what only a new container can have.
func (b *builder) newTrees() error {
	for i, m := range b.spec.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		what := "plan mount on " + m.Destination
		o, err := parseOptions(m.Options)
		if err != nil {
			return fieldError(field+".options", what, err.Error(), "")
		}
		bind := o.bind || m.Type == "bind"
		switch {
		case m.Type == "cgroup" || m.Type == "cgroup2":
			return fieldError(field+".type", what, "the cgroup hierarchy is mounted when the container is made only", "")
		case o.remount:
			return fieldError(field+".options", what, "remount is for mounts that the container is made with", "remove the mount and add it with other options")
		case o.copyUp:
			return fieldError(field+".options", what, "tmpcopyup is for mounts that the container is made with", "copy the files after the mount")
		case !bind && (o.idmap != "" || len(m.UIDMappings)+len(m.GIDMappings) > 0):
			return fieldError(field+".uidMappings", what, "only bind mounts can have an id map", "add the option bind")
		case !bind:
			continue
		case m.Source == "":
			return fieldError(field+".source", what, "a bind mount needs a source", "")
		case !b.in.Host.SysAdmin:
			return fieldError(field, what, "a mount of the caller can be shown to a running container with CAP_SYS_ADMIN only", "")
		}
		t := Tree{Source: m.Source, Recursive: o.recursive, Field: field, UIDMap: m.UIDMappings, GIDMap: m.GIDMappings, IDMapRecursive: o.idmap == "ridmap"}
		if o.idmap != "" && len(t.UIDMap)+len(t.GIDMap) == 0 {
			t.UIDMap, t.GIDMap = b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings
		}
		switch {
		case (len(t.UIDMap) == 0) != (len(t.GIDMap) == 0):
			return fieldError(field+".gidMappings", what, "uidMappings and gidMappings must be given together", "")
		case o.idmap != "" && len(t.UIDMap) == 0:
			return fieldError(field+".options", what, "there is no id map: neither the mount nor the container has one", "")
		}
		b.trees[i] = b.addTree(t)
	}
	return nil
}

func (b *builder) containerRoot() error {
	b.add(containerRoot{})
	return nil
}

// containerRoot opens the root directory of the container that the program has entered.
type containerRoot struct{}

func (s containerRoot) Info() Info {
	return Info{What: "open the container's root directory", Why: "setns has made the root of the mount namespace the root of this process; places in it are looked up from this descriptor", Man: "setns(2)"}
}
func (s containerRoot) Emit(e *emitter) { e.root = e.Open("/", unix.O_PATH|unix.O_DIRECTORY) }
func (s containerRoot) Shell() []string { return nil }

func (b *builder) unmounts() error {
	proc := b.plan.FDs[len(b.plan.FDs)-1].Num
	for i, m := range b.spec.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		dst := path.Clean("/" + m.Destination)
		if m.Destination == "" || dst == "/" {
			return fieldError(field+".destination", "remove mount", fmt.Sprintf("%q is not the place of a mount that can be removed", m.Destination), "")
		}
		b.add(unmount{dst: dst, field: field, proc: proc, num: proc + 2})
	}
	return nil
}

// unmount takes a mount away.
type unmount struct {
	dst, field string
	proc, num  int // descriptor of the host's /proc, and a number beyond the one that openat2 gives
}

func (s unmount) Info() Info {
	return Info{
		What: "unmount " + s.dst, Field: s.field, Man: "umount2(2)",
		Why: "the place is opened without following any symbolic link, so that the container cannot have another mount removed, one that hides something; umount2 takes no descriptor, but the name of one in the host's /proc",
	}
}

func (s unmount) Emit(e *emitter) {
	dst := e.Openat2(e.root, s.dst, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	e.Call(program.SysDup3, dst, program.FD(s.num), program.Named(unix.O_CLOEXEC, "O_CLOEXEC"))
	e.Close(dst)
	e.Fchdir(program.FD(s.proc))
	e.Umount(fmt.Sprintf("self/fd/%d", s.num), unix.MNT_DETACH)
	e.Close(program.FD(s.num))
}
func (s unmount) Shell() []string { return []string{"umount -l " + shellQuote(s.dst)} }

func (s unmount) hint(errno unix.Errno) string {
	switch errno {
	case unix.EINVAL:
		return "nothing is mounted there"
	case unix.ENOENT, unix.ENOTDIR:
		return "there is no such path in the container"
	case unix.ELOOP:
		return "a part of the path is a symbolic link: name the place that it leads to"
	}
	return ""
}

func (b *builder) end() error {
	b.add(end{})
	return nil
}

// end reports that all is done, and ends the program.
type end struct{}

func (s end) Info() Info {
	return Info{What: "report success and end", Why: "the change is made; no command follows", Man: "exit_group(2)"}
}

func (s end) Emit(e *emitter) {
	e.Send(program.Message{Kind: program.Ready})
	e.Exit(0)
}
func (s end) Shell() []string { return nil }
