package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"gcr/internal/cgroup"

	systemdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Patience bounds each call where the context has no earlier deadline.
const Patience = 8 * time.Second

// Bus is a connection to a systemd manager.
type Bus struct {
	conn    *systemdbus.Conn
	version int
}

// call runs f, which may hang in a wedged bus, but not for longer than ctx or Patience.
func call[T any](ctx context.Context, f func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	deadline, _ := ctx.Deadline()
	limit := time.Until(deadline).Round(100 * time.Millisecond)
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		v, err := f(ctx)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		select {
		case a := <-done: // both at once
			return a.value, a.err
		default:
		}
		var none T
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return none, fmt.Errorf("no answer within %v", limit)
		}
		return none, ctx.Err()
	}
}

// Connect opens the bus of a manager: the system bus, or for root without one systemd's private socket; or
// the user's bus at $DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus.
func Connect(ctx context.Context, m Manager) (*Bus, error) {
	b, err := open(ctx, m)
	if err != nil {
		return nil, err
	}
	text, err := call(ctx, func(context.Context) (string, error) { return b.conn.GetManagerProperty("Version") })
	if err != nil {
		b.Close()
		return nil, m.fail("ask for the version of systemd on", err)
	}
	if b.version, err = parseVersion(text); err != nil {
		b.Close()
		return nil, m.fail("read the version of systemd on", err)
	}
	return b, nil
}

// fail makes the error of an operation on the manager's bus.
func (m Manager) fail(op string, err error) error {
	name, hint := "the system bus", "is systemd PID 1 and dbus running? Without them leave --systemd-cgroup out"
	if m == User {
		name, hint = "the user's bus", "log in through PAM (ssh, login, machinectl shell), not by su: that starts systemd --user and sets XDG_RUNTIME_DIR"
	}
	return &cgroup.Error{Op: op, Object: name, Cause: err, Hint: hint}
}

// open is Connect without the question for the version.
func open(ctx context.Context, m Manager) (*Bus, error) {
	conn, err := call(ctx, func(ctx context.Context) (*systemdbus.Conn, error) {
		if m == User {
			return connectUser()
		}
		c, err := systemdbus.NewSystemConnectionContext(context.WithoutCancel(ctx))
		if err != nil && os.Geteuid() == 0 {
			if private, privateErr := systemdbus.NewSystemdConnectionContext(context.WithoutCancel(ctx)); privateErr == nil {
				return private, nil
			}
		}
		return c, err
	})
	if err != nil {
		return nil, m.fail("connect to", err)
	}
	return &Bus{conn: conn}, nil
}

// parseVersion reads "252", "v245.4" or "\"252.5-2~deb12u1\"".
func parseVersion(text string) (int, error) {
	s := strings.TrimPrefix(strings.Trim(text, `"`), "v")
	if i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
		s = s[:i]
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no version", text)
	}
	return n, nil
}

// userAddress is where the user's bus is.
func userAddress() (string, error) {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", errors.New("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
	}
	return "unix:path=" + dbus.EscapeBusAddressValue(path.Join(dir, "bus")), nil
}

func connectUser() (*systemdbus.Conn, error) {
	address, err := userAddress()
	if err != nil {
		return nil, err
	}
	uid, err := outerUser()
	if err != nil {
		return nil, err
	}
	return systemdbus.NewConnection(func() (*dbus.Conn, error) {
		conn, err := dbus.Dial(address)
		if err != nil {
			return nil, err
		}
		err = conn.Auth([]dbus.Auth{dbus.AuthExternal(uid)})
		if err == nil {
			err = conn.Hello()
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	})
}

// outerUser is the user id that the bus sees: inside a user namespace (Podman runs rootless runtimes so)
// the one that this process's id is mapped from.
func outerUser() (string, error) {
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "", err
	}
	id := uint64(os.Geteuid())
	for line := range strings.Lines(string(m)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && id >= inside && id-inside < count {
			return strconv.FormatUint(outside+id-inside, 10), nil
		}
	}
	return "", fmt.Errorf("user %d is not mapped in this user namespace", id)
}

// Close ends the connection.
func (b *Bus) Close() { b.conn.Close() }

// Version of the manager, such as 252.
func (b *Bus) Version() int { return b.version }

