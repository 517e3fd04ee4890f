package network

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"gcr/internal/state"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Caller says who wants the network.
type Caller struct {
	Rootless bool // has no CAP_NET_ADMIN on the host
}

// Plan is what will be done for one container. It has changed nothing.
type Plan struct {
	Mode    Mode
	Request *Request
	Defs    []*Definition // of Bridge, one for each of Request.Attach
	Program string        // of Pasta and Slirp
	Notes   []string      // for the user
	Lacking []string      // notes about programs that are not installed, which every user should see
	store   *Store
}

// NewPlan settles how the container is connected. It reads definitions, routes and programs, and changes
// nothing but the choice of the machine's unique local prefix, which is made once.
func NewPlan(c Caller, r *Request) (*Plan, error) { return System().NewPlan(c, r) }

// NewPlan is the function of the same name for another store.
func (s *Store) NewPlan(c Caller, r *Request) (*Plan, error) {
	p := &Plan{Mode: r.Mode, Request: r, store: s}
	switch {
	case p.Mode == Default && c.Rootless:
		return p, p.userMode()
	case p.Mode == Pasta || p.Mode == Slirp:
		if !c.Rootless {
			return nil, &Error{What: "connect the container with " + string(p.Mode), Flag: "--network", Cause: text("it is for callers without root"), Hint: "leave --network out for the bridge " + DefaultName}
		}
		path, err := exec.LookPath(string(p.Mode))
		if err != nil {
			return nil, &Error{What: "connect the container with " + string(p.Mode), Flag: "--network", Cause: text("the program is not installed"), Hint: "Debian package " + map[Mode]string{Pasta: "passt", Slirp: "slirp4netns"}[p.Mode]}
		}
		p.Program = path
		return p, p.checkUserPorts()
	case p.Mode == Bridge && c.Rootless:
		if a := r.Attach[0]; a.Network == DefaultName && (a.IP.IsValid() || a.IP6.IsValid() || a.MAC != nil) {
			return nil, &Error{What: "give the container an address", Flag: "--ip, --ip6, --mac-address", Cause: text("without root it has the addresses that pasta copies from the host"), Hint: "leave the flag out, or run gcr as root"}
		}
		return nil, &Error{What: "join network " + r.Attach[0].Network, Flag: "--network", Cause: text("an ordinary user may not make interfaces on the host"), Hint: "leave --network out for a network by pasta, or run gcr as root"}
	case p.Mode == Default:
		p.Mode = Bridge
		r.Attach = []Attachment{{Network: DefaultName}}
	case p.Mode != Bridge:
		return p, nil
	}
	for _, a := range r.Attach {
		d, err := s.Load(a.Network)
		if errors.Is(err, ErrNoNetwork) && a.Network == DefaultName {
			d, err = s.Propose(Definition{Name: DefaultName}, true, hasIPv6())
		}
		if err != nil {
			return nil, err
		}
		if d = d.here(); !d.Subnet4.IsValid() && !hasIPv6() {
			return nil, &Error{What: "join network " + d.Name, Flag: "--network", Cause: text("it has IPv6 only, and this host has none"), Hint: "see the sysctl net.ipv6.conf.default.disable_ipv6; or gcr network create makes one with IPv4"}
		}
		if a.IP.IsValid() && !d.Subnet4.IsValid() || a.IP6.IsValid() && !d.Subnet6.IsValid() {
			return nil, &Error{What: "give the container an address", Flag: "--ip, --ip6", Cause: text("network " + d.String() + " has no subnet of that kind")}
		}
		p.Defs = append(p.Defs, d)
	}
	if len(r.Ports) > 0 && p.Defs[0].Internal {
		return nil, &Error{What: "publish " + r.Ports[0].String(), Flag: "-p", Cause: text("network " + p.Defs[0].Name + " is internal: nothing comes in"), Hint: "name a network that is not internal first"}
	}
	return p, nil
}

// Connected reports whether there is anything to set up after the container's namespace has been made.
func (p *Plan) Connected() bool {
	return p.Mode == Bridge || p.Mode == Pasta || p.Mode == Slirp
}

// Identity is the container that is connected.
type Identity struct {
	ID    string // 64 hexadecimal digits
	Dir   string // state directory, locked by this process
	Names []string
	Hosts string // the file that the container sees as /etc/hosts; empty for none
}

// Connection is what a container has of networks.
type Connection struct {
	plan   *Plan
	who    Identity
	record *Record
	held   []holder
	child  *userNet

	// OnDeath is called when the program that carries the packets ends before the container, with its last words.
	OnDeath func(said string)
	// Note is called with what the user should know and what stops nothing.
	Note func(text string)
}

// Chosen are the published ports for which none of the host was asked for, with those that they have got.
func (c *Connection) Chosen() []Port {
	ports := c.record.Ports
	if c.plan.Mode != Bridge {
		ports = c.plan.Request.Ports
	}
	var out []Port
	for _, p := range ports {
		if p.chosen {
			out = append(out, p)
		}
	}
	return out
}

