package network

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A rule is a list of parts. Each part is known in two forms, the words of nft(8) and the instructions of the
// kernel's rule machine, so that what gcr explains is what gcr does.

type part struct {
	text  string
	exprs []expr.Any
}

type rule struct {
	parts   []part
	comment string
	network string // that it is about; empty for all
	ways    ways   // the packets that meet it, for the drawing
}

// ways are kinds of packets.
type ways int

const (
	wayOut    ways = 1 << iota // a container opens a connection to the world
	wayIn                      // somebody opens one to a published port
	wayHost                    // the host itself does
	wayWithin                  // between containers of one network
)

func newRule(comment string, parts ...part) rule { return rule{parts: parts, comment: comment} }

func (r rule) of(d *Definition) rule { r.network = d.Name; return r }

func (r rule) on(w ways) rule { r.ways = w; return r }

// verdict is what becomes of a packet that fits, in the words of nft(8).
func (r rule) verdict() string {
	if len(r.parts) == 0 {
		return ""
	}
	v := r.parts[len(r.parts)-1].text
	if strings.Contains(v, "dnat") {
		return "dnat"
	}
	return v
}

// String is the rule as nft(8) takes it.
func (r rule) String() string {
	var words []string
	for _, p := range r.parts {
		words = append(words, p.text)
	}
	s := strings.Join(words, " ")
	if r.comment != "" {
		s += ` comment "` + r.comment + `"`
	}
	return s
}

func (r rule) exprs() []expr.Any {
	var out []expr.Any
	for _, p := range r.parts {
		out = append(out, p.exprs...)
	}
	return out
}

const (
	reg  = unix.NFT_REG_1
	reg1 = unix.NFT_REG32_01 // four bytes further on, for keys of several parts
	reg2 = unix.NFT_REG32_02
	reg4 = unix.NFT_REG32_04
	reg5 = unix.NFT_REG32_05
)

func ifname(n string) []byte {
	b := make([]byte, 16)
	copy(b, n)
	return b
}

func onLink(key expr.MetaKey, word, name string, not bool) part {
	op, sign := expr.CmpOpEq, ""
	if not {
		op, sign = expr.CmpOpNeq, "!= "
	}
	return part{word + " " + sign + `"` + name + `"`, []expr.Any{
		&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: ifname(name)},
	}}
}

func in(name string) part    { return onLink(expr.MetaKeyIIFNAME, "iifname", name, false) }
func notIn(name string) part { return onLink(expr.MetaKeyIIFNAME, "iifname", name, true) }
func out(name string) part   { return onLink(expr.MetaKeyOIFNAME, "oifname", name, false) }

func linkSet(key expr.MetaKey, word, set string, not bool) part {
	sign := ""
	if not {
		sign = "!= "
	}
	return part{word + " " + sign + "@" + set, []expr.Any{
		&expr.Meta{Key: key, Register: reg}, &expr.Lookup{SourceRegister: reg, SetName: set, Invert: not},
	}}
}

func inSet(set string) part     { return linkSet(expr.MetaKeyIIFNAME, "iifname", set, false) }
func notInSet(set string) part  { return linkSet(expr.MetaKeyIIFNAME, "iifname", set, true) }
func outSet(set string) part    { return linkSet(expr.MetaKeyOIFNAME, "oifname", set, false) }
func notOutSet(set string) part { return linkSet(expr.MetaKeyOIFNAME, "oifname", set, true) }

// address compares the source or destination address with a prefix.
func address(source bool, p netip.Prefix) part {
	family, offset, word := byte(unix.NFPROTO_IPV4), uint32(16), "ip"
	if p.Addr().Is6() {
		family, offset, word = unix.NFPROTO_IPV6, 24, "ip6"
	}
	size := uint32(p.Addr().BitLen() / 8)
	field := "daddr"
	if source {
		field = "saddr"
		offset -= size
	}
	if p.Addr().Is4() && source {
		offset = 12
	}
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{family}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
	}
	shown := p.Addr().String()
	if !p.IsSingleIP() {
		shown = p.String()
		mask := make([]byte, size)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		exprs = append(exprs, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: size, Mask: mask, Xor: make([]byte, size)})
	}
	return part{word + " " + field + " " + shown, append(exprs, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: p.Addr().AsSlice()})}
}

func saddr(p netip.Prefix) part { return address(true, p) }
func daddr(p netip.Prefix) part { return address(false, p) }

// toHost matches what is addressed to the host itself, whichever of its addresses was used.
func toHost() part {
	return part{"fib daddr type local", []expr.Any{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}}
}

func ctBits(text string, key expr.CtKey, bits uint32) part {
	return part{text, []expr.Any{
		&expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}}
}

