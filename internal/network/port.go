package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Port is one published port: what reaches Host on port HostPort goes on to ContainerPort of the container.
type Port struct {
	Host          netip.Addr `json:"host,omitzero"` // the zero address stands for all addresses of the host, IPv4 and IPv6
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
	Proto         string     `json:"proto"` // tcp, udp or sctp

	chosen bool // HostPort is one that was free, for none was asked for
}

// String writes the port as -p takes it.
func (p Port) String() string {
	s := fmt.Sprintf("%d:%d/%s", p.HostPort, p.ContainerPort, p.Proto)
	switch {
	case !p.Host.IsValid():
		return s
	case p.Host.Is6():
		return "[" + p.Host.String() + "]:" + s
	}
	return p.Host.String() + ":" + s
}

// mostPorts bounds what one range may ask for: each port is an element of a map and a socket that is held.
const mostPorts = 4096

// ParsePorts reads [[IP:][HOST]:]CONTAINER[/tcp|udp|sctp], in which HOST and CONTAINER are ports or ranges
// FIRST-LAST, as Docker and Podman write it. A port of the host that is left out or 0 stands for any free one.
func ParsePorts(flag, value string) ([]Port, error) {
	bad := func(cause, hint string) ([]Port, error) {
		return nil, &Error{What: fmt.Sprintf("parse %q", value), Flag: flag, Cause: text(cause), Hint: hint}
	}
	rest, proto, ok := strings.Cut(value, "/")
	if !ok {
		proto = "tcp"
	}
	proto = strings.ToLower(proto)
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return bad(fmt.Sprintf("%q is not a protocol", proto), "use tcp, udp or sctp")
	}
	var host netip.Addr
	if strings.HasPrefix(rest, "[") {
		ip, after, ok := strings.Cut(rest[1:], "]:")
		if !ok {
			return bad("an IPv6 address in brackets is followed by a colon and ports", "for instance [::1]:8080:80")
		}
		a, err := netip.ParseAddr(ip)
		if err != nil || a.Zone() != "" || !a.Is6() {
			return bad(fmt.Sprintf("%q is not an IPv6 address", ip), "for instance [::1]:8080:80")
		}
		if a.IsMulticast() {
			return bad(fmt.Sprintf("%s is no address of one host", a), "")
		}
		host, rest = a.Unmap(), after
		if !strings.Contains(rest, ":") {
			rest = ":" + rest
		}
	} else if parts := strings.Split(rest, ":"); len(parts) == 3 {
		a, err := netip.ParseAddr(parts[0])
		if parts[0] != "" && (err != nil || !a.Is4()) {
			return bad(fmt.Sprintf("%q is not an IPv4 address", parts[0]), "for instance 127.0.0.1:8080:80; an IPv6 address stands in brackets")
		}
		if parts[0] != "" {
			if a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
				return bad(fmt.Sprintf("%s is no address of one host", a), "")
			}
			host = a
		}
		rest = parts[1] + ":" + parts[2]
	} else if len(parts) > 3 {
		return bad("there are too many colons", "write an IPv6 address in brackets: [::1]:8080:80")
	}
	hostPart, conPart, ok := strings.Cut(rest, ":")
	if !ok {
		hostPart, conPart = "", rest
	}
	if a, err := netip.ParseAddr(hostPart); err == nil && a.Is4() {
		return bad("it names an address and one port", fmt.Sprintf("%s:8080:%s for port 8080 of the host, %s::%s for any free one", hostPart, conPart, hostPart, conPart))
	}
	c1, c2, why := portRange(conPart)
	if why != "" {
		return bad(why, "for instance 8080:80")
	}
	h1, h2 := 0, 0
	if hostPart != "" && hostPart != "0" {
		if h1, h2, why = portRange(hostPart); why != "" {
			return bad(why, "for instance 8080:80")
		}
		if h2-h1 != c2-c1 {
			return bad(fmt.Sprintf("%d ports of the host do not fit %d of the container", h2-h1+1, c2-c1+1), "ranges have the same length: 8000-8009:80-89")
		}
	}
	if c2-c1 >= mostPorts {
		return bad(fmt.Sprintf("the range has %d ports, more than %d", c2-c1+1, mostPorts), "use --network host for a container that serves that many")
	}
	var out []Port
	for i := range c2 - c1 + 1 {
		p := Port{Host: host, ContainerPort: uint16(c1 + i), Proto: proto}
		if h1 != 0 {
			p.HostPort = uint16(h1 + i)
		}
		if p.Host.IsValid() && p.Host.IsUnspecified() && p.Host.Is4() {
			p.Host = netip.IPv4Unspecified()
		}
		out = append(out, p)
	}
	return out, nil
}

// portRange reads N or N-M; why says what is wrong.
func portRange(s string) (first, last int, why string) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	first, err1 := strconv.Atoi(a)
	last, err2 := strconv.Atoi(b)
	switch {
	case err1 != nil || err2 != nil:
		return 0, 0, fmt.Sprintf("%q is not a port", s)
	case first < 1 || last > 65535:
		return 0, 0, fmt.Sprintf("port %s is not between 1 and 65535", s)
	case last < first:
		return 0, 0, fmt.Sprintf("the range %s runs backwards", s)
	}
	return first, last, ""
}

// families says which IP versions the port is published for.
func (p Port) families() (v4, v6 bool) {
	return !p.Host.IsValid() || p.Host.Is4(), !p.Host.IsValid() || p.Host.Is6()
}

// anyHost reports whether the port is published on every address of its families.
func (p Port) anyHost() bool { return !p.Host.IsValid() || p.Host.IsUnspecified() }

// overlaps reports whether two published ports want the same port of the host.
func (p Port) overlaps(q Port) bool {
	if p.Proto != q.Proto || p.HostPort != q.HostPort {
		return false
	}
	p4, p6 := p.families()
	q4, q6 := q.families()
	return (p4 && q4 || p6 && q6) && (p.anyHost() || q.anyHost() || p.Host == q.Host)
}
