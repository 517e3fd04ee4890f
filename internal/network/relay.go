package network

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// This file carries datagrams from the socket that holds a published UDP port to the container, for the packets that
// the table leaves to it. A client is known by its address alone, so what it is doing is remembered: each client has
// a socket of its own towards the container, and what comes back by that goes to this client.

const (
	// udpIdle is how long a client is remembered after its last packet; connection tracking does for as long
	// (nf_conntrack_udp_timeout_stream).
	udpIdle = 2 * time.Minute
	// mostClients bounds the sockets of one port.
	mostClients = 1024
	// largestDatagram is the most that UDP carries (RFC 768).
	largestDatagram = 65535
)

type udpRelay struct {
	sock *net.UDPConn
	to   netip.AddrPort
	idle time.Duration

	mu      sync.Mutex
	clients map[netip.AddrPort]*net.UDPConn
}

// drain throws away what has come before there were rules for it: passed on, it would come from gcr's own address.
func (u *udpRelay) drain() {
	raw, err := u.sock.SyscallConn()
	if err != nil {
		return
	}
	var b [1]byte
	_ = raw.Read(func(fd uintptr) bool {
		for {
			if _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); err != nil && !errors.Is(err, unix.EINTR) {
				return true // EAGAIN: nothing is left
			}
		}
	})
}

// serve carries packets until the socket is closed.
func (u *udpRelay) serve() {
	u.clients = map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, c := range u.clients {
			c.Close()
		}
	}()
	// With the address that a packet was sent to, the answer can come from there: the socket may stand for all
	// addresses of the host (IP_PKTINFO of ip(7), IPV6_RECVPKTINFO of ipv6(7)).
	if raw, err := u.sock.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
	}
	buf, oob := make([]byte, largestDatagram), make([]byte, 128)
	for {
		n, oobn, _, from, err := u.sock.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		if c := u.client(from, append([]byte(nil), oob[:oobn]...)); c != nil {
			_ = c.SetReadDeadline(time.Now().Add(u.idle))
			_, _ = c.Write(buf[:n])
		}
	}
}

// client finds the socket of a client, or makes it; nil when that cannot be done now, and the packet is lost, as
// packets are.
func (u *udpRelay) client(from netip.AddrPort, oob []byte) *net.UDPConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c, ok := u.clients[from]; ok {
		return c
	}
	if len(u.clients) >= mostClients {
		return nil
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.to))
	if err != nil {
		return nil
	}
	u.clients[from] = c
	go func() {
		defer func() {
			u.mu.Lock()
			delete(u.clients, from)
			u.mu.Unlock()
			c.Close()
		}()
		buf := make([]byte, largestDatagram)
		for {
			n, err := c.Read(buf)
			if errors.Is(err, unix.ECONNREFUSED) {
				continue // nobody listens yet; it may come
			}
			if err != nil {
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(u.idle))
			_, _, _ = u.sock.WriteMsgUDPAddrPort(buf[:n], oob, from)
		}
	}()
	return c
}
