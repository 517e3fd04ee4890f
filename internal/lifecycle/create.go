package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/launch"
	"gcr/internal/netdevice"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CreateOptions say what config.json does not.
type CreateOptions struct {
	ID     string
	Bundle string // directory of the bundle; empty for the working directory
	Config string // file name of the configuration, empty for config.json in the bundle

	PidFile       string // gets the process id of the container, before Create returns
	ConsoleSocket string // unix socket that gets the master of the container's terminal
	PidfdSocket   string // unix socket that gets a pidfd of the container
	NoPivot       bool   // chroot instead of pivot_root
	NoNewKeyring  bool   // keep the caller's session keyring
	PreserveFDs   int    // descriptors from 3 on that the container inherits
	// SystemdCgroup lets systemd make the cgroup.
	SystemdCgroup bool
	// NoCgroup makes no cgroup (crun's --cgroup-manager=disabled).
	NoCgroup bool
	// Environ is the caller's environment, for LISTEN_FDS and NOTIFY_SOCKET.
	Environ []string
	// Detached says that nobody waits for the container here.
	Detached bool
}

// creation is one call of Create or Run on its way.
type creation struct {
	o         CreateOptions
	c         *Container
	spec      *specs.Spec
	data      []byte
	bundle    string
	group     *cgroup.Group
	cgroups   cgroup.Host
	cplan     cgroup.Plan
	placed    plan.Cgroup // where the group is, on a restore
	plan      *plan.Plan
	listener  *os.File
	master    *os.File
	process   *launch.Process
	noCommand bool
	explain   bool   // nothing is to be made
	release   func() // ends the process that holds the systemd scope until the container is in it
	facts     func() facts
	word      *notifier // passes on that the container is ready
	devices   *netdevice.Moved
	listens   bool // start comes later, by another command
	exists    bool // a process came into being: poststop hooks are due on failure
}

// Create makes a container whose process waits for Start.
func (s Store) Create(o CreateOptions) error {
	cr, err := s.create(o, true)
	if err != nil {
		return err
	}
	cr.close()
	return nil
}

// create does all that create and run have in common.
func (s Store) create(o CreateOptions, listen bool) (*creation, error) {
	cr := &creation{o: o}
	if err := checkID(o.ID); err != nil {
		return nil, err
	}
	// While the configuration is read.
	found := make(chan facts, 1)
	go func() { found <- readFacts() }()
	cr.facts = func() facts { return <-found }
	if err := cr.load(); err != nil {
		return nil, err
	}
	c, err := s.make(o.ID)
	if err != nil {
		return nil, err
	}
	cr.c = c
	if err := cr.run(listen); err != nil {
		cr.undo()
		return nil, err
	}
	return cr, nil
}

// close lets go of what the creation held; the container goes on.
func (cr *creation) close() {
	if cr.process != nil {
		cr.process.Close()
	}
	if cr.group != nil {
		cr.group.Close()
	}
	if cr.listener != nil {
		cr.listener.Close()
	}
	if cr.devices != nil {
		cr.devices.Close()
	}
	cr.word.close()
	cr.c.unlock()
}

// undo takes away what a failed creation has made.
func (cr *creation) undo() {
	if cr.exists {
		cr.c.rec.PID = 0
		cr.c.runPoststop(cr.spec)
	}
	cr.word.close()
	if cr.devices != nil {
		if err := cr.devices.Back(); err != nil {
			cr.c.store.warn("%v", err)
		}
		cr.devices.Close()
	}
	if cr.group != nil {
		ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
		defer cancel()
		_ = cr.group.Kill(ctx, unix.SIGKILL)
		if err := cr.group.Delete(ctx); err != nil {
			cr.c.store.warn("%v", err)
		}
		cr.group.Close()
	}
	if err := cr.c.stopUnit(); err != nil {
		cr.c.store.warn("%v", err)
	}
	cr.c.removeResctrl()
	if cr.master != nil {
		cr.master.Close()
	}
	if cr.listener != nil {
		cr.listener.Close()
	}
	if cr.o.PidFile != "" && cr.exists {
		os.Remove(cr.o.PidFile)
	}
	if err := cr.c.remove(); err != nil {
		cr.c.store.warn("%v", err)
	}
}

// cgroupTimeout bounds the end of a cgroup whose processes have been killed.
const cgroupTimeout = 10 * time.Second

