package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/cgroup/systemd"
	"gcr/internal/hostfacts"
	"gcr/internal/image"
	"gcr/internal/launch"
	"gcr/internal/network"
	"gcr/internal/plan"
	"gcr/internal/seccomp"
	"gcr/internal/state"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Exit statuses of gcr run besides the command's own (as docker run and podman run).
const (
	StatusGCR           = 125 // gcr itself could not do what was asked
	StatusNotExecutable = 126 // the command is there but cannot be run
	StatusNotFound      = 127 // the command is not there
)

// Status is the exit status for an error of Run.
func Status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, plan.ErrNotFound):
		return StatusNotFound
	case errors.Is(err, plan.ErrNotExecutable):
		return StatusNotExecutable
	}
	return StatusGCR
}

// Run does what `gcr run` is for: it makes the container, waits for its command and returns the command's exit
// status. With --explain it prints the plan to standard output and makes nothing.
func Run(o *Options) (int, error) {
	r := &run{o: o, begin: monotonic()}
	defer r.close()
	if err := r.prepare(); err != nil {
		return StatusGCR, err
	}
	if o.Explain != "" {
		return 0, r.explain()
	}
	return r.start()
}

// run is one call of Run.
type run struct {
	o      *Options
	host   *Host
	cfg    *Config
	facts  plan.Host
	stdio  [3]*os.File
	group  *cgroup.Group
	cplan  cgroup.Plan
	limits bool // the container gets a cgroup of its own
	dir    *state.Dir
	path   string // of the state directory, also when it is only explained
	plan   *plan.Plan
	begin  time.Duration
	net    *network.Plan // nil where the network belongs to somebody else
	// The layers of an image: names below a directory, topmost first.
	lowerDir string
	lower    []string
	scratch  *image.Scratch // for what the container writes; nil for memory
	notes    []string
	lacking  []string // what the container goes without though it was to be expected; said unless --quiet
	close_   []func()
	undo     []func() // what is taken back once no process of the container is left, in any order

	adjust func(*launch.Options) // changes what is launched, for tests that break it on purpose
}

func (r *run) close() {
	r.takeDown()
	for i := len(r.close_) - 1; i >= 0; i-- {
		r.close_[i]()
	}
}

// takeDown takes back what the container had. The parts wait for different things of the kernel, for grace periods and
// for disks, so they go side by side; the state directory, by which another gcr would find them if this one were
// killed, goes after them.
func (r *run) takeDown() {
	if r.group != nil && !r.endsWithInit() {
		r.deleteCgroup() // waits for the end of those who use the rest
	}
	var parts sync.WaitGroup
	for _, f := range r.undo {
		parts.Go(f)
	}
	r.deleteCgroup()
	parts.Wait()
}

