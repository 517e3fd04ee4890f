package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/hostfile"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// sessionScope is the one scope of a user's GCR; containers are plain directories below it.
const sessionScope = "gcr.scope"

// callers is the group in it where the GCR processes themselves are.
const callers = "callers"

// Delegated makes sure that a rootless caller on cgroup v2 has a place for groups with limits, and gives the
// host as it is then. Where the caller sits inside its user manager's tree already (a desktop terminal, a
// user service, systemd-run --user) that costs nothing and D-Bus is not touched: the groups go beside its own.
// A login session's own scope belongs to root; from there one call moves this process below gcr.scope of the
// user's manager, which the first such call makes and the last process in it ends. Everything that this
// process starts afterwards is inside too.
//
// A caller without a user manager at all (no bus in its environment) gets the host as it is.
func Delegated(ctx context.Context, h cgroup.Host) (cgroup.Host, error) {
	if !needsScope(h) {
		return h, nil
	}
	b, err := open(ctx, User)
	if err != nil {
		return h, err
	}
	defer b.Close()
	pid := os.Getpid()
	fail := func(op string, err error) error {
		return &cgroup.Error{Op: op, Object: sessionScope, Cause: err, Hint: "systemd-run --user --scope -p Delegate=yes COMMAND does the same by hand"}
	}
	// Processes sit in a group of their own, so that the scope itself may hand controllers down. Right after
	// another caller has made the scope it is not there yet: then go in by the top and make it.
	attach := func() error {
		into := func(sub string) error {
			_, err := call(ctx, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, b.conn.AttachProcessesToUnit(ctx, sessionScope, sub, []uint32{uint32(pid)})
			})
			return err
		}
		var err error
		for range 3 { // the other caller may take any of these steps between two of ours
			if err = into("/" + callers); err == nil || notThere(err) {
				return err
			}
			if into("") == nil {
				return moveBelow(callers)
			}
		}
		return err
	}
	err = attach()
	if notThere(err) {
		u := Unit{Slice: "user.slice", Name: sessionScope}
		if _, err := b.StartScope(ctx, u, pid, Facts{CgroupVersion: 2}, nil); err != nil && !exists(err) {
			return h, err
		}
		err = moveBelow(callers)
		if err != nil {
			err = attach()
		}
	}
	if err != nil {
		return h, fail("move this process into", err)
	}
	now, err := cgroup.Detect()
	if err != nil {
		return h, err
	}
	if path.Base(now.Mounts[0].Self) == sessionScope {
		// systemd put this process at the top, where it would be in the way of controllers.
		if err := moveBelow(callers); err != nil {
			return h, fail("move this process below", err)
		}
		if now, err = cgroup.Detect(); err != nil {
			return h, err
		}
	}
	m := &now.Mounts[0]
	if m.Parent == "" || path.Base(m.Self) != callers {
		return h, fail("use", errors.New("its group may not be written"))
	}
	// Detect goes further up while another caller, whom systemd has just put at the top, is on its way down.
	m.Parent = path.Dir(m.Self)
	if err := closeTop(ctx, path.Join(m.Point, m.Parent)); err != nil {
		return h, fail("use", err)
	}
	return now, nil
}

// closeTop has the group in dir hand a controller down, as soon as no process sits in it. From then on it can hand down
// the others, too: the kernel lets no more processes in (cgroup-v2.rst, "No Internal Process Constraint"), and systemd,
// which puts another caller there while there is no group of callers yet, cannot. Threaded controllers, cpu and pids
// among them, neither have that effect nor need it.
func closeTop(ctx context.Context, dir string) error {
	list, err := hostfile.Read(path.Join(dir, "cgroup.controllers"), 1<<16)
	if err != nil {
		return err
	}
	controllers := strings.Fields(string(list))
	i := slices.IndexFunc(controllers, func(c string) bool { return c == "memory" || c == "io" })
	if i < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		err := os.WriteFile(path.Join(dir, "cgroup.subtree_control"), []byte("+"+controllers[i]), 0)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			procs, _ := hostfile.Read(path.Join(dir, "cgroup.procs"), 64<<20)
			return fmt.Errorf("processes stay in it: %s", strings.Join(strings.Fields(string(procs)), " "))
		case <-time.After(time.Millisecond):
		}
	}
}

// needsScope tells that the caller may make groups only in the scope, and that there is a manager to ask for it.
func needsScope(h cgroup.Host) bool {
	if h.Version != 2 || h.Mounts[0].Parent != "" || h.User == 0 {
		return false
	}
	address, err := userAddress()
	if err != nil {
		return false
	}
	// An address that is no path, or has options, is for the bus library to understand.
	file, isPath := strings.CutPrefix(address, "unix:path=")
	if !isPath || strings.ContainsAny(file, ",;%") {
		return true
	}
	_, err = os.Stat(file)
	return err == nil
}

// Foreseen is the host as Delegated would make it, without doing so: for a plan that is only shown.
func Foreseen(h cgroup.Host) cgroup.Host {
	if !needsScope(h) {
		return h
	}
	m := h.Mounts[0]
	uid := strconv.Itoa(h.User)
	manager := "/user.slice/user-" + uid + ".slice/user@" + uid + ".service"
	m.Parent = path.Join(manager, "user.slice", sessionScope)
	m.Self = path.Join(m.Parent, callers)
	list, _ := hostfile.Read(path.Join(m.Point, manager, "cgroup.controllers"), 1<<16)
	m.Controllers = strings.Fields(string(list))
	h.Mounts = []cgroup.Mount{m}
	return h
}

// notThere tells that the scope is not running.
func notThere(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && (e.Name == "org.freedesktop.systemd1.NoSuchUnit" || e.Name == "org.freedesktop.systemd1.UnitInactive" ||
		e.Name == "org.freedesktop.systemd1.ScopeNotRunning")
}

// moveBelow moves this process into a child of its own group, which it owns by delegation.
func moveBelow(child string) error {
	h, err := cgroup.Detect()
	if err != nil {
		return err
	}
	dir := path.Join(h.Mounts[0].Point, h.Mounts[0].Self, child)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return os.WriteFile(path.Join(dir, "cgroup.procs"), []byte("0"), 0)
}
