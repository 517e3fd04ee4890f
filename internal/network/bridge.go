package network

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// This file makes what a network has on the host: the bridge with its addresses, and the settings of the kernel
// that let packets through.

// ensure makes the bridge of a network and the nftables table when they are not there. The lock of the store is l,
// shared before and after: until it is let go nobody rebuilds the table or removes the network.
func (s *Store) ensure(c *nftables.Conn, l *os.File, defs []*Definition) error {
	ready := func() (bool, error) {
		for _, d := range defs {
			// Somebody may have removed it between the reading and the locking.
			if _, err := os.Stat(s.file(d.Name)); err != nil {
				return false, nil
			}
			if up, err := bridgeReady(d); !up || err != nil {
				return false, err
			}
		}
		return s.tableReady(c)
	}
	if ok, err := ready(); ok || err != nil {
		return err
	}
	if err := flock(l, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock networks: %w", err)
	}
	if err := s.makeHostSide(defs); err != nil {
		return err
	}
	if err := flock(l, unix.LOCK_SH); err != nil {
		return fmt.Errorf("lock networks: %w", err)
	}
	return nil
}

// makeHostSide makes the rules, the bridges and the settings that are missing; the rules first, so that no packet
// passes a bridge that they do not guard yet. When it cannot, it takes away what it has made.
func (s *Store) makeHostSide(defs []*Definition) (err error) {
	for _, d := range defs {
		if _, err := os.Stat(s.file(d.Name)); err != nil {
			if d.Name != DefaultName {
				return &Error{What: "find network " + d.Name, Flag: "--network", Cause: ErrNoNetwork, Hint: "it has just been removed"}
			}
			if err := s.write(d); err != nil {
				return err
			}
		}
	}
	undo, err := s.undoHostSide(defs)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if err := s.rebuild(); err != nil {
		return err
	}
	for _, d := range defs {
		if err := makeBridge(d); err != nil {
			return err
		}
	}
	return letThrough(defs)
}

// undoHostSide remembers what is there and returns what removes the rest.
func (s *Store) undoHostSide(defs []*Definition) (func(), error) {
	c, err := newTables()
	if err != nil {
		return nil, tableError("look for table "+TableName, err)
	}
	table, err := tableThere(c)
	if err != nil {
		return nil, err
	}
	var missing []*Definition
	for _, d := range defs {
		if _, err := netlink.LinkByName(d.Bridge); err != nil {
			missing = append(missing, d)
		}
	}
	return func() {
		for _, d := range missing {
			_ = s.removeBridge(d)
		}
		if !table {
			c.DelTable(nftTable())
			_ = c.Flush()
		}
	}, nil
}

// bridgeReady reports whether the bridge is there, up and has its addresses.
func bridgeReady(d *Definition) (bool, error) {
	b, err := newBatch()
	if err != nil {
		return false, err
	}
	defer b.close()
	l, err := b.find(d.Bridge)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if l.kind != "bridge" {
		return false, &Error{What: "use bridge " + d.Bridge, Cause: text("the interface of that name is no bridge, but " + cmp.Or(l.kind, "a device")), Hint: "remove it, or gcr network rm " + d.Name + " and create it anew"}
	}
	return l.up && b.routed(d.Gateway4) && b.routed(d.Gateway6), nil
}

// routed reports whether the host has an address; it has one that is not valid. The local routing table is asked,
// for the kernel has no way to ask for one address but to list all.
func (b *batch) routed(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	rt := &nl.RtMsg{}
	rt.Family, rt.Dst_len = unix.AF_INET, uint8(a.BitLen())
	if a.Is6() {
		rt.Family = unix.AF_INET6
	}
	m, err := b.ask(unix.RTM_GETROUTE, rt, nl.NewRtAttr(unix.RTA_DST, a.AsSlice()))
	return err == nil && len(m) >= unix.SizeofRtMsg && m[7] == unix.RTN_LOCAL
}

