package network

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Mode is how a container is connected.
type Mode string

// The modes. Empty stands for the default: Bridge for root, the best user-mode program for others.
const (
	Default   Mode = ""
	None      Mode = "none"
	HostNet   Mode = "host"
	Bridge    Mode = "bridge"
	Container Mode = "container" // the namespace of another container
	Path      Mode = "ns"        // the namespace at a path
	Pasta     Mode = "pasta"
	Slirp     Mode = "slirp4netns"
)

// Flags are the flags about networks as they were typed.
type Flags struct {
	Networks []string // --network
	Publish  []string // -p
	All      bool     // -P
	Exposed  []string // ports of the image, "80/tcp", for -P
	IP, IP6  string
	MAC      string
	Aliases  []string // --network-alias
}

// Request is what the flags ask for.
type Request struct {
	Mode   Mode         `json:",omitempty"`
	Target string       `json:",omitempty"` // of Container: id or name; of Path: the path
	Attach []Attachment `json:",omitempty"`
	Ports  []Port       `json:",omitempty"`
}

// Attachment asks for one network.
type Attachment struct {
	Network   string
	IP, IP6   netip.Addr       `json:",omitzero"`
	MAC       net.HardwareAddr `json:",omitempty"`
	Interface string           `json:",omitempty"`
	Aliases   []string         `json:",omitempty"`
}

// ParseRequest reads the flags. It looks at nothing but their text.
func ParseRequest(f Flags) (*Request, error) {
	r := &Request{}
	for _, v := range f.Networks {
		if err := r.addNetwork(v); err != nil {
			return nil, err
		}
	}
	bridged := r.Mode == Bridge || r.Mode == Default
	if len(r.Attach) == 0 && (f.IP != "" || f.IP6 != "" || f.MAC != "" || len(f.Aliases) > 0) {
		if !bridged {
			return nil, &Error{What: "give the container an address", Flag: "--ip, --ip6, --mac-address, --network-alias", Cause: text("--network " + string(r.Mode) + " has none to give")}
		}
		r.Mode, r.Attach = Bridge, []Attachment{{Network: DefaultName}}
	}
	if err := r.addAddresses(f); err != nil {
		return nil, err
	}
	publish := f.Publish
	if f.All {
		publish = append(publish[:len(publish):len(publish)], f.Exposed...)
	}
	for _, v := range publish {
		ports, err := ParsePorts("-p", v)
		if err != nil {
			return nil, err
		}
		r.Ports = append(r.Ports, ports...)
	}
	for i, p := range r.Ports {
		for _, q := range r.Ports[:i] {
			if p.HostPort != 0 && p.overlaps(q) {
				return nil, &Error{What: "publish " + p.String(), Flag: "-p", Cause: text(q.String() + " has the same port of the host")}
			}
		}
	}
	if len(r.Ports) > 0 {
		switch r.Mode {
		case None:
			return nil, &Error{What: "publish " + r.Ports[0].String(), Flag: "-p", Cause: text("with --network none there is no way to the container"), Hint: "leave --network out"}
		case HostNet:
			return nil, &Error{What: "publish " + r.Ports[0].String(), Flag: "-p", Cause: text("with --network host the command's ports are the host's ports already"), Hint: "leave -p out"}
		case Container, Path:
			return nil, &Error{What: "publish " + r.Ports[0].String(), Flag: "-p", Cause: text("the network belongs to somebody else"), Hint: "publish the port where the network is made"}
		}
	}
	return r, nil
}

func (r *Request) addNetwork(v string) error {
	bad := func(cause, hint string) error {
		return &Error{What: fmt.Sprintf("parse %q", v), Flag: "--network", Cause: text(cause), Hint: hint}
	}
	name, rest, _ := strings.Cut(v, ":")
	var mode Mode
	a := Attachment{Network: name}
	switch name {
	case "":
		return bad("it is empty", "use none, host, the name of a network, container:ID or ns:PATH")
	case "none", "host", "pasta", "slirp4netns":
		mode = Mode(name)
		if rest != "" {
			return bad(name+" takes no options", "")
		}
	case "private":
		mode = Default
	case "container":
		if rest == "" {
			return bad("the container is not named", "for instance container:web")
		}
		mode, r.Target = Container, rest
	case "ns":
		if !filepath.IsAbs(rest) {
			return bad("the path of the namespace is not absolute", "for instance ns:/run/netns/blue")
		}
		mode, r.Target = Path, rest
	default:
		mode = Bridge
		if name == "bridge" || name == "default" {
			a.Network = DefaultName
		} else if err := checkName("--network", name); err != nil {
			return err
		}
		if err := a.options(rest, bad); err != nil {
			return err
		}
		for _, b := range r.Attach {
			if b.Network == a.Network {
				return bad("the network is asked for twice", "")
			}
		}
		r.Attach = append(r.Attach, a)
	}
	if r.Mode != Default && r.Mode != mode || mode != Bridge && len(r.Attach) > 0 {
		first := string(r.Mode)
		if len(r.Attach) > 0 && mode != Bridge {
			first = r.Attach[0].Network
		}
		return &Error{What: "combine --network " + first + " with " + v, Flag: "--network", Cause: text("only networks of their own can be several"), Hint: "keep one of them"}
	}
	r.Mode = mode
	return nil
}

