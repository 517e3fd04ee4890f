package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/hostfile"
	"gcr/internal/jsonlean"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Errors that callers and container engines tell apart; the words are those of runc.
var (
	ErrNotExist   = errors.New("container does not exist")
	ErrExist      = errors.New("container with given ID already exists")
	ErrInvalidID  = errors.New("invalid container ID format")
	ErrNotRunning = errors.New("container not running")
	ErrNotPaused  = errors.New("container not paused")
)

const (
	recordName = "state.json"
	configName = "config.json"
	lockName   = "lock"
	socketName = "start.sock"
)

// maxRecord bounds a record, in bytes.
const maxRecord = 16 << 20

// Store is a directory of containers.
type Store struct {
	Root string
	// Warn is told what went wrong without making the operation fail; nil discards it.
	Warn func(text string)
}

func (s Store) warn(format string, args ...any) {
	if s.Warn != nil {
		s.Warn(fmt.Sprintf(format, args...))
	}
}

func (s Store) warnAll(texts []string) {
	for _, t := range texts {
		s.warn("%s", t)
	}
}

// record is what state.json holds.
type record struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	StartTime   uint64            `json:"startTime"` // of the process, in clock ticks since boot (proc_pid_stat(5), field 22)
	Image       uint64            `json:"image"`     // inode of the container's program
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Ready       bool              `json:"ready"` // everything is set up, the operation create has succeeded
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       int               `json:"owner"` // user id of the creator
	// Notify says that the container has the directory of a socket on which it says that it is ready.
	Notify  bool          `json:"notify,omitempty"`
	Cgroup  *cgroup.State `json:"cgroup,omitempty"`
	Unit    *systemdUnit  `json:"unit,omitempty"`
	Resctrl string        `json:"resctrl,omitempty"` // directory of the resctrl group that was made
	// Plain says that the configuration asks for nothing of later commands: it has a process and no hooks. Without it they
	// read it to find out.
	Plain bool `json:"plain,omitempty"`
	// OwnPIDs says that the container has a PID namespace of its own, with whose first process all others end.
	OwnPIDs bool `json:"ownPIDs,omitempty"`
	// Input is what the plan was made from, without the configuration, which is in config.json: a plan.Input, half of
	// the record, that hardly any command reads.
	Input json.RawMessage `json:"input"`
}

// Container is one container of a store. Its record is as it was when the container was opened.
type Container struct {
	store Store
	dir   string
	rec   record
	lock  *os.File
	saved []byte // the record as it is on disk

	// What is known without reading it; nil otherwise.
	spec   *specs.Spec
	cgroup *cgroup.Group
}

// checkID holds to runc's rule: letters, digits, _ + - and dots, but no dots alone that would be a path.
func checkID(id string) error {
	if id == "" || id == "." || id == ".." || len(id) > 1024 {
		return ErrInvalidID
	}
	for _, r := range id {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && !strings.ContainsRune("_+-.", r) {
			return ErrInvalidID
		}
	}
	return nil
}

// open reads the record of a container. One whose creator was killed before it could write any is there, and
// stopped.
func (s Store) open(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &Container{store: s, dir: filepath.Join(s.Root, id), rec: record{ID: id}}
	data, err := hostfile.Read(filepath.Join(c.dir, recordName), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.dir); err != nil {
			return nil, ErrNotExist
		}
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of container %s: %w", id, err)
	}
	c.rec = record{}
	if err := jsonlean.Unmarshal(data, &c.rec); err != nil {
		return nil, fmt.Errorf("read state of container %s: %w", id, err)
	}
	return c, nil
}

// lockTimeout bounds the wait for another command on the same container.
const lockTimeout = 30 * time.Second

