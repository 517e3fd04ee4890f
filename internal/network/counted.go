package network

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
)

// This file reads what the kernel has counted and what it has for a container, for the drawing.

// Count is what the kernel has counted.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// kernelTable is what the kernel has of gcr's table.
type kernelTable struct {
	counts map[string][]*Count // by chain and position of the rule; nil for a rule that does not count
	admin  int                 // rules of the administrator
	ports  map[string]bool     // elements of the maps of published ports, by name of the map and key
}

// readTable reads the table; nil where there is none.
func readTable(t *table) (*kernelTable, error) {
	c, err := newTables()
	if err != nil {
		return nil, tableError("read table "+TableName, err)
	}
	there, err := tableThere(c)
	if noTables(err) {
		return nil, nil
	}
	if !there || err != nil {
		return nil, err
	}
	k := &kernelTable{counts: map[string][]*Count{}, ports: map[string]bool{}}
	for _, ch := range t.chains {
		rules, err := c.GetRules(nftTable(), &nftables.Chain{Name: ch.name, Table: nftTable()})
		if err != nil {
			return nil, tableError("read chain "+ch.name, err)
		}
		if ch.name == adminChain {
			k.admin = len(rules)
		}
		for i, r := range rules {
			var n *Count
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if i < len(ch.rules) && comment == ch.rules[i].comment {
				for _, e := range r.Exprs {
					if have, ok := e.(*expr.Counter); ok {
						n = &Count{have.Packets, have.Bytes}
					}
				}
			}
			k.counts[ch.name] = append(k.counts[ch.name], n)
		}
	}
	for _, m := range t.maps {
		// One that is not there yet has no elements.
		elements, _ := c.GetSetElements(m.set(nftTable()))
		for _, e := range elements {
			k.ports[m.name+" "+hex.EncodeToString(e.Key)] = true
		}
	}
	return k, nil
}

// count is what a rule has counted.
func (k *kernelTable) count(chain string, i int) *Count {
	if k == nil || i >= len(k.counts[chain]) {
		return nil
	}
	return k.counts[chain][i]
}

// traffic is what an interface has received and sent.
type traffic struct{ received, sent *Count }

// linkTraffic asks for an interface of the host.
func linkTraffic(name string) traffic {
	l, err := netlink.LinkByName(name)
	if err != nil || l.Attrs().Statistics == nil {
		return traffic{}
	}
	s := l.Attrs().Statistics
	return traffic{&Count{s.RxPackets, s.RxBytes}, &Count{s.TxPackets, s.TxBytes}}
}

// procNet reads a file of the network of a process (proc_pid_net(5)); empty when it cannot be had.
func procNet(pid int, file string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
	if err != nil {
		return ""
	}
	return string(b)
}

// linksOf lists the interfaces in the network of a process, with their traffic, from its file dev: two lines of
// headings, then name, colon, eight numbers received and eight sent.
func linksOf(pid int) (names []string, by map[string]traffic) {
	by = map[string]traffic{}
	for line := range strings.Lines(procNet(pid, "dev")) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 10 {
			continue
		}
		number := func(i int) uint64 { n, _ := strconv.ParseUint(f[i], 10, 64); return n }
		name = strings.TrimSpace(name)
		names = append(names, name)
		by[name] = traffic{&Count{number(1), number(0)}, &Count{number(9), number(8)}}
	}
	return names, by
}

// addressesOf lists the addresses in the network of a process, but for those of loopback and of one link only.
// The kernel tells another namespace's IPv4 addresses in its file fib_trie alone, where each is a line that begins with
// "|--", followed by lines of what it is.
func addressesOf(pid int) []netip.Addr {
	var out []netip.Addr
	add := func(a netip.Addr) {
		if a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	last := ""
	for line := range strings.Lines(procNet(pid, "fib_trie")) {
		line = strings.TrimSpace(line)
		if a, ok := strings.CutPrefix(line, "|-- "); ok {
			last = a
		}
		if strings.HasSuffix(line, "/32 host LOCAL") {
			a, _ := netip.ParseAddr(last)
			add(a)
		}
	}
	for line := range strings.Lines(procNet(pid, "if_inet6")) {
		if f := strings.Fields(line); len(f) > 0 {
			if b, err := hex.DecodeString(f[0]); err == nil {
				a, _ := netip.AddrFromSlice(b)
				add(a)
			}
		}
	}
	return out
}

// listens says who answers at a port in the network of a process: "anybody" may ask, "loopback" only, or, when
// there is no such socket, nothing. SCTP is not looked for.
func listens(pid int, p Port) string {
	found := ""
	for _, file := range []string{p.Proto, p.Proto + "6"} {
		for line := range strings.Lines(procNet(pid, file)) {
			f := strings.Fields(line)
			if len(f) < 4 {
				continue
			}
			addr, port, ok := strings.Cut(f[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			if !ok || err != nil || uint16(n) != p.ContainerPort || p.Proto == "tcp" && f[3] != "0A" { // TCP_LISTEN
				continue
			}
			b, err := hex.DecodeString(addr)
			if err != nil {
				continue
			}
			// Words of four bytes in the machine's order: little-endian where gcr runs.
			for w := range slices.Chunk(b, 4) {
				slices.Reverse(w)
			}
			if a, ok := netip.AddrFromSlice(b); ok && !a.Unmap().IsLoopback() {
				return "anybody"
			}
			found = "loopback"
		}
	}
	return found
}

// wayOutOfHost finds the interface that the host's default route leads over, and its addresses.
func wayOutOfHost() (string, []netip.Addr) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, _ := netlink.RouteList(nil, family)
		for _, r := range routes {
			index := r.LinkIndex
			if len(r.MultiPath) > 0 {
				index = r.MultiPath[0].LinkIndex
			}
			if r.Dst != nil && prefixOf(r.Dst).Bits() > 0 || index == 0 {
				continue
			}
			l, err := netlink.LinkByIndex(index)
			if err != nil || l.Attrs().Name == "lo" {
				continue
			}
			return l.Attrs().Name, hostAddresses(l)
		}
	}
	return "", nil
}

// hostAddresses are those of an interface of the host, but for those of one link only.
func hostAddresses(l netlink.Link) []netip.Addr {
	var out []netip.Addr
	addrs, _ := netlink.AddrList(l, netlink.FAMILY_ALL)
	for _, a := range addrs {
		if p := prefixOf(a.IPNet).Addr(); !p.IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out
}

// sameNetwork reports whether two processes share a network namespace; known is false when one may not be looked at.
func sameNetwork(pid, other string) (same, known bool) {
	a, err1 := os.Readlink("/proc/" + pid + "/ns/net")
	b, err2 := os.Readlink("/proc/" + other + "/ns/net")
	return a == b, err1 == nil && err2 == nil
}

// processName is the name of a process (proc_pid_comm(5)).
func processName(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(bytes.TrimSpace(b))
}
