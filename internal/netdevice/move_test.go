package netdevice

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs f in a thread with a network namespace of its own, and gives it a second one.
func inNamespace(t *testing.T, f func(t *testing.T, other *os.File, there *netlink.Handle)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespaces
		open := func() *os.File {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				t.Error(err)
				return nil
			}
			ns, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				t.Error(err)
			}
			return ns
		}
		other := open()
		if other == nil {
			return
		}
		there, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		if home := open(); home != nil {
			home.Close()
			f(t, other, there)
		}
	}()
	<-done
}

func device(t *testing.T, name string, up bool, addresses ...string) {
	t.Helper()
	hw, _ := net.ParseMAC("02:00:00:11:22:33")
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1334, HardwareAddr: hw}, PeerName: "p-" + name}
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatal(err)
	}
	for _, s := range addresses {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			t.Fatal(err)
		}
	}
	if up {
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// describe says what another program sees of a device.
func describe(t *testing.T, l netlink.Link, list func(netlink.Link, int) ([]netlink.Addr, error)) string {
	t.Helper()
	addresses, err := list(l, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addresses {
		if a.Scope == unix.RT_SCOPE_UNIVERSE {
			out = append(out, a.IPNet.String())
		}
	}
	state := "down"
	if l.Attrs().Flags&net.FlagUp != 0 {
		state = "up"
	}
	return strings.Join(append(out, state, l.Attrs().HardwareAddr.String()), " ")
}

func TestMoveAndBack(t *testing.T) {
	inNamespace(t, func(t *testing.T, other *os.File, there *netlink.Handle) {
		device(t, "one", true, "192.0.2.1/24", "198.51.100.7/32", "2001:db8::1/64")
		device(t, "two", false)
		device(t, "three", false)
		m, err := Move(other, []Device{{Name: "one", NewName: "eth0"}, {Name: "two"}, {Name: "three", NewName: "eth%d"}})
		if err != nil {
			t.Error(err)
			return
		}
		for name, want := range map[string]string{
			"eth0": "192.0.2.1/24 198.51.100.7/32 2001:db8::1/64 up 02:00:00:11:22:33",
			"two":  "up 02:00:00:11:22:33",
			"eth1": "up 02:00:00:11:22:33",
		} {
			l, err := there.LinkByName(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if got := describe(t, l, there.AddrList); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
			if l.Attrs().MTU != 1334 {
				t.Errorf("the MTU of %s is %d", name, l.Attrs().MTU)
			}
		}
		if links, err := netlink.LinkList(); err != nil || len(links) != 4 {
			t.Errorf("%d devices are left, want lo and the other ends of the three (%v)", len(links), err)
		}
		if err := m.Back(); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{"one": "192.0.2.1/24 198.51.100.7/32 2001:db8::1/64 up 02:00:00:11:22:33", "two": "down 02:00:00:11:22:33", "three": "down 02:00:00:11:22:33"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if got := describe(t, l, netlink.AddrList); got != want {
				t.Errorf("back home %s is %q, want %q", name, got, want)
			}
		}
		m.Close()
	})
}

// A device that cannot be moved leaves those before it where they were.
func TestMoveNothing(t *testing.T) {
	inNamespace(t, func(t *testing.T, other *os.File, there *netlink.Handle) {
		device(t, "one", true, "192.0.2.1/24")
		if err := there.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "taken"}, PeerName: "peer"}); err != nil {
			t.Error(err)
			return
		}
		for text, last := range map[string]Device{
			"move network device none (f): the host has no such device": {Field: "f", Name: "none"},
			"the container has a device taken already":                  {Field: "f", Name: "one", NewName: "taken"},
			"move network device lo (f): ":                              {Field: "f", Name: "lo", NewName: "x"},
		} {
			list := []Device{{Name: "one"}, last}
			if last.Name == "one" {
				list = list[1:]
			}
			dup, err := unix.Dup(int(other.Fd()))
			if err != nil {
				t.Error(err)
				return
			}
			_, err = Move(os.NewFile(uintptr(dup), "ns"), list)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), text) {
				t.Errorf("the error is %v, want %q", err, text)
			}
			l, err := netlink.LinkByName("one")
			if err != nil {
				t.Error(err)
				continue
			}
			if got := describe(t, l, netlink.AddrList); !strings.HasPrefix(got, "192.0.2.1/24 up") {
				t.Errorf("the first device is %q", got)
			}
		}
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := Move(home, []Device{{Name: "one"}}); err == nil || !strings.Contains(err.Error(), "network namespace of the host") {
			t.Errorf("a move to the own namespace gives %v", err)
		}
	})
}

// What the kernel sends is never trusted to be whole.
func FuzzParse(f *testing.F) {
	f.Add(attribute(linkMessage(1, 2, 3), 4, text("lo")), uint32(1))
	f.Add([]byte{16, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, uint32(1))
	f.Fuzz(func(_ *testing.T, b []byte, seq uint32) {
		answers, _, _ := parse(b, seq)
		_, _ = readLink(answers)
		attributes(b)
	})
}