// endsWithInit reports whether all processes have ended when the first one has: with a PID namespace of their own.
func (r *run) endsWithInit() bool {
	for _, ns := range r.cfg.Spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

// prepare finds out everything and changes nothing.
func (r *run) prepare() error {
	host, err := ReadHost()
	if err != nil {
		return err
	}
	r.host = host
	if err := checkKernel(host.Release); err != nil {
		return err
	}
	ch, err := cgroup.Detect()
	if err != nil {
		return err
	}
	host.CgroupWritable, host.CgroupReason, host.SwapLimit = true, "", ch.Version == 2 || swapAccounting(ch)

	root, err := r.findRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	if r.cfg, err = Build(r.o, host, root); err != nil {
		return err
	}
	r.facts = plan.Host{
		UID: int(host.UID), GID: int(host.GID), UserNamespace: host.inUserNamespace(), NoSetgroups: setgroupsDenied(),
		Keyring: true, SysAdmin: !host.rootless(),
	}
	r.facts.Capabilities, r.facts.LastCap = hostfacts.BoundingSet()
	if r.cfg.Spec.Process.ApparmorProfile != "" {
		r.facts.AppArmorExec = hostfacts.AppArmorExec()
	}
	r.facts.SELinux = r.cfg.Spec.Process.SelinuxLabel != ""
	if len(r.cfg.Landlock) > 0 {
		r.facts.Landlock = hostfacts.LandlockABI()
	}
	if err := r.seccomp(); err != nil {
		return err
	}
	name := r.cfg.Name
	if name == "" {
		name = r.cfg.ShortID()
	}
	r.path = filepath.Join(r.stateRoot(), name)
	in := plan.Input{
		Spec: r.cfg.Place(r.path), StateDir: r.path, Host: r.facts, Init: r.cfg.Init,
		// Only an answer proves that there was still a parent to die with: of a process that is being killed, one thread may
		// have lost its children already while another keeps the socket open.
		DieWithParent: true, Wait: true,
		CreateCwd: r.cfg.MakeCwd, Volumes: r.cfg.ImageVolumes,
		Announce: r.verbose(), Narrate: r.o.Trace, Stops: r.o.Step,
	}
	for _, l := range r.cfg.Landlock {
		in.Landlock = append(in.Landlock, plan.LandlockRule(l))
	}
	if err := r.planNetwork(&in); err != nil {
		return err
	}
	for _, f := range r.cfg.Files {
		in.Files = append(in.Files, plan.File{Name: f.Name, Content: string(f.Content)})
	}
	if in.Root, err = r.root(); err != nil {
		return err
	}
	if in.Cgroup, err = r.cgroup(ch); err != nil {
		return err
	}
	r.plan, err = plan.New(in)
	return err
}

func (r *run) stateRoot() string {
	dir, _ := r.host.LookupEnv("XDG_RUNTIME_DIR")
	return state.Root(int(r.host.UID), dir, os.TempDir())
}

// verbose reports whether the lines "[run] as pid …" are printed: on a terminal, unless told otherwise.
func (r *run) verbose() bool {
	return r.o.Verbose || !r.o.Quiet && isTerminal(2)
}

// seccomp fills in the system call filter.
func (r *run) seccomp() error {
	spec := r.cfg.Spec
	caps := []string{}
	if spec.Process.Capabilities != nil {
		caps = spec.Process.Capabilities.Bounding
	}
	switch r.cfg.Seccomp {
	case "unconfined":
		return nil
	case "":
		if !r.o.Privileged {
			spec.Linux.Seccomp = seccomp.Default(caps, goarch)
		}
		return nil
	}
	data, err := readBounded(r.cfg.Seccomp, maxHostFile)
	if err != nil {
		return &Error{Op: "read", Object: "seccomp profile " + r.cfg.Seccomp, Flag: "--security-opt", Cause: cause(err)}
	}
	kernel, err := seccomp.ParseKernel(r.host.Release)
	if err != nil {
		return err
	}
	if spec.Linux.Seccomp, err = seccomp.Load(data, seccomp.Host{Caps: caps, Arch: seccomp.Native(), Kernel: kernel}); err != nil {
		return &Error{Op: "read", Object: "seccomp profile " + r.cfg.Seccomp, Flag: "--security-opt", Cause: err}
	}
	return nil
}

// notify gives the listener of a seccomp filter to the agent that the profile names.
func (r *run) notify(pid int, listener *os.File) error {
	defer listener.Close()
	profile := r.cfg.Spec.Linux.Seccomp
	msg, err := seccomp.ProcessState(pid, profile.ListenerMetadata, specs.State{
		ID: r.cfg.ID, Status: specs.StateCreating, Pid: pid, Bundle: r.path, Annotations: r.cfg.Spec.Annotations,
	}, seccomp.PidFD)
	if err != nil {
		return err
	}
	return launch.SendListener(profile.ListenerPath, msg, pid, listener)
}

// root says what the root filesystem is made from.
func (r *run) root() (plan.Root, error) {
	switch r.cfg.Root.Kind {
	case RootDirectory:
		return plan.Root{Path: r.cfg.Root.Path, IDMap: r.cfg.Shifted}, nil
	case RootEphemeral:
		return plan.Root{Lower: []string{r.cfg.Root.Path}, IDMap: r.cfg.Shifted}, nil
	case RootImage:
		root := plan.Root{Lower: r.lower, LowerDir: r.lowerDir, IDMap: r.cfg.Shifted}
		if r.scratch != nil {
			root.Upper, root.Work, root.Volatile = r.scratch.Upper(), r.scratch.Work(), true
		}
		return root, nil
	case RootHost:
		if r.cfg.Shifted {
			return plan.Root{}, conflict("--userns="+r.o.UserNS, "the root filesystem host", "the host's files are put together from many mounts, whose owners are not mapped", "use --userns=private, or another root filesystem")
		}
		return hostTree(r.host.rootless() || r.host.inUserNamespace())
	}
	return plan.Root{}, nil
}

// cgroup plans the container's cgroup. Root always makes one, for the rules about devices belong to it; an
// ordinary user gets one when limits are asked for, since most have no cgroup that they could make one in.
func (r *run) cgroup(ch cgroup.Host) (plan.Cgroup, error) {
	spec := r.cfg.Spec
	r.limits = !r.host.rootless() && !r.host.inUserNamespace() || hasLimits(spec.Linux.Resources)
	out := plan.Cgroup{Version: ch.Version}
	paths := map[string]string{}
	for _, m := range ch.Mounts {
		paths[m.Key()] = filepath.Join(m.Point, m.Self)
	}
	if r.limits {
		path := spec.Linux.CgroupsPath
		if path == "" && !r.host.rootless() {
			path = "/gcr-" + r.cfg.ID
		}
		if r.host.rootless() {
			var err error
			if ch, err = r.delegated(ch); err != nil {
				return out, err
			}
		}
		cp, err := cgroup.Compile(ch, path, spec.Linux.Resources, cgroup.Options{ID: "gcr-" + r.cfg.ID})
		if err != nil {
			return out, err
		}
		r.cplan = cp
		out.Writes = lines(cp.String())
		for _, l := range lines(cp.Shell()) {
			// The script stays outside, and can remove the cgroup.
			if file, ok := strings.CutPrefix(l, "echo $$ > "); ok {
				out.Join = append(out.Join, "echo $BASHPID > "+file)
			} else {
				out.Shell = append(out.Shell, l)
			}
		}
		st := cp.State()
		for _, d := range cp.Dirs {
			out.Undo = append(out.Undo, "rmdir "+shellWord(d.Dir()))
			paths[d.Key] = st.Paths[d.Key]
			if d.Key == "" {
				out.Into = true
			} else {
				out.TaskFiles++
				out.Mounts = append(out.Mounts, plan.CgroupMount{Name: d.Key, Path: d.Dir()})
			}
		}
	}
	if ch.Version == 2 {
		out.Mounts = []plan.CgroupMount{{Path: paths[""]}}
		return out, nil
	}
	if !r.limits {
		for _, m := range ch.Mounts {
			if !m.Unified {
				out.Mounts = append(out.Mounts, plan.CgroupMount{Name: m.Key(), Path: paths[m.Key()]})
			}
		}
	}
	for i := range out.Mounts {
		out.Mounts[i].Name = hierarchyDir(out.Mounts[i].Name)
	}
	return out, nil
}

// delegated gives an ordinary user from a login session a place for groups with limits, in the one scope of all of the
// user's containers. It moves this process there; with --explain it only says where that is.
func (r *run) delegated(ch cgroup.Host) (cgroup.Host, error) {
	if r.o.Explain != "" {
		return systemd.Foreseen(ch), nil
	}
	return systemd.Delegated(context.Background(), ch)
}

func (r *run) explain() error {
	switch r.o.Explain {
	case "json":
		b, err := json.MarshalIndent(r.plan, "", "  ")
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(append(b, '\n'))
		return err
	case "shell":
		return r.plan.ExplainShell(os.Stdout)
	}
	return r.plan.Explain(os.Stdout)
}

// start makes the container and waits for its end.
func (r *run) start() (int, error) {
	if !r.o.Quiet {
		for _, n := range r.lacking {
			r.note(n)
		}
	}
	if r.verbose() {
		for _, n := range append(r.notes, r.cfg.Notes...) {
			r.note(n)
		}
		log.Printf("[run] as pid %d", os.Getpid())
	}
	root := r.stateRoot()
	if err := state.Sweep(root, CleanUp); err != nil {
		r.note(err.Error())
	}
	var err error
	if r.dir, err = state.Create(root, filepath.Base(r.path), CleanUp); err != nil {
		return StatusGCR, err
	}
	r.close_ = append(r.close_, func() {
		if err := r.dir.Remove(); err != nil {
			r.note(err.Error())
		}
	})
	if err := r.writeCIDFile(); err != nil {
		return StatusGCR, err
	}
	if err := r.openStdio(); err != nil {
		return StatusGCR, err
	}
	if err := r.makeScratch(); err != nil {
		return StatusGCR, err
	}

	var master *os.File
	opts := launch.Options{
		Stdio: r.stdio, Host: r.facts, State: r.path, Files: fileList(r.cfg.Files),
		MakeCgroup: r.makeCgroup,
		OnPID: func(pid int) {
			if r.verbose() {
				log.Printf("[fork] as pid %d", pid)
			}
		},
		OnConsole: func(m *os.File) error { master = m; return nil },
		OnNotify:  r.notify,
	}
	if err := r.connect(&opts); err != nil {
		r.removeCIDFile()
		return StatusGCR, err
	}
	watch := r.watch(&opts)
	if r.adjust != nil {
		r.adjust(&opts)
	}
	var forward *launch.Forwarder
	if !r.o.Step {
		if forward, err = launch.ForwardSignals(); err != nil {
			r.removeCIDFile()
			return StatusGCR, err
		}
	}
	p, err := launch.Start(r.plan, opts)
	if err != nil {
		if master != nil {
			master.Close()
		}
		r.removeCIDFile()
		if errors.Is(err, errQuit) {
			return 0, nil
		}
		return Status(err), err
	}
	// Others that want to share its namespaces find it by this.
	if err := os.WriteFile(filepath.Join(r.path, pidFile), []byte(strconv.Itoa(p.PID)), 0o600); err != nil {
		r.note(err.Error())
	}
	watch.done()
	if r.o.Step {
		if forward, err = launch.ForwardSignals(); err != nil {
			_ = p.Signal(unix.SIGKILL)
			_, _ = p.Wait()
			return StatusGCR, err
		}
	}
	forward.Term = unix.Signal(r.cfg.StopSignal)
	defer p.Close()
	var t *launch.Terminal
	if master != nil {
		if t, err = launch.Connect(master, os.Stdin, os.Stdout); err != nil {
			_ = p.Signal(unix.SIGKILL)
			_, _ = p.Wait()
			return StatusGCR, fmt.Errorf("connect the container's terminal: %w", err)
		}
	}
	status, err := forward.Wait(p)
	if t != nil {
		if terr := t.Close(); err == nil && terr != nil {
			err = fmt.Errorf("give the terminal back: %w", terr)
		}
	}
	if err != nil {
		return StatusGCR, err
	}
	return status, nil
}

func (r *run) note(text string) { fmt.Fprintln(os.Stderr, "gcr: note: "+text) }

func fileList(files []File) []plan.File {
	out := make([]plan.File, len(files))
	for i, f := range files {
		out[i] = plan.File{Name: f.Name, Content: string(f.Content)}
	}
	return out
}

func (r *run) openStdio() error {
	r.stdio = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	if r.cfg.Spec.Process.Terminal {
		// The program puts the terminal in the place of these; until then they hold nothing of the caller's.
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open /dev/null: %w", err)
		}
		r.close_ = append(r.close_, func() { null.Close() })
		r.stdio = [3]*os.File{null, null, null}
		return nil
	}
	if !r.cfg.Interactive {
		null, err := os.Open("/dev/null")
		if err != nil {
			return fmt.Errorf("open /dev/null: %w", err)
		}
		r.close_ = append(r.close_, func() { null.Close() })
		r.stdio[0] = null
	}
	return nil
}