// StartScope makes the unit with the process in it, waits until systemd has done so, and gives the path of
// its group below the hierarchy's root. A failed unit of that name from before is cleared away.
func (b *Bus) StartScope(ctx context.Context, u Unit, pid int, f Facts, more []Property) (string, error) {
	p := []Property{
		property("Description", "container "+u.Name), property("DefaultDependencies", false), property("Delegate", true),
		property("TasksAccounting", true), property("MemoryAccounting", true), property("CPUAccounting", true),
	}
	if f.CgroupVersion == 2 {
		p = append(p, property("IOAccounting", true))
	} else {
		p = append(p, property("BlockIOAccounting", true))
	}
	if strings.HasSuffix(u.Name, ".slice") {
		p = append(p, property("Wants", []string{u.Slice}))
	} else {
		// A scope that failed must not be in the way of the next container of that name.
		p = append(p, property("Slice", u.Slice), property("PIDs", []uint32{uint32(pid)}), property("CollectMode", "inactive-or-failed"))
	}
	p = append(p, more...)
	fail := func(err error) error {
		return &cgroup.Error{Op: "start unit", Object: u.Name, Field: pathField, Cause: err, Hint: startHint(err)}
	}
	err := b.start(ctx, u, p)
	if exists(err) {
		if _, resetErr := call(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, b.conn.ResetFailedUnitContext(ctx, u.Name)
		}); resetErr == nil {
			err = b.start(ctx, u, p)
		}
	}
	if err != nil {
		return "", fail(err)
	}
	group, err := b.Group(ctx, u)
	if err != nil {
		return "", err
	}
	return group, nil
}

func (b *Bus) start(ctx context.Context, u Unit, p []Property) error {
	_, err := call(ctx, func(ctx context.Context) (struct{}, error) {
		done := make(chan string, 1)
		if _, err := b.conn.StartTransientUnitContext(ctx, u.Name, "replace", p, done); err != nil {
			return struct{}{}, err
		}
		select {
		case result := <-done:
			if result != "done" {
				return struct{}{}, fmt.Errorf("systemd says: %s", result)
			}
			return struct{}{}, nil
		case <-ctx.Done():
			return struct{}{}, fmt.Errorf("the job is not done after %v", Patience)
		}
	})
	return err
}

// IsTaken tells that StartScope found a unit of that name at work: somebody else's.
func IsTaken(err error) bool { return exists(err) }

// exists tells that the unit is there already.
func exists(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.UnitExists"
}

func startHint(err error) string {
	var e dbus.Error
	switch {
	case exists(err):
		return "another container or service has that name: give this one another, or stop it with systemctl stop"
	case errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.AccessDenied" || e.Name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"):
		return "an ordinary user has to use the user's manager, not the system's"
	case errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.PropertyReadOnly" || e.Name == "org.freedesktop.DBus.Error.UnknownProperty"):
		return "this version of systemd does not take one of the properties: see annotations org.systemd.property.*"
	}
	return ""
}

// Group asks for the path of a unit's group below the hierarchy's root.
func (b *Bus) Group(ctx context.Context, u Unit) (string, error) {
	kind := "Scope"
	if strings.HasSuffix(u.Name, ".slice") {
		kind = "Slice"
	}
	props, err := call(ctx, func(ctx context.Context) (map[string]any, error) {
		return b.conn.GetUnitTypePropertiesContext(ctx, u.Name, kind)
	})
	if err != nil {
		return "", &cgroup.Error{Op: "ask for the group of unit", Object: u.Name, Cause: err}
	}
	group, _ := props["ControlGroup"].(string)
	if group == "" {
		return "", &cgroup.Error{
			Op: "ask for the group of unit", Object: u.Name, Cause: errors.New("it has none"),
			Hint: "its processes ended meanwhile",
		}
	}
	return group, nil
}

// Set changes properties of a running unit, until the next boot at most.
func (b *Bus) Set(ctx context.Context, u Unit, p []Property) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := call(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.conn.SetUnitPropertiesContext(ctx, u.Name, true, p...)
	}); err != nil {
		return &cgroup.Error{Op: "set properties of unit", Object: u.Name, Cause: err}
	}
	return nil
}

// Stop stops the unit and forgets it if it failed. One that is gone is fine.
func (b *Bus) Stop(ctx context.Context, u Unit) error {
	_, err := call(ctx, func(ctx context.Context) (struct{}, error) {
		done := make(chan string, 1)
		if _, err := b.conn.StopUnitContext(ctx, u.Name, "replace", done); err != nil {
			return struct{}{}, err
		}
		select {
		case <-done:
			return struct{}{}, nil
		case <-ctx.Done():
			return struct{}{}, fmt.Errorf("the job is not done after %v", Patience)
		}
	})
	var e dbus.Error
	if errors.As(err, &e) && e.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		err = nil
	}
	if err != nil {
		return &cgroup.Error{Op: "stop unit", Object: u.Name, Cause: err}
	}
	_, _ = call(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.conn.ResetFailedUnitContext(ctx, u.Name)
	})
	return nil
}
