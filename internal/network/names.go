package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// HostsFile is the name of the file in the state directory that a container sees as /etc/hosts.
const HostsFile = "hosts"

// The lines between these belong to gcr; what stands around them is the container's.
const (
	hostsBegin = "# containers of the same networks, kept by gcr\n"
	hostsEnd   = "# end of containers\n"
)

// Hosts is the lines of /etc/hosts for the container's own addresses.
func (c *Connection) Hosts(names ...string) string {
	var b strings.Builder
	for _, e := range c.record.Endpoints {
		b.WriteString(e.hosts(append(slices.Clone(names), e.Names...)))
	}
	return b.String()
}

func (e *Endpoint) hosts(names []string) string {
	names = unique(names)
	s := ""
	if len(names) == 0 {
		return s
	}
	if e.Address4.IsValid() {
		s += e.Address4.String() + "\t" + strings.Join(names, " ") + "\n"
	}
	if e.Address6.IsValid() {
		s += e.Address6.String() + "\t" + strings.Join(names, " ") + "\n"
	}
	return s
}

// updateNames brings the hosts files of all containers up to date that share a network with r.
func (s *Store) updateNames(r *Record) error {
	var networks []string
	for _, e := range r.Endpoints {
		if len(e.Names) > 0 {
			networks = append(networks, e.Network)
		}
	}
	if len(networks) == 0 {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(s.Run, "names"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("update hosts files: %w", err)
	}
	defer lock.Close()
	if err := flock(lock, unix.LOCK_EX); err != nil {
		return fmt.Errorf("update hosts files: %w", err)
	}
	members := map[string][]*Record{}
	known := map[owner]*Record{}
	load := func(network string) {
		if _, ok := members[network]; ok {
			return
		}
		var out []*Record
		seen := map[owner]bool{}
		for _, o := range s.owners(network) {
			if seen[o] {
				continue
			}
			seen[o] = true
			m, ok := known[o]
			if !ok && o.alive() {
				m, _ = ReadRecord(o.dir)
			}
			known[o] = m
			// One without a process has not been connected yet and will do this itself.
			if m != nil && m.PID != 0 {
				out = append(out, m)
			}
		}
		slices.SortFunc(out, func(a, b *Record) int { return strings.Compare(a.ID, b.ID) })
		members[network] = out
	}
	var errs []error
	done := map[string]bool{}
	for _, n := range networks {
		load(n)
		for _, m := range members[n] {
			if done[m.ID] {
				continue
			}
			done[m.ID] = true
			var block strings.Builder
			for _, e := range m.Endpoints {
				if len(e.Names) == 0 {
					continue
				}
				load(e.Network)
				for _, peer := range members[e.Network] {
					for i := range peer.Endpoints {
						if pe := &peer.Endpoints[i]; pe.Network == e.Network && peer.ID != m.ID {
							block.WriteString(pe.hosts(pe.Names))
						}
					}
				}
			}
			errs = append(errs, replaceBlock(filepath.Join(m.Dir, HostsFile), block.String()))
		}
	}
	return errors.Join(errs...)
}

// mostHosts bounds what is read of a hosts file: the container may write to it.
const mostHosts = 1 << 20

// replaceBlock puts lines into the part of a hosts file that is gcr's. The container has the file itself mounted,
// so another one cannot be put in its place by rename: it is written in one write, padded with empty lines to the
// length that it had, and then cut, so that a reader finds whole lines at any moment.
func replaceBlock(path, block string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // --no-hosts, or gone
	}
	if err != nil {
		return fmt.Errorf("update hosts file: %w", err)
	}
	defer f.Close()
	old, err := io.ReadAll(io.LimitReader(f, mostHosts))
	if err != nil {
		return fmt.Errorf("update hosts file: %w", err)
	}
	before, after := old, []byte(nil)
	if i := bytes.Index(old, []byte(hostsBegin)); i >= 0 {
		before = old[:i]
		if j := bytes.Index(old[i:], []byte(hostsEnd)); j >= 0 {
			after = old[i+j+len(hostsEnd):]
		}
	}
	text := slices.Clone(before)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if block != "" {
		text = append(text, hostsBegin+block+hostsEnd...)
	}
	text = append(text, after...)
	if bytes.Equal(text, old) {
		return nil
	}
	size := len(text)
	for len(text) < len(old) {
		text = append(text, '\n')
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return fmt.Errorf("update hosts file: %w", err)
	}
	return f.Truncate(int64(size))
}
