package network

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// firewalld refuses what comes from an interface that no zone names. It throws rules of others away when it reloads,
// so gcr asks it over D-Bus to count the bridges among the trusted zone, now and from now on. A bridge that the
// administrator has put into a zone stays there.
const (
	fwName  = "org.fedoraproject.FirewallD1"
	fwPath  = "/org/fedoraproject/FirewallD1"
	fwZone  = fwName + ".zone"
	fwSaved = fwName + ".config"
	trusted = "trusted"
)

// fwWait bounds how long firewalld is waited for: it answers in milliseconds unless it is just reloading.
const fwWait = 10 * time.Second

// firewalldThere looks for the table that firewalld makes (FirewallBackend=nftables in firewalld.conf(5)).
func firewalldThere(c *nftables.Conn) (bool, error) {
	_, err := c.ListTableOfFamily("firewalld", nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, tableError("look for table firewalld", err)
	}
	return true, nil
}

// firewalld is a connection to it.
type firewalld struct {
	bus *dbus.Conn
	ctx context.Context
	end context.CancelFunc
}

func dialFirewalld() (*firewalld, error) {
	ctx, end := context.WithTimeout(context.Background(), fwWait)
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		end()
		return nil, err
	}
	return &firewalld{bus, ctx, end}, nil
}

func (f *firewalld) close() {
	f.bus.Close()
	f.end()
}

// call calls a method; the answer goes to out, unless that is nil.
func (f *firewalld) call(path dbus.ObjectPath, method string, out any, args ...any) error {
	c := f.bus.Object(fwName, path).CallWithContext(f.ctx, method, 0, args...)
	if c.Err != nil || out == nil {
		return c.Err
	}
	return c.Store(out)
}

// trust puts an interface into the trusted zone where no zone has it.
func (f *firewalld) trust(link string) error {
	zone := ""
	if err := f.call(fwPath, fwZone+".getZoneOfInterface", &zone, link); err != nil {
		return err
	}
	if zone == "" {
		if err := f.call(fwPath, fwZone+".addInterface", nil, trusted, link); err != nil {
			return err
		}
	}
	if err := f.call(fwPath+"/config", fwSaved+".getZoneOfInterface", &zone, link); err != nil || zone != "" {
		return err
	}
	var saved dbus.ObjectPath
	if err := f.call(fwPath+"/config", fwSaved+".getZoneByName", &saved, trusted); err != nil {
		return err
	}
	return f.call(saved, fwSaved+".zone.addInterface", nil, link)
}

// forget takes an interface out of the trusted zone, where it is there.
func (f *firewalld) forget(link string) error {
	zone := ""
	if err := f.call(fwPath, fwZone+".getZoneOfInterface", &zone, link); err != nil {
		return err
	}
	if zone == trusted {
		if err := f.call(fwPath, fwZone+".removeInterface", nil, trusted, link); err != nil {
			return err
		}
	}
	if err := f.call(fwPath+"/config", fwSaved+".getZoneOfInterface", &zone, link); err != nil || zone != trusted {
		return err
	}
	var saved dbus.ObjectPath
	if err := f.call(fwPath+"/config", fwSaved+".getZoneByName", &saved, trusted); err != nil {
		return err
	}
	return f.call(saved, fwSaved+".zone.removeInterface", nil, link)
}

// withFirewalld does something for each bridge where firewalld is. That it cannot be asked does not stop a container.
func withFirewalld(c *nftables.Conn, bridges []string, do func(*firewalld, string) error) error {
	there, err := firewalldThere(c)
	if !there || err != nil || len(bridges) == 0 {
		return err
	}
	f, err := dialFirewalld()
	if err == nil {
		defer f.close()
		for _, b := range bridges {
			if err = do(f, b); err != nil {
				break
			}
		}
	}
	if err != nil {
		return &warning{&Error{What: "ask firewalld to trust " + bridges[0], Cause: err, Hint: "until it does, containers may not reach the world: firewall-cmd --zone=trusted --add-interface=" + bridges[0]}}
	}
	return nil
}

// warning is an error that the user should know of and that stops nothing.
type warning struct{ error }

func (w *warning) Unwrap() error { return w.error }
