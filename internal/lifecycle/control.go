package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gcr/internal/cgroup"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Pause stops all processes of a container.
func (s Store) Pause(id string) error {
	return s.freeze(id, func(st specs.ContainerState) error {
		if st != specs.StateRunning && st != specs.StateCreated {
			return ErrNotRunning
		}
		return nil
	}, (*cgroup.Group).Freeze)
}

// Resume lets the processes of a paused container run on.
func (s Store) Resume(id string) error {
	return s.freeze(id, func(st specs.ContainerState) error {
		if st != Paused {
			return ErrNotPaused
		}
		return nil
	}, (*cgroup.Group).Thaw)
}

func (s Store) freeze(id string, allowed func(specs.ContainerState) error, do func(*cgroup.Group, context.Context) error) error {
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.unlock()
	if err := allowed(c.status()); err != nil {
		return err
	}
	g, err := c.group()
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(context.Background(), cgroupTimeout)
	defer cancel()
	return do(g, ctx)
}

// Processes lists the ids of all processes of a container.
func (s Store) Processes(id string) ([]int, error) {
	c, err := s.open(id)
	if err != nil {
		return nil, err
	}
	g, err := c.group()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer g.Close()
	return g.Procs()
}

// Update changes the limits of a container; what r leaves out stays as it is.
func (s Store) Update(id string, r *specs.LinuxResources) error {
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.unlock()
	if c.status() == specs.StateStopped {
		return ErrNotRunning
	}
	g, err := c.group()
	if err != nil {
		return err
	}
	defer g.Close()
	tell, err := c.unitUpdate(g.Version(), r)
	if err != nil {
		return err
	}
	if err := g.Update(r); err != nil {
		return err
	}
	return tell()
}

// Stats measures a container and gives the line of `events --stats`.
func (s Store) Stats(id string) ([]byte, error) {
	c, err := s.open(id)
	if err != nil {
		return nil, err
	}
	if c.status() == specs.StateStopped {
		return nil, fmt.Errorf("container with id %s is not running", id)
	}
	g, err := c.group()
	if err != nil {
		return nil, err
	}
	defer g.Close()
	st, err := g.Stats()
	if err != nil {
		return nil, err
	}
	return cgroup.EventsStats(id, st)
}

// Events gives a line each interval, and one whenever the container runs out of memory, until the container has
// stopped or ctx ends.
func (s Store) Events(ctx context.Context, id string, interval time.Duration, line func([]byte) error) error {
	c, err := s.open(id)
	if err != nil {
		return err
	}
	if c.status() == specs.StateStopped {
		return fmt.Errorf("container with id %s is not running", id)
	}
	pidfd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, err := c.group()
	if err != nil {
		return err
	}
	defer g.Close()
	oom, err := g.WatchOOM(ctx)
	if err != nil {
		s.warn("%v", err)
		oom = nil
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-oom:
			if !ok {
				oom = nil
				continue
			}
			if err := line([]byte(fmt.Sprintf("{\"type\":\"oom\",\"id\":%q}\n", id))); err != nil {
				return err
			}
		case <-tick.C:
			if !alive(c.rec.PID, c.rec.StartTime) {
				return nil
			}
			b, err := s.Stats(id)
			if err != nil {
				return nil // it has ended meanwhile
			}
			if err := line(b); err != nil {
				return err
			}
		}
	}
}
