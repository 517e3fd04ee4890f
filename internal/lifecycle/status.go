package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/launch"
	"gcr/internal/procfs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Paused is the status of a container whose cgroup is frozen; the specification leaves room for it (runtime.md,
// "State").
const Paused specs.ContainerState = "paused"

// State is what `state` and `list` print, with the field names of runc.
type State struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	PID         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

// State says what a container is and does.
func (s Store) State(id string) (State, error) {
	c, err := s.open(id)
	if err != nil {
		return State{}, err
	}
	return c.state(), nil
}

func (c *Container) state() State {
	st := State{
		Version: c.rec.OCIVersion, ID: c.rec.ID, PID: c.rec.PID, Status: c.status(), Bundle: c.rec.Bundle, Rootfs: c.rec.Rootfs,
		Created: c.rec.Created, Annotations: c.rec.Annotations,
	}
	if st.Status == specs.StateStopped {
		st.PID = 0
	}
	if st.Version == "" {
		st.Version = specs.Version
	}
	return st
}

// List gives the state of all containers, and the user id of each one's creator, by name.
func (s Store) List() ([]State, []int, error) {
	entries, err := os.ReadDir(s.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list containers: %w", err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	var states []State
	var owners []int
	for _, e := range entries {
		if !e.IsDir() || checkID(e.Name()) != nil {
			continue
		}
		c, err := s.open(e.Name())
		if errors.Is(err, ErrNotExist) {
			continue
		}
		if err != nil {
			s.warn("%v", err)
			continue
		}
		states, owners = append(states, c.state()), append(owners, c.rec.Owner)
	}
	return states, owners, nil
}

// status asks the kernel what the container does now.
func (c *Container) status() specs.ContainerState {
	if c.rec.PID == 0 {
		if c.busy() {
			return specs.StateCreating
		}
		return specs.StateStopped // its creator was killed
	}
	if !alive(c.rec.PID, c.rec.StartTime) {
		return specs.StateStopped
	}
	return c.statusAlive()
}

// statusAlive is the status of a container whose process is there.
func (c *Container) statusAlive() specs.ContainerState {
	if !c.rec.Ready && c.lock == nil && c.busy() {
		return specs.StateCreating // perhaps before the process has become the container's program
	}
	if c.frozen() {
		return Paused
	}
	_, ino, err := procfs.Inode(c.rec.PID, "exe")
	switch {
	case err == nil && ino == c.rec.Image:
		if !c.rec.Ready {
			return specs.StateCreating
		}
		return specs.StateCreated
	case err != nil && !alive(c.rec.PID, c.rec.StartTime):
		return specs.StateStopped
	}
	return specs.StateRunning
}

func (c *Container) frozen() bool {
	if c.rec.Cgroup == nil {
		return false
	}
	frozen, err := c.rec.Cgroup.Frozen()
	return err == nil && frozen
}

// busy reports whether a command holds the lock.
func (c *Container) busy() bool {
	if c.lock != nil {
		return true
	}
	lock, err := os.Open(filepath.Join(c.dir, lockName))
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// alive reports whether the process exists, is the one that started at that time, and is no zombie.
func alive(pid int, start uint64) bool {
	state, at, err := processStat(pid)
	return err == nil && at == start && state != 'Z' && state != 'X' && state != 'x'
}

// processStat reads the state letter and the start time of a process from /proc/PID/stat (proc_pid_stat(5), fields
// 3 and 22).
func processStat(pid int) (state byte, start uint64, err error) {
	data, err := procfs.Read(strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold anything, also parentheses and spaces.
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: it has no name", pid)
	}
	f := strings.Fields(string(data[i+1:]))
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: it has %d fields", pid, len(f))
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], start, err
}

// pidfd opens the container's process. The error is ErrNotRunning when it is gone.
func (c *Container) pidfd() (*os.File, error) {
	if c.rec.PID == 0 {
		return nil, ErrNotRunning
	}
	pidfd, err := launch.OpenProcess(c.rec.PID)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil, ErrNotRunning
		}
		return nil, fmt.Errorf("container %s: %w", c.rec.ID, err)
	}
	// Now that the descriptor holds on to a process the start time says which one it is.
	if !alive(c.rec.PID, c.rec.StartTime) {
		pidfd.Close()
		return nil, ErrNotRunning
	}
	return pidfd, nil
}

// group opens the container's cgroup; cgroup.ErrNoGroup says that it has none.
func (c *Container) group() (*cgroup.Group, error) {
	if c.rec.Cgroup == nil {
		return nil, cgroup.ErrNoGroup
	}
	if g := c.cgroup; g != nil {
		c.cgroup = nil // the caller closes it
		return g, nil
	}
	return cgroup.Load(*c.rec.Cgroup)
}
