package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gcr/internal/state"
)

// This file draws containers that are on no bridge of gcr, and chooses what is drawn.

// Explain draws the ways of packets from and to the container of a name, or of an id that begins so, among those whose
// state directories lie below root. Without a name it draws all networks, and the containers that are on none.
func (s *Store) Explain(root, container string) ([]*Picture, error) {
	p, err := s.painter()
	if err != nil && os.Geteuid() == 0 {
		return nil, err
	}
	if err != nil {
		p = &painter{s: s} // an ordinary user may not read the rules, and has none
	}
	dirs, err := living(root)
	if err != nil {
		return nil, err
	}
	if container != "" {
		var found []string
		for _, d := range dirs {
			n := filepath.Base(d)
			r, _ := ReadRecord(d)
			if n == container || r != nil && strings.HasPrefix(r.ID, container) || len(n) == 12 && strings.HasPrefix(n, container) {
				found = append(found, d)
			}
			if n == container {
				found = []string{d}
				break
			}
		}
		if len(found) != 1 {
			e := &Error{What: fmt.Sprintf("explain container %q", container), Cause: text("no running container has that name or id"), Hint: "gcr network explain, without a name, shows all"}
			if len(found) > 1 {
				e.Cause = text("several containers have an id that begins so")
			}
			return nil, e
		}
		pic, err := p.container(found[0], dirs)
		if err != nil {
			return nil, err
		}
		return []*Picture{pic}, nil
	}
	var out []*Picture
	for _, d := range p.defs {
		out = append(out, p.network(d))
	}
	for _, dir := range dirs {
		if r, err := ReadRecord(dir); err == nil && len(r.Endpoints) > 0 {
			continue
		}
		pic, err := p.container(dir, dirs)
		if err == nil {
			out = append(out, pic)
		}
	}
	return out, nil
}

// living lists the state directories of running containers.
func living(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var out []string
	for _, e := range entries {
		if dir := filepath.Join(root, e.Name()); e.Name()[0] != '.' && state.Alive(dir) {
			out = append(out, dir)
		}
	}
	return out, nil
}

// Living lists the names of running containers whose state directories lie below root.
func Living(root string) []string {
	dirs, _ := living(root)
	for i, d := range dirs {
		dirs[i] = filepath.Base(d)
	}
	return dirs
}

