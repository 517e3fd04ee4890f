package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// RecordFile is the name of a container's network record in its state directory.
const RecordFile = "network.json"

// Record is what a container has of networks. It is written before any of it is made, so that the next command
// can take back what a killed gcr has left.
type Record struct {
	ID        string     `json:"id"`
	Dir       string     `json:"dir"` // the container's state directory
	Mode      string     `json:"mode"`
	PID       int        `json:"pid,omitempty"` // first process, on the host; 0 until it runs
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	Ports     []Port     `json:"ports,omitempty"`
	Helper    *Helper    `json:"helper,omitempty"`
}

// Endpoint is a container's connection to one network.
type Endpoint struct {
	Network   string     `json:"network"`
	Bridge    string     `json:"bridge"`
	HostLink  string     `json:"hostLink"`  // the end of the veth pair on the bridge
	Interface string     `json:"interface"` // the end in the container
	MAC       string     `json:"mac"`
	Address4  netip.Addr `json:"address4,omitzero"`
	Address6  netip.Addr `json:"address6,omitzero"`
	Names     []string   `json:"names,omitempty"` // host name, container name, aliases
}

// Helper is a process that carries the packets of a container without root.
type Helper struct {
	Program string `json:"program"`
	PID     int    `json:"pid"`
	Start   string `json:"start"` // field 22 of /proc/PID/stat: tells a reused process id from the helper
	// Ended is what it said when it ended before the container, which has had no network since.
	Ended string `json:"ended,omitempty"`
}

func (r *Record) owner() owner { return owner{r.ID, r.Dir} }

// ReadRecord reads the record of a state directory; fs.ErrNotExist when it has none.
func ReadRecord(dir string) (*Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, RecordFile))
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read network record of %s: %w", filepath.Base(dir), err)
	}
	return r, nil
}

func (r *Record) write() error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(r.Dir, RecordFile), b, 0o600)
}

// Clean takes back what the container of a state directory has of networks; its gcr is dead. The container's own
// end is taken back by the kernel together with its network namespace.
func Clean(dir string) error { return System().clean(dir) }

func (s *Store) clean(dir string) error {
	r, err := ReadRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Helper != nil {
		r.Helper.kill()
	}
	return s.release(r)
}
