package network

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func join(host, port string) string { return net.JoinHostPort(host, port) }

// TestPublishedPorts reaches a published port from everywhere, and looks at the address that the container sees.
func TestPublishedPorts(t *testing.T) {
	for _, filter := range []bool{false, true} {
		t.Run(fmt.Sprintf("bridge-netfilter=%v", filter), func(t *testing.T) {
			if err := setBridgeNetfilter(filter); err != nil {
				if filter {
					t.Skip("the kernel has no br_netfilter: ", err)
				}
			}
			start(t, "--name", "web", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:80", "-p", "[::1]:8082:80", rootfs, "/agent", "serve", "80")
			for _, c := range []struct{ from, network, to, want string }{
				{"client", "tcp", join(hostIn4, "8080"), client4},
				{"client", "tcp", join(hostIn6, "8080"), client6},
				{"client", "udp", join(hostIn4, "8080"), client4},
				{"client", "udp", join(hostIn6, "8080"), client6},
				{"", "tcp", "127.0.0.1:8080", "gateway"},
				{"", "tcp", "[::1]:8080", "gateway"},
				{"", "udp", "127.0.0.1:8080", "gateway"},
				{"", "udp", "[::1]:8080", "gateway"},
				{"", "tcp", "127.0.0.1:8081", "gateway"},
				{"", "tcp", "[::1]:8082", "gateway"},
				{"", "tcp", join(hostIn4, "8080"), hostIn4},
				{"", "tcp", join(hostIn6, "8080"), hostIn6},
				{"", "udp", join(hostOut4, "8080"), hostOut4},
				{"", "udp", join(hostOut6, "8080"), hostOut6},
			} {
				got, err := ask(c.from, c.network, c.to)
				if err != nil {
					t.Errorf("%s from %q to %s: %s", c.network, c.from, c.to, got)
					continue
				}
				if c.want == "gateway" {
					if a, err := netip.ParseAddr(got); err != nil || !a.IsPrivate() {
						t.Errorf("%s to %s: seen as %s, not as the bridge", c.network, c.to, got)
					}
				} else if got != c.want {
					t.Errorf("%s from %q to %s: seen as %s", c.network, c.from, c.to, got)
				}
			}
			// Hairpin: from another container of the network, by the address of the host.
			for _, to := range []string{join(hostIn4, "8080"), join(hostIn6, "8080")} {
				for _, network := range []string{"tcp", "udp"} {
					if got, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "dial", network, to).CombinedOutput(); err != nil {
						t.Errorf("%s from another container to %s: %s", network, to, got)
					}
				}
			}
			// And from the container itself.
			for _, to := range []string{join(hostIn4, "8080"), join(hostOut6, "8080")} {
				for _, network := range []string{"tcp", "udp"} {
					if got, err := exec.Command("nsenter", "--net=/proc/"+pidOf(t, "web")+"/ns/net", agent, "dial", network, to).CombinedOutput(); err != nil {
						t.Errorf("%s from the container itself to %s: %s", network, to, got)
					}
				}
			}
			// What is published on the loopback is for the host alone.
			for _, to := range []string{join(hostIn4, "8081"), join(hostIn6, "8082")} {
				if got, ok := reaches("client", "tcp", to); ok {
					t.Errorf("the client reaches %s, which is published on loopback only: %s", to, got)
				}
			}
		})
	}
	_ = setBridgeNetfilter(false)
}