// pidOf is the first process of a container.
func pidOf(dir string) int {
	if r, err := ReadRecord(dir); err == nil && r.PID != 0 {
		return r.PID
	}
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// container draws one container. What its record does not tell is seen by comparing namespaces.
func (p *painter) container(dir string, all []string) (*Picture, error) {
	name, pid := filepath.Base(dir), pidOf(dir)
	if pid == 0 {
		return nil, &Error{What: "explain container " + name, Cause: text("it has not started yet")}
	}
	if r, err := ReadRecord(dir); err == nil {
		switch Mode(r.Mode) {
		case Bridge:
			return p.bridged(r, name), nil
		case Pasta, Slirp:
			return userNetPicture(r, name), nil
		}
	}
	own := strconv.Itoa(pid)
	if same, known := sameNetwork("self", own); known && same {
		return hostPicture(name, pid), nil
	}
	for _, other := range all {
		o := pidOf(other)
		if other == dir || o == 0 {
			continue
		}
		if same, known := sameNetwork(own, strconv.Itoa(o)); !known || !same {
			continue
		}
		// Of two without a record neither is the other's guest more than the reverse.
		if _, err := ReadRecord(other); err != nil {
			continue
		}
		pic, err := p.container(other, nil)
		if err != nil {
			return nil, err
		}
		pic.About = fmt.Sprintf("shares the network namespace of container %s, %s: what follows is that one's", filepath.Base(other), pic.About)
		pic.Container, pic.PID, pic.Mode = name, pid, string(Container)
		return pic, nil
	}
	links, counts := linksOf(pid)
	links = slices.DeleteFunc(links, func(l string) bool { return l == "lo" })
	if len(links) == 0 {
		return &Picture{
			Container: name, PID: pid, Mode: string(None), About: "has no network but loopback",
			Ways: []Way{{
				Title: "NO WAY out or in: a machine without a cable",
				Places: []Place{{Name: "container " + name, Stations: []Station{
					{Name: "the command", About: fmt.Sprintf("process %d, %s", pid, processName(pid))},
					interfaceStation("lo", counts["lo"], true),
				}}},
			}},
		}, nil
	}
	pic := &Picture{Container: name, PID: pid, Mode: string(Path), About: "is in a network namespace that gcr has not made"}
	w := Way{Title: "OUT and IN: as somebody else has set it up", Places: []Place{{Name: "container " + name, Stations: []Station{
		{Name: "the command", About: fmt.Sprintf("process %d, %s", pid, processName(pid)), Addresses: addressesOf(pid)},
	}}}}
	for _, l := range links {
		w.Places[0].Stations = append(w.Places[0].Stations, interfaceStation(l, counts[l], true))
	}
	pic.Ways = []Way{w}
	return pic, nil
}

// hostPicture is a container without a network namespace of its own.
func hostPicture(name string, pid int) *Picture {
	link, addrs := wayOutOfHost()
	host := Place{Name: "host, and container " + name + " on its network", Stations: []Station{
		{Name: "the command", About: fmt.Sprintf("process %d, %s: it has the host's interfaces, addresses and ports", pid, processName(pid))},
		{Name: "routing and rules", About: "those of any program of the host"},
	}}
	to := ""
	if link != "" {
		to = "the world"
		host.Stations = append(host.Stations, interfaceStation(link, linkTraffic(link), true, addrs...))
	}
	return &Picture{
		Container: name, PID: pid, Mode: string(HostNet), About: "is on the host's network",
		Ways: []Way{{Title: "OUT and IN: no border at all", Places: []Place{host}, To: to}},
	}
}

// userNetPicture is a container whose packets a program carries.
func userNetPicture(r *Record, name string) *Picture {
	program := r.Mode
	link, addrs := wayOutOfHost()
	names, counts := linksOf(r.PID)
	names = slices.DeleteFunc(names, func(l string) bool { return l == "lo" })
	pic := &Picture{Container: name, PID: r.PID, Mode: r.Mode, About: "is connected by " + program}
	if r.Helper != nil && r.Helper.Ended != "" {
		pic.Notes = append(pic.Notes, program+" has ended, and the network with it: "+r.Helper.Ended)
	}
	carrier := Station{Name: program, About: "each connection becomes a socket of this program, and back"}
	if r.Helper != nil {
		carrier.About = fmt.Sprintf("process %d: %s", r.Helper.PID, carrier.About)
	}
	tap := func(sends bool) []Station {
		var out []Station
		for _, n := range names {
			out = append(out, interfaceStation(n, counts[n], sends, addressesOf(r.PID)...))
		}
		if program == string(Pasta) && len(out) > 0 {
			out[0].About = "addresses and routes are copies of the host's"
		}
		return out
	}
	const cable = "tap device (/dev/net/tun): a cable whose other end is a file"
	outside := []Station{carrier, {Name: "the host's sockets, routing and rules", About: "as of any program of yours"}}
	to := "nowhere: the host has no default route"
	if link != "" {
		outside, to = append(outside, Station{Name: link, Addresses: addrs}), "the world, which sees the host's address"
	}
	pic.Ways = append(pic.Ways, Way{
		Title: "OUT: the command opens a connection to the world",
		Places: []Place{
			{Name: "container " + name, Stations: append([]Station{{Name: "the command", About: fmt.Sprintf("process %d, %s", r.PID, processName(r.PID))}}, tap(true)...), Cable: cable},
			{Name: "host", Stations: outside},
		},
		To: to,
	})
	if len(r.Ports) == 0 {
		pic.Notes = append(pic.Notes, "IN: no port is published, so nobody out there can open a connection; gcr run -p 8080:80 publishes one.")
		return pic
	}
	doors := Station{Name: "ports of the host", About: "sockets of " + program}
	for _, p := range r.Ports {
		host := "every address"
		if !p.anyHost() {
			host = p.Host.String()
		}
		doors.Ports = append(doors.Ports, fmt.Sprintf("%d/%s  of %s", p.HostPort, p.Proto, host))
	}
	carrier.About = "sends it on; the source stays the client's"
	pic.Ways = append(pic.Ways, Way{
		Title:  "IN: somebody opens a connection to a published port, " + published(r),
		From:   "a client",
		Places: []Place{{Name: "host", Stations: []Station{doors, carrier}, Cable: cable}, {Name: "container " + name, Stations: append(tap(false), ports(r.PID, r.Ports))}},
	})
	return pic
}
