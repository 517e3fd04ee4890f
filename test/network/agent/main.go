// Agent is what the network tests run in containers and beside them: a server that tells a client what address it
// comes from, and that client.
//
//	agent serve PORT           TCP, UDP and, if the kernel has it, SCTP, IPv4 and IPv6
//	agent dial NETWORK ADDR    prints the answer
//	agent try NETWORK ADDR     the same where none is expected: gives up soon
//	agent insist ADDR          asks by UDP all the while from one port, whoever answers; answers go to standard error
//	agent lookup NAME          prints addresses, one a line
//	agent wait                 until it is killed
//	agent without CMD…         runs a command in a kernel without nf_tables
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "serve":
		return serve(args[1])
	case "dial":
		return dial(args[1], args[2], wait)
	case "try":
		return dial(args[1], args[2], wait/4)
	case "insist":
		return insist(args[1])
	case "lookup":
		r := net.Resolver{PreferGo: true}
		ctx, cancel := context.WithTimeout(context.Background(), wait/4)
		defer cancel() // of a name that no file has, when no name server answers
		addrs, err := r.LookupHost(ctx, args[1])
		for _, a := range addrs {
			fmt.Println(a)
		}
		return err
	case "without":
		return without(args[1:])
	case "wait":
		fmt.Println("ready")
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
		return nil
	}
	return fmt.Errorf("no command %q", args[0])
}

func serve(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	u4, err := net.ListenPacket("udp4", ":"+port)
	if err != nil {
		return err
	}
	u6, err := net.ListenPacket("udp6", ":"+port)
	if err != nil {
		return err
	}
	for _, u := range []net.PacketConn{u4, u6} {
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = u.WriteTo([]byte(host(from)), from)
			}
		}()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if err := serveSCTP(netip.AddrPortFrom(a, uint16(n))); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				_, _ = io.WriteString(c, host(c.RemoteAddr())+"\n")
			}
		}()
	}
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

// wait is how long dial goes on asking: the first packets may meet a bridge whose port has just come up, or an IPv6
// address that the kernel still checks for duplicates (a second or two, where pasta is of 2023).
const wait = 4 * time.Second

// dial asks until it has an answer.
func dial(network, addr string, wait time.Duration) error {
	end := time.Now().Add(wait)
	for {
		answer, err := ask(network, addr)
		if err == nil && answer != "" {
			fmt.Println(answer)
			return nil
		}
		if time.Now().After(end) {
			if err == nil {
				err = fmt.Errorf("no answer from %s", addr)
			}
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// insist is a client that neither pauses nor takes another port when nobody answers, as a sender of logs is.
func insist(addr string) error {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	// Not connected: an ICMP error is not this socket's concern.
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("ready")
	buf := make([]byte, 100)
	for {
		if _, err := c.WriteToUDP([]byte("?"), to); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, _, err := c.ReadFromUDP(buf); err == nil {
			fmt.Fprintln(os.Stderr, string(buf[:n]))
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func ask(network, addr string) (string, error) {
	if network == "sctp" {
		return askSCTP(addr)
	}
	c, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	if network[0] == 'u' {
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}
