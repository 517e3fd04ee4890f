package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// batch collects requests of rtnetlink(7) and sends them in one sendto(2). The kernel carries them out in order
// and answers each, so a dozen changes cost one round trip.
type batch struct {
	fd   int
	data []byte
	what []string // of each request, in words
	okay []unix.Errno
	seq  uint32
}

// newBatch opens a socket in the network namespace of the calling thread.
func newBatch() (*batch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	// An error comes without the request that caused it.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &batch{fd: fd}, nil
}

// newBatchAt opens a socket in another network namespace: a socket stays in the one in which it was made.
func newBatchAt(netns *os.File) (*batch, error) {
	type result struct {
		b   *batch
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("open the own network namespace: %w", err)}
			return
		}
		defer own.Close()
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("enter the container's network namespace: %w", err)}
			return
		}
		// Router advertisements would let another container of the network give this one a route
		// (CVE-2020-13401); /proc/sys/net shows the namespace of the thread. Without IPv6 the file is missing.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0o644)
		b, err := newBatch()
		// The thread goes back: were it to end, the kernel would end the processes that it has started and that
		// asked to die with their parent. One that cannot go back is not unlocked and does end.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{b, err}
	}()
	r := <-done
	return r.b, r.err
}

func (b *batch) close() { unix.Close(b.fd) }

// add puts a request into the batch; errors in okay count as success.
func (b *batch) add(what string, kind, flags int, parts ...nl.NetlinkRequestData) *batch {
	req := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
	b.seq++
	req.Seq = b.seq
	for _, p := range parts {
		req.AddData(p)
	}
	m := req.Serialize()
	for len(m)%unix.NLMSG_ALIGNTO != 0 {
		m = append(m, 0)
	}
	b.data = append(b.data, m...)
	b.what = append(b.what, what)
	b.okay = append(b.okay, 0)
	return b
}

// allow makes one error of the last request count as success.
func (b *batch) allow(e unix.Errno) { b.okay[len(b.okay)-1] = e }

// run sends the batch and reads every answer. It returns the first error; the others are done all the same.
func (b *batch) run() error {
	if len(b.what) == 0 {
		return nil
	}
	first := b.seq - uint32(len(b.what)) + 1
	what, okay := b.what, b.okay
	data := b.data
	b.data, b.what, b.okay = nil, nil, nil
	if err := unix.Sendto(b.fd, data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return linkError(what[0], err)
	}
	var firstErr error
	buf := make([]byte, 1<<16)
	for left := len(what); left > 0; {
		n, _, err := unix.Recvfrom(b.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return linkError(what[0], err)
		}
		for m := buf[:n]; len(m) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < unix.SizeofNlMsghdr || size > len(m) {
				return linkError(what[0], errors.New("the kernel's answer is cut short"))
			}
			kind, seq := binary.NativeEndian.Uint16(m[4:]), binary.NativeEndian.Uint32(m[8:])
			if i := int(seq - first); kind == unix.NLMSG_ERROR && i >= 0 && i < len(what) && size >= unix.SizeofNlMsghdr+4 {
				left--
				if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m[unix.SizeofNlMsghdr:]))); errno != 0 && errno != okay[i] && firstErr == nil {
					firstErr = linkError(what[i], errno)
				}
			}
			m = m[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(m)):]
		}
	}
	return firstErr
}

// link is what gcr looks at of an interface.
type link struct {
	index int
	up    bool
	kind  string // "bridge", "veth"; empty for one of a driver
}

// ask sends one request that is answered by one message, and returns that without its header; an empty answer for an
// error of the kernel, which is returned as a number.
func (b *batch) ask(kind int, parts ...nl.NetlinkRequestData) ([]byte, error) {
	req := nl.NewNetlinkRequest(kind, 0)
	for _, p := range parts {
		req.AddData(p)
	}
	if err := unix.Sendto(b.fd, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<15)
	for {
		n, _, err := unix.Recvfrom(b.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n < unix.SizeofNlMsghdr+4 {
			return nil, errors.New("the kernel's answer is cut short")
		}
		if binary.NativeEndian.Uint16(buf[4:]) == unix.NLMSG_ERROR {
			return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])))
		}
		return buf[unix.SizeofNlMsghdr:n], nil
	}
}

// find looks at one interface by its name, without a list of all: there is one for each container. ENODEV is
// returned as such.
func (b *batch) find(name string) (link, error) {
	m, err := b.ask(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), str(unix.IFLA_IFNAME, name))
	if errors.Is(err, unix.ENODEV) {
		return link{}, err
	}
	if err != nil {
		return link{}, linkError("find interface "+name, err)
	}
	if len(m) < unix.SizeofIfInfomsg {
		return link{}, linkError("find interface "+name, errors.New("the kernel's answer is cut short"))
	}
	l := link{index: int(binary.NativeEndian.Uint32(m[4:])), up: binary.NativeEndian.Uint32(m[8:])&unix.IFF_UP != 0}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return link{}, linkError("find interface "+name, err)
	}
	for _, a := range attrs {
		if a.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_LINKINFO {
			continue
		}
		infos, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return link{}, linkError("find interface "+name, err)
		}
		for _, i := range infos {
			if i.Attr.Type == nl.IFLA_INFO_KIND {
				l.kind = string(bytes.TrimRight(i.Value, "\x00"))
			}
		}
	}
	return l, nil
}

// The requests that gcr makes.

func str(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }
func u32(kind int, v uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(v)) }

