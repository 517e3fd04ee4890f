package network

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOneFamily has networks with IPv4 only and with IPv6 only: all that a network does, in the family that it has.
func TestOneFamily(t *testing.T) {
	background(t, in("server", agent, "serve", "99"))
	for _, c := range []struct {
		name            string
		create          []string
		hostIn, client  string
		server, hostOut string
		// what the other family has
		otherIn, otherServer, otherFlag, otherIP, otherHost string
		loopback                                            string
	}{
		{"four", []string{"--ipv6=false"}, hostIn4, client4, server4, hostOut4, hostIn6, server6, "--ip6", "fd00::9", "[::]:8088:80", "127.0.0.1:8088"},
		{"six", []string{"--ipv4=false"}, hostIn6, client6, server6, hostOut6, hostIn4, server4, "--ip", "10.0.0.9", "0.0.0.0:8088:80", "[::1]:8088"},
		{"sixgiven", []string{"--subnet", "fd00:66::/64"}, hostIn6, client6, server6, hostOut6, hostIn4, server4, "--ip", "10.0.0.9", "0.0.0.0:8088:80", "[::1]:8088"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_ = setBridgeNetfilter(false)
			output(t, append(append([]string{"network", "create"}, c.create...), c.name)...)
			four := c.name == "four"
			if got := strings.Fields(output(t, "network", "inspect", "--format", "{{.Subnet4.IsValid}} {{.Subnet6.IsValid}}", c.name)); len(got) != 2 || (got[0] == "true") != four || (got[1] == "true") == four {
				t.Errorf("subnets of IPv4 and IPv6: %v", got)
			}
			web := start(t, "--network", c.name, "--name", "web", "--network-alias", "shop", "-p", "8088:80", "-p", "8088:80/udp", rootfs, "/agent", "serve", "80")
			m := members(t, c.name)[0]
			own, none := m.Address4, m.Address6
			if !four {
				own, none = none, own
			}
			if own == "" || none != "" {
				t.Errorf("addresses: %q and %q", m.Address4, m.Address6)
			}
			if got := output(t, "run", "--quiet", "--network", c.name, rootfs, "/agent", "lookup", "shop"); got != own {
				t.Errorf("by name: %q, not %q", got, own)
			}
			if got := output(t, "run", "--quiet", "--network", c.name, rootfs, "/agent", "dial", "tcp", "web:80"); got == "" {
				t.Error("the neighbour is not reached by name")
			}
			for _, network := range []string{"tcp", "udp"} {
				if got, err := ask("client", network, join(c.hostIn, "8088")); err != nil || got != c.client {
					t.Errorf("%s from the client: %s, %v", network, got, err)
				}
				if got, err := ask("", network, c.loopback); err != nil {
					t.Errorf("%s from the host's loopback: %s", network, got)
				}
				if got, err := exec.Command(gcr, "run", "--quiet", "--network", c.name, rootfs, "/agent", "dial", network, join(c.hostIn, "8088")).CombinedOutput(); err != nil {
					t.Errorf("%s from another container by the host's address: %s", network, got)
				}
			}
			if got, ok := reaches("client", "tcp", join(c.otherIn, "8088")); ok {
				t.Errorf("the other family reaches it: %s", got)
			}
			if got := output(t, "run", "--quiet", "--network", c.name, rootfs, "/agent", "dial", "tcp", join(c.server, "99")); got != c.hostOut {
				t.Errorf("the server sees %s", got)
			}
			if got, err := exec.Command(gcr, "run", "--quiet", "--network", c.name, rootfs, "/agent", "try", "tcp", join(c.otherServer, "99")).CombinedOutput(); err == nil {
				t.Errorf("out by the other family: %s", got)
			}
			// A port of the host that the kernel chooses.
			if got := output(t, "run", "--quiet", "--network", c.name, "-p", "80", rootfs, "/agent", "lookup", "localhost"); got == "" {
				t.Error("no container with a free port")
			}
			for _, flags := range [][]string{{c.otherFlag, c.otherIP}, {"-p", c.otherHost}} {
				out, err := exec.Command(gcr, append(append([]string{"run", "--quiet", "--network", c.name}, flags...), rootfs, "/agent", "wait")...).CombinedOutput()
				if text := strings.TrimSpace(string(out)); err == nil || strings.Contains(text, "\n") || !strings.Contains(text, "of that kind") {
					t.Errorf("%v: not one clear line: %s", flags, text)
				}
			}
			text := output(t, "network", "explain", "web")
			frames(t, text)
			if !strings.Contains(text, own) || strings.Contains(text, "invalid") || strings.Contains(text, map[bool]string{true: "IPv6", false: "IPv4"}[four]) {
				t.Errorf("the drawing:\n%s", text)
			}
			script := output(t, "run", "--explain=shell", "--network", c.name, "--security-opt", "seccomp=unconfined", "host", "bash", "-c", "exec 3<>/dev/tcp/"+c.server+"/99; echo >&3; read -r a <&3; echo $a")
			shell := exec.Command("bash")
			shell.Stdin = strings.NewReader(script)
			if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), c.hostOut) {
				t.Errorf("the script of --explain=shell: %v: %s\n%s", err, out, script)
			}
			web.stop()
			if got := output(t, "network", "prune"); !strings.Contains(got, c.name) {
				t.Errorf("prune: %s", got)
			}
			nothingLeft(t)
		})
	}
}

