package lifecycle

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/cgroup"
	"gcr/internal/launch"
	"gcr/internal/plan"
	"gcr/internal/procfs"
	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions say what to run in a container and how.
type ExecOptions struct {
	ID string
	// Process is called with the configuration of the container's first process, and a way to look up names, and says
	// what to run.
	Process func(defaults *specs.Process, read Accounts) (*specs.Process, error)

	PidFile       string
	ConsoleSocket string
	PidfdSocket   string
	PreserveFDs   int
	Detached      bool
	IgnorePaused  bool
	NoNewKeyring  bool
	// SubCgroups name groups below the container's to run in, as PATH or CONTROLLER:PATH; none for its own.
	SubCgroups []string
}

// Executed is a process that runs in a container.
type Executed struct {
	*launch.Process
	// Master is the process's terminal, nil when it has none or a console socket has got it.
	Master *os.File
}

// Exec runs a process in a container.
func (s Store) Exec(o ExecOptions) (*Executed, error) {
	x, pidfd, err := s.execution(o)
	if err != nil {
		return nil, err
	}
	defer pidfd.Close()
	pl, opts, done, err := x.plan()
	if err != nil {
		return nil, err
	}
	defer done()
	out := &Executed{}
	opts.Stdio = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	if x.process.Terminal {
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open /dev/null: %w", err)
		}
		defer null.Close()
		opts.Stdio = [3]*os.File{null, null, null}
	} else {
		withProcess := *x.spec
		withProcess.Process = x.process
		chownStdio(opts.Stdio, &withProcess)
	}
	opts.OnConsole = func(m *os.File) error { out.Master = m; return nil }
	onReady := func(pid int) error {
		if out.Master != nil && o.ConsoleSocket != "" {
			if err := sendConsole(o.ConsoleSocket, out.Master); err != nil {
				return err
			}
			out.Master.Close()
			out.Master = nil
		}
		if o.PidfdSocket != "" {
			if err := sendPidfd(o.PidfdSocket, pid); err != nil {
				return err
			}
		}
		return nil
	}
	if x.waits {
		opts.OnReady = onReady
	}
	opts.OnNotify = func(pid int, l *os.File) error { return x.c.sendListener(x.spec, pid, l) }
	if out.Process, err = launch.Start(pl, opts); err != nil {
		if out.Master != nil {
			out.Master.Close()
		}
		return nil, err
	}
	if o.PidFile != "" {
		// Written when the command has taken over: engines take the file as the sign of success.
		if err := writePidFile(o.PidFile, out.PID); err != nil {
			_ = out.Signal(unix.SIGKILL)
			_, _ = out.Wait()
			return nil, err
		}
	}
	return out, nil
}

// Explain plans what Exec would do.
func (s Store) ExplainExec(o ExecOptions) (*plan.Plan, error) {
	x, pidfd, err := s.execution(o)
	if err != nil {
		return nil, err
	}
	defer pidfd.Close()
	p, _, done, err := x.plan()
	if err != nil {
		return nil, err
	}
	done()
	return p, nil
}

// execution finds out what is to be run where.
func (s Store) execution(o ExecOptions) (*execution, *os.File, error) {
	c, err := s.open(o.ID)
	if err != nil {
		return nil, nil, err
	}
	pidfd, err := c.pidfd()
	if err != nil {
		if c.status() == specs.StateStopped {
			err = errors.New("cannot exec in a stopped container")
		}
		return nil, nil, err
	}
	x, err := c.execution(o, pidfd)
	if err != nil {
		pidfd.Close()
		return nil, nil, err
	}
	return x, pidfd, nil
}

// execution finds out what is to be run in a container whose process is there.
func (c *Container) execution(o ExecOptions, pidfd *os.File) (*execution, error) {
	switch st := c.statusAlive(); {
	case st == specs.StateStopped:
		return nil, errors.New("cannot exec in a stopped container")
	case st == Paused && !o.IgnorePaused:
		return nil, errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	if config.Process == nil {
		config.Process = &specs.Process{}
	}
	p, err := c.describe(o, config, pidfd)
	if err != nil {
		return nil, err
	}
	return &execution{
		c: c, spec: config, process: p, pidfd: pidfd, sub: o.SubCgroups, preserve: o.PreserveFDs, oldKeyring: o.NoNewKeyring,
		waits: o.ConsoleSocket != "" || o.PidfdSocket != "",
	}, nil
}

// describe completes and checks the process that is to run.
func (c *Container) describe(o ExecOptions, config *specs.Spec, pidfd *os.File) (*specs.Process, error) {
	p, err := o.Process(config.Process, accounts(c.rec.PID))
	if err != nil {
		return nil, err
	}
	if err := spec.CheckProcess(p); err != nil {
		return nil, err
	}
	if p.Capabilities == nil {
		// A process that names none gets those of the container, as from runc.
		if p.Capabilities = config.Process.Capabilities; p.Capabilities == nil {
			p.Capabilities = &specs.LinuxCapabilities{}
		}
	}
	setHome(p, fmt.Sprintf("/proc/%d/root", c.rec.PID))
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), 0, nil, 0); err != nil {
		// The process was there all the time if it is there still; otherwise its id, by which its files were read, may be
		// another's by now.
		return nil, ErrNotRunning
	}
	if p.Terminal && o.Detached && o.ConsoleSocket == "" {
		return nil, errors.New("cannot allocate tty if runc will detach without setting console socket")
	}
	if !p.Terminal && o.ConsoleSocket != "" {
		return nil, errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return p, nil
}

