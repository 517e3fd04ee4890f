package network

import (
	"fmt"
	"net/netip"
	"strings"
)

// DefaultName is the network that a container gets when none is asked for. It is there without being created.
const DefaultName = "gcr0"

// Definition is what is kept about a network.
type Definition struct {
	Name     string       `json:"name"`
	Bridge   string       `json:"bridge"` // the interface of the host
	Subnet4  netip.Prefix `json:"subnet4,omitzero"`
	Gateway4 netip.Addr   `json:"gateway4,omitzero"` // the bridge's own address
	Subnet6  netip.Prefix `json:"subnet6,omitzero"`
	Gateway6 netip.Addr   `json:"gateway6,omitzero"`
	MTU      int          `json:"mtu,omitempty"`      // bytes; 0 leaves the kernel's default, 1500
	Internal bool         `json:"internal,omitempty"` // no way out, and none in but from the host
	Isolate  bool         `json:"isolate,omitempty"`  // no traffic from and to other networks
	// Labels are for the user.
	Labels map[string]string `json:"labels,omitempty"`
}

// names reports whether containers find each other by name: on every network but the default one, which
// strangers share.
func (d *Definition) names() bool { return d.Name != DefaultName }

// here is the network as this host can have it: IPv4 alone where the host has no IPv6.
func (d *Definition) here() *Definition {
	if !d.Subnet4.IsValid() || !d.Subnet6.IsValid() || hasIPv6() {
		return d
	}
	four := *d
	four.Subnet6, four.Gateway6 = netip.Prefix{}, netip.Addr{}
	return &four
}

// checkName accepts the names of networks.
func checkName(flag, name string) error {
	bad := func(why string) error {
		return &Error{What: fmt.Sprintf("name network %q", name), Flag: flag, Cause: text(why), Hint: "a name is a letter, then letters, digits, _ . or -, at most 64"}
	}
	switch name {
	case "none", "host", "bridge", "default", "pasta", "slirp4netns", "private", "container", "ns":
		return bad("the word has a meaning for --network")
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		digit := c >= '0' && c <= '9'
		if !letter && (i == 0 || !digit && c != '_' && c != '.' && c != '-') {
			return bad("it holds a character that cannot stand there")
		}
	}
	if name == "" || len(name) > 64 {
		return bad("it is empty or too long")
	}
	return nil
}

// check finds what is wrong with the numbers of a definition and fills in the gateways.
func (d *Definition) check() error {
	if err := checkName("", d.Name); err != nil {
		return err
	}
	if d.MTU != 0 && (d.MTU < 68 || d.MTU > 65535) {
		return &Error{What: "create network " + d.Name, Flag: "--mtu", Cause: text(fmt.Sprintf("%d is not between 68 and 65535", d.MTU)), Hint: "IPv6 needs 1280 at least"}
	}
	if d.MTU != 0 && d.MTU < 1280 && d.Subnet6.IsValid() {
		return &Error{What: "create network " + d.Name, Flag: "--mtu", Cause: text(fmt.Sprintf("IPv6 needs 1280 at least (RFC 8200), not %d", d.MTU)), Hint: "raise it, or add --ipv6=false"}
	}
	for _, f := range []struct {
		subnet  *netip.Prefix
		gateway *netip.Addr
		most    int
	}{{&d.Subnet4, &d.Gateway4, 30}, {&d.Subnet6, &d.Gateway6, 126}} {
		if !f.subnet.IsValid() {
			if f.gateway.IsValid() {
				return &Error{What: "create network " + d.Name, Flag: "--gateway", Cause: text(fmt.Sprintf("%s has no subnet to be in", f.gateway)), Hint: "give --subnet as well"}
			}
			continue
		}
		bad := func(why, hint string) error {
			return &Error{What: fmt.Sprintf("create network %s with subnet %s", d.Name, f.subnet), Flag: "--subnet", Cause: text(why), Hint: hint}
		}
		if m := f.subnet.Masked(); m != *f.subnet {
			return bad("its address has bits set behind the prefix", "you may mean "+m.String())
		}
		if f.subnet.Bits() > f.most {
			return bad("it has no room for a gateway and a container", fmt.Sprintf("/%d is the smallest", f.most))
		}
		if f.subnet.Bits() < 8 {
			return bad("it is too large", "/8 is the largest")
		}
		if a := f.subnet.Addr(); a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			return bad("addresses of this kind cannot be given to containers", "use a private range (RFC 1918) or a unique local one (RFC 4193)")
		}
		if !f.gateway.IsValid() {
			*f.gateway = f.subnet.Addr().Next()
		}
		if !f.subnet.Contains(*f.gateway) || *f.gateway == f.subnet.Addr() || f.gateway.Is4() && *f.gateway == lastAddr(*f.subnet) {
			return &Error{What: "create network " + d.Name, Flag: "--gateway", Cause: text(fmt.Sprintf("%s is no address of a host in %s", f.gateway, f.subnet))}
		}
	}
	if !d.Subnet4.IsValid() && !d.Subnet6.IsValid() {
		return &Error{What: "create network " + d.Name, Cause: text("it has neither an IPv4 nor an IPv6 subnet"), Hint: "leave --subnet out for one that is free"}
	}
	return nil
}

// lastAddr is the last address of a prefix, the broadcast address of an IPv4 one.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// String is how a network is shown in messages.
func (d *Definition) String() string {
	var s []string
	for _, p := range []netip.Prefix{d.Subnet4, d.Subnet6} {
		if p.IsValid() {
			s = append(s, p.String())
		}
	}
	return d.Name + " (" + strings.Join(s, ", ") + ")"
}