// vethPair makes a pair: one end up on a bridge, the other in the namespace.
func (b *batch) vethPair(host, inside string, bridge int, netns *os.File, mac []byte, mtu int) {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Flags, ifi.Change = unix.IFF_UP, unix.IFF_UP
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	peer.AddChild(nl.NewIfInfomsg(unix.AF_UNSPEC))
	peer.AddChild(str(unix.IFLA_IFNAME, inside))
	peer.AddChild(u32(unix.IFLA_NET_NS_FD, uint32(netns.Fd())))
	peer.AddRtAttr(unix.IFLA_ADDRESS, mac)
	parts := []nl.NetlinkRequestData{ifi, str(unix.IFLA_IFNAME, host), u32(unix.IFLA_MASTER, uint32(bridge))}
	// When nothing is said the kernel makes a queue for each processor and then uses one, and to put the others out of
	// use it waits for a grace period at either end (veth_init_queues in drivers/net/veth.c).
	for _, kind := range []uint16{unix.IFLA_NUM_TX_QUEUES, unix.IFLA_NUM_RX_QUEUES} {
		peer.AddChild(u32(int(kind), 1))
		parts = append(parts, u32(int(kind), 1))
	}
	if mtu != 0 {
		peer.AddChild(u32(unix.IFLA_MTU, uint32(mtu)))
		parts = append(parts, u32(unix.IFLA_MTU, uint32(mtu)))
	}
	b.add("make veth pair "+host, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(parts, info)...)
}

// hairpin lets a bridge send a packet out of the port that it came in by. By itself it does not.
func (b *batch) hairpin(name string) {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(unix.IFLA_BRPORT_MODE, []byte{1})
	b.add("let "+name+" reach itself over the bridge", unix.RTM_NEWLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), str(unix.IFLA_IFNAME, name), info)
}

// bridge makes a bridge and sets it up. Its address is fixed: otherwise it would be that of one of the ports and
// change when containers come and go, and neighbours would send to the old one.
func (b *batch) bridge(name string, mac []byte, mtu int) {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Flags, ifi.Change = unix.IFF_UP, unix.IFF_UP
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	parts := []nl.NetlinkRequestData{ifi, str(unix.IFLA_IFNAME, name), nl.NewRtAttr(unix.IFLA_ADDRESS, mac)}
	if mtu != 0 {
		parts = append(parts, u32(unix.IFLA_MTU, uint32(mtu)))
	}
	b.add("make bridge "+name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(parts, info)...)
	b.allow(unix.EEXIST)
}

// up sets an interface up.
func (b *batch) up(name string, index int) {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index, ifi.Flags, ifi.Change = int32(index), unix.IFF_UP, unix.IFF_UP
	b.add("set "+name+" up", unix.RTM_NEWLINK, 0, ifi)
}

// unplug takes an interface off its bridge and sets it down.
func (b *batch) unplug(name string) {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Change = unix.IFF_UP
	b.add("take "+name+" off its bridge", unix.RTM_NEWLINK, 0, ifi, str(unix.IFLA_IFNAME, name), u32(unix.IFLA_MASTER, 0))
	b.allow(unix.ENODEV)
}

// remove removes an interface, a veth with its other end.
func (b *batch) remove(name string) {
	b.add("remove "+name, unix.RTM_DELLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), str(unix.IFLA_IFNAME, name))
	b.allow(unix.ENODEV)
}

// address gives an interface an address; an IPv6 one without the second in which it looks for duplicates
// (RFC 4862, 5.4), for the lease has settled that.
func (b *batch) address(link string, index int, a netip.Addr, subnet netip.Prefix) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	ifa := nl.NewIfAddrmsg(family)
	ifa.Prefixlen, ifa.Index = uint8(subnet.Bits()), uint32(index)
	parts := []nl.NetlinkRequestData{ifa, nl.NewRtAttr(unix.IFA_LOCAL, a.AsSlice()), nl.NewRtAttr(unix.IFA_ADDRESS, a.AsSlice())}
	if a.Is6() {
		parts = append(parts, u32(unix.IFA_FLAGS, unix.IFA_F_NODAD))
	} else if subnet.Bits() < 31 {
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, lastAddr(subnet.Masked()).AsSlice()))
	}
	b.add(fmt.Sprintf("give address %s/%d to %s", a, subnet.Bits(), link), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	b.allow(unix.EEXIST)
}

// defaultRoute sends what has no other way to the gateway.
func (b *batch) defaultRoute(gateway netip.Addr, index int) {
	rt := nl.NewRtMsg()
	rt.Family = unix.AF_INET
	if gateway.Is6() {
		rt.Family = unix.AF_INET6
	}
	b.add("make default route via "+gateway.String(), unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, rt,
		nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice()), u32(unix.RTA_OIF, uint32(index)))
}

// loopbackOver lets answers to ::1 come in over an interface: the kernel looks up routes to loopback with the
// interface that the packet came in by, and finds none but that of lo otherwise.
func (b *batch) loopbackOver(link string, index int) {
	rt := nl.NewRtMsg()
	rt.Family, rt.Type, rt.Table, rt.Dst_len = unix.AF_INET6, unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, 128
	b.add("let answers to ::1 come in over "+link, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, rt,
		nl.NewRtAttr(unix.RTA_DST, netip.IPv6Loopback().AsSlice()), u32(unix.RTA_OIF, uint32(index)), u32(unix.RTA_PRIORITY, uint32(2048+index)))
	b.allow(unix.EEXIST)
}
