package network

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pool4 is where subnets come from when none is asked for: first a /22 for gcr0, then a /24 for each other. They
// lie beside the defaults of Docker (172.17 and up), Podman (10.88, 10.89) and Kubernetes (10.96, 10.244).
var pool4 = []netip.Prefix{
	netip.MustParsePrefix("10.92.0.0/16"), netip.MustParsePrefix("10.93.0.0/16"),
	netip.MustParsePrefix("172.30.0.0/16"), netip.MustParsePrefix("192.168.192.0/20"),
}

// hostPrefixes lists what the host reaches by a route of its own, default routes aside.
func hostPrefixes() ([]taken, error) {
	var out []taken
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return nil, linkError("read the host's routes", err)
		}
		names := map[int]string{}
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			p := prefixOf(r.Dst)
			if p.Bits() <= 0 || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().IsLoopback() {
				continue
			}
			if _, ok := names[r.LinkIndex]; !ok && r.LinkIndex != 0 {
				if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
					names[r.LinkIndex] = l.Attrs().Name
				}
			}
			out = append(out, taken{p, "the host's route over " + names[r.LinkIndex], names[r.LinkIndex]})
		}
	}
	return out, nil
}

// taken is a prefix that somebody has.
type taken struct {
	prefix netip.Prefix
	by     string
	link   string // interface of a route
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

// overlap finds who has a part of the prefix; link is an interface whose routes do not count.
func overlap(p netip.Prefix, have []taken, link string) (taken, bool) {
	for _, t := range have {
		if p.Overlaps(t.prefix) && (link == "" || t.link != link) {
			return t, true
		}
	}
	return taken{}, false
}

// freeSubnet4 finds a subnet of the pool that nobody has.
func freeSubnet4(bits int, have []taken) (netip.Prefix, error) {
	for _, pool := range pool4 {
		base := pool.Addr().As4()
		n := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8
		for i := range uint32(1) << (bits - pool.Bits()) {
			a := n + i<<(32-bits)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits)
			if _, no := overlap(p, have, ""); !no {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, &Error{What: "find a free subnet", Cause: text("every one of gcr's ranges overlaps a route of the host or another network"), Hint: "choose one yourself: gcr network create --subnet 10.200.0.0/24 NAME, and gcr run --network NAME"}
}

// newULA makes a unique local prefix with a random global id (RFC 4193, 3.2): fdXX:XXXX:XXXX::/48.
func newULA() netip.Prefix {
	var b [16]byte
	_, _ = rand.Read(b[:6])
	b[0] = 0xfd
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}

// freeSubnet6 finds a /64 of the machine's unique local prefix.
func freeSubnet6(ula netip.Prefix, have []taken) (netip.Prefix, error) {
	b := ula.Addr().As16()
	for i := range 1 << 16 {
		b[6], b[7] = byte(i>>8), byte(i)
		p := netip.PrefixFrom(netip.AddrFrom16(b), 64)
		if _, no := overlap(p, have, ""); !no {
			return p, nil
		}
	}
	return netip.Prefix{}, &Error{What: "find a free IPv6 subnet", Cause: text(fmt.Sprintf("all of %s is taken", ula))}
}
