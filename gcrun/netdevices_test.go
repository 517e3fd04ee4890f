package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownNetwork runs the test, and the commands that it starts, in a network namespace that stands for the host's.
func ownNetwork(t *testing.T, f func()) {
	t.Helper()
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func veth(b *box, name, address string) {
	b.t.Helper()
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "p-" + name}
	b.must(netlink.LinkAdd(l))
	if address != "" {
		a, err := netlink.ParseAddr(address)
		b.must(err)
		b.must(netlink.AddrAdd(l, a))
	}
}

// Devices of the host are in the container, with their addresses, and come back when there is no container.
func TestNetDevices(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){"plain": func(*specs.Spec) {}, "user namespace": userNS} {
		t.Run(name, func(t *testing.T) {
			ownNetwork(t, func() {
				b := newBox(t, func(s *specs.Spec) {
					s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"host0": {Name: "eth0"}, "host1": {}}
					s.Linux.Sysctl = map[string]string{"net.ipv4.conf.eth0.forwarding": "1"}
					edit(s)
				}, "net")
				b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
				veth(b, "host0", "192.0.2.9/24")
				veth(b, "host1", "")
				got := strings.Fields(b.ok("run", b.id))
				for _, w := range []string{"eth0:up", "eth0=192.0.2.9/24", "host1:up", "lo:up"} {
					if !slices.Contains(got, w) {
						t.Errorf("the container sees %q, without %s", got, w)
					}
				}

				// A container that fails later leaves the host as it was.
				// The devices of the first have vanished with its namespace, which the kernel takes its time for.
				waitFor(t, "the end of the devices", func() bool {
					links, err := netlink.LinkList()
					return err == nil && len(links) == 1
				})
				b.id += "x"
				veth(b, "host0", "192.0.2.9/24")
				veth(b, "host1", "")
				b.spec.Process.Args = []string{"/nonexistent"}
				b.write()
				b.fails(1, "no such file or directory", "create", b.id)
				l, err := netlink.LinkByName("host0")
				b.must(err)
				addresses, err := netlink.AddrList(l, netlink.FAMILY_V4)
				b.must(err)
				if len(addresses) != 1 || addresses[0].IPNet.String() != "192.0.2.9/24" {
					t.Errorf("the device comes back with %v", addresses)
				}
				b.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"host0": {}, "nosuch": {}}
				b.write()
				b.fails(1, "move network device nosuch (linux.netDevices[nosuch]): the host has no such device", "create", b.id)
				_, err = netlink.LinkByName("host0")
				b.must(err)
			})
		})
	}
}
