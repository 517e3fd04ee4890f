package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// holder is a socket that keeps a published port of the host from everybody else. Packets do not come to it: the
// table sends them on before. Only what the table cannot carry does (see serveLoopback).
type holder struct {
	io.Closer
	listener net.Listener // of TCP
	packets  *net.UDPConn // of UDP
	to       netip.AddrPort
}

// holdPorts settles which ports of the host the container has and takes them.
func (c *Connection) holdPorts() error {
	if c.plan.Mode != Bridge || len(c.plan.Request.Ports) == 0 {
		return nil
	}
	e := &c.record.Endpoints[0]
	for _, p := range c.plan.Request.Ports {
		if p.Proto == "sctp" {
			// No socket keeps such a port.
			if err := c.heldByOther(p); err != nil {
				return err
			}
		}
		if p.HostPort == 0 {
			p.chosen = true
			p.HostPort = p.ContainerPort // where sockets cannot choose one, as for SCTP
			if p.Proto != "sctp" {
				port, err := freePort(p, e.Address4.IsValid())
				if err != nil {
					return portError(p, err)
				}
				p.HostPort = port
			}
		}
		v4, v6 := p.families()
		for _, f := range []struct {
			want   bool
			suffix string
			to     netip.Addr
		}{{v4, "4", e.Address4}, {v6, "6", e.Address6}} {
			if !f.want {
				continue
			}
			if !f.to.IsValid() {
				if p.Host.IsValid() {
					return &Error{What: "publish " + p.String(), Flag: "-p", Cause: text("the container has no address of that kind in network " + e.Network), Hint: "gcr network inspect " + e.Network}
				}
				continue
			}
			h, err := hold(p, f.suffix)
			if errors.Is(err, unix.EADDRINUSE) {
				if err := c.heldByOther(p); err != nil {
					return err
				}
			}
			if err != nil {
				return portError(p, err)
			}
			if h.Closer != nil {
				h.to = netip.AddrPortFrom(f.to, p.ContainerPort)
				c.held = append(c.held, h)
			}
		}
		c.record.Ports = append(c.record.Ports, p)
	}
	return nil
}

// heldByOther finds the container that has a port of the host.
func (c *Connection) heldByOther(p Port) error {
	for _, o := range c.plan.store.records() {
		for _, q := range o.Ports {
			if o.ID != c.record.ID && p.HostPort != 0 && p.overlaps(q) {
				return &Error{What: "publish " + p.String(), Flag: "-p", Cause: fmt.Errorf("port %d of the host belongs to container %s", p.HostPort, filepath.Base(o.Dir)), Hint: "choose another port of the host"}
			}
		}
	}
	return nil
}

func hostPort(p Port) string {
	host := ""
	if p.Host.IsValid() && !p.Host.IsUnspecified() {
		host = p.Host.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(p.HostPort)))
}

// hold binds a socket; suffix is 4 or 6.
func hold(p Port, suffix string) (holder, error) {
	switch p.Proto {
	case "tcp":
		l, err := net.Listen("tcp"+suffix, hostPort(p))
		if err != nil {
			return holder{}, err
		}
		return holder{Closer: l, listener: l}, nil
	case "udp":
		u, err := net.ListenPacket("udp"+suffix, hostPort(p))
		if err != nil {
			return holder{}, err
		}
		return holder{Closer: u, packets: u.(*net.UDPConn)}, nil
	}
	// SCTP sockets need a module that most kernels do not load; the map alone keeps such a port.
	return holder{}, nil
}

// freePort lets the kernel choose a port: an IPv4 one if there may be such.
func freePort(p Port, ipv4 bool) (uint16, error) {
	v4, _ := p.families()
	suffix := "6"
	if v4 && ipv4 {
		suffix = "4"
	}
	h, err := hold(p, suffix)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	if h.listener != nil {
		return h.listener.Addr().(*net.TCPAddr).AddrPort().Port(), nil
	}
	return h.packets.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// portError says in words why a port of the host cannot be had.
func portError(p Port, err error) error {
	e := &Error{What: "publish " + p.String(), Flag: "-p", Cause: err}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Cause = errno
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		e.Cause = text(fmt.Sprintf("port %d of the host is in use", p.HostPort))
		e.Hint = fmt.Sprintf("see who has it: ss -lnp 'sport = %d'; or choose another", p.HostPort)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		e.Cause = text("the host has no address " + p.Host.String())
		e.Hint = "ip addr lists them"
	case errors.Is(err, unix.EACCES):
		first := readSysctl("net/ipv4/ip_unprivileged_port_start")
		e.Cause = text("ports below " + first + " are for root")
		e.Hint = fmt.Sprintf("choose a higher one, such as %d, or: sysctl -w net.ipv4.ip_unprivileged_port_start=%d", int(p.HostPort)+8000, p.HostPort)
	case errors.Is(err, unix.EMFILE):
		e.Cause = text("too many open files: each published port is held by up to two")
		e.Hint = "publish fewer ports, or raise the limit: ulimit -n"
	}
	return e
}

// serveLoopback carries what the table leaves to the sockets: what is sent to ::1 where bridge-nf-call-ip6tables is
// on, and all when somebody has flushed the table. It comes from gcr's own address then.
func (c *Connection) serveLoopback() {
	for _, h := range c.held {
		switch {
		case h.listener != nil:
			go h.serve()
		case h.packets != nil:
			u := &udpRelay{sock: h.packets, to: h.to, idle: udpIdle}
			u.drain()
			go u.serve()
		}
	}
}

func (h holder) serve() {
	for {
		from, err := h.listener.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", h.to.String())
			if err != nil {
				return
			}
			defer to.Close()
			done := make(chan struct{})
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.(*net.TCPConn).CloseWrite()
				close(done)
			}()
			_, _ = io.Copy(from, to)
			_ = from.(*net.TCPConn).CloseWrite()
			<-done
		}()
	}
}

// canBind tries whether the caller may have a port, and lets go of it.
func canBind(p Port) error {
	v4, v6 := p.families()
	for suffix, want := range map[string]bool{"4": v4, "6": v6} {
		if !want || suffix == "6" && !p.Host.IsValid() && !hasIPv6() {
			continue
		}
		h, err := hold(p, suffix)
		if err != nil {
			if suffix == "6" && !p.Host.IsValid() && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, os.ErrNotExist)) {
				continue
			}
			return portError(p, err)
		}
		if h.Closer != nil {
			h.Close()
		}
	}
	return nil
}
