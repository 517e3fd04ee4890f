package network

import (
	"cmp"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Member is a running container of a network.
type Member struct {
	Name     string     `json:"name"`
	ID       string     `json:"id"`
	Address4 netip.Addr `json:"address4,omitzero"`
	Address6 netip.Addr `json:"address6,omitzero"`
	MAC      string     `json:"mac"`
	Names    []string   `json:"names,omitempty"`
	Ports    []string   `json:"ports,omitempty"`
}

// Members lists the running containers of a network by address.
func (s *Store) Members(name string) []Member {
	var out []Member
	seen := map[owner]bool{}
	for _, o := range s.owners(name) {
		if seen[o] || !o.alive() {
			continue
		}
		seen[o] = true
		r, err := ReadRecord(o.dir)
		if err != nil {
			continue
		}
		for i, e := range r.Endpoints {
			if e.Network != name {
				continue
			}
			m := Member{Name: filepath.Base(r.Dir), ID: r.ID, Address4: e.Address4, Address6: e.Address6, MAC: e.MAC, Names: e.Names}
			for _, p := range r.Ports {
				if i == 0 {
					m.Ports = append(m.Ports, p.String())
				}
			}
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Or(a.Address4.Compare(b.Address4), a.Address6.Compare(b.Address6)) })
	return out
}

// Prune removes the networks that no container uses, leases of dead containers, and the host's ends of veth pairs
// whose container is gone. It returns the names of the networks.
func (s *Store) Prune() ([]string, error) {
	defs, err := s.List()
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	keep := map[string]bool{}
	for _, d := range defs {
		used := false
		for a, o := range s.owners(d.Name) {
			if o.alive() {
				used = true
				continue
			}
			removeLease(filepath.Join(s.leases(d.Name), a.String()), o)
		}
		if used {
			continue
		}
		if err := s.Remove(d.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, d.Name)
	}
	l, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return removed, err
	}
	defer l.Close()
	for _, r := range s.records() {
		for _, e := range r.Endpoints {
			keep[e.HostLink] = true
		}
	}
	b, err := newBatch()
	if err != nil {
		return removed, err
	}
	defer b.close()
	links, err := netlink.LinkList()
	if err != nil {
		return removed, linkError("list interfaces", err)
	}
	for _, link := range links {
		if n := link.Attrs().Name; strings.HasPrefix(n, "gv") && strings.Contains(n, ".") && link.Type() == "veth" && !keep[n] {
			b.remove(n)
		}
	}
	errs = append(errs, b.run(), s.rebuildIfThere())
	return removed, errors.Join(errs...)
}
