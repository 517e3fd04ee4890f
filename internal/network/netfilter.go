package network

import (
	"errors"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// mostWait bounds how long the kernel's answers about the rules may take to come.
const mostWait = time.Minute

// mostSent bounds the requests that the kernel takes at once, in bytes: a rebuilding of the table sends all published
// ports together, up to 150 bytes for each. Memory is taken as it is needed.
const mostSent = 64 << 20

// newTables opens the kernel's tables. The answers must come within a minute from now. The kernel gives them before
// sendmsg(2) returns; but a batch that it cannot even begin has one for all of its requests (nfnetlink_rcv_batch in
// net/netfilter/nfnetlink.c), and the library waits for one of each, for ever, with the store locked.
func newTables(opts ...nftables.ConnOption) (*nftables.Conn, error) {
	return nftables.New(append(opts, nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := c.SetWriteBuffer(mostSent); err != nil {
			return err
		}
		return c.SetReadDeadline(time.Now().Add(mostWait))
	}))...)
}

// noTables tells that the kernel has no nf_tables: nfnetlink_rcv_msg answers EINVAL where nobody has registered,
// nfnetlink_rcv_batch EOPNOTSUPP, and netlink_create EPROTONOSUPPORT where even nfnetlink is missing.
func noTables(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL)
}

// tableThere reports whether gcr's table exists, in whatever shape. A kernel without nf_tables is an error, which
// [noTables] knows.
func tableThere(c *nftables.Conn) (bool, error) {
	_, err := c.ListTableOfFamily(TableName, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, tableError("look for table "+TableName, err)
	}
	return true, nil
}

// tableError says what an error of nf_tables means.
func tableError(what string, err error) error {
	e := &Error{What: what, Cause: err}
	// Of a batch there is an error for each rule that the kernel has refused, and the library's words around them.
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Cause = errno
	}
	switch {
	case errors.Is(err, unix.EPERM):
		e.Hint = "this needs the capability CAP_NET_ADMIN: run gcr as root"
	case noTables(err):
		e.Cause = &missing{errno}
		e.Hint = "it needs nf_tables with nat, fib and inet (modprobe nf_tables nft_chain_nat nft_fib_inet nft_masq); --network none and --network host do without"
	case errors.Is(err, unix.ENOENT):
		e.Hint = "a part of nf_tables may be missing: modprobe nft_chain_nat nft_fib_inet nft_masq nft_ct; --network none and --network host do without"
	}
	return e
}

// missing is the error of a kernel without nf_tables.
type missing struct{ errno unix.Errno }

func (m *missing) Error() string { return "the kernel does not take the rules: " + m.errno.Error() }
func (m *missing) Unwrap() error { return m.errno }