// TestTurnedOffIPv6 is a host whose administrator has turned IPv6 off by sysctl: the networks work with IPv4 alone.
func TestTurnedOffIPv6(t *testing.T) {
	_ = setBridgeNetfilter(false)
	output(t, "network", "prune")
	output(t, "network", "create", "two")
	output(t, "network", "create", "--ipv4=false", "six")
	const off = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	must(os.WriteFile(off, []byte("1"), 0))
	defer func() { must(os.WriteFile(off, []byte("0"), 0)); nothingLeft(t) }()
	background(t, in("server", agent, "serve", "99"))
	for _, name := range []string{"gcr0", "two"} {
		web := start(t, "--network", name, "-p", "8088:80", rootfs, "/agent", "serve", "80")
		if m := members(t, name)[0]; m.Address4 == "" || m.Address6 != "" {
			t.Errorf("addresses in %s: %q and %q", name, m.Address4, m.Address6)
		}
		if got, err := ask("client", "tcp", join(hostIn4, "8088")); err != nil || got != client4 {
			t.Errorf("%s from the client: %s, %v", name, got, err)
		}
		web.stop()
		if got := output(t, "run", "--quiet", "--network", name, rootfs, "/agent", "dial", "tcp", join(server4, "99")); got != hostOut4 {
			t.Errorf("out of %s: the server sees %s", name, got)
		}
		if told := output(t, "run", "--explain", "--network", name, rootfs, "/agent"); strings.Contains(told, "via fd") {
			t.Errorf("--explain tells of IPv6:\n%s", told)
		}
		script := exec.Command("bash")
		script.Stdin = strings.NewReader(output(t, "run", "--explain=shell", "--network", name, "--security-opt", "seccomp=unconfined", "host", "bash", "-c", "exec 3<>/dev/tcp/"+server4+"/99; echo >&3; read -r a <&3; echo $a"))
		if out, err := script.CombinedOutput(); err != nil || !strings.Contains(string(out), hostOut4) {
			t.Errorf("the script of --explain=shell: %v: %s", err, out)
		}
	}
	out, err := exec.Command(gcr, "run", "--quiet", "--network", "six", rootfs, "/agent", "wait").CombinedOutput()
	if text := strings.TrimSpace(string(out)); err == nil || strings.Contains(text, "\n") || !strings.Contains(text, "this host has none") || !strings.Contains(text, "disable_ipv6") {
		t.Errorf("a network of IPv6 only: not one clear line: %v: %s", err, text)
	}
}
