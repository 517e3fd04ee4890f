package network

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// count is what a rule has counted.
type count struct {
	packets, bytes uint64
	known          bool
}

// counters reads the counters of gcr's table, by chain and position of the rule.
func counters(t *table) (map[string][]count, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, tableError("read table "+TableName, err)
	}
	there, err := tableThere(c)
	if !there || err != nil {
		return nil, err
	}
	out := map[string][]count{}
	for _, ch := range t.chains {
		rules, err := c.GetRules(nftTable(), &nftables.Chain{Name: ch.name, Table: nftTable()})
		if err != nil {
			return nil, tableError("read chain "+ch.name, err)
		}
		for i, r := range rules {
			n := count{}
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if i < len(ch.rules) && comment == ch.rules[i].comment {
				for _, e := range r.Exprs {
					if k, ok := e.(*expr.Counter); ok {
						n = count{k.Packets, k.Bytes, true}
					}
				}
			}
			out[ch.name] = append(out[ch.name], n)
		}
	}
	return out, nil
}

// Explain draws the way of packets from and to a container, or all containers of all networks for an empty
// name, with the rules that they pass and what those have counted.
func (s *Store) Explain(w io.Writer, container string) error {
	defs, err := s.List()
	if err != nil {
		return err
	}
	records := s.records()
	if container != "" {
		var found []*Record
		for _, r := range records {
			if n := filepath.Base(r.Dir); n == container || strings.HasPrefix(r.ID, container) {
				found = append(found, r)
			}
		}
		if len(found) != 1 {
			return &Error{What: fmt.Sprintf("explain container %q", container), Cause: text("no running container of that name or id is on a network of gcr"), Hint: "gcr network inspect NAME lists those of a network"}
		}
		records = found
		var used []*Definition
		for _, d := range defs {
			for _, e := range found[0].Endpoints {
				if e.Network == d.Name {
					used = append(used, d)
				}
			}
		}
		defs = used
	}
	all, err := s.List()
	if err != nil {
		return err
	}
	t := wanted(all, nil, proxy6())
	counted, err := counters(t)
	if err != nil {
		return err
	}
	d := &drawing{w: w, t: t, counted: counted}
	if len(defs) == 0 {
		d.say("There is no network yet: gcr run makes the first one, %s.\n", DefaultName)
	}
	for _, def := range defs {
		d.network(def, records)
	}
	if counted == nil && len(defs) > 0 {
		d.say("\nThe table inet %s is not there: it is made when the next container starts.\n", TableName)
	}
	return d.err
}

type drawing struct {
	w       io.Writer
	t       *table
	counted map[string][]count
	err     error
}

func (d *drawing) say(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

func (d *drawing) network(def *Definition, records []*Record) {
	d.say("Network %s\n\n", def)
	published := false
	for _, r := range records {
		for i, e := range r.Endpoints {
			if e.Network != def.Name {
				continue
			}
			d.say("  container %s\n    %s  %s  (%s)\n      |  veth pair: what goes in at one end comes out at the other\n    %s\n      |\n", filepath.Base(r.Dir), e.Interface, both(e.Address4, e.Address6), e.MAC, e.HostLink)
			if i == 0 {
				for _, p := range r.Ports {
					published = true
					d.say("      |  published: %s\n", p)
				}
			}
		}
	}
	d.say("  bridge %s  %s  the containers' default route leads here\n\n", def.Bridge, both(def.Gateway4, def.Gateway6))
	d.say("  Out to the world: container -> %s -> routing of the host -> another interface\n", def.Bridge)
	d.rules(def, "guard", "forward", "leaving")
	d.say("  In by a published port: a new connection to the host -> the container\n")
	d.rules(def, "incoming", "publish", "forward")
	d.say("  From the host itself to a published port\n")
	d.rules(def, "outgoing", "publish", "leaving")
	if !published {
		d.say("  (No port is published; gcr run -p 8080:80 does.)\n\n")
	}
}

// rules lists the rules of some chains that the packets of a network can meet.
func (d *drawing) rules(def *Definition, chains ...string) {
	for _, name := range chains {
		for _, c := range d.t.chains {
			if c.name != name {
				continue
			}
			at := "jumped to"
			if c.hook != nil {
				at = strings.TrimSuffix(strings.TrimPrefix(c.hook.text, "type "), "; policy accept;")
			}
			d.say("    chain %s (%s)\n", c.name, at)
			for i, r := range c.rules {
				if r.network != "" && r.network != def.Name {
					continue
				}
				n := ""
				if list := d.counted[c.name]; i < len(list) && list[i].known {
					n = fmt.Sprintf("   [%d packets, %d bytes]", list[i].packets, list[i].bytes)
				}
				d.say("      %-58s%s\n", r.comment, n)
			}
		}
	}
	d.say("\n")
}