func established() part {
	return ctBits("ct state established,related", expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

const ipsDstNAT = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
func translated() part   { return ctBits("ct status dnat", expr.CtKeySTATUS, ipsDstNAT) }

func counter() part { return part{"counter", []expr.Any{&expr.Counter{}}} }

func verdict(text string, kind expr.VerdictKind, chain string) part {
	return part{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}
func accept() part           { return verdict("accept", expr.VerdictAccept, "") }
func drop() part             { return verdict("drop", expr.VerdictDrop, "") }
func back() part             { return verdict("return", expr.VerdictReturn, "") }
func jump(chain string) part { return verdict("jump "+chain, expr.VerdictJump, chain) }

func masquerade() part { return part{"masquerade", []expr.Any{&expr.Masq{}}} }

func snat(a netip.Addr) part {
	family, word := uint32(unix.NFPROTO_IPV4), "ip"
	if a.Is6() {
		family, word = unix.NFPROTO_IPV6, "ip6"
	}
	return part{"snat " + word + " to " + a.String(), []expr.Any{
		&expr.Immediate{Register: reg, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: family, RegAddrMin: reg},
	}}
}

// dnat looks the destination up in a map of published ports; withAddr says that the key begins with the address
// that was asked for.
func dnat(set string, v6, withAddr bool) part {
	family, word := byte(unix.NFPROTO_IPV4), "ip"
	size, offset := uint32(4), uint32(16)
	protoReg, portReg, toPort := uint32(reg1), uint32(reg2), uint32(reg1)
	if v6 {
		family, word, size, offset = unix.NFPROTO_IPV6, "ip6", 16, 24
		protoReg, portReg, toPort = reg4, reg5, reg4
	}
	text := "dnat " + word + " to "
	if !withAddr {
		text = "meta nfproto " + map[bool]string{false: "ipv4", true: "ipv6"}[v6] + " " + text
	}
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{family}},
	}
	if withAddr {
		text += word + " daddr . "
		exprs = append(exprs, &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
	} else {
		protoReg, portReg = reg, reg1
	}
	exprs = append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: protoReg},
		&expr.Payload{DestRegister: portReg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: set},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: reg, RegProtoMin: toPort, Specified: true},
	)
	return part{text + "meta l4proto . th dport map @" + set, exprs}
}

// Keys and values of the maps: parts of a concatenation stand on four-byte boundaries.

func portBytes(p uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }

func mapKey(p Port, a netip.Addr) []byte {
	proto := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}[p.Proto]
	var k []byte
	if a.IsValid() {
		k = a.AsSlice()
	}
	return append(append(k, proto, 0, 0, 0), portBytes(p.HostPort)...)
}

func mapValue(a netip.Addr, port uint16) []byte { return append(a.AsSlice(), portBytes(port)...) }

// portMap is a map of published ports of one network.
type portMap struct {
	name     string
	v6, addr bool // of IPv6; the key begins with the address of the host
	elements []mapElement
}

type mapElement struct {
	key, value []byte
	text       string
}

func (m *portMap) set(t *nftables.Table) *nftables.Set {
	a := nftables.TypeIPAddr
	if m.v6 {
		a = nftables.TypeIP6Addr
	}
	key := nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	if m.addr {
		key = nftables.MustConcatSetType(a, nftables.TypeInetProto, nftables.TypeInetService)
	}
	return &nftables.Set{Table: t, Name: m.name, IsMap: true, Concatenation: true, KeyType: key, DataType: nftables.MustConcatSetType(a, nftables.TypeInetService)}
}

// about says what the map is for.
func (m *portMap) about() string {
	ip, host := ", IPv4", ", on all addresses"
	if m.v6 {
		ip = ", IPv6"
	}
	if m.addr {
		host = ", on one address"
	}
	return ip + host
}

// types is the declaration of the map in the words of nft(8).
func (m *portMap) types() string {
	a := "ipv4_addr"
	if m.v6 {
		a = "ipv6_addr"
	}
	key := "inet_proto . inet_service"
	if m.addr {
		key = a + " . " + key
	}
	return "type " + key + " : " + a + " . inet_service"
}

// add puts a published port into the map, if it belongs there.
func (m *portMap) add(p Port, e *Endpoint) {
	v4, v6 := p.families()
	to, fits := e.Address4, v4
	if m.v6 {
		to, fits = e.Address6, v6
	}
	if !fits || !to.IsValid() || m.addr == p.anyHost() {
		return
	}
	var host netip.Addr
	text := p.Proto + " . " + uitoa(p.HostPort)
	if m.addr {
		host = p.Host
		text = host.String() + " . " + text
	}
	m.elements = append(m.elements, mapElement{mapKey(p, host), mapValue(to, p.ContainerPort), text + " : " + to.String() + " . " + uitoa(p.ContainerPort)})
}
