package network

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Picture is the ways of packets from and to one container, or those of a network.
type Picture struct {
	Container string `json:"container,omitempty"`
	PID       int    `json:"pid,omitempty"` // first process, on the host
	Network   string `json:"network,omitempty"`
	// Mode is one of bridge, pasta, slirp4netns, host, none, container and ns.
	Mode  string   `json:"mode"`
	About string   `json:"about"`
	Ways  []Way    `json:"ways,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Way is one way of packets, place after place.
type Way struct {
	Title  string  `json:"title"`
	From   string  `json:"from,omitempty"` // what lies before the first place
	Places []Place `json:"places"`
	To     string  `json:"to,omitempty"` // what lies behind the last one
}

// Place is a network namespace that a way leads through.
type Place struct {
	Name     string    `json:"name"`
	Stations []Station `json:"stations"`
	// Cable leads on to the next place.
	Cable string `json:"cable,omitempty"`
}

// Station is an interface, a chain of rules or a program that a packet passes.
type Station struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	About     string       `json:"about,omitempty"`
	Counted   string       `json:"counted,omitempty"` // sent or received
	Count     *Count       `json:"count,omitempty"`
	Rules     []Passed     `json:"rules,omitempty"`
	Ports     []string     `json:"ports,omitempty"` // what is behind each published port
}

// Passed is a rule that a packet meets on its way.
type Passed struct {
	Verdict string `json:"verdict"` // what becomes of a packet that fits, in the words of nft(8)
	About   string `json:"about"`
	Count   *Count `json:"count,omitempty"` // nil for a rule that does not count
}

// painter makes pictures of what is there now.
type painter struct {
	s       *Store
	defs    []*Definition
	records []*Record
	table   *table
	kernel  *kernelTable
}

func (s *Store) painter() (*painter, error) {
	defs, err := s.List()
	if err != nil {
		return nil, err
	}
	p := &painter{s: s, defs: defs, records: s.records(), table: wanted(defs, nil, proxy6())}
	p.kernel, err = readTable(p.table)
	return p, err
}

func (p *painter) definition(name string) *Definition {
	for _, d := range p.defs {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// chain is the station of a chain: those of its rules that the packets of a network meet on a way.
func (p *painter) chain(name string, d *Definition, on ways) Station {
	for _, c := range p.table.chains {
		if c.name != name {
			continue
		}
		st := Station{Name: "chain " + name}
		if c.hook != nil {
			// type nat hook prerouting priority dstnat; policy accept;
			f := strings.Fields(strings.ReplaceAll(c.hook.text, ";", ""))
			st.About = fmt.Sprintf("hook %s, priority %s", f[3], f[5])
		}
		for i, r := range c.rules {
			if r.network != "" && r.network != d.Name || r.ways&on == 0 {
				continue
			}
			line := Passed{Verdict: r.verdict(), About: r.comment, Count: p.kernel.count(name, i)}
			if line.Verdict == "jump "+adminChain && p.kernel != nil {
				line.About += map[bool]string{true: " (there are none)", false: fmt.Sprintf(" (%d: nft list chain inet %s %s)", p.kernel.admin, TableName, adminChain)}[p.kernel.admin == 0]
			}
			st.Rules = append(st.Rules, line)
		}
		return st
	}
	return Station{Name: "chain " + name}
}

// publishChain is the station that looks a container's published ports up.
func (p *painter) publishChain(r *Record, e *Endpoint) Station {
	st := Station{Name: "chain publish", About: "one look into a map, however many ports"}
	for _, m := range mapsOf(e.Network, e.Address4.IsValid(), e.Address6.IsValid()) {
		for _, port := range r.Ports {
			m.add(port, e)
		}
		for _, el := range m.elements {
			key, to, _ := strings.Cut(el.text, " : ")
			line := Passed{Verdict: "dnat", About: key + " -> " + to}
			if p.kernel != nil && !p.kernel.ports[m.name+" "+hex.EncodeToString(el.key)] {
				line.About += "   is not in the map " + m.name + ": the next gcr run puts it back"
			}
			st.Rules = append(st.Rules, line)
		}
	}
	return st
}

func addresses(all ...netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// inside is the interface of a container on a network, on a way that leads out of it or into it.
func inside(r *Record, e *Endpoint, out bool) Station {
	_, links := linksOf(r.PID)
	return interfaceStation(e.Interface, links[e.Interface], out, e.Address4, e.Address6)
}

// interfaceStation counts what an interface sends on a way, or what it receives.
func interfaceStation(name string, t traffic, sends bool, all ...netip.Addr) Station {
	st := Station{Name: name, Addresses: addresses(all...), Counted: "received", Count: t.received}
	if sends {
		st.Counted, st.Count = "sent", t.sent
	}
	if st.Count == nil {
		st.Counted = ""
	}
	return st
}

const vethAbout = "veth pair: what goes in at one end comes out at the other"

// bridgeStation is the switch.
func bridgeStation(d *Definition, about string) Station {
	return Station{Name: "bridge " + d.Bridge, Addresses: addresses(d.Gateway4, d.Gateway6), About: about}
}

// bridged draws a container of one or several networks.
func (p *painter) bridged(r *Record, name string) *Picture {
	var nets []string
	for _, e := range r.Endpoints {
		nets = append(nets, e.Network)
	}
	pic := &Picture{Container: name, PID: r.PID, Mode: string(Bridge), About: "on network " + strings.Join(nets, " and ")}
	way4, way6 := false, false
	drawn := make([]bool, len(r.Endpoints))
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		d := p.definition(e.Network)
		if d == nil {
			continue
		}
		var carries []string
		if !d.Internal && e.Address4.IsValid() && !way4 {
			way4 = true
			carries = append(carries, "IPv4")
		}
		if !d.Internal && e.Address6.IsValid() && !way6 {
			way6 = true
			carries = append(carries, "IPv6")
		}
		if len(carries) > 0 {
			pic.Ways = append(pic.Ways, p.out(name, r, e, d, strings.Join(carries, " and ")))
		}
		drawn[i] = len(carries) > 0
	}
	if !way4 && !way6 {
		pic.Notes = append(pic.Notes, "OUT: there is no way to the world; every network of the container is internal.")
	}
	if e := r.publisher(); e != nil {
		if d := p.definition(e.Network); d != nil {
			pic.Ways = append(pic.Ways, p.in(name, r, e, d), p.host(name, r, e, d))
		}
	} else {
		pic.Notes = append(pic.Notes, "IN: no port is published, so nobody out there can open a connection; gcr run -p 8080:80 publishes one.")
	}
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		d := p.definition(e.Network)
		if d == nil {
			continue
		}
		if w, ok := p.within(name, r, e, d); ok || !drawn[i] {
			pic.Ways = append(pic.Ways, w)
		} else {
			pic.Notes = append(pic.Notes, "WITHIN "+d.Name+": it is the only container there.")
		}
	}
	if p.kernel == nil {
		pic.Notes = append(pic.Notes, "The table inet "+TableName+" is not there: the next container that starts makes it.")
	} else {
		pic.Notes = append(pic.Notes, "Interfaces count for this container alone; rules for all containers that they are about.")
	}
	return pic
}

func (p *painter) out(name string, r *Record, e *Endpoint, d *Definition, carries string) Way {
	link, addrs := wayOutOfHost()
	last := Station{Name: "no interface", About: "the host has no default route itself"}
	to := "nowhere"
	if link != "" {
		last = Station{Name: link, Addresses: addrs}
		to = "the world, which sees the host's address"
	}
	return Way{
		Title: "OUT, " + carries + ": the command opens a connection to the world",
		Places: []Place{
			{Name: "container " + name, Stations: []Station{
				{Name: "the command", About: fmt.Sprintf("process %d, %s", r.PID, processName(r.PID))},
				inside(r, e, true),
			}, Cable: vethAbout},
			{Name: "host", Stations: []Station{
				interfaceStation(e.HostLink, linkTraffic(e.HostLink), false),
				bridgeStation(d, "the container's default route leads here"),
				p.chain("guard", d, wayOut),
				{Name: "routing", About: "over another interface than the bridge"},
				p.chain("forward", d, wayOut),
				p.chain("leaving", d, wayOut),
				last,
			}},
		},
		To: to,
	}
}

// arrival is the end of a way into the container.
func arrival(name string, r *Record, e *Endpoint) []Place {
	return []Place{{Name: "container " + name, Stations: []Station{inside(r, e, false), ports(r.PID, r.Ports)}}}
}

// ports says of each published port whether somebody answers there.
func ports(pid int, all []Port) Station {
	st := Station{Name: "ports of the container"}
	for _, p := range all {
		about := "nobody has it open"
		switch listens(pid, p) {
		case "anybody":
			about = "a process has it open"
		case "loopback":
			about = "open on loopback only, where nobody from outside gets: listen on 0.0.0.0 or ::"
		case "":
			if p.Proto == "sctp" {
				about = "" // is not looked for
			}
		}
		// One port of the container may be published on several addresses.
		if port := strings.TrimSpace(fmt.Sprintf("%d/%s  %s", p.ContainerPort, p.Proto, about)); !slices.Contains(st.Ports, port) {
			st.Ports = append(st.Ports, port)
		}
	}
	return st
}

func published(r *Record) string {
	var s []string
	for _, p := range r.Ports {
		s = append(s, p.String())
	}
	if len(s) > 8 {
		s = append(s[:8], fmt.Sprintf("and %d more", len(s)-8))
	}
	return strings.Join(s, ", ")
}

func (p *painter) in(name string, r *Record, e *Endpoint, d *Definition) Way {
	return Way{
		Title: "IN: somebody opens a connection to a published port, " + published(r),
		From:  "a client on another machine, or another container by the host's address",
		Places: append([]Place{{Name: "host", Stations: []Station{
			{Name: "any interface"},
			p.chain("incoming", d, wayIn),
			p.publishChain(r, e),
			{Name: "routing", About: "the destination is the container's address now, and the source still the client's"},
			p.chain("forward", d, wayIn),
			p.chain("leaving", d, wayIn),
			bridgeStation(d, ""),
			interfaceStation(e.HostLink, linkTraffic(e.HostLink), true),
		}, Cable: vethAbout}}, arrival(name, r, e)...),
	}
}

func (p *painter) host(name string, r *Record, e *Endpoint, d *Definition) Way {
	return Way{
		Title: "FROM THE HOST itself to a published port",
		Places: append([]Place{{Name: "host", Stations: []Station{
			{Name: "a program of the host", About: "asks 127.0.0.1, ::1 or an address of the host"},
			p.chain("outgoing", d, wayHost),
			p.publishChain(r, e),
			p.chain("leaving", d, wayHost),
			bridgeStation(d, ""),
			interfaceStation(e.HostLink, linkTraffic(e.HostLink), true),
		}, Cable: vethAbout}}, arrival(name, r, e)...),
	}
}

// within draws how containers of one network reach each other; ok is false where there is only one.
func (p *painter) within(name string, r *Record, e *Endpoint, d *Definition) (w Way, ok bool) {
	var others []Station
	for _, o := range p.records {
		for i := range o.Endpoints {
			if oe := &o.Endpoints[i]; oe.Network == d.Name && o.ID != r.ID {
				others = append(others, Station{Name: filepath.Base(o.Dir), Addresses: addresses(oe.Address4, oe.Address6), About: strings.Join(unique(oe.Names), " ")})
			}
		}
	}
	if ok = len(others) > 0; !ok {
		others = []Station{{Name: "none yet"}}
	}
	host := []Station{
		interfaceStation(e.HostLink, linkTraffic(e.HostLink), false),
		bridgeStation(d, "a switch: it knows which Ethernet address is behind which port"),
	}
	if readSysctl("net/bridge/bridge-nf-call-iptables") == "1" {
		rules := p.chain("forward", d, wayWithin)
		rules.About = "also on the bridge, since net.bridge.bridge-nf-call-iptables is 1"
		host = append(host, rules)
	}
	return Way{
		Title: "WITHIN network " + d.Name + ": no routing",
		Places: []Place{
			{Name: "container " + name, Stations: []Station{inside(r, e, true)}, Cable: "veth pair"},
			{Name: "host", Stations: host, Cable: "their veth pairs"},
			{Name: "other containers", Stations: others},
		},
	}, ok
}

// network draws all of a network.
func (p *painter) network(d *Definition) *Picture {
	all := ^ways(0)
	var members []Station
	for _, r := range p.records {
		for i := range r.Endpoints {
			e := &r.Endpoints[i]
			if e.Network != d.Name {
				continue
			}
			about := e.Interface + ", by " + e.HostLink
			if i == 0 && len(r.Ports) > 0 {
				about += ", published: " + published(r)
			}
			members = append(members, Station{Name: filepath.Base(r.Dir), Addresses: addresses(e.Address4, e.Address6), About: about})
		}
	}
	if len(members) == 0 {
		members = []Station{{Name: "none"}}
	}
	link, addrs := wayOutOfHost()
	pic := &Picture{Network: d.Name, Mode: string(Bridge), About: d.String()}
	pic.Ways = []Way{{
		Title: "Network " + d.String(),
		Places: []Place{
			{Name: "containers", Stations: members, Cable: "veth pairs"},
			{Name: "host", Stations: []Station{
				bridgeStation(d, "the containers' default route leads here"),
				p.chain("guard", d, all), p.chain("incoming", d, all), p.chain("outgoing", d, all), p.chain("publish", d, all),
				p.chain("forward", d, all), p.chain("leaving", d, all),
				{Name: link, Addresses: addrs},
			}},
		},
		To: "the world",
	}}
	if link == "" {
		st := pic.Ways[0].Places[1].Stations
		pic.Ways[0].Places[1].Stations, pic.Ways[0].To = st[:len(st)-1], ""
	}
	if p.kernel == nil {
		pic.Notes = []string{"The table inet " + TableName + " is not there: the next container that starts makes it."}
	}
	return pic
}