// TestNeighboursStayOutside tries ways around published ports.
func TestNeighboursStayOutside(t *testing.T) {
	start(t, "--name", "web", "-p", "127.0.0.1:8081:80", rootfs, "/agent", "serve", "80")
	m := members(t, "gcr0")[0]
	// Straight to the container's address, over the host as a router.
	for _, to := range []string{m.Address4, m.Address6} {
		if got, ok := reaches("client", "tcp", join(to, "80")); ok {
			t.Errorf("the client reaches the container's own address %s: %s", to, got)
		}
	}
	// To the host's loopback, over the host as a router.
	must(sh("ip -n client route add 127.0.0.1/32 via 192.0.2.1 table 99; ip -n client rule add to 127.0.0.1 pref 0 table 99; ip netns exec client sysctl -qw net.ipv4.conf.e1.route_localnet=1"))
	defer func() { must(sh("ip -n client rule del pref 0 to 127.0.0.1; ip -n client route flush table 99")) }()
	must(sh("ip -n client rule del pref 0 lookup local; ip -n client rule add pref 10 lookup local"))
	defer func() { must(sh("ip -n client rule del pref 10; ip -n client rule add pref 0 lookup local")) }()
	if got, ok := reaches("client", "tcp", "127.0.0.1:8081"); ok {
		t.Errorf("the client reaches a port of the host's loopback: %s", got)
	}
	// From a container to a server on the host's loopback, with the gateway as the way.
	l, err := net.Listen("tcp", "127.0.0.1:7070")
	must(err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("secret"))
			c.Close()
		}
	}()
	out, _ := exec.Command(gcr, "run", "--quiet", "--privileged", "host", "sh", "-c",
		"echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet; gw=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'); ip rule add pref 5 to 127.0.0.1 lookup 99; ip route add 127.0.0.1 via $gw table 99; ip rule del pref 0; ip rule add pref 10 lookup local; timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/7070; cat <&3'").CombinedOutput()
	if strings.Contains(string(out), "secret") {
		t.Errorf("a container reaches the host's loopback: %s", out)
	}
}

// TestOutgoing looks at who the world sees.
func TestOutgoing(t *testing.T) {
	background(t, in("server", agent, "serve", "99"))
	for _, c := range []struct{ network, to, want string }{
		{"tcp", join(server4, "99"), hostOut4},
		{"tcp", join(server6, "99"), hostOut6},
		{"udp", join(server4, "99"), hostOut4},
		{"udp", join(server6, "99"), hostOut6},
	} {
		if got := output(t, "run", "--quiet", rootfs, "/agent", "dial", c.network, c.to); got != c.want {
			t.Errorf("%s to %s: the server sees %s, not %s", c.network, c.to, got, c.want)
		}
	}
}

// TestFixedAddresses gives addresses by flags.
func TestFixedAddresses(t *testing.T) {
	output(t, "network", "create", "--subnet", "10.200.7.0/24", "--subnet", "fd00:7::/64", "--mtu", "1400", "fixed")
	defer output(t, "network", "rm", "fixed")
	out := output(t, "run", "--quiet", "--network", "fixed", "--ip", "10.200.7.77", "--ip6", "fd00:7::77", "--mac-address", "02:00:00:00:00:77", "host", "ip", "addr", "show", "eth0")
	for _, want := range []string{"10.200.7.77/24", "fd00:7::77/64", "02:00:00:00:00:77", "mtu 1400"} {
		if !strings.Contains(out, want) {
			t.Errorf("the container does not have %s:\n%s", want, out)
		}
	}
}

// TestSharedNamespaces runs a container in the network of another, and in a named namespace.
func TestSharedNamespaces(t *testing.T) {
	start(t, "--name", "web", rootfs, "/agent", "serve", "80")
	if got := output(t, "run", "--quiet", "--network", "container:web", rootfs, "/agent", "dial", "tcp", "127.0.0.1:80"); got != "127.0.0.1" {
		t.Errorf("the neighbour on loopback sees %s", got)
	}
	if got := output(t, "run", "--quiet", "--network", "ns:/run/netns/client", "host", "ip", "-o", "addr", "show", "up"); !strings.Contains(got, client4) {
		t.Errorf("the container is not in the namespace client: %s", got)
	}
	if got := output(t, "run", "--quiet", "--network", "none", "host", "ip", "-o", "link"); strings.Contains(got, "eth0") {
		t.Errorf("--network none has an interface: %s", got)
	}
	if got := output(t, "run", "--quiet", "--network", "host", "host", "ip", "-o", "link"); !strings.Contains(got, "toro") {
		t.Errorf("--network host has not the host's interfaces: %s", got)
	}
}