// cgroupFile is where the state of the container's cgroup is kept, in the state directory.
const cgroupFile = "cgroup.json"

func (r *run) makeCgroup(born func(dir int) (end func())) (launch.Cgroup, error) {
	// Known before it is made: whenever gcr is killed, the next one finds and removes it.
	b, err := json.Marshal(r.cplan.State())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.path, cgroupFile), b, 0o600); err != nil {
		return nil, fmt.Errorf("remember the cgroup: %w", err)
	}
	if r.group, err = r.cplan.CreateAround(born); err != nil {
		return nil, err
	}
	return r.group, nil
}

func (r *run) deleteCgroup() {
	if r.group == nil {
		return
	}
	defer func() {
		r.group.Close()
		r.group = nil
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Without a PID namespace of its own the container may have left processes behind.
	if err := r.group.Kill(ctx, unix.SIGKILL); err != nil {
		r.note(err.Error())
	}
	if err := r.group.Delete(ctx); err != nil {
		r.note(err.Error())
	}
}

// cleanCgroup ends and removes what a killed gcr has left in a cgroup.
func cleanCgroup(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, cgroupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s cgroup.State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil // killed while writing it: there was no cgroup yet
	}
	g, err := cgroup.Load(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(g.Kill(ctx, unix.SIGKILL), g.Delete(ctx))
}

func (r *run) writeCIDFile() error {
	if r.o.CIDFile == "" {
		return nil
	}
	f, err := os.OpenFile(r.o.CIDFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &Error{Op: "write", Object: "container id to " + r.o.CIDFile, Flag: "--cidfile", Cause: text("the file exists"), Hint: "it may belong to another container: remove it, or choose another name"}
	}
	if err != nil {
		return &Error{Op: "write", Object: "container id to " + r.o.CIDFile, Flag: "--cidfile", Cause: cause(err)}
	}
	_, err = f.WriteString(r.cfg.ID)
	return errors.Join(err, f.Close())
}

func (r *run) removeCIDFile() {
	if r.o.CIDFile != "" {
		os.Remove(r.o.CIDFile)
	}
}
