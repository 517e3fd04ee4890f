package network

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// What says in a few words what is done.
func (p *Plan) What() string {
	switch p.Mode {
	case Bridge:
		var n []string
		for _, d := range p.Defs {
			n = append(n, d.Name)
		}
		return "connect the container with network " + strings.Join(n, " and ")
	case Pasta, Slirp:
		return "connect the container with " + string(p.Mode)
	}
	return ""
}

// Why explains it to somebody who has not seen it before.
func (p *Plan) Why() string {
	if p.Mode == Bridge {
		return "a new network namespace is a machine without a cable: a veth pair is the cable, a bridge the switch that it is plugged into, and the host the router behind it, which lends its own address to what goes out"
	}
	return "an ordinary user may not make interfaces on the host, so a program carries the packets between an interface in the namespace and sockets of the user's own"
}

// Man is the manual page to read on.
func (p *Plan) Man() string {
	switch p.Mode {
	case Pasta:
		return "pasta(1)"
	case Slirp:
		return "slirp4netns(1)"
	}
	return "veth(4)"
}

// peek is the address that the container would get now: want if it is valid, else wish if it is free, else the next free
// one.
func (s *Store) peek(d *Definition, subnet netip.Prefix, gateway, want, wish netip.Addr) netip.Addr {
	if want.IsValid() || !subnet.IsValid() {
		return want
	}
	used := s.owners(d.Name)
	taken := func(a netip.Addr) bool {
		_, ok := used[a]
		return ok
	}
	if wish.IsValid() && !taken(wish) {
		return wish
	}
	for a := range s.candidates(d, subnet, gateway) {
		if !taken(a) {
			return a
		}
	}
	return subnet.Addr()
}

// preview is the record that the container would have.
func (p *Plan) preview() *Record {
	r := &Record{ID: strings.Repeat("0", 64), Ports: p.Request.Ports}
	for i, d := range p.Defs {
		a := p.Request.Attach[i]
		e := Endpoint{Network: d.Name, Bridge: d.Bridge, HostLink: fmt.Sprintf("gv-shell.%d", i), Interface: a.Interface}
		if e.Interface == "" {
			e.Interface = fmt.Sprintf("eth%d", i)
		}
		e.Address4 = p.store.peek(d, d.Subnet4, d.Gateway4, a.IP, netip.Addr{})
		if d.Subnet6.IsValid() {
			var wish netip.Addr
			if e.Address4.IsValid() {
				wish = sameHost(d, e.Address4)
			}
			e.Address6 = p.store.peek(d, d.Subnet6, d.Gateway6, a.IP6, wish)
		}
		e.MAC = a.MAC.String()
		if a.MAC == nil {
			e.MAC = macFor(cmp.Or(e.Address4, e.Address6)).String()
		}
		r.Endpoints = append(r.Endpoints, e)
	}
	return r
}

