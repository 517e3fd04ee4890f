package network

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Error is something about a network that cannot be done. Its text is one line: "verb object (flag): cause; hint".
type Error struct {
	What  string // verb and object: "publish port 80/tcp"
	Flag  string // where it was asked for; may be empty
	Cause error
	Hint  string // what to do about it; may be empty
}

// Error returns the line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if e.Flag != "" {
		b.WriteString(" (" + e.Flag + ")")
	}
	b.WriteString(": " + e.Cause.Error())
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

type text string

func (t text) Error() string { return string(t) }

// ErrNoNetwork says that a network of the name does not exist.
var ErrNoNetwork = errors.New("there is no network of that name")

// linkError says what an error of rtnetlink(7) means.
func linkError(what string, err error) error {
	e := &Error{What: what, Cause: err}
	switch {
	case errors.Is(err, unix.EPERM):
		e.Hint = "this needs the capability CAP_NET_ADMIN: run gcr as root"
	case errors.Is(err, unix.EOPNOTSUPP):
		e.Hint = "the kernel lacks this kind of interface: modprobe bridge veth"
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EACCES):
		e.Hint = "IPv6 may be turned off here: see the sysctl net.ipv6.conf.all.disable_ipv6"
	}
	return e
}