// settle writes the default network down when this container is its first; of several that start at once, one
// does, and the others take what it has chosen.
func (p *Plan) settle() error {
	for i, d := range p.Defs {
		if d.Name != DefaultName {
			continue
		}
		have, err := p.store.Load(DefaultName)
		if errors.Is(err, ErrNoNetwork) {
			lock, lerr := p.store.lock(unix.LOCK_EX)
			if lerr != nil {
				return lerr
			}
			defer lock.Close()
			if have, err = p.store.Load(DefaultName); errors.Is(err, ErrNoNetwork) {
				have, err = d, p.store.write(d)
			}
		}
		if err != nil {
			return err
		}
		p.Defs[i] = have.here()
	}
	return nil
}

// Allocate leases what is needed: addresses, and the ports of the host. The container does not exist yet.
func (p *Plan) Allocate(who Identity) (*Connection, error) {
	if err := p.settle(); err != nil {
		return nil, err
	}
	c := &Connection{plan: p, who: who, record: &Record{ID: who.ID, Dir: who.Dir, Mode: string(p.Mode)}}
	for i, d := range p.Defs {
		a := p.Request.Attach[i]
		e := Endpoint{Network: d.Name, Bridge: d.Bridge, HostLink: "gv" + who.ID[:10] + "." + strconv.Itoa(i), Interface: a.Interface}
		if e.Interface == "" {
			e.Interface = "eth" + strconv.Itoa(i)
		}
		if d.names() {
			e.Names = append(append(e.Names, who.Names...), a.Aliases...)
		}
		c.record.Endpoints = append(c.record.Endpoints, e)
	}
	// Known before it is made.
	if err := c.record.write(); err != nil {
		return nil, err
	}
	if err := c.allocate(); err != nil {
		return nil, errors.Join(err, c.Release())
	}
	return c, nil
}

func (c *Connection) allocate() error {
	s := c.plan.store
	dead := func(o owner) {
		// A newer container may have a state directory of the same name.
		if !state.Alive(o.dir) {
			_ = s.clean(o.dir)
		}
	}
	for i, d := range c.plan.Defs {
		a, e := c.plan.Request.Attach[i], &c.record.Endpoints[i]
		var err error
		if d.Subnet4.IsValid() {
			if e.Address4, err = s.allocate(d, d.Subnet4, d.Gateway4, a.IP, c.record.owner(), dead); err != nil {
				e.Address4 = netip.Addr{}
				return err
			}
		}
		if d.Subnet6.IsValid() {
			want := a.IP6
			if !want.IsValid() && e.Address4.IsValid() {
				// The same number in both subnets reads well, and a lease of the one rarely lacks the other.
				want = sameHost(d, e.Address4)
				ok, err := s.lease(d.Name, want, c.record.owner(), dead)
				if err != nil {
					return err
				}
				if ok {
					e.Address6 = want
				}
				want = netip.Addr{}
			}
			if !e.Address6.IsValid() {
				if e.Address6, err = s.allocate(d, d.Subnet6, d.Gateway6, want, c.record.owner(), dead); err != nil {
					e.Address6 = netip.Addr{}
					return err
				}
			}
		}
		mac := a.MAC
		if mac == nil {
			mac = macFor(cmp.Or(e.Address4, e.Address6))
		}
		e.MAC = mac.String()
	}
	if err := c.holdPorts(); err != nil {
		return err
	}
	return c.record.write()
}

// sameHost is the address of the IPv6 subnet with the host part of the IPv4 address.
func sameHost(d *Definition, a netip.Addr) netip.Addr {
	sub, host := d.Subnet4.Addr().As4(), a.As4()
	b := d.Subnet6.Addr().As16()
	for i := range 4 {
		b[12+i] |= host[i] - sub[i]
	}
	out := netip.AddrFrom16(b)
	if !d.Subnet6.Contains(out) || out == d.Gateway6 {
		return d.Subnet6.Addr().Next().Next()
	}
	return out
}

// Attach connects the namespace of the container's first process. It may run while the process prepares its
// root filesystem; the process must not run the user's command before it is done.
func (c *Connection) Attach(pid int, netns *os.File) error {
	c.record.PID = pid
	if c.plan.Mode != Bridge {
		return c.attachUserNet(pid)
	}
	s := c.plan.store
	lock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.Close()
	// One socket for all that is asked of nf_tables.
	nft, err := newTables(nftables.AsLasting())
	if err != nil {
		return tableError("look for table "+TableName, err)
	}
	defer func() {
		lock.Close() // first: closing the socket may wait for the kernel to free what others have removed
		_ = nft.CloseLasting()
	}()
	if err := s.ensure(nft, lock, c.plan.Defs); err != nil {
		return err
	}
	published := make(chan error, 1)
	go func() {
		err := s.publish(nft, c.record)
		var bridges []string
		for _, d := range c.plan.Defs {
			bridges = append(bridges, d.Bridge)
		}
		if err == nil {
			err = besideOthers(nft, bridges)
		}
		published <- err
	}()
	err = c.makeLinks(netns)
	perr := <-published
	if w := (*warning)(nil); errors.As(perr, &w) {
		if perr = nil; c.Note != nil {
			c.Note(w.Error())
		}
	}
	if errors.Is(perr, unix.EEXIST) || errors.Is(perr, unix.ENOENT) {
		// What a killed gcr has left: the rebuilding leaves it out and puts ours in.
		if perr = flock(lock, unix.LOCK_EX); perr == nil {
			perr = s.rebuild()
		}
	} else if perr != nil {
		perr = tableError("write the rules of the container", perr)
	}
	if err := errors.Join(err, perr); err != nil {
		return err
	}
	// What follows is the container's alone. Its leases keep the network from being removed.
	lock.Close()
	forgetFlows(c.record.Ports)
	if err := c.configure(netns); err != nil {
		return err
	}
	c.serveLoopback()
	if err := c.record.write(); err != nil {
		return err
	}
	return s.updateNames(c.record)
}