// load reads the configuration and checks what can be checked without making anything.
func (cr *creation) load() error {
	var err error
	if cr.bundle, err = filepath.Abs(cr.o.Bundle); err != nil {
		return fmt.Errorf("find bundle: %w", err)
	}
	config := cr.o.Config
	switch {
	case config == "":
		config = filepath.Join(cr.bundle, configName)
	case !filepath.IsAbs(config):
		config = filepath.Join(cr.bundle, config)
	}
	if cr.o.PidFile != "" {
		if cr.o.PidFile, err = filepath.Abs(cr.o.PidFile); err != nil {
			return fmt.Errorf("find directory of pid file: %w", err)
		}
	}
	if cr.spec, cr.data, err = loadConfig(config); err != nil {
		return err
	}
	if cr.o.PidfdSocket == "" {
		cr.o.PidfdSocket = cr.spec.Annotations[pidfdReceiver]
	}
	if cr.spec.Process == nil {
		if !cr.o.Detached {
			return errNoProcess
		}
		cr.spec.Process, cr.noCommand = &specs.Process{Cwd: "/"}, true
	}
	if cr.spec.Process.Capabilities == nil {
		// Who names none gets none, as from runc and crun, and not all that the caller has.
		cr.spec.Process.Capabilities = &specs.LinuxCapabilities{}
	}
	// Paths of the configuration are relative to the bundle (config.md, "Root" and "Mounts").
	if p := cr.spec.Root.Path; !filepath.IsAbs(p) {
		cr.spec.Root.Path = filepath.Join(cr.bundle, p)
	}
	for i, m := range cr.spec.Mounts {
		if bindMount(m) && m.Source != "" && !filepath.IsAbs(m.Source) {
			cr.spec.Mounts[i].Source = filepath.Join(cr.bundle, m.Source)
		}
	}
	return cr.checkConsole()
}

// effective changes a configuration as it was read into the one that the container is planned from.
func (c *Container) effective(s *specs.Spec) {
	if !hasMountNamespace(s) && len(s.Mounts) > 0 {
		// Made all the same the mounts would appear on the host and stay there after the container.
		c.store.warn("mounts: there is no mount namespace, so nothing is mounted")
		s.Mounts = nil
	}
	if c.rec.Notify {
		s.Mounts = append(s.Mounts, c.notifyMount())
	}
}

func hasMountNamespace(s *specs.Spec) bool {
	if s.Linux != nil {
		for _, ns := range s.Linux.Namespaces {
			if ns.Type == specs.MountNamespace {
				return true
			}
		}
	}
	return false
}

func bindMount(m specs.Mount) bool {
	for _, o := range m.Options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return m.Type == "bind"
}

