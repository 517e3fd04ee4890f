package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Store keeps the networks of the machine in two directories.
type Store struct {
	Config string // definitions; they survive a reboot
	Run    string // leases and locks; gone after a reboot, as the containers are
}

// System is the store of the machine.
func System() *Store { return &Store{Config: "/var/lib/gcr/networks", Run: "/run/gcr-net"} }

// List returns all networks that have been created, in the order of their names.
func (s *Store) List() ([]*Definition, error) {
	entries, err := os.ReadDir(s.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	var out []*Definition
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		d, err := s.Load(name)
		if errors.Is(err, ErrNoNetwork) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// Load reads one network; ErrNoNetwork when there is none.
func (s *Store) Load(name string) (*Definition, error) {
	if err := checkName("--network", name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(s.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		hint := "gcr network ls lists them; gcr network create " + name + " makes it"
		if name == DefaultName {
			hint = "the first container makes it; gcr network create " + name + " does so with flags of your choice"
		}
		return nil, &Error{What: "find network " + name, Flag: "--network", Cause: ErrNoNetwork, Hint: hint}
	}
	if err != nil {
		return nil, fmt.Errorf("read network %s: %w", name, err)
	}
	d := &Definition{}
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("read network %s: %s: %w", name, s.file(name), err)
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return d, nil
}

func (s *Store) file(name string) string { return filepath.Join(s.Config, name+".json") }

// Propose fills in what a new network leaves open: subnets, gateways and the name of the bridge. It changes
// nothing. ipv4 and ipv6 ask for a subnet of the kind: of IPv4 if none at all is given, of IPv6 beside one of IPv4 too.
func (s *Store) Propose(d Definition, ipv4, ipv6 bool) (*Definition, error) {
	if err := checkName("", d.Name); err != nil {
		return nil, err
	}
	routes, err := hostPrefixes()
	if err != nil {
		return nil, err
	}
	others, err := s.List()
	if err != nil {
		return nil, err
	}
	if d.Name == DefaultName {
		// The bridge may be there before the network is: made by the script of --explain=shell.
		routes = slices.DeleteFunc(routes, func(t taken) bool { return t.link == DefaultName })
	}
	have := routes
	for _, o := range others {
		if o.Name == d.Name {
			continue
		}
		for _, p := range []netip.Prefix{o.Subnet4, o.Subnet6} {
			if p.IsValid() {
				have = append(have, taken{p, "network " + o.Name, o.Bridge})
			}
		}
	}
	given4, given6 := d.Subnet4.IsValid(), d.Subnet6.IsValid()
	if ipv4 && !given4 && !given6 {
		bits := 24
		if d.Name == DefaultName {
			bits = 22 // a bridge has room for 1023 ports
		}
		if d.Subnet4, err = freeSubnet4(bits, have); err != nil {
			return nil, err
		}
	}
	if !given6 && ipv6 {
		ula, err := s.ula()
		if err != nil {
			return nil, err
		}
		if d.Subnet6, err = freeSubnet6(ula, have); err != nil {
			return nil, err
		}
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	for _, p := range []netip.Prefix{d.Subnet4, d.Subnet6} {
		if p.IsValid() {
			if t, no := overlap(p, have, d.Bridge); no {
				return nil, &Error{What: fmt.Sprintf("create network %s with subnet %s", d.Name, p), Flag: "--subnet", Cause: text(fmt.Sprintf("it overlaps %s, %s", t.prefix, strings.TrimSpace(t.by))), Hint: "what is sent there would reach one of the two only: choose another, or leave --subnet out"}
			}
		}
	}
	if d.Bridge == "" {
		d.Bridge = s.freeBridge(d.Name, others)
	}
	return &d, nil
}

// freeBridge finds a name for the bridge: gcr0 for the default network, else the first of gcr1, gcr2, …
func (s *Store) freeBridge(name string, others []*Definition) string {
	if name == DefaultName {
		return DefaultName
	}
	used := map[string]bool{}
	for _, o := range others {
		used[o.Bridge] = true
	}
	for i := 1; ; i++ {
		n := "gcr" + strconv.Itoa(i)
		if used[n] {
			continue
		}
		if _, err := netlink.LinkByName(n); err != nil {
			return n
		}
	}
}

// Create makes a network: its definition, no interface yet.
func (s *Store) Create(d Definition, ipv4, ipv6 bool) (*Definition, error) {
	l, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if _, err := os.Stat(s.file(d.Name)); err == nil {
		return nil, &Error{What: "create network " + d.Name, Cause: text("there is one of that name"), Hint: "gcr network inspect " + d.Name}
	}
	p, err := s.Propose(d, ipv4, ipv6)
	if err != nil {
		return nil, err
	}
	return p, s.write(p)
}

func (s *Store) write(d *Definition) error {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Config, 0o755); err != nil {
		return fmt.Errorf("keep network %s: %w", d.Name, err)
	}
	return writeWhole(s.file(d.Name), append(b, '\n'), 0o644)
}

// ula returns the machine's unique local prefix, and chooses it when it is not there.
func (s *Store) ula() (netip.Prefix, error) {
	file := filepath.Join(s.Config, "ula")
	if b, err := os.ReadFile(file); err == nil {
		if p, err := netip.ParsePrefix(strings.TrimSpace(string(b))); err == nil && p.Bits() == 48 {
			return p, nil
		}
	}
	p := newULA()
	if err := os.MkdirAll(s.Config, 0o755); err != nil {
		return p, fmt.Errorf("keep the machine's unique local prefix: %w", err)
	}
	return p, writeWhole(file, []byte(p.String()+"\n"), 0o644)
}

// lock takes the lock of the store, LOCK_EX or LOCK_SH of flock(2). Closing the file lets go of it.
func (s *Store) lock(how int) (*os.File, error) {
	if err := os.MkdirAll(s.Run, 0o700); err != nil {
		return nil, fmt.Errorf("lock networks: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Run, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock networks: %w", err)
	}
	if err := flock(f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock networks: %w", err)
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeWhole writes a file so that a reader sees the old one or the new one and nothing between.
func writeWhole(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
