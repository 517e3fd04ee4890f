package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

func nftTable() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
}

// publisher is the endpoint that published ports lead to, the first one; [Store.NewPlan] sees that it is not on an
// internal network.
func (r *Record) publisher() *Endpoint {
	if len(r.Ports) == 0 || len(r.Endpoints) == 0 {
		return nil
	}
	return &r.Endpoints[0]
}

// proxy6 reports whether br_netfilter hands bridged IPv6 packets to the rules: then answers to ::1 are
// translated back on the bridge, and thrown away when they arrive at the host as packets to its loopback.
func proxy6() bool { return readSysctl("net/bridge/bridge-nf-call-ip6tables") == "1" }

// filtersBridged reports whether br_netfilter hands bridged packets to the rules: then what a container sends to its
// own published port is translated on the bridge and does not leave it.
func filtersBridged() bool {
	return readSysctl("net/bridge/bridge-nf-call-iptables") == "1" || proxy6()
}

// shape is a mark of everything in the table but the published ports.
func (s *Store) shape(defs []*Definition) string {
	sum := sha256.Sum256([]byte(wanted(defs, nil, proxy6()).String()))
	return hex.EncodeToString(sum[:8])
}

// tableReady reports whether the table is there in the shape that it should have. The shape is a mark in the
// table itself: a file would be believed after somebody has flushed the rules.
func (s *Store) tableReady(c *nftables.Conn) (bool, error) {
	defs, err := s.List()
	if err != nil {
		return false, err
	}
	set, err := c.GetSetByName(nftTable(), shapeMark+s.shape(defs))
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, tableError("look for table "+TableName, err)
	}
	return set != nil, nil
}

// shapeMark begins the name of an empty set that marks the shape of the table.
const shapeMark = "shape-"

