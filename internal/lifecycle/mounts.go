package lifecycle

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"gcr/internal/launch"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// AddMounts mounts something in a container that is created, running or paused. When one of the mounts fails those
// before it are taken away again. Relative sources are relative to the bundle, as in config.json.
func (s Store) AddMounts(id string, mounts []specs.Mount) error {
	x, err := s.mounting(id)
	if err != nil {
		return err
	}
	defer x.close()
	for i, m := range mounts {
		if bindMount(m) && m.Source != "" && !filepath.IsAbs(m.Source) {
			mounts[i].Source = filepath.Join(x.c.rec.Bundle, m.Source)
		}
	}
	err = x.changeMounts(mounts, false)
	if n := mountsMade(err); n > 0 {
		if uerr := x.changeMounts(reverse(mounts[:n]), true); uerr != nil {
			x.c.store.warn("take the mounts away that were made: %v", uerr)
		}
	}
	return err
}

// RemoveMounts takes mounts of a container away; of each the destination alone counts. The first that fails ends it.
func (s Store) RemoveMounts(id string, mounts []specs.Mount) error {
	x, err := s.mounting(id)
	if err != nil {
		return err
	}
	defer x.close()
	return x.changeMounts(mounts, true)
}

// ExplainMounts plans what AddMounts or RemoveMounts would do.
func (s Store) ExplainMounts(id string, mounts []specs.Mount, remove bool) (*plan.Plan, error) {
	x, err := s.mounting(id)
	if err != nil {
		return nil, err
	}
	defer x.close()
	p, _, err := x.planMounts(mounts, remove)
	return p, err
}

// mounting opens a container whose mounts are to be changed, and keeps other commands out meanwhile.
func (s Store) mounting(id string) (*execution, error) {
	c, err := s.openLocked(id)
	if err != nil {
		return nil, err
	}
	switch c.status() {
	case specs.StateCreated, specs.StateRunning, Paused:
	default:
		c.unlock()
		return nil, ErrNotRunning
	}
	config, err := c.config()
	if err != nil {
		c.unlock()
		return nil, err
	}
	pidfd, err := c.pidfd()
	if err != nil {
		c.unlock()
		return nil, err
	}
	return &execution{c: c, spec: config, pidfd: pidfd}, nil
}

func (x *execution) close() {
	x.pidfd.Close()
	x.c.unlock()
}

func (x *execution) planMounts(mounts []specs.Mount, remove bool) (*plan.Plan, plan.Host, error) {
	host, err := readHost()
	if err != nil {
		return nil, host, err
	}
	ns, err := differentNamespaces(x.c.rec.PID, madeNamespaces(x.spec))
	if err != nil {
		return nil, host, err
	}
	label := ""
	if x.spec.Linux != nil {
		label = x.spec.Linux.MountLabel
	}
	readLabels(&host, &specs.Process{}, label)
	p, err := plan.NewMounts(plan.MountsInput{Spec: x.spec, Mounts: mounts, Remove: remove, Host: host, Namespaces: ns})
	return p, host, err
}

func (x *execution) changeMounts(mounts []specs.Mount, remove bool) error {
	p, host, err := x.planMounts(mounts, remove)
	if err != nil {
		return err
	}
	proc, err := launch.Start(p, launch.Options{Host: host, Target: x.pidfd})
	if err != nil {
		return err
	}
	defer proc.Close()
	status, err := proc.Wait()
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("change mounts of container %s: the program ended with status %d", x.c.rec.ID, status)
	}
	return nil
}

// mountsMade is how many mounts were made before the one that an error is about failed; that one is among them when it was in its
// place and only its propagation could not be set, which comes last. It is 0 when the error is about none.
func mountsMade(err error) int {
	var e *plan.Error
	if !errors.As(err, &e) || e.Call == "" {
		return 0
	}
	text, found := strings.CutPrefix(e.Field, "mounts[")
	n, aerr := strconv.Atoi(strings.TrimRight(text, "]"))
	if !found || aerr != nil {
		return 0
	}
	if strings.Contains(e.Call, "{propagation=") {
		n++
	}
	return n
}

// reverse lists the mounts from the last to the first: one may lie on another.
func reverse(mounts []specs.Mount) []specs.Mount {
	out := make([]specs.Mount, len(mounts))
	for i, m := range mounts {
		out[len(out)-1-i] = m
	}
	return out
}
