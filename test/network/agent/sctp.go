package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SCTP by sockets that look like those of TCP (sctp(7), "one-to-one style"); the standard library has none.

// sctpSocket makes a socket for the family of an address and binds it there.
func sctpSocket(a netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return -1, fmt.Errorf("make SCTP socket: %w", err)
	}
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// serveSCTP tells clients their address, in the background; where the kernel has no SCTP it does nothing.
func serveSCTP(a netip.AddrPort) error {
	fd, err := sctpSocket(a)
	if err != nil {
		return nil // the test that needs SCTP finds that out by itself
	}
	if err := unix.Bind(fd, sockaddr(a)); err != nil {
		return fmt.Errorf("bind SCTP socket: %w", err)
	}
	if err := unix.Listen(fd, 10); err != nil {
		return fmt.Errorf("listen on SCTP socket: %w", err)
	}
	go func() {
		for {
			c, peer, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(c), "sctp")
			go func() {
				defer f.Close()
				if _, err := f.Read(make([]byte, 1)); err == nil {
					_, _ = io.WriteString(f, sockaddrHost(peer)+"\n")
					time.Sleep(time.Second) // the answer shall not be thrown away with the association
				}
			}()
		}
	}()
	return nil
}

func sockaddrHost(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr).String()
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).String()
	}
	return "?"
}

func askSCTP(addr string) (string, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return "", err
	}
	fd, err := sctpSocket(a)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close()
	limit := unix.Timeval{Sec: 1}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err := unix.Connect(fd, sockaddr(a)); err != nil {
		return "", fmt.Errorf("connect to %s: %w", addr, err)
	}
	if _, err := f.Write([]byte("?")); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	return strings.TrimSpace(line), err
}