func (cr *creation) checkConsole() error {
	terminal := cr.spec.Process.Terminal
	if !cr.o.Detached {
		return nil
	}
	if terminal && cr.o.ConsoleSocket == "" {
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	}
	if !terminal && cr.o.ConsoleSocket != "" {
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// run makes the container in its directory.
func (cr *creation) run(listen bool) error {
	c := cr.c
	cr.listens = listen
	c.rec.OCIVersion, c.rec.Bundle, c.rec.Rootfs = specs.Version, cr.bundle, cr.spec.Root.Path
	c.rec.Created, c.rec.Annotations, c.rec.Owner = time.Now().UTC(), cr.spec.Annotations, os.Getuid()
	if err := writeWhole(filepath.Join(c.dir, configName), cr.data); err != nil {
		return err
	}
	in, err := cr.input(listen)
	if err != nil {
		return err
	}
	defer func() {
		if cr.release != nil {
			cr.release()
		}
	}()
	if in.Cgroup, err = cr.planCgroup(in.Host); err != nil {
		return err
	}
	if cr.plan, err = plan.Settle(in); err != nil {
		return err
	}
	c.store.warnAll(cr.plan.Notes)
	if err := c.setInput(in); err != nil {
		return err
	}
	c.know(cr.spec)
	c.rec.Plain = c.rec.Plain && !cr.noCommand
	if c.rec.Cgroup == nil || cr.group != nil { // else makeCgroup does it
		if err := c.save(); err != nil {
			return err
		}
	}
	if listen {
		if cr.listener, err = listenAt(c.dir); err != nil {
			return err
		}
	}
	if err := cr.makeNotify(listen); err != nil {
		return err
	}
	stdio := [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	if cr.spec.Process.Terminal {
		// The program puts the terminal in the place of these; until then they hold nothing of the caller's.
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open /dev/null: %w", err)
		}
		defer null.Close()
		stdio = [3]*os.File{null, null, null}
	} else {
		chownStdio(stdio, cr.spec)
	}
	resctrl, err := cr.openResctrl()
	if err != nil {
		return err
	}
	if resctrl != nil {
		defer resctrl.Close()
	}
	opts := launch.Options{
		Stdio: stdio, Host: in.Host, Listener: cr.listener, Resctrl: resctrl,
		MoveDevices: cr.moveDevices, MakeCgroup: cr.makeCgroup, OnHooks: cr.hooks, OnReady: cr.ready, OnConsole: cr.console, OnNotify: cr.notify,
	}
	if cr.readyLate() {
		opts.OnClone = cr.cloned
	}
	cr.process, err = launch.Start(cr.plan, opts)
	return err
}

// input gathers what the plan is made from, but for the cgroup.
func (cr *creation) input(listen bool) (plan.Input, error) {
	facts := cr.facts()
	if facts.err != nil {
		return plan.Input{}, facts.err
	}
	host := facts.host
	cr.cgroups = facts.cgroups
	mountLabel := ""
	if cr.spec.Linux != nil {
		mountLabel = cr.spec.Linux.MountLabel
	}
	readLabels(&host, cr.spec.Process, mountLabel)
	host.Keyring = !cr.o.NoNewKeyring
	x, err := withExtras(&host, cr.spec)
	if err != nil {
		return plan.Input{}, err
	}
	cr.environment()
	cr.c.effective(cr.spec)
	setHome(cr.spec.Process, cr.spec.Root.Path)
	return plan.Input{
		Spec: cr.spec, Root: plan.Root{Path: cr.spec.Root.Path}, Host: host, Extras: x,
		Wait: true, Listen: listen, NoCommand: cr.noCommand, CreateCwd: true, PreserveFDs: cr.o.PreserveFDs, NoPivot: cr.o.NoPivot,
		Hooks: hasEarlyHooks(cr.spec.Hooks), Resctrl: cr.spec.Linux != nil && cr.spec.Linux.IntelRdt != nil,
	}, nil
}

// ExplainCreate plans what Create, or without wait Run, would do. It makes nothing.
func (s Store) ExplainCreate(o CreateOptions, wait bool) (*plan.Plan, error) {
	cr := &creation{o: o, explain: true, facts: readFacts, c: &Container{store: s, rec: record{ID: o.ID}}}
	if err := checkID(o.ID); err != nil {
		return nil, err
	}
	if err := cr.load(); err != nil {
		return nil, err
	}
	in, err := cr.input(wait)
	if err != nil {
		return nil, err
	}
	host := in.Host
	host.UserNamespace, host.UID = false, 0 // only says that the group must not be made yet
	if in.Cgroup, err = cr.planCgroup(host); err != nil {
		return nil, err
	}
	if len(in.Cgroup.Writes) > 0 {
		in.Cgroup.Writes = strings.Split(strings.TrimRight(cr.cplan.String(), "\n"), "\n")
		in.Cgroup.Shell = strings.Split(strings.TrimRight(cr.cplan.Shell(), "\n"), "\n")
	}
	return plan.New(in)
}

// planCgroup compiles the container's cgroup. Where the caller has no full rights over cgroups the group is made at
// once, for only then is it known in which hierarchies there is one.
func (cr *creation) planCgroup(host plan.Host) (plan.Cgroup, error) {
	path := ""
	var resources *specs.LinuxResources
	if l := cr.spec.Linux; l != nil {
		path, resources = l.CgroupsPath, l.Resources
	}
	ch := cr.cgroups
	if cr.o.NoCgroup {
		return planCgroup(ch, nil), nil
	}
	var err error
	opts := cgroup.Options{ID: cr.o.ID, Owner: cgroupOwner(cr.spec)}
	if cr.o.SystemdCgroup && cr.explain {
		if path, err = cr.foreseenScope(path); err != nil {
			return plan.Cgroup{}, err
		}
		opts.Joined = true
	} else if cr.o.SystemdCgroup {
		if path, cr.release, err = cr.scope(&ch, path, resources); err != nil {
			return plan.Cgroup{}, err
		}
		cr.cgroups = ch
		opts.Joined = true
	}
	if cr.cplan, err = cgroup.Compile(ch, path, resources, opts); err != nil {
		return plan.Cgroup{}, err
	}
	for _, n := range cr.cplan.Notes {
		cr.c.store.warn("%s: %s", n.Field, n.Text)
	}
	st := cr.cplan.State()
	if host.UserNamespace || host.UID != 0 {
		if _, err := cr.makeCgroup(nil); err != nil {
			return plan.Cgroup{}, err
		}
		st = cr.group.State()
		if cr.group.Empty() {
			cr.c.rec.Cgroup = nil
			return planCgroup(ch, nil), nil
		}
	}
	cr.c.rec.Cgroup = &st
	var dirs []cgroupPlace
	for _, d := range cr.cplan.Dirs {
		if p, ok := st.Paths[d.Key]; ok {
			dirs = append(dirs, cgroupPlace{d.Key, p})
		}
	}
	out := planCgroup(ch, dirs)
	out.Writes = []string{"see internal/cgroup"}
	return out, nil
}

// cgroupOwner is the host's view of the container's root, who may manage the groups below its own where the
// container has user namespace, cgroup namespace and a writable cgroup mount (config-linux.md, "Cgroup ownership").
func cgroupOwner(s *specs.Spec) *cgroup.Owner {
	if s.Linux == nil || len(s.Linux.UIDMappings) == 0 {
		return nil
	}
	user, group := false, false
	for _, ns := range s.Linux.Namespaces {
		user = user || ns.Type == specs.UserNamespace
		group = group || ns.Type == specs.CgroupNamespace && ns.Path == ""
	}
	writable := false
	for _, m := range s.Mounts {
		if m.Type == "cgroup" || m.Type == "cgroup2" {
			writable = true
			for _, o := range m.Options {
				writable = writable && o != "ro"
			}
		}
	}
	if !user || !group || !writable {
		return nil
	}
	uid, ok := toHost(s.Linux.UIDMappings, s.Process.User.UID)
	if !ok {
		return nil
	}
	return &cgroup.Owner{UID: uid, GID: -1}
}

// toHost is the id outside the user namespace.
func toHost(maps []specs.LinuxIDMapping, id uint32) (int, bool) {
	for _, m := range maps {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return int(m.HostID + (id - m.ContainerID)), true
		}
	}
	return 0, false
}

func (cr *creation) makeCgroup(born func(dir int) (end func())) (launch.Cgroup, error) {
	if cr.group != nil {
		return cr.group, nil
	}
	// Written down before it is made, so that a delete finds it whatever happens.
	st := cr.cplan.State()
	cr.c.rec.Cgroup = &st
	if err := cr.c.save(); err != nil {
		return nil, err
	}
	var err error
	cr.group, err = cr.cplan.CreateAround(born)
	return cr.group, err
}

// readyLate reports whether the command may begin before it is written down that the container is created. That
// the process exists is written down before in any case.
func (cr *creation) readyLate() bool {
	hooks := cr.spec.Hooks != nil && len(cr.spec.Hooks.StartContainer) > 0
	return !cr.listens && !hooks && cr.o.ConsoleSocket == "" && cr.o.PidfdSocket == "" && cr.o.PidFile == ""
}

// cloned writes down which process is the container's, while that sets itself up. It goes on to the command only after
// this, and ends when it is not told to: a process that no record names cannot be left behind.
func (cr *creation) cloned(pid int, image uint64) error {
	_, start, err := processStat(pid)
	if err != nil {
		return err
	}
	rec := &cr.c.rec
	rec.PID, rec.StartTime, rec.Image = pid, start, image
	cr.exists = true
	return cr.c.save()
}

// ready writes down that the container is created. The program goes on only after this, and ends when it is not
// told to: a process that no record names cannot be left behind.
func (cr *creation) ready(pid int) error {
	// Without a socket the container runs in the foreground, and the caller copies.
	if cr.master != nil && cr.o.ConsoleSocket != "" {
		if err := sendConsole(cr.o.ConsoleSocket, cr.master); err != nil {
			return err
		}
	}
	if err := cr.remember(pid); err != nil {
		return err
	}
	cr.c.rec.Ready = true
	if err := cr.c.save(); err != nil {
		return err
	}
	if cr.o.PidfdSocket != "" {
		if err := sendPidfd(cr.o.PidfdSocket, pid); err != nil {
			return err
		}
	}
	if cr.o.PidFile != "" {
		if err := writePidFile(cr.o.PidFile, pid); err != nil {
			return err
		}
	}
	if cr.listens {
		return nil
	}
	return cr.c.startContainerHooks(cr.spec)
}

// remember puts the process into the record.
func (cr *creation) remember(pid int) error {
	rec := &cr.c.rec
	if rec.PID == pid {
		return nil
	}
	_, start, err := processStat(pid)
	if err != nil {
		return err
	}
	ino, err := imageInode(pid)
	if err != nil {
		return err
	}
	rec.PID, rec.StartTime, rec.Image = pid, start, ino
	cr.exists = true
	return nil
}

// writePidFile writes the process id in decimal without a line end, whole.
func writePidFile(path string, pid int) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// hooks runs what comes before the change of the root.
func (cr *creation) hooks(pid int, pidfd *os.File) error {
	if err := cr.remember(pid); err != nil {
		return err
	}
	if err := cr.c.save(); err != nil {
		return err
	}
	h := cr.spec.Hooks
	// Hooks come after step 2 of the life cycle, the making of the environment, and so find the container created.
	st := cr.c.hookState(specs.StateCreated)
	//lint:ignore SA1019 deprecated, but Docker up to 26 uses it
	if err := runHooks("prestart", h.Prestart, st); err != nil {
		return err
	}
	if err := runHooks("createRuntime", h.CreateRuntime, st); err != nil {
		return err
	}
	return cr.c.runInside("createContainer", h.CreateContainer, st, cr.spec, pidfd)
}

func (cr *creation) console(master *os.File) error {
	cr.master = master
	return nil
}

func (cr *creation) notify(pid int, listener *os.File) error {
	return cr.c.sendListener(cr.spec, pid, listener)
}
