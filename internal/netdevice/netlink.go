package netdevice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// conn is an rtnetlink socket. It belongs to the network namespace that it was made in, whatever thread uses it.
type conn struct {
	fd  int
	seq uint32
}

// dial makes a socket in the network namespace of the calling thread.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// Requests are checked strictly, so that a dump of the addresses of one device holds no others (Linux 4.20).
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("prepare rtnetlink socket: %w", err)
	}
	return &conn{fd: fd}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// attribute appends an attribute (struct rtattr), padded to four bytes (rtnetlink(7)).
func attribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func text(s string) []byte { return append([]byte(s), 0) }

// attributes reads a list of attributes; of one that comes twice the last counts.
func attributes(b []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			break
		}
		// The highest bits say how the value is encoded (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
		out[binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = b[4:n]
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// request sends a message and collects the bodies of the answers. The kernel's error is returned as it is.
func (c *conn) request(kind uint16, flags uint16, body []byte) ([][]byte, error) {
	c.seq++
	msg := make([]byte, 0, unix.NLMSG_HDRLEN+len(body))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST)
	msg = binary.NativeEndian.AppendUint32(msg, c.seq)
	msg = append(append(msg, 0, 0, 0, 0), body...)
	if err := unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var out [][]byte
	buf := make([]byte, 64<<10) // the kernel fills at most 32 KiB at a time
	for {
		n, from, err := unix.Recvfrom(c.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // not from the kernel
		}
		answers, done, err := parse(buf[:n], c.seq)
		if err != nil {
			return nil, err
		}
		out = append(out, answers...)
		// An answer that is not one of several, and to which no acknowledgement was asked for, is the last.
		if done || flags&(unix.NLM_F_ACK|unix.NLM_F_DUMP) == 0 && len(answers) > 0 {
			return out, nil
		}
	}
}

// parse takes a datagram apart: bodies of the answers to request seq, whether it holds the end, or the error.
func parse(b []byte, seq uint32) (answers [][]byte, done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return nil, false, errors.New("read rtnetlink message: it is cut short")
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n]
		mine := binary.NativeEndian.Uint32(b[8:]) == seq
		b = b[min((n+3)&^3, len(b)):]
		switch {
		case !mine:
		case kind == unix.NLMSG_DONE:
			done = true
		case kind == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return nil, false, errors.New("read rtnetlink message: it is cut short")
			}
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return nil, false, unix.Errno(-code)
			}
			done = true
		default:
			answers = append(answers, append([]byte{}, body...))
		}
	}
	return answers, done, nil
}