// openLocked reads the record and keeps other commands out until unlock.
func (s Store) openLocked(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Root, id)
	lock, err := openLock(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("lock container %s: %w", id, err)
	}
	deadline := time.Now().Add(lockTimeout)
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			lock.Close()
			return nil, fmt.Errorf("lock container %s: another command is busy with it: %w", id, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	c, err := s.open(id)
	if err == nil && !c.holds(lock) {
		err = ErrNotExist // deleted while we waited
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	c.lock = lock
	return c, nil
}

// openLock opens the lock of a container's directory and makes it where it is missing. os.OpenFile would bring up the
// runtime's poller for it, with three more descriptors' worth of calls, to find out that locks cannot be waited for so.
func openLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	fd, err := hostfile.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// holds reports whether the lock is the one in the directory and not that of a container which was deleted.
func (c *Container) holds(lock *os.File) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(lock.Fd()), &a) == nil && unix.Stat(filepath.Join(c.dir, lockName), &b) == nil && a.Ino == b.Ino && a.Dev == b.Dev
}

func (c *Container) unlock() {
	if c.lock != nil {
		c.lock.Close()
		c.lock = nil
	}
}

// make makes the directory of a new container and locks it.
func (s Store) make(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := s.secure(); err != nil {
		return nil, err
	}
	c := &Container{store: s, dir: filepath.Join(s.Root, id), rec: record{ID: id}}
	err := os.Mkdir(c.dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrExist
	}
	if err != nil {
		return nil, fmt.Errorf("make state directory of container %s: %w", id, err)
	}
	lock, err := openLock(c.dir)
	if err != nil {
		os.Remove(c.dir)
		return nil, fmt.Errorf("make state directory of container %s: %w", id, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil || !c.holds(lock) {
		// A delete that came between takes the empty directory away.
		lock.Close()
		return nil, fmt.Errorf("make container %s: another command deletes it at the same time", id)
	}
	c.lock = lock
	return c, nil
}

// secure makes the directory of all containers and refuses one that others could write.
func (s Store) secure() error {
	if err := os.MkdirAll(s.Root, 0o700); err != nil {
		return fmt.Errorf("make state root %s: %w", s.Root, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Root, &st); err != nil {
		return fmt.Errorf("check state root %s: %w", s.Root, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("check state root %s: it must belong to user %d, and nobody else may write it", s.Root, os.Geteuid())
	}
	return nil
}

// setInput records what the plan is made from.
func (c *Container) setInput(in plan.Input) error {
	in.Spec = nil
	var err error
	c.rec.Input, err = jsonlean.Marshal(&in)
	return err
}

// input is what the plan was made from, without the configuration.
func (c *Container) input() (plan.Input, error) {
	var in plan.Input
	if err := jsonlean.Unmarshal(c.rec.Input, &in); err != nil {
		return in, fmt.Errorf("read state of container %s: %w", c.rec.ID, err)
	}
	return in, nil
}

// know records what later commands want to know of the configuration.
func (c *Container) know(config *specs.Spec) {
	c.rec.Plain = config.Process != nil && (config.Hooks == nil || reflect.ValueOf(*config.Hooks).IsZero())
	c.rec.OwnPIDs = ownPIDs(config)
}

// save writes the record whole.
func (c *Container) save() error {
	data, err := jsonlean.Marshal(&c.rec)
	if err != nil {
		return err
	}
	if bytes.Equal(data, c.saved) {
		return nil
	}
	c.saved = data
	return writeWhole(filepath.Join(c.dir, recordName), data)
}

// writeWhole replaces a file by rename, so that readers see the old or the new one and nothing between.
func writeWhole(path string, data []byte) error {
	tmp := path + ".new"
	if err := hostfile.Write(tmp, data, 0o600); err != nil {
		return err
	}
	if err := unix.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// remove takes the directory away. The record goes first and the lock last: a removal that is cut short leaves a
// container that is stopped and can be deleted again.
func (c *Container) remove() error {
	if c.rec.Notify {
		if err := os.RemoveAll(filepath.Join(c.dir, notifySub)); err != nil {
			return fmt.Errorf("remove state of container %s: %w", c.rec.ID, err)
		}
	}
	for _, name := range []string{socketName, configName, recordName, lockName} {
		if err := unix.Unlink(filepath.Join(c.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove state of container %s: %w", c.rec.ID, err)
		}
	}
	err := unix.Rmdir(c.dir)
	if err != nil {
		err = os.RemoveAll(c.dir) // what a killed command has left
	}
	if err != nil {
		return fmt.Errorf("remove state of container %s: %w", c.rec.ID, err)
	}
	c.unlock()
	return nil
}
