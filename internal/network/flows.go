package network

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetFlows makes connection tracking forget the flows of UDP to published ports. The kernel looks a destination up
// for the first packet of a flow only, and a flow of UDP lives as long as its client goes on sending
// (nf_conntrack_udp_timeout of networking/nf_conntrack-sysctl): without this, a client that sends all the while
// would be led to the container that had the port before, which is dead, or to the host from before the first one.
//
// A kernel without the netlink interface of connection tracking is no error: the client has to pause then.
func forgetFlows(ports []Port) {
	var udp flowFilter
	for _, p := range ports {
		if p.Proto == "udp" {
			udp.ports = append(udp.ports, p)
		}
	}
	if len(udp.ports) == 0 {
		return
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, &udp)
	}
}

// flowFilter finds the flows that are addressed to published ports.
type flowFilter struct {
	ports []Port
	own   []netip.Prefix // addresses of the host; read when there is something to compare
}

// MatchConntrackFlow implements [netlink.CustomConntrackFilter].
func (f *flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	to = to.Unmap()
	return slices.ContainsFunc(f.ports, func(p Port) bool {
		return p.HostPort == flow.Forward.DstPort && (p.Host == to || p.anyHost() && f.host(to))
	})
}

// host reports whether the host has an address: others may be asked by the same number of a port.
func (f *flowFilter) host(a netip.Addr) bool {
	if f.own == nil {
		f.own = []netip.Prefix{loopback4, loopback6}
		addrs, _ := net.InterfaceAddrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				p := prefixOf(n)
				f.own = append(f.own, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
			}
		}
	}
	return slices.ContainsFunc(f.own, func(p netip.Prefix) bool { return p.Contains(a) })
}