// Detail lists the changes, one a line. Addresses are those that would be free now.
func (p *Plan) Detail() []string {
	if p.Mode != Bridge {
		return []string{strings.Join(p.userCommand("PID"), " ")}
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	r := p.preview()
	for i, d := range p.Defs {
		e := r.Endpoints[i]
		say("bridge %s, unless it is there: addresses %s", d.Bridge, both(d.Gateway4, d.Gateway6))
		say("lease %s in %s", both(e.Address4, e.Address6), p.store.leases(d.Name))
		say("rtnetlink: veth pair, one end on %s, the other %s in the container, address %s", d.Bridge, e.Interface, e.MAC)
		say("rtnetlink in the container: %s up, addresses %s", e.Interface, both(e.Address4, e.Address6))
		if !d.Internal && i == 0 {
			say("rtnetlink in the container: default routes via %s", both(d.Gateway4, d.Gateway6))
		}
	}
	v4, v6 := families(p.Defs)
	if v4 {
		say("sysctl net.ipv4.ip_forward=1, unless it is set")
	}
	if v6 {
		say("sysctl net.ipv6.conf.all.forwarding=1, unless it is set; before that accept_ra=2 where it is 1")
	}
	say("nftables: table inet %s, unless it is there", TableName)
	for _, m := range p.elements(r) {
		for _, e := range m.elements {
			say("nftables: element of map %s: %s", m.name, e.text)
		}
	}
	return out
}

func (p *Plan) elements(r *Record) []*portMap {
	e := r.publisher()
	if e == nil {
		return nil
	}
	maps := mapsOf(e.Network, e.Address4.IsValid(), e.Address6.IsValid())
	for _, m := range maps {
		for _, port := range r.Ports {
			m.add(port, e)
		}
	}
	return maps
}

func both(a, b netip.Addr) string {
	switch {
	case !a.IsValid():
		return b.String()
	case !b.IsValid():
		return a.String()
	}
	return a.String() + ", " + b.String()
}

// userCommand is the command line of the program that carries the packets.
func (p *Plan) userCommand(pid string) []string {
	args := pastaArgs(p.Request.Ports, 0)
	if p.Mode == Slirp {
		args = slirpArgs(0)
		args[len(args)-2] = pid
	} else {
		args[len(args)-1] = pid
	}
	return append([]string{filepath.Base(p.Program)}, args...)
}

// shellSpace is the name of the network namespace in the script.
const shellSpace = "gcr-shell"

// Enter is the command that runs another one in the network that Shell has made.
func (p *Plan) Enter() string {
	if p.Mode == Bridge {
		return "nsenter --net=/run/netns/" + shellSpace
	}
	return ""
}

// Held reports whether Shell is about namespaces that a process $namespaces holds: pasta and slirp4netns connect those
// of a process.
func (p *Plan) Held() bool { return p.Mode == Pasta || p.Mode == Slirp }

// Shell is the same as commands of ip(8), sysctl(8) and nft(8), for a learner to type; a line that begins with "undo: "
// is for the end.
func (p *Plan) Shell() []string {
	if p.Held() {
		return p.userShell()
	}
	if p.Mode != Bridge {
		return nil
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	r := p.preview()
	for _, d := range p.Defs {
		say("ip link show %[1]s >/dev/null 2>&1 || ip link add %[1]s address %[2]s type bridge", d.Bridge, macFor(cmp.Or(d.Gateway4, d.Gateway6)))
		for _, g := range []netip.Prefix{netip.PrefixFrom(d.Gateway4, d.Subnet4.Bits()), netip.PrefixFrom(d.Gateway6, d.Subnet6.Bits())} {
			if g.IsValid() {
				say("ip addr replace %s dev %s%s", g, d.Bridge, nodad(g.Addr()))
			}
		}
		say("ip link set %s up", d.Bridge)
		if d.Gateway6.IsValid() {
			say("sysctl -qw net.ipv6.conf.%s.accept_ra=0", d.Bridge)
		}
		if d.Gateway4.IsValid() {
			say("sysctl -qw net.ipv4.conf.%s.route_localnet=1", d.Bridge)
		}
		if d.Gateway6.IsValid() {
			say("ip -6 route replace local ::1 dev %s table local metric 2050", d.Bridge)
		}
	}
	for _, line := range forwarding(p.Defs) {
		say("%s", line)
	}
	defs, _ := p.store.List()
	for _, d := range p.Defs {
		known := false
		for _, k := range defs {
			known = known || k.Name == d.Name
		}
		if !known {
			defs = append(defs, d)
		}
	}
	say("nft list table inet %s >/dev/null 2>&1 || nft -f - <<'NFT'\n%sNFT", TableName, wanted(defs, nil, proxy6()))
	say("ip netns add %s", shellSpace)
	say("undo: ip netns del %s", shellSpace)
	way4, way6 := false, false
	for i, d := range p.Defs {
		e := r.Endpoints[i]
		mtu := ""
		if d.MTU != 0 {
			mtu = fmt.Sprintf(" mtu %d", d.MTU)
		}
		say("ip link add %s%s type veth peer name %s address %s%s netns %s", e.HostLink, mtu, e.Interface, e.MAC, mtu, shellSpace)
		say("ip link set %s master %s up", e.HostLink, d.Bridge)
		say("ip -n %s link set %s up", shellSpace, e.Interface)
		for _, a := range []netip.Prefix{netip.PrefixFrom(e.Address4, d.Subnet4.Bits()), netip.PrefixFrom(e.Address6, d.Subnet6.Bits())} {
			if a.IsValid() {
				say("ip -n %s addr add %s dev %s%s", shellSpace, a, e.Interface, nodad(a.Addr()))
			}
		}
		if !d.Internal && d.Gateway4.IsValid() && !way4 {
			way4 = true
			say("ip -n %s route add default via %s", shellSpace, d.Gateway4)
		}
		if !d.Internal && d.Gateway6.IsValid() && !way6 {
			way6 = true
			say("ip -n %s -6 route add default via %s", shellSpace, d.Gateway6)
		}
	}
	for _, m := range p.elements(r) {
		for _, e := range m.elements {
			say("nft add element inet %s %s '{ %s }'", TableName, m.name, e.text)
			key, _, _ := strings.Cut(e.text, " : ")
			say("undo: nft delete element inet %s %s '{ %s }'", TableName, m.name, key)
		}
	}
	return out
}

// userShell starts pasta or slirp4netns and waits until there is a default route (see awaitLink).
func (p *Plan) userShell() []string {
	// The script has no descriptors 3 and 4 to tell the program by.
	command := strings.NewReplacer(" --ready-fd=3", "", " --exit-fd=4", "").Replace(strings.Join(p.userCommand("$namespaces"), " "))
	publish, end := []string(nil), "undo: kill $helper"
	if p.Mode == Slirp && len(p.Request.Ports) > 0 {
		const api = "${XDG_RUNTIME_DIR:-/tmp}/gcr-shell.slirp"
		command = strings.Replace(command, "slirp4netns", "slirp4netns --api-socket "+api, 1)
		for _, port := range p.Request.Ports {
			request, _ := json.Marshal(newForward(port)) // numbers and addresses
			publish = append(publish, "printf %s '"+string(request)+"' | socat -t 5 - UNIX-CONNECT:"+api+" >&2")
		}
		end += "; rm -f " + api
	}
	return append([]string{
		command + " >&2 &", // what it says is not the command's output
		"helper=$!",
		end,
		"until cat /proc/$namespaces/net/{route,ipv6_route} | grep -qE '^\\S+\\s00000000\\s|^0{32} 00 0{32} 00 [0-9a-f]*[1-9a-f]'; do kill -0 $helper; sleep 0.1; done",
	}, publish...)
}

// forwarding is what letThrough does, as commands.
func forwarding(defs []*Definition) []string {
	var out []string
	v4, v6 := families(defs)
	if v4 {
		out = append(out, "sysctl -qw net.ipv4.ip_forward=1")
	}
	if v6 {
		out = append(out, "# A router ignores router advertisements unless accept_ra is 2.",
			`[ "$(sysctl -n net.ipv6.conf.all.forwarding)" = 1 ] || for f in /proc/sys/net/ipv6/conf/*/accept_ra; do if [ "$(cat "$f")" = 1 ]; then echo 2 >"$f"; fi; done`,
			"sysctl -qw net.ipv6.conf.all.forwarding=1")
	}
	return out
}

func nodad(a netip.Addr) string {
	if a.Is6() {
		return " nodad"
	}
	return ""
}
