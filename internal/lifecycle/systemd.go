package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gcr/internal/cgroup"
	"gcr/internal/cgroup/systemd"
	"gcr/internal/clone"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// systemdUnit is the scope that holds a container, as it is written down.
type systemdUnit struct {
	Slice string `json:"slice"`
	Name  string `json:"name"`
	User  bool   `json:"user"` // of the user's own manager
}

func (u systemdUnit) manager() systemd.Manager {
	if u.User {
		return systemd.User
	}
	return systemd.System
}

// scope asks systemd for the container's scope and returns the path of its group. systemd makes a scope around a
// process that exists already, so one that only waits is put into it; it ends when release is called, by when the
// container is inside, or with gcrun.
//
// An ordinary user's process outside of the user manager's tree may not start anything in the scope (the kernel asks for
// rights over the ancestor that both groups have in common); gcrun itself then moves into the tree first.
func (cr *creation) scope(ch *cgroup.Host, cgroupsPath string, r *specs.LinuxResources) (path string, release func(), err error) {
	// What can be wrong with the configuration comes before what can be wrong with the bus.
	more, err := systemd.Annotations(cr.spec.Annotations)
	if err != nil {
		return "", nil, err
	}
	u := systemdUnit{User: os.Geteuid() != 0 || InUserNamespace()}
	unit, err := systemd.ParsePath(cgroupsPath, cr.o.ID, u.manager())
	if err != nil {
		return "", nil, err
	}
	u.Slice, u.Name = unit.Slice, unit.Name
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	if u.User {
		if *ch, err = systemd.Delegated(ctx, *ch); err != nil {
			return "", nil, err
		}
	}
	bus, err := systemd.Connect(ctx, u.manager())
	if err != nil {
		return "", nil, err
	}
	defer bus.Close()
	facts, err := unitFacts(ch.Version, bus)
	if err != nil {
		return "", nil, err
	}
	props, err := systemd.Properties(r, facts)
	if err != nil {
		return "", nil, err
	}
	pid, release, err := placeholder()
	if err != nil {
		return "", nil, err
	}
	// Known before it is made: whenever gcrun is killed, delete finds and stops it.
	cr.c.rec.Unit = &u
	if err := cr.c.save(); err != nil {
		release()
		return "", nil, err
	}
	if path, err = bus.StartScope(ctx, unit, pid, facts, append(props, more...)); err != nil {
		if systemd.IsTaken(err) {
			cr.c.rec.Unit = nil // lest undo stops another's
		}
		release()
		return "", nil, err
	}
	return path, release, nil
}

// foreseenScope is the path of the group that scope would get from systemd, for a plan that is only shown.
func (cr *creation) foreseenScope(cgroupsPath string) (string, error) {
	u := systemdUnit{User: os.Geteuid() != 0 || InUserNamespace()}
	unit, err := systemd.ParsePath(cgroupsPath, cr.o.ID, u.manager())
	if err != nil {
		return "", err
	}
	slice, err := systemd.ExpandSlice(unit.Slice)
	if err != nil {
		return "", err
	}
	top := "/"
	if u.User {
		top = fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", os.Geteuid())
	}
	return filepath.Join(top, slice, unit.Name), nil
}

// enterUserTree makes sure that this process may start others in the scopes of the user's manager.
func enterUserTree() error {
	ch, err := cgroup.Detect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	_, err = systemd.Delegated(ctx, ch)
	return err
}

// placeholder starts a process that waits until release is called or this process ends.
func placeholder() (pid int, release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("make pipe: %w", err)
	}
	b := new(byte)
	// The child closes its copy of the writing end, so that its read ends when ours is closed.
	child, err := clone.Start(clone.Attr{Calls: []clone.Call{clone.Close(int(w.Fd())), clone.Read(int(r.Fd()), b)}, Keep: []any{b}})
	if err != nil {
		r.Close()
		w.Close()
		return 0, nil, fmt.Errorf("start a process for the scope: %w", err)
	}
	return child.PID, func() {
		_ = unix.PidfdSendSignal(child.PIDFD, unix.SIGKILL, nil, 0)
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(child.PID, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		unix.Close(child.PIDFD)
		r.Close()
		w.Close()
	}, nil
}

// stopUnit removes the container's scope.
func (c *Container) stopUnit() error {
	if c.rec.Unit == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	bus, err := systemd.Connect(ctx, c.rec.Unit.manager())
	if err != nil {
		return err
	}
	defer bus.Close()
	return bus.Stop(ctx, systemd.Unit{Slice: c.rec.Unit.Slice, Name: c.rec.Unit.Name})
}

// unitUpdate gets the bus and the properties ready that tell systemd about new limits, lest it write the old ones
// back when it reloads; apply sets them. Whatever can be refused is refused before the files are written.
func (c *Container) unitUpdate(version int, r *specs.LinuxResources) (apply func() error, err error) {
	if c.rec.Unit == nil {
		return func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	bus, err := systemd.Connect(ctx, c.rec.Unit.manager())
	if err != nil {
		return nil, err
	}
	facts, err := unitFacts(version, bus)
	facts.Update = true
	var props []systemd.Property
	if err == nil {
		props, err = systemd.Properties(r, facts)
	}
	if err != nil {
		bus.Close()
		return nil, err
	}
	return func() error {
		defer bus.Close()
		return bus.Set(context.Background(), systemd.Unit{Slice: c.rec.Unit.Slice, Name: c.rec.Unit.Name}, props)
	}, nil
}

// unitFacts gathers what the properties of a unit depend on.
func unitFacts(version int, bus *systemd.Bus) (systemd.Facts, error) {
	f := systemd.Facts{CgroupVersion: version, Version: bus.Version()}
	if version == 1 {
		devices, err := os.ReadFile("/proc/devices")
		if err != nil {
			return f, err
		}
		f.Devices = string(devices)
	}
	return f, nil
}
