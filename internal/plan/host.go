package plan

import (
	"fmt"
	"slices"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// HostAction is what a step of the host side does.
type HostAction int

// The actions of the host side, in the order in which they are done.
const (
	MakeStateDir HostAction = iota + 1
	MakeResctrl
	MakeCgroup
	MakeImage
	MakeSync
	MakeTrees
	JoinNamespaces
	Clone
	WriteIDMaps
	HandOverCgroup
	LetGo
	SetUpNetwork
	RunHooks
	AwaitReady
)

// HostStep is one thing that the host side does.
type HostStep struct {
	Action HostAction
	Info   Info
	Detail []string // the calls and writes, one a line
	Shell  []string
}

func (b *builder) hostSteps() []HostStep {
	var out []HostStep
	if b.in.StateDir != "" {
		detail := []string{"mkdir " + b.in.StateDir}
		shell := []string{"mkdir -p -m 0700 " + shellQuote(b.in.StateDir)}
		for _, f := range b.in.Files {
			detail = append(detail, fmt.Sprintf("write %s/%s (%d bytes)", b.in.StateDir, f.Name, len(f.Content)))
			shell = append(shell, fmt.Sprintf("printf %%s %s >%s", shellQuote(f.Content), shellQuote(b.in.StateDir+"/"+f.Name)))
		}
		shell = append(shell, undo("rm -rf "+shellQuote(b.in.StateDir)))
		out = append(out, HostStep{MakeStateDir, Info{
			What: "make the container's state directory",
			Why:  "what belongs to this container is found here by the next command, also after a crash; its files are hosts, resolv.conf and hostname, which the container sees in /etc",
		}, detail, shell})
	}
	out = append(out, b.makeResctrl()...)
	if b.in.Cgroup.Version != 0 && len(b.in.Cgroup.Writes) > 0 {
		out = append(out, HostStep{MakeCgroup, Info{
			What: "make the cgroup and set its limits", Field: "linux.resources", Man: "cgroups(7)",
			Why: "a cgroup counts and limits what a group of processes uses; the limits stand before the first process enters",
		}, b.in.Cgroup.Writes, cgroupShell(b.in.Cgroup)})
	}
	out = append(out,
		HostStep{MakeImage, Info{
			What: "put the container's program into a sealed memfd", Man: "memfd_create(2)",
			Why: "the first process runs this program and no file of the host, so the container finds nothing of the host behind /proc/self/exe (CVE-2019-5736)",
		}, []string{`memfd_create("gcr", MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC)`, "fcntl(F_ADD_SEALS, F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE)"}, nil},
		HostStep{MakeSync, Info{
			What: "make the sync socket", Man: "unix(7)",
			Why: "over it the program reports failures and hands over descriptors; its end tells that the command has taken over",
		}, []string{"socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC)"}, nil},
	)
	if len(b.plan.Trees) > 0 {
		var detail []string
		for _, t := range b.plan.Trees {
			line := treeText(t)
			detail = append(detail, line)
		}
		out = append(out, HostStep{MakeTrees, Info{
			What: "copy the mounts that the program may not", Field: "mounts", Man: "open_tree(2)",
			Why: "in its user namespace the program may neither reach every file of the host nor map the owners of files",
		}, detail, nil})
	}
	if len(b.plan.HostJoins) > 0 {
		var detail []string
		for _, j := range b.plan.HostJoins {
			of := j.Path
			if of == "" {
				of = "pidfd"
			}
			detail = append(detail, "setns("+of+", "+program.CloneFlags(j.Flags)+")")
		}
		out = append(out, HostStep{JoinNamespaces, Info{
			What: "enter namespaces in a thread of its own", Field: "linux.namespaces", Man: "setns(2)",
			Why: "the first process is born in the namespaces of the thread that makes it; a PID namespace could not be entered in any other way without one more process",
		}, detail, nil})
	}
	out = append(out,
		HostStep{Clone, Info{
			What: "start the first process in its namespaces", Field: "linux.namespaces", Man: "clone3(2)",
			Why: cloneWhy(b),
		}, []string{"clone3({flags=" + cloneText(b.plan.CloneFlags) + ", exit_signal=SIGCHLD})"}, nil},
	)
	if len(b.plan.UIDMap) > 0 {
		out = append(out,
			HostStep{WriteIDMaps, Info{
				What: "write the id maps of the user namespace", Field: "linux.uidMappings", Man: "user_namespaces(7)",
				Why: "a new user namespace knows no ids; the map says which ids inside stand for which outside, and may be written once, from outside",
			}, mapText(b), nil})
	}
	if b.plan.MakesCgroupMeanwhile() && b.in.Cgroup.TaskFiles > 0 {
		out = append(out, HostStep{HandOverCgroup, Info{
			What: "hand the first process the files of its cgroup", Field: "linux.cgroupsPath", Man: "unix(7)",
			Why: "it was made beside the steps before this one; through these files the process enters it, now that every limit stands",
		}, []string{
			fmt.Sprintf("sendmsg(sync, SCM_RIGHTS=[%d files named tasks])", b.in.Cgroup.TaskFiles),
			"in the child: recvmsg(sync), execveat(memfd)",
		}, nil})
	}
	if len(b.plan.UIDMap) > 0 {
		out = append(out,
			HostStep{LetGo, Info{
				What: "let the first process go on", Man: "execveat(2)",
				Why: "it has waited for its ids: a program that starts without being root there would lose its capabilities",
			}, []string{"write(sync)", "in the child: setresgid(0), setresuid(0), execveat(memfd)"}, nil})
	}
	out = append(out, b.setUpNetwork()...)
	out = append(out, b.runHooks()...)
	return append(out, HostStep{AwaitReady, Info{
		What: "listen to the program until the command has taken over",
		Why:  "a failed call is reported as its number and error, and becomes words here",
	}, []string{"recvmsg(sync) until its end"}, nil})
}

func cgroupShell(c Cgroup) []string {
	out := slices.Clone(c.Shell)
	for _, l := range c.Undo {
		out = append(out, undo(l))
	}
	return out
}

func cloneText(flags uint64) string {
	if flags == 0 {
		return "0"
	}
	return program.CloneFlags(flags)
}

func cloneWhy(b *builder) string {
	var parts []string
	for _, t := range namespaceTypes {
		if b.plan.CloneFlags&t.flag != 0 {
			parts = append(parts, string(t.oci)+": "+t.why)
		}
	}
	if len(parts) == 0 {
		return "no namespace is asked for: the process sees everything that its parent sees"
	}
	return strings.Join(parts, "; ")
}

func mapText(b *builder) []string {
	line := func(file string, maps []specs.LinuxIDMapping) string {
		return fmt.Sprintf("/proc/PID/%s: %s", file, idText(maps))
	}
	var out []string
	if b.setgroupsDenied() {
		out = append(out, "/proc/PID/setgroups: deny")
	}
	return append(out, line("gid_map", b.plan.GIDMap), line("uid_map", b.plan.UIDMap))
}

func treeText(t Tree) string {
	if t.CopyUp != "" {
		line := "fsmount(tmpfs"
		for _, d := range t.Data {
			line += ", " + strings.TrimSuffix(d[0]+"="+d[1], "=")
		}
		return line + "), copy " + t.CopyUp + " of " + t.Source + " into it"
	}
	line := "open_tree(" + t.Source + ", OPEN_TREE_CLONE"
	if t.Recursive {
		line += "|AT_RECURSIVE"
	}
	line += ")"
	if len(t.UIDMap) > 0 {
		line += ", mount_setattr(MOUNT_ATTR_IDMAP"
		if t.IDMapRecursive {
			line += "|AT_RECURSIVE"
		}
		line += ") users " + idText(t.UIDMap) + ", groups " + idText(t.GIDMap)
	}
	return line
}

// idText is an id map in the form of /proc/PID/uid_map.
func idText(maps []specs.LinuxIDMapping) string {
	var parts []string
	for _, m := range maps {
		parts = append(parts, fmt.Sprintf("%d %d %d", m.ContainerID, m.HostID, m.Size))
	}
	return strings.Join(parts, ", ")
}