// rebuild replaces everything in the table but the administrator's chain, in one transaction: packets see the
// old rules or the new ones. The store is locked exclusively.
func (s *Store) rebuild() error {
	defs, err := s.List()
	if err != nil {
		return err
	}
	t := wanted(defs, s.records(), proxy6())
	c, err := newTables()
	if err != nil {
		return tableError("write table "+TableName, err)
	}
	nt := c.AddTable(nftTable())
	nt.Family = nftables.TableFamilyINet
	there, err := tableThere(c)
	if err != nil {
		return err
	}
	var old []*nftables.Set
	if there {
		if old, err = c.GetSets(nftTable()); err != nil {
			return tableError("read table "+TableName, err)
		}
	}
	chains := map[string]*nftables.Chain{}
	for _, w := range t.chains {
		nc := &nftables.Chain{Name: w.name, Table: nt}
		if w.hook != nil {
			policy := nftables.ChainPolicyAccept
			nc.Type, nc.Hooknum, nc.Priority, nc.Policy = w.hook.kind, w.hook.num, w.hook.prior, &policy
		}
		chains[w.name] = c.AddChain(nc)
		if w.name != adminChain {
			c.FlushChain(nc)
		}
	}
	for _, o := range old {
		o.Table = nt
		c.DelSet(o)
	}
	var links []nftables.SetElement
	for _, b := range t.bridges {
		links = append(links, nftables.SetElement{Key: ifname(b)})
	}
	bridges := &nftables.Set{Table: nt, Name: "bridges", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	if err := errors.Join(c.AddSet(bridges, nil), inParts(links, func(part []nftables.SetElement) error { return c.SetAddElements(bridges, part) })); err != nil {
		return tableError("write set bridges", err)
	}
	if err := c.AddSet(&nftables.Set{Table: nt, Name: shapeMark + s.shape(defs), KeyType: nftables.TypeMark}, nil); err != nil {
		return tableError("write table "+TableName, err)
	}
	for _, m := range t.maps {
		set := m.set(nt)
		if err := errors.Join(c.AddSet(set, nil), inParts(elements(m), func(part []nftables.SetElement) error { return c.SetAddElements(set, part) })); err != nil {
			return tableError("write map "+m.name, err)
		}
	}
	for _, w := range t.chains {
		for _, r := range w.rules {
			c.AddRule(&nftables.Rule{Table: nt, Chain: chains[w.name], Exprs: r.exprs(), UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
		}
	}
	if err := c.Flush(); err != nil {
		return tableError("write table "+TableName, err)
	}
	return nil
}

// inParts calls do with so many elements at a time as fit into one attribute of netlink, whose length has 16 bits
// (netlink(7)). One of an IPv6 map takes 72 bytes at most.
func inParts(els []nftables.SetElement, do func([]nftables.SetElement) error) error {
	for part := range slices.Chunk(els, 512) {
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

func elements(m *portMap) []nftables.SetElement {
	var out []nftables.SetElement
	seen := map[string]bool{}
	for _, e := range m.elements {
		if !seen[string(e.key)] {
			seen[string(e.key)] = true
			out = append(out, nftables.SetElement{Key: e.key, Val: e.value})
		}
	}
	return out
}

// records reads what living containers have.
func (s *Store) records() []*Record {
	seen := map[owner]bool{}
	var out []*Record
	defs, _ := s.List()
	for _, d := range defs {
		for _, o := range s.owners(d.Name) {
			if seen[o] {
				continue
			}
			seen[o] = true
			if !o.alive() {
				continue
			}
			if r, err := ReadRecord(o.dir); err == nil {
				out = append(out, r)
			}
		}
	}
	return out
}

// publish puts a container's ports into the maps. The store is locked shared.
func (s *Store) publish(c *nftables.Conn, r *Record) error {
	return s.change(c, r, func(c *nftables.Conn, set *nftables.Set, els []nftables.SetElement) error {
		return c.SetAddElements(set, els)
	})
}

func (s *Store) withdraw(r *Record) error {
	c, err := newTables()
	if err != nil {
		return err
	}
	return s.change(c, r, func(c *nftables.Conn, set *nftables.Set, els []nftables.SetElement) error {
		return c.SetDeleteElements(set, els)
	})
}

func (s *Store) change(c *nftables.Conn, r *Record, do func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	e := r.publisher()
	if e == nil {
		return nil
	}
	for _, m := range mapsOf(e.Network, e.Address4.IsValid(), e.Address6.IsValid()) {
		for _, p := range r.Ports {
			m.add(p, e)
		}
		if len(m.elements) > 0 {
			set := m.set(nftTable())
			if err := inParts(elements(m), func(part []nftables.SetElement) error { return do(c, set, part) }); err != nil {
				return err
			}
		}
	}
	return c.Flush()
}

// removeBridge takes away what a network has on the host. The store is locked exclusively.
func (s *Store) removeBridge(d *Definition) error {
	b, err := newBatch()
	if err != nil {
		return err
	}
	defer b.close()
	b.remove(d.Bridge)
	return b.run()
}

// Remove removes a network that no running container uses.
func (s *Store) Remove(name string) error {
	l, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.Close()
	d, err := s.Load(name)
	if err != nil {
		return err
	}
	var users []string
	for _, o := range s.owners(name) {
		if o.alive() {
			users = append(users, filepath.Base(o.dir))
		}
	}
	if len(users) > 0 {
		return &Error{What: "remove network " + name, Cause: fmt.Errorf("containers use it: %s", strings.Join(unique(users), ", ")), Hint: "stop them first"}
	}
	if err := errors.Join(s.removeBridge(d), forgetBeside(d.Bridge)); err != nil {
		return err
	}
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network %s: %w", name, err)
	}
	if err := os.RemoveAll(s.leases(name)); err != nil {
		return fmt.Errorf("remove leases of network %s: %w", name, err)
	}
	return s.rebuildIfThere()
}

// rebuildIfThere rebuilds the table, or removes it when there is no network any more and the administrator has
// no rules of his own in it. A kernel without nf_tables has none.
func (s *Store) rebuildIfThere() error {
	c, err := newTables()
	if err != nil {
		return tableError("look for table "+TableName, err)
	}
	there, err := tableThere(c)
	if noTables(err) {
		return nil
	}
	if !there || err != nil {
		return err
	}
	defs, err := s.List()
	if err != nil {
		return err
	}
	own, err := c.GetRules(nftTable(), &nftables.Chain{Name: adminChain, Table: nftTable()})
	if err != nil {
		return tableError("read chain "+adminChain, err)
	}
	if len(defs) > 0 || len(own) > 0 {
		return s.rebuild()
	}
	c.DelTable(nftTable())
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return tableError("remove table "+TableName, err)
	}
	return nil
}

func unique(s []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, v := range s {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
