package netdevice

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// link is a network device of one namespace.
type link struct {
	index     int32
	name      string
	up        bool
	addresses []address
}

// address is an address of a device, as rtnetlink shows it: struct ifaddrmsg and its attributes (rtnetlink(7)).
type address struct {
	family, prefix byte
	flags          uint32
	attributes     map[uint16][]byte
}

// linkMessage is struct ifinfomsg.
func linkMessage(index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	b[0] = unix.AF_UNSPEC
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// find looks a device up by its name; nil says that there is none.
func (c *conn) find(name string) (*link, error) {
	answers, err := c.request(unix.RTM_GETLINK, 0, attribute(linkMessage(0, 0, 0), unix.IFLA_IFNAME, text(name)))
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readLink(answers)
}

// get looks a device up by its index.
func (c *conn) get(index int32) (*link, error) {
	answers, err := c.request(unix.RTM_GETLINK, 0, linkMessage(index, 0, 0))
	if err != nil {
		return nil, err
	}
	return readLink(answers)
}

func readLink(answers [][]byte) (*link, error) {
	if len(answers) != 1 || len(answers[0]) < unix.SizeofIfInfomsg {
		return nil, errors.New("read rtnetlink message: it describes no device")
	}
	b := answers[0]
	name, _, _ := strings.Cut(string(attributes(b[unix.SizeofIfInfomsg:])[unix.IFLA_IFNAME]), "\x00")
	return &link{
		index: int32(binary.NativeEndian.Uint32(b[4:])), name: name,
		up: binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0,
	}, nil
}

// permanent lists the addresses of a device that were given to it for good and are valid everywhere
// (IFA_F_PERMANENT, RT_SCOPE_UNIVERSE).
func (c *conn) permanent(index int32) ([]address, error) {
	b := make([]byte, unix.SizeofIfAddrmsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	answers, err := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP, b)
	if err != nil {
		return nil, err
	}
	var out []address
	for _, m := range answers {
		if len(m) < unix.SizeofIfAddrmsg || int32(binary.NativeEndian.Uint32(m[4:])) != index {
			continue
		}
		a := address{family: m[0], prefix: m[1], flags: uint32(m[2]), attributes: attributes(m[unix.SizeofIfAddrmsg:])}
		if f := a.attributes[unix.IFA_FLAGS]; len(f) == 4 {
			a.flags = binary.NativeEndian.Uint32(f)
		}
		if a.flags&unix.IFA_F_PERMANENT != 0 && m[3] == unix.RT_SCOPE_UNIVERSE {
			out = append(out, a)
		}
	}
	return out, nil
}

// ifaProto is IFA_PROTO, who has added an address (Linux 5.18).
const ifaProto = 11

// kept are the flags of an address that say how it is meant; the others say what has become of it.
const kept = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// add gives an address to a device; label is the name of the device, by which labels begin.
func (c *conn) add(index int32, a address, from, to string) error {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1], b[3] = a.family, a.prefix, unix.RT_SCOPE_UNIVERSE
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY, ifaProto} {
		if v, ok := a.attributes[kind]; ok {
			b = attribute(b, kind, v)
		}
	}
	b = attribute(b, unix.IFA_FLAGS, number(a.flags&kept))
	if label, _, _ := strings.Cut(string(a.attributes[unix.IFA_LABEL]), "\x00"); label != "" {
		if rest, ok := strings.CutPrefix(label, from); ok && len(to)+len(rest) < unix.IFNAMSIZ {
			label = to + rest
		}
		b = attribute(b, unix.IFA_LABEL, text(label))
	}
	_, err := c.request(unix.RTM_NEWADDR, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	return err
}

// setUp sets a device up.
func (c *conn) setUp(index int32) error {
	_, err := c.request(unix.RTM_NEWLINK, unix.NLM_F_ACK, linkMessage(index, unix.IFF_UP, unix.IFF_UP))
	return err
}

// indexes lists the devices of the namespace.
func (c *conn) indexes() (map[int32]bool, error) {
	answers, err := c.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, linkMessage(0, 0, 0))
	if err != nil {
		return nil, err
	}
	out := map[int32]bool{}
	for _, b := range answers {
		if len(b) >= unix.SizeofIfInfomsg {
			out[int32(binary.NativeEndian.Uint32(b[4:]))] = true
		}
	}
	return out, nil
}

// send moves a device to another namespace, under the name there that may be a template such as eth%d, and gives the
// device as it is there.
func (c *conn) send(l *link, there *conn, ns int, name string) (*link, error) {
	before, err := there.indexes()
	if err != nil {
		return nil, err
	}
	b := attribute(linkMessage(l.index, 0, 0), unix.IFLA_NET_NS_FD, number(uint32(ns)))
	b = attribute(b, unix.IFLA_IFNAME, text(name))
	if _, err := c.request(unix.RTM_NEWLINK, unix.NLM_F_ACK, b); err != nil {
		return nil, err
	}
	// It keeps its index unless that is taken, and may have got any name by a template.
	after, err := there.indexes()
	if err != nil {
		return nil, err
	}
	for index := range after {
		if !before[index] {
			return there.get(index)
		}
	}
	return nil, errors.New("the device has not arrived in the namespace")
}
