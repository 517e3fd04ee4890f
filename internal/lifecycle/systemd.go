package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"

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
func (cr *creation) scope(ch cgroup.Host, cgroupsPath string, r *specs.LinuxResources) (path string, release func(), err error) {
	u := systemdUnit{User: os.Geteuid() != 0 || InUserNamespace()}
	unit, err := systemd.ParsePath(cgroupsPath, cr.o.ID, u.manager())
	if err != nil {
		return "", nil, err
	}
	u.Slice, u.Name = unit.Slice, unit.Name
	cr.c.rec.Unit = &u
	if err := cr.c.save(); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	bus, err := systemd.Connect(ctx, u.manager())
	if err != nil {
		return "", nil, err
	}
	defer bus.Close()
	facts := systemd.Facts{CgroupVersion: ch.Version, Version: bus.Version()}
	if ch.Version == 1 {
		devices, err := os.ReadFile("/proc/devices")
		if err != nil {
			return "", nil, err
		}
		facts.Devices = string(devices)
	}
	props, err := systemd.Properties(r, facts)
	if err != nil {
		return "", nil, err
	}
	more, err := systemd.Annotations(cr.spec.Annotations)
	if err != nil {
		return "", nil, err
	}
	pid, release, err := placeholder()
	if err != nil {
		return "", nil, err
	}
	if path, err = bus.StartScope(ctx, unit, pid, facts, append(props, more...)); err != nil {
		release()
		return "", nil, err
	}
	return path, release, nil
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

// updateUnit tells systemd about new limits, lest it write the old ones back when it reloads.
func (c *Container) updateUnit(version int, r *specs.LinuxResources) error {
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
	props, err := systemd.Properties(r, systemd.Facts{CgroupVersion: version, Version: bus.Version()})
	if err != nil {
		return err
	}
	return bus.Set(ctx, systemd.Unit{Slice: c.rec.Unit.Slice, Name: c.rec.Unit.Name}, props)
}
