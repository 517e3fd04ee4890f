package netdevice

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a device to be moved.
type Device struct {
	Field   string // of the configuration, for error messages
	Name    string // where it is now
	NewName string // where it goes; empty for the same, "eth%d" for the first that is free
}

// Error says what could not be done with a device.
type Error struct {
	What, Field string
	Cause       error
	Hint        string
}

func (e *Error) Error() string {
	text := e.What + " (" + e.Field + "): " + e.Cause.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Moved holds devices that were moved, until it is known whether they stay.
type Moved struct {
	ns          *os.File // where they are
	home        *os.File // where they came from
	here, there *conn
	devices     []moved
}

type moved struct {
	Device
	before, after link
}

// Move moves devices from the caller's network namespace to another one, gives them their addresses again and sets
// them up. When one cannot be moved those before it are brought back, and nothing has changed. The file ns belongs to
// the result from here on, and is closed with it.
func Move(ns *os.File, devices []Device) (*Moved, error) {
	m := &Moved{ns: ns}
	if err := m.open(); err != nil {
		m.Close()
		return nil, err
	}
	err := m.check(devices)
	for i := 0; i < len(devices) && err == nil; i++ {
		err = m.move(devices[i])
	}
	if err != nil {
		err = errors.Join(err, m.Back())
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close lets go of the namespaces, which may end with that; the devices stay where they are.
func (m *Moved) Close() {
	for _, c := range []*conn{m.here, m.there} {
		if c != nil {
			c.close()
		}
	}
	for _, f := range []*os.File{m.home, m.ns} {
		if f != nil {
			f.Close()
		}
	}
	*m = Moved{}
}

func (m *Moved) open() error {
	var err error
	if m.here, err = dial(); err != nil {
		return err
	}
	if m.home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return fmt.Errorf("open the own network namespace: %w", err)
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(m.home.Fd()), &a), unix.Fstat(int(m.ns.Fd()), &b)); err != nil {
		return fmt.Errorf("compare network namespaces: %w", err)
	}
	if a.Ino == b.Ino && a.Dev == b.Dev {
		return &Error{What: "move network devices", Field: "linux.netDevices", Cause: errors.New("the container has the network namespace of the host"), Hint: "add a namespace of type network"}
	}
	m.there, err = dialIn(m.ns)
	return err
}

// dialIn makes a socket in another network namespace, from a thread that ends with that.
func dialIn(ns *os.File) (*conn, error) {
	type result struct {
		c   *conn
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter the container's network namespace: %w", err)}
			return
		}
		c, err := dial()
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}

// check looks whether every device is there, and its name free in the container, before anything changes.
func (m *Moved) check(devices []Device) error {
	for _, d := range devices {
		what := "move network device " + d.Name
		l, err := m.here.find(d.Name)
		if err != nil {
			return &Error{What: what, Field: d.Field, Cause: err}
		}
		if l == nil {
			return &Error{What: what, Field: d.Field, Cause: errors.New("the host has no such device"), Hint: "see ip link"}
		}
		if strings.Contains(d.target(), "%d") {
			continue
		}
		if l, err = m.there.find(d.target()); err != nil {
			return &Error{What: what, Field: d.Field, Cause: err}
		}
		if l != nil {
			return &Error{What: what, Field: d.Field, Cause: fmt.Errorf("the container has a device %s already", d.target()), Hint: "give it another name, or a template such as eth%d"}
		}
	}
	return nil
}

func (d Device) target() string {
	if d.NewName != "" {
		return d.NewName
	}
	return d.Name
}

func (m *Moved) move(d Device) error {
	what := "move network device " + d.Name
	l, err := m.here.find(d.Name)
	if err != nil || l == nil {
		return &Error{What: what, Field: d.Field, Cause: errors.Join(err, unix.ENODEV)}
	}
	if l.addresses, err = m.here.permanent(l.index); err != nil {
		return &Error{What: what, Field: d.Field, Cause: fmt.Errorf("read its addresses: %w", err)}
	}
	after, err := m.here.send(l, m.there, int(m.ns.Fd()), d.target())
	if err != nil {
		return &Error{What: what, Field: d.Field, Cause: err, Hint: moveHint(err)}
	}
	m.devices = append(m.devices, moved{Device: d, before: *l, after: *after})
	if err := restore(m.there, after, l); err != nil {
		return &Error{What: "set up network device " + after.name, Field: d.Field, Cause: err}
	}
	return nil
}

// restore gives a device in its new place the addresses that it had, and sets it up.
func restore(c *conn, l, old *link) error {
	for _, a := range old.addresses {
		if err := c.add(l.index, a, old.name, l.name); err != nil {
			return fmt.Errorf("add an address: %w", err)
		}
	}
	if err := c.setUp(l.index); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	return nil
}

func moveHint(err error) string {
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return "devices such as lo and bridges of some drivers stay in their namespace"
	case errors.Is(err, unix.EPERM):
		return "it needs CAP_NET_ADMIN in both network namespaces"
	}
	return ""
}

// Back brings the devices home, with their old names, addresses and state: for a container that could not be made.
func (m *Moved) Back() error {
	var errs []error
	for i := len(m.devices) - 1; i >= 0; i-- {
		d := m.devices[i]
		l, err := m.there.send(&d.after, m.here, int(m.home.Fd()), d.before.name)
		if err == nil {
			for _, a := range d.before.addresses {
				err = errors.Join(err, m.here.add(l.index, a, d.before.name, l.name))
			}
			if d.before.up {
				err = errors.Join(err, m.here.setUp(l.index))
			}
		}
		if err != nil {
			errs = append(errs, &Error{What: "bring network device " + d.Name + " back", Field: d.Field, Cause: err})
		}
	}
	m.devices = nil
	return errors.Join(errs...)
}