// options reads ip=A,ip6=A,mac=M,alias=N,interface_name=I, as Podman has them.
func (a *Attachment) options(s string, bad func(cause, hint string) error) error {
	if s == "" {
		return nil
	}
	for o := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(o, "=")
		var err error
		switch key {
		case "ip", "ip6":
			var ip netip.Addr
			if ip, err = netip.ParseAddr(value); err == nil && ip.Is4() {
				a.IP = ip
			} else if err == nil {
				a.IP6 = ip
			}
		case "mac":
			a.MAC, err = parseMAC(value)
		case "alias":
			if value == "" {
				return bad("an alias is empty", "for instance alias=db")
			}
			a.Aliases = append(a.Aliases, value)
		case "interface_name":
			if value == "" || len(value) > 15 || value == "lo" || strings.ContainsAny(value, "/: \t%") || value[0] == '.' {
				return bad(fmt.Sprintf("%q is no name of an interface", value), "at most 15 characters, for instance eth1")
			}
			a.Interface = value
		default:
			return bad(fmt.Sprintf("%q is not an option of a network", key), "use ip, ip6, mac, alias, interface_name")
		}
		if err != nil {
			return bad(fmt.Sprintf("%q is no value of %s", value, key), "for instance ip=10.0.0.5, ip6=fd00::5, mac=02:00:00:00:00:01")
		}
	}
	return nil
}

// addAddresses gives the flags that name no network to the first one.
func (r *Request) addAddresses(f Flags) error {
	if len(r.Attach) == 0 {
		return nil
	}
	a := &r.Attach[0]
	if len(r.Attach) > 1 && (f.IP != "" || f.IP6 != "" || f.MAC != "") {
		return &Error{What: "give the container an address", Flag: "--ip, --ip6, --mac-address", Cause: text("there are several networks it could belong to"), Hint: "write --network " + a.Network + ":ip=10.0.0.5"}
	}
	if f.IP != "" {
		ip, err := netip.ParseAddr(f.IP)
		if err != nil || !ip.Is4() {
			return &Error{What: fmt.Sprintf("parse %q", f.IP), Flag: "--ip", Cause: text("it is not an IPv4 address")}
		}
		a.IP = ip
	}
	if f.IP6 != "" {
		ip, err := netip.ParseAddr(f.IP6)
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
			return &Error{What: fmt.Sprintf("parse %q", f.IP6), Flag: "--ip6", Cause: text("it is not an IPv6 address")}
		}
		a.IP6 = ip
	}
	if f.MAC != "" {
		mac, err := parseMAC(f.MAC)
		if err != nil {
			return &Error{What: fmt.Sprintf("parse %q", f.MAC), Flag: "--mac-address", Cause: err, Hint: "for instance 02:00:00:00:00:01"}
		}
		a.MAC = mac
	}
	for i := range r.Attach {
		r.Attach[i].Aliases = append(r.Attach[i].Aliases, f.Aliases...)
	}
	for _, at := range r.Attach {
		for _, n := range at.Aliases {
			if n == "" || len(n) > 253 || strings.ContainsFunc(n, func(c rune) bool {
				return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c))
			}) {
				return &Error{What: fmt.Sprintf("parse %q", n), Flag: "--network-alias", Cause: text("it is no host name")}
			}
			if at.Network == DefaultName {
				return &Error{What: "give the container the name " + n, Flag: "--network-alias", Cause: text("containers of " + DefaultName + " do not find each other by name: strangers share it"), Hint: "gcr network create my, and --network my"}
			}
		}
	}
	return nil
}

// parseMAC accepts the address of a single Ethernet card.
func parseMAC(s string) (net.HardwareAddr, error) {
	m, err := net.ParseMAC(s)
	switch {
	case err != nil || len(m) != 6:
		return nil, text("it is not an Ethernet address")
	case m[0]&1 != 0:
		return nil, text("it is a multicast address: the lowest bit of the first byte is set")
	case strings.Trim(string(m), "\x00") == "":
		return nil, text("it is all zero")
	}
	return m, nil
}

// macFor makes the address of a card from its IP address, so that what neighbours remember stays right when the
// address goes to another container: from all of an IPv4 address, from a digest of an IPv6 one. The first byte says
// locally administered.
func macFor(a netip.Addr) net.HardwareAddr {
	m := net.HardwareAddr{0x02, 0x67, 0, 0, 0, 0}
	b := a.AsSlice()
	if a.Is6() {
		sum := sha256.Sum256(b)
		b, m[1] = sum[:4], 0x68
	}
	copy(m[2:], b)
	return m
}