// TestRanges publishes ranges, and on free ports of the host.
func TestRanges(t *testing.T) {
	web := start(t, "--name", "web", "-p", "9000-9002:80-82", "-p", "80", rootfs, "/agent", "serve", "81")
	if got, err := ask("client", "tcp", join(hostIn4, "9001")); err != nil || got != client4 {
		t.Errorf("the middle of a range: %s, %v", got, err)
	}
	m := members(t, "gcr0")[0]
	if len(m.Ports) != 4 || !strings.HasSuffix(m.Ports[3], ":80/tcp") || strings.HasPrefix(m.Ports[3], "0:") {
		t.Errorf("ports %v: the last one has no free port of the host", m.Ports)
	}
	if web.said() != "" {
		t.Errorf("--quiet, and still: %s", web.said())
	}
	// The ports that were free are told: nobody could know them otherwise.
	loud := &proc{t: t, cmd: exec.Command(gcr, "run", "-P", "--expose", "81", "--expose", "81/tcp", "-p", "0:81/udp", rootfs, "/agent", "serve", "81")}
	loud.begin()
	told := regexp.MustCompile(`(?m)^gcr: note: published ([0-9]+):81/(tcp|udp)$`).FindAllStringSubmatch(loud.said(), -1)
	if len(told) != 2 {
		t.Fatalf("not two ports that were free: %s", loud.said())
	}
	for _, p := range told {
		if got, err := ask("client", p[2], join(hostIn4, p[1])); err != nil || got != client4 {
			t.Errorf("what was told to be published: %s: %s, %v", p[0], got, err)
		}
	}
}

// TestManyPorts publishes as many ports as one range may have, or as the limit on open files lets a caller have; the rules
// are made with them and made anew.
func TestManyPorts(t *testing.T) {
	var limit unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	const others = 200 // files of gcr beside the two of each port
	first := 14096 - min(4096, (int(min(limit.Max, 1<<20))-others)/2)
	ports := fmt.Sprintf("%d-14095:%d-14095", first, first)
	start(t, "--name", "many", "-p", ports, rootfs, "/agent", "serve", "14095")
	reached := func(when string) {
		t.Helper()
		for to, want := range map[string]string{hostIn4: client4, hostIn6: client6} {
			if got, err := ask("client", "tcp", join(to, "14095")); err != nil || got != want {
				t.Errorf("%s, the last port of the range at %s: %s, %v", when, to, got, err)
			}
		}
	}
	reached("at first")
	must(sh("nft flush ruleset"))
	output(t, "run", "--quiet", rootfs, "/agent", "lookup", "localhost")
	reached("after the table was made anew")
	if out, err := exec.Command(gcr, "run", "--quiet", "-p", "10000-14096:10000-14096", rootfs, "/agent", "wait").CombinedOutput(); err == nil || !strings.Contains(string(out), "4097 ports, more than 4096") {
		t.Errorf("one more: %v: %s", err, out)
	}
	few := exec.Command("sh", "-c", `ulimit -n 300 && exec "$@"`, "sh", gcr, "run", "--quiet", "-p", "15000-15199:80-279", rootfs, "/agent", "wait")
	if out, err := few.CombinedOutput(); err == nil || !strings.Contains(string(out), "too many open files") || strings.Count(string(out), "\n") > 3 {
		t.Errorf("more ports than files: %v: %s", err, out)
	}
}

// TestFlowsMove has clients that send all the while, from before the first container: each next container has them at
// once, with their own address, although the kernel translates by the first packet of a flow.
func TestFlowsMove(t *testing.T) {
	for to, want := range map[string]string{hostIn4: client4, hostIn6: client6} {
		client := background(t, in("client", agent, "insist", join(to, "8070")))
		for n, flag := range []string{"8070:80/udp", "8070:80/udp", join(to, "8070") + ":80/udp"} {
			p := start(t, "-p", flag, rootfs, "/agent", "serve", "80")
			before := strings.Count(client.said(), want+"\n")
			eventually(t, fmt.Sprintf("container %d to be asked by %s", n, want), func() bool { return strings.Count(client.said(), want+"\n") > before+5 })
			if n == 0 {
				p.kill()
			} else {
				p.stop()
			}
		}
		for line := range strings.Lines(client.said()) {
			if line != want+"\n" {
				t.Errorf("the container saw %s, not %s", line, want)
			}
		}
	}
	// A program of the host that takes the port over has them as well.
	client := background(t, in("client", agent, "insist", join(hostIn4, "8070")))
	p := start(t, "-p", "8070:80/udp", rootfs, "/agent", "serve", "80")
	eventually(t, "the container to be asked", func() bool { return client.said() != "" })
	p.stop()
	before := len(client.said())
	background(t, in("", agent, "serve", "8070"))
	eventually(t, "the host's own program to be asked", func() bool { return len(client.said()) > before+5*len(client4) })
}