// hasIPv6 reports whether new interfaces of the host may have IPv6 addresses: the kernel has IPv6, and the administrator
// has not turned it off for them (disable_ipv6 of networking/ip-sysctl; "all" sets "default" as well).
func hasIPv6() bool { return readSysctl("net/ipv6/conf/default/disable_ipv6") == "0" }

func makeBridge(d *Definition) error {
	routes, err := hostPrefixes()
	if err != nil {
		return err
	}
	for _, p := range []netip.Prefix{d.Subnet4, d.Subnet6} {
		if !p.IsValid() {
			continue
		}
		if t, no := overlap(p, routes, d.Bridge); no {
			return &Error{What: "set up network " + d.String(), Cause: text(fmt.Sprintf("%s overlaps %s, %s", p, t.prefix, t.by)), Hint: "it did not when the network was made: gcr network rm " + d.Name + ", and create it with another --subnet"}
		}
	}
	b, err := newBatch()
	if err != nil {
		return err
	}
	defer b.close()
	b.bridge(d.Bridge, macFor(cmp.Or(d.Gateway4, d.Gateway6)), d.MTU)
	if err := b.run(); err != nil {
		return err
	}
	l, err := netlink.LinkByName(d.Bridge)
	if err != nil {
		return linkError("look for bridge "+d.Bridge, err)
	}
	index := l.Attrs().Index
	b.up(d.Bridge, index)
	if d.Gateway4.IsValid() {
		b.address(d.Bridge, index, d.Gateway4, d.Subnet4)
	}
	if d.Gateway6.IsValid() {
		// Router advertisements of a container must not give the host a route.
		_ = writeSysctl("net/ipv6/conf/"+d.Bridge+"/accept_ra", "0")
		b.address(d.Bridge, index, d.Gateway6, d.Subnet6)
		b.loopbackOver(d.Bridge, index)
	}
	if err := b.run(); err != nil {
		return err
	}
	if !d.Gateway4.IsValid() {
		return nil
	}
	// Answers to 127.0.0.1 come in over the bridge; the rule of chain guard keeps everything else out.
	return writeSysctl("net/ipv4/conf/"+d.Bridge+"/route_localnet", "1")
}

// families says which families some networks have.
func families(defs []*Definition) (v4, v6 bool) {
	for _, d := range defs {
		v4 = v4 || d.Subnet4.IsValid()
		v6 = v6 || d.Subnet6.IsValid()
	}
	return v4, v6
}

// letThrough makes the host pass packets on between interfaces.
func letThrough(defs []*Definition) error {
	v4, v6 := families(defs)
	if v4 {
		if err := writeSysctl("net/ipv4/ip_forward", "1"); err != nil {
			return err
		}
	}
	if !v6 || readSysctl("net/ipv6/conf/all/forwarding") == "1" {
		return nil
	}
	// A router ignores router advertisements unless accept_ra is 2 (kernel: networking/ip-sysctl): without this
	// the host itself would lose an IPv6 default route that it has learned.
	const conf = "/proc/sys/net/ipv6/conf"
	links, _ := os.ReadDir(conf)
	for _, l := range links {
		if n := l.Name(); n != "all" && n != "lo" && readSysctl("net/ipv6/conf/"+n+"/accept_ra") == "1" {
			_ = writeSysctl("net/ipv6/conf/"+n+"/accept_ra", "2")
		}
	}
	return writeSysctl("net/ipv6/conf/all/forwarding", "1")
}

func readSysctl(name string) string {
	b, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// writeSysctl sets a value unless it is set already: where /proc/sys is read-only, as in a container, the
// administrator may have set it from outside.
func writeSysctl(name, value string) error {
	if readSysctl(name) == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		hint := ""
		if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
			hint = "set it from outside: sysctl -w " + strings.ReplaceAll(name, "/", ".") + "=" + value
		}
		var errno unix.Errno
		if errors.As(err, &errno) {
			err = errno
		}
		return &Error{What: "set " + strings.ReplaceAll(name, "/", ".") + " to " + value, Cause: err, Hint: hint}
	}
	return nil
}