// execution is a process on its way into a container: one for exec, or a hook.
type execution struct {
	c          *Container
	spec       *specs.Spec
	process    *specs.Process
	pidfd      *os.File
	path       string // of the executable when it is not found by args[0]
	early      bool   // the container has no root of its own yet: a createContainer hook
	sub        []string
	preserve   int
	oldKeyring bool
	waits      bool // the process is let go when others have got what they want of it
}

// plan makes the plan and opens what it needs; done lets go of that.
func (x *execution) plan() (*plan.Plan, launch.Options, func(), error) {
	var opts launch.Options
	host, err := readHost()
	if err != nil {
		return nil, opts, nil, err
	}
	readLabels(&host, x.process, "")
	host.Keyring = !x.oldKeyring
	var more plan.Extras
	if x.path == "" { // a hook is the administrator's: it is not held to what the command is
		if more, err = withExtras(&host, x.spec); err != nil {
			return nil, opts, nil, err
		}
		if len(more.Landlock) > 0 {
			p := *x.process
			p.NoNewPrivileges = true
			x.process = &p
		}
	}
	var known uint64
	if x.path == "" { // hooks may run while the container is not yet in all of its namespaces
		known = madeNamespaces(x.spec)
	}
	ns, err := differentNamespaces(x.c.rec.PID, known)
	if err != nil {
		return nil, opts, nil, err
	}
	if ns&unix.CLONE_NEWUSER != 0 {
		// What counts is the user namespace that the process joins.
		host.NoSetgroups = setgroupsDenied(x.c.rec.PID)
	}
	in := plan.ExecInput{Spec: x.spec, Process: x.process, Host: host, Extras: more, Namespaces: ns, Wait: x.waits, PreserveFDs: x.preserve, Hook: x.early, Path: x.path}
	group, err := x.group()
	if err != nil {
		return nil, opts, nil, err
	}
	if group != nil {
		in.Cgroup = planCgroup(cgroup.Host{Version: group.State().Version}, places(group.State()))
		opts.MakeCgroup = func(func(int) func()) (launch.Cgroup, error) { return group, nil }
		in.Cgroup.Writes = []string{"open the container's cgroup"}
	}
	if u := x.c.rec.Unit; u != nil && u.User && group != nil {
		if err := enterUserTree(); err != nil {
			group.Close()
			return nil, opts, nil, err
		}
	}
	done := func() {
		if group != nil {
			group.Close()
		}
	}
	p, err := plan.NewExec(in)
	if err != nil {
		done()
		return nil, opts, nil, err
	}
	x.c.store.warnAll(p.Notes)
	opts.Host, opts.Target = host, x.pidfd
	return p, opts, done, nil
}

// group opens the cgroup to run in, nil when the container has none.
func (x *execution) group() (*cgroup.Entry, error) {
	if x.c.rec.Cgroup == nil {
		return nil, nil
	}
	st := *x.c.rec.Cgroup
	if len(x.sub) > 0 {
		var err error
		if st, err = subgroups(st, x.sub); err != nil {
			return nil, err
		}
	}
	g, err := st.Enter()
	if err != nil {
		return nil, fmt.Errorf("find cgroup of the container: %w", err)
	}
	return g, nil
}

// namespaceFiles are the names below /proc/PID/ns.
var namespaceFiles = []struct {
	name string
	oci  specs.LinuxNamespaceType
	flag uint64
}{
	{"user", specs.UserNamespace, unix.CLONE_NEWUSER},
	{"mnt", specs.MountNamespace, unix.CLONE_NEWNS},
	{"pid", specs.PIDNamespace, unix.CLONE_NEWPID},
	{"net", specs.NetworkNamespace, unix.CLONE_NEWNET},
	{"ipc", specs.IPCNamespace, unix.CLONE_NEWIPC},
	{"uts", specs.UTSNamespace, unix.CLONE_NEWUTS},
	{"cgroup", specs.CgroupNamespace, unix.CLONE_NEWCGROUP},
	{"time", specs.TimeNamespace, unix.CLONE_NEWTIME},
}

// madeNamespaces says which namespaces were made for a container, but for the user namespace: entering one's own one
// again is refused for that alone.
func madeNamespaces(config *specs.Spec) uint64 {
	var made uint64
	if config.Linux == nil {
		return 0
	}
	for _, ns := range config.Linux.Namespaces {
		for _, n := range namespaceFiles {
			if n.oci == ns.Type && ns.Path == "" && n.flag != unix.CLONE_NEWUSER {
				made |= n.flag
			}
		}
	}
	return made
}

// differentNamespaces says which namespaces of a process are not the caller's. Entering one's own again is refused
// for some of them. Those that are known not to be are not looked at: for each look procfs sets up files.
func differentNamespaces(pid int, known uint64) (uint64, error) {
	flags := known
	for _, n := range namespaceFiles {
		if known&n.flag != 0 {
			continue
		}
		_, theirs, err := procfs.Inode(pid, "ns/"+n.name)
		if err != nil {
			if errors.Is(err, unix.ENOENT) && n.name == "time" {
				continue
			}
			return 0, fmt.Errorf("look at the namespaces of the container: %w", err)
		}
		_, ours, err := procfs.Inode(os.Getpid(), "ns/"+n.name)
		if err != nil {
			return 0, fmt.Errorf("look at the own namespaces: %w", err)
		}
		if theirs != ours {
			flags |= n.flag
		}
	}
	return flags, nil
}

// imageInode is the inode of the program that a process runs.
func imageInode(pid int) (uint64, error) {
	_, ino, err := procfs.Inode(pid, "exe")
	if err != nil {
		return 0, fmt.Errorf("look at the container's program: %w", err)
	}
	return ino, nil
}
