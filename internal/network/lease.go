package network

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"gcr/internal/state"
)

// A lease is a symbolic link named after the address that points to its owner: symlink(2) makes both name and
// contents in one step and fails when the name is taken, so two that want one address cannot both have it, and a
// half-written lease cannot exist.

// owner is who has a lease: a container and its state directory, whose lock tells whether it is alive.
type owner struct{ id, dir string }

func (o owner) String() string { return o.id + ":" + o.dir }

func parseOwner(s string) owner {
	id, dir, _ := strings.Cut(s, ":")
	return owner{id, dir}
}

// alive reports whether the container is running. A state directory of the same name may belong to a newer
// container, so the id in its record is compared.
func (o owner) alive() bool {
	if o.dir == "" || !state.Alive(o.dir) {
		return false
	}
	r, err := ReadRecord(o.dir)
	return err == nil && r.ID == o.id
}

func (s *Store) leases(network string) string { return filepath.Join(s.Run, "leases", network) }

// lease takes one address; ok is false when a living container has it. What a dead one has is taken over after
// clean has been called with its owner.
func (s *Store) lease(network string, a netip.Addr, o owner, clean func(owner)) (ok bool, err error) {
	path := filepath.Join(s.leases(network), a.String())
	for range 100 {
		err := os.Symlink(o.String(), path)
		if err == nil {
			return true, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return false, fmt.Errorf("lease address %s: %w", a, err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return false, fmt.Errorf("lease address %s: %w", a, err)
		}
		text, err := os.Readlink(path)
		if err != nil {
			continue // let go meanwhile
		}
		old := parseOwner(text)
		if old.alive() {
			return false, nil
		}
		clean(old)
		removeLease(path, old)
	}
	return false, fmt.Errorf("lease address %s: it keeps being taken by somebody else", a)
}

// removeLease removes a lease of the given owner and leaves one of anybody else alone. It is renamed first, for
// a link cannot be compared and removed in one step.
func removeLease(path string, o owner) {
	aside := filepath.Join(filepath.Dir(path), "."+o.id+"."+filepath.Base(path))
	if text, err := os.Readlink(path); err != nil || text != o.String() {
		return
	}
	if os.Rename(path, aside) != nil {
		return
	}
	if text, err := os.Readlink(aside); err == nil && text != o.String() {
		// Somebody has cleaned up and leased it anew between the two calls: put it back unless taken again.
		_ = os.Link(aside, path)
	}
	os.Remove(aside)
}

// allocate leases an address of the subnet: want if it is valid, else the next free one after the last that was
// given away, so that an address rests before it is used again.
func (s *Store) allocate(d *Definition, subnet netip.Prefix, gateway, want netip.Addr, o owner, clean func(owner)) (netip.Addr, error) {
	if want.IsValid() {
		flag := "--ip"
		if want.Is6() {
			flag = "--ip6"
		}
		if !fits(want, subnet, gateway) {
			return want, &Error{What: fmt.Sprintf("give address %s", want), Flag: flag, Cause: text("it is no free address of a host in " + subnet.String() + " of network " + d.Name), Hint: "gcr network inspect " + d.Name}
		}
		ok, err := s.lease(d.Name, want, o, clean)
		if err == nil && !ok {
			err = &Error{What: fmt.Sprintf("give address %s", want), Flag: flag, Cause: text("a running container has it"), Hint: "gcr network inspect " + d.Name + " shows which"}
		}
		return want, err
	}
	for a := range s.candidates(d, subnet, gateway) {
		ok, err := s.lease(d.Name, a, o, clean)
		if err != nil {
			return a, err
		}
		if ok {
			// A cursor that two write at once only makes one of them look a little longer.
			cursor := s.cursor(d, subnet)
			tmp := cursor + "." + o.id
			if os.Symlink(a.String(), tmp) == nil && os.Rename(tmp, cursor) != nil {
				os.Remove(tmp)
			}
			return a, nil
		}
	}
	return want, &Error{What: "find a free address in network " + d.Name, Cause: text("all of " + subnet.String() + " are in use"), Hint: "make a larger network: gcr network create --subnet 10.200.0.0/16 NAME"}
}

// fits tells that a host of the subnet may have the address.
func fits(a netip.Addr, subnet netip.Prefix, gateway netip.Addr) bool {
	return subnet.Contains(a) && a != subnet.Addr() && a != gateway && (a.Is6() || a != lastAddr(subnet))
}

// candidates gives the addresses of the subnet in the order in which they are tried.
func (s *Store) candidates(d *Definition, subnet netip.Prefix, gateway netip.Addr) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		a := subnet.Addr()
		if last, err := os.Readlink(s.cursor(d, subnet)); err == nil {
			if l, err := netip.ParseAddr(last); err == nil && subnet.Contains(l) {
				a = l
			}
		}
		for range roomOf(subnet) {
			if a = a.Next(); !subnet.Contains(a) {
				a = subnet.Addr().Next()
			}
			if fits(a, subnet, gateway) && !yield(a) {
				return
			}
		}
	}
}

// cursor is the link that holds the address that was given away last.
func (s *Store) cursor(d *Definition, subnet netip.Prefix) string {
	if subnet.Addr().Is6() {
		return filepath.Join(s.leases(d.Name), ".next6")
	}
	return filepath.Join(s.leases(d.Name), ".next4")
}

// roomOf is the number of addresses of a subnet, at most 65536: so many are tried.
func roomOf(p netip.Prefix) int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
	if !n.IsInt64() || n.Int64() > 1<<16 {
		return 1 << 16
	}
	return int(n.Int64())
}

// owners lists who has leases in a network.
func (s *Store) owners(network string) map[netip.Addr]owner {
	out := map[netip.Addr]owner{}
	entries, _ := os.ReadDir(s.leases(network))
	for _, e := range entries {
		a, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue
		}
		if t, err := os.Readlink(filepath.Join(s.leases(network), e.Name())); err == nil {
			out[a] = parseOwner(t)
		}
	}
	return out
}

// releaseAll removes every lease of the owner in a network.
func (s *Store) releaseAll(network string, o owner) {
	for a, have := range s.owners(network) {
		if have == o {
			removeLease(filepath.Join(s.leases(network), a.String()), o)
		}
	}
}
