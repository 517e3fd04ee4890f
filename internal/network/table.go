package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

func uitoa(n uint16) string { return strconv.Itoa(int(n)) }

// TableName is the name of gcr's table, of family inet. Nothing outside of it is touched.
const TableName = "gcr"

// adminChain belongs to the administrator: gcr makes it, empty, and never changes it. Packets from, to and
// between containers pass it before all rules of gcr.
const adminChain = "admin"

// table is what gcr's table should hold. It depends on the definitions of the networks and on what running
// containers have published, and on nothing else.
type table struct {
	bridges []string
	maps    []*portMap
	chains  []chain
}

type chain struct {
	name  string
	about string
	hook  *hook // nil for one that others jump to
	rules []rule
}

type hook struct {
	text  string // "type nat hook prerouting priority dstnat"
	kind  nftables.ChainType
	num   *nftables.ChainHook
	prior *nftables.ChainPriority
}

// mapNames are the maps of one network.
func mapsOf(name string, v4, v6 bool) []*portMap {
	var out []*portMap
	if v4 {
		out = append(out, &portMap{name: "addr4-" + name, addr: true}, &portMap{name: "any4-" + name})
	}
	if v6 {
		out = append(out, &portMap{name: "addr6-" + name, v6: true, addr: true}, &portMap{name: "any6-" + name, v6: true})
	}
	return out
}

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// wanted makes the table. proxy6 says that ::1 is served by gcr itself.
func wanted(defs []*Definition, records []*Record, proxy6 bool) *table {
	t := &table{}
	var publish, post, forward []rule
	forward = append(forward,
		newRule("neither from nor to a container", notInSet("bridges"), notOutSet("bridges"), back()),
		newRule("the administrator's rules come first", jump(adminChain)).on(wayOut|wayIn|wayWithin),
		newRule("answers", established(), counter(), accept()).on(wayOut|wayIn))
	any6 := false
	for _, d := range defs {
		any6 = any6 || d.Subnet6.IsValid()
		t.bridges = append(t.bridges, d.Bridge)
		maps := mapsOf(d.Name, d.Subnet4.IsValid(), d.Subnet6.IsValid())
		for _, r := range records {
			if e := r.publisher(); e != nil && e.Network == d.Name {
				for _, p := range r.Ports {
					for _, m := range maps {
						m.add(p, e)
					}
				}
			}
		}
		t.maps = append(t.maps, maps...)
		for _, m := range maps {
			publish = append(publish, newRule("published ports of "+d.Name+m.about(), dnat(m.name, m.v6, m.addr)).of(d).on(wayIn|wayHost))
		}
		for _, p := range []netip.Prefix{d.Subnet4, d.Subnet6} {
			if !p.IsValid() {
				continue
			}
			ip := ", IPv4"
			if p.Addr().Is6() {
				ip = ", IPv6"
			}
			if !d.Internal {
				post = append(post, newRule(d.Name+" to the world: as the host"+ip, saddr(p), notOutSet("bridges"), counter(), masquerade()).of(d).on(wayOut))
			}
			post = append(post, newRule(d.Name+" to itself by a published port"+ip, out(d.Bridge), saddr(p), translated(), counter(), masquerade()).of(d).on(wayIn))
			if p.Addr().Is4() {
				post = append(post, newRule("the host by 127.0.0.1 to "+d.Name, out(d.Bridge), saddr(loopback4), counter(), masquerade()).of(d).on(wayHost))
			} else {
				post = append(post, newRule("the host by ::1 to "+d.Name, out(d.Bridge), saddr(loopback6), counter(), snat(d.Gateway6)).of(d).on(wayHost))
			}
		}
		forward = append(forward, newRule("within "+d.Name, in(d.Bridge), out(d.Bridge), counter(), accept()).of(d).on(wayWithin))
	}
	for _, d := range defs {
		if d.Internal {
			forward = append(forward,
				newRule(d.Name+" is internal", in(d.Bridge), counter(), drop()).of(d).on(wayOut),
				newRule(d.Name+" is internal", out(d.Bridge), counter(), drop()).of(d).on(wayIn))
		}
	}
	forward = append(forward, newRule("published ports", outSet("bridges"), translated(), counter(), accept()).on(wayIn))
	for _, d := range defs {
		if d.Isolate && !d.Internal {
			forward = append(forward,
				newRule(d.Name+" is isolated from other networks", in(d.Bridge), outSet("bridges"), counter(), drop()).of(d).on(wayOut),
				newRule(d.Name+" is isolated from other networks", out(d.Bridge), inSet("bridges"), counter(), drop()).of(d).on(wayIn))
		}
	}
	for _, d := range defs {
		if !d.Internal {
			forward = append(forward,
				newRule("from "+d.Name, in(d.Bridge), counter(), accept()).of(d).on(wayOut))
		}
	}
	for _, d := range defs {
		if !d.Internal {
			forward = append(forward, newRule("to "+d.Name+", where nothing is published", out(d.Bridge), counter(), drop()).of(d).on(wayIn))
		}
	}
	var outgoing []rule
	if proxy6 && any6 {
		outgoing = append(outgoing, newRule("bridge-nf-call-ip6tables loses the answers to ::1: gcr carries them itself", daddr(loopback6), back()).on(wayHost))
	}
	t.chains = []chain{
		{adminChain, "rules of the administrator: gcr never changes this chain", nil, nil},
		{"publish", "where published ports lead", nil, publish},
		{"guard", "", &hook{"type filter hook prerouting priority raw; policy accept;", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw}, []rule{
			newRule("containers do not reach the host's loopback", inSet("bridges"), daddr(loopback4), counter(), drop()).on(wayOut),
		}},
		{"incoming", "", &hook{"type nat hook prerouting priority dstnat; policy accept;", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest}, []rule{
			newRule("no neighbour reaches what is published on the host's loopback", notIn("lo"), daddr(loopback4), back()).on(wayIn),
			newRule("new connections to the host", toHost(), counter(), jump("publish")).on(wayIn),
		}},
		{"outgoing", "", &hook{"type nat hook output priority -100; policy accept;", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest}, append(outgoing,
			newRule("new connections of the host to itself", toHost(), counter(), jump("publish")).on(wayHost))},
		{"leaving", "", &hook{"type nat hook postrouting priority srcnat; policy accept;", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource}, post},
		{"forward", "", &hook{"type filter hook forward priority filter; policy accept;", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter}, forward},
	}
	return t
}

// String is the table as nft -f takes it.
func (t *table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tset bridges {\n\t\ttype ifname\n", TableName)
	if len(t.bridges) > 0 {
		fmt.Fprintf(&b, "\t\telements = { \"%s\" }\n", strings.Join(t.bridges, `", "`))
	}
	b.WriteString("\t}\n")
	for _, m := range t.maps {
		fmt.Fprintf(&b, "\tmap %s {\n\t\t%s\n", m.name, m.types())
		if len(m.elements) > 0 {
			var els []string
			for _, e := range m.elements {
				els = append(els, e.text)
			}
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(els, ",\n\t\t\t     "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range t.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.about != "" {
			fmt.Fprintf(&b, "\t\t# %s\n", c.about)
		}
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\t%s\n", c.hook.text)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