// makeLinks makes the veth pairs.
func (c *Connection) makeLinks(netns *os.File) error {
	host, err := newBatch()
	if err != nil {
		return err
	}
	defer host.close()
	for i, d := range c.plan.Defs {
		e := &c.record.Endpoints[i]
		bridge, err := host.find(d.Bridge)
		if err != nil {
			return linkError("find bridge "+d.Bridge, err)
		}
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return err
		}
		host.vethPair(e.HostLink, e.Interface, bridge.index, netns, mac, d.MTU)
		if i == 0 && len(c.record.Ports) > 0 && filtersBridged() {
			host.hairpin(e.HostLink)
		}
	}
	return host.run()
}

// configure sets the container's ends up.
func (c *Connection) configure(netns *os.File) error {
	inside, err := newBatchAt(netns)
	if err != nil {
		return err
	}
	defer inside.close()
	// The container's first process sets lo up by itself.
	way4, way6 := false, false
	for i, d := range c.plan.Defs {
		e := &c.record.Endpoints[i]
		l, err := inside.find(e.Interface)
		if err != nil {
			return linkError("find "+e.Interface+" of the container", err)
		}
		index := l.index
		inside.up(e.Interface, index)
		if e.Address4.IsValid() {
			inside.address(e.Interface, index, e.Address4, d.Subnet4)
		}
		if e.Address6.IsValid() {
			inside.address(e.Interface, index, e.Address6, d.Subnet6)
			inside.allow(unix.EACCES) // net.ipv6.conf.all.disable_ipv6 has been set for the container
		}
		if d.Internal {
			continue
		}
		if e.Address4.IsValid() && !way4 {
			way4 = true
			inside.defaultRoute(d.Gateway4, index)
		}
		if e.Address6.IsValid() && !way6 {
			way6 = true
			inside.defaultRoute(d.Gateway6, index)
			inside.allow(unix.EACCES)
		}
	}
	return inside.run()
}

// Release takes back what Allocate and Attach have made.
func (c *Connection) Release() error {
	for _, h := range c.held {
		h.Close()
	}
	if c.child != nil {
		c.child.stop()
	}
	return c.plan.store.release(c.record)
}

// release takes back what a record names, whoever asks; all of it may be gone already.
func (s *Store) release(r *Record) error {
	done := func() error {
		if err := os.Remove(filepath.Join(r.Dir, RecordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove network record: %w", err)
		}
		return nil
	}
	if len(r.Endpoints) == 0 {
		return done()
	}
	b, err := newBatch()
	if err != nil {
		return err
	}
	defer b.close()
	for _, e := range r.Endpoints {
		// Taken off the bridge its address is free at once. The kernel removes the pair together with the
		// container's namespace, in the background: to wait for that here would take 50 ms.
		b.unplug(e.HostLink)
	}
	// Where many containers come and go, most of this is waiting for the kernel's lock on all links (RTNL): beside the
	// rules, which have another one, and without the store's.
	unplugged := make(chan error, 1)
	go func() { unplugged <- b.run() }()
	lock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return errors.Join(err, <-unplugged)
	}
	defer lock.Close()
	rebuild := len(r.Ports) > 0 && s.withdraw(r) != nil
	if !rebuild {
		lock.Close()
	}
	errs := []error{<-unplugged}
	for _, e := range r.Endpoints {
		s.releaseAddresses(e, r.owner())
	}
	errs = append(errs, done())
	if rebuild {
		if err := flock(lock, unix.LOCK_EX); err == nil {
			errs = append(errs, s.rebuildIfThere())
		}
	}
	forgetFlows(r.Ports)
	return errors.Join(append(errs, s.updateNames(r))...)
}

func (s *Store) releaseAddresses(e Endpoint, o owner) {
	if !e.Address4.IsValid() && !e.Address6.IsValid() {
		s.releaseAll(e.Network, o) // ended between leasing and writing down what
		return
	}
	for _, a := range []netip.Addr{e.Address4, e.Address6} {
		if a.IsValid() {
			removeLease(filepath.Join(s.leases(e.Network), a.String()), o)
		}
	}
}
