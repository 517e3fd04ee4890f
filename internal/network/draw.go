package network

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Draw writes pictures with plain characters, and with colours (ECMA-48) if wanted.
func Draw(w io.Writer, pictures []*Picture, colour bool) error {
	d := &drawing{w: w, colour: colour}
	for i, p := range pictures {
		if i > 0 {
			d.say("\n")
		}
		d.picture(p)
	}
	return d.err
}

type drawing struct {
	w      io.Writer
	colour bool
	err    error
}

func (d *drawing) say(s string) {
	if d.err == nil {
		_, d.err = io.WriteString(d.w, s)
	}
}

// ink is how a word is shown on a terminal: a list of attributes of ECMA-48's SGR.
type ink string

const (
	plain  ink = ""
	bold   ink = "1"
	faint  ink = "2"
	green  ink = "32" // has counted something
	red    ink = "31" // takes packets away
	yellow ink = "33" // changes them
)

// cell is text with one ink.
type cell struct {
	text string
	ink  ink
}

// row is a line inside of a place: what stands at the left, and what has been counted at the right.
type row struct {
	cells          []cell
	packets, bytes cell
}

func (r row) width() int {
	n := 0
	for _, c := range r.cells {
		n += utf8.RuneCountInString(c.text)
	}
	return n
}

// What is about a station goes below it where the line would be longer than this.
const mostColumns = 72

// The lines between stations are drawn in this column of a place.
const stem = 6

func (d *drawing) paint(c cell) string {
	if !d.colour || c.ink == plain || c.text == "" {
		return c.text
	}
	return "\x1b[" + string(c.ink) + "m" + c.text + "\x1b[0m"
}

func (d *drawing) picture(p *Picture) {
	if p.Container != "" {
		d.say(fmt.Sprintf("Container %s %s.\n\n", d.paint(cell{p.Container, bold}), p.About))
	}
	for i, w := range p.Ways {
		if i > 0 {
			d.say("\n")
		}
		d.way(&w)
	}
	for _, n := range p.Notes {
		d.say("\n" + n)
	}
	if len(p.Notes) > 0 {
		d.say("\n")
	}
}

func (d *drawing) way(w *Way) {
	var places [][]row
	// The columns are as wide as the widest of their rows, in all places of a way.
	left, packets, bytes := 40, len("packets"), len("bytes")
	for i := range w.Places {
		p := &w.Places[i]
		rows := stations(p, i == 0 && w.From == "", i == len(w.Places)-1 && w.To == "")
		for _, r := range rows {
			left = max(left, r.width())
			packets, bytes = max(packets, len(r.packets.text)), max(bytes, len(r.bytes.text))
		}
		left = max(left, len(p.Name)+8)
		places = append(places, rows)
	}
	d.say(d.paint(cell{w.Title, bold}) + "\n")
	line := func(s string) { d.say(strings.TrimRight(s, " ") + "\n") }
	indent, down := strings.Repeat(" ", stem+2), d.paint(cell{"|", faint})
	if w.From != "" {
		line(indent + w.From)
		line(indent + d.paint(cell{"v", faint}))
	} else {
		line("")
	}
	inner := left + packets + bytes + 5
	border := func(name string, through bool) string {
		b := []byte("+" + strings.Repeat("-", inner+1) + "+")
		if through {
			b[stem] = '|'
		}
		s := string(b)
		if name == "" {
			return d.paint(cell{s, faint})
		}
		at := 3
		if through {
			at += stem
		}
		return d.paint(cell{s[:at], faint}) + " " + d.paint(cell{name, bold}) + " " + d.paint(cell{s[at+2+len(name):], faint})
	}
	for i, rows := range places {
		p := &w.Places[i]
		first, last := i == 0 && w.From == "", i == len(places)-1 && w.To == ""
		line("  " + border(p.Name, !first))
		for _, r := range rows {
			var b strings.Builder
			for _, c := range r.cells {
				b.WriteString(d.paint(c))
			}
			b.WriteString(strings.Repeat(" ", left-r.width()))
			for _, n := range []struct {
				c     cell
				width int
			}{{r.packets, packets}, {r.bytes, bytes}} {
				b.WriteString("  " + strings.Repeat(" ", n.width-len(n.c.text)) + d.paint(n.c))
			}
			side := d.paint(cell{"|", faint})
			line("  " + side + b.String() + "  " + side)
		}
		line("  " + border("", !last))
		if !last {
			tail := ""
			if p.Cable != "" {
				tail = "   " + d.paint(cell{p.Cable, faint})
			}
			if i == len(places)-1 {
				line(indent + d.paint(cell{"v", faint}))
			} else {
				line(indent + down + tail)
			}
		}
	}
	if w.To != "" {
		line(indent + w.To)
	}
}

// stations are the rows of a place, with the line that leads from one to the next.
func stations(p *Place, first, last bool) []row {
	margin := strings.Repeat(" ", stem-1)
	stemRow := row{cells: []cell{{margin + "|", faint}}}
	var out []row
	for i, s := range p.Stations {
		if i > 0 || !first {
			out = append(out, stemRow)
		}
		cells := []cell{{margin[:2], plain}, {s.Name, bold}}
		for j, a := range s.Addresses {
			sep := ", "
			if j == 0 {
				sep = "  "
			}
			cells = append(cells, cell{sep + a.String(), plain})
		}
		r := row{cells: cells}
		below := s.About != "" && r.width()+len(s.About) > mostColumns
		if s.About != "" && !below {
			r.cells = append(r.cells, cell{"  " + s.About, faint})
		}
		if s.Count != nil {
			r.cells = append(r.cells, cell{"  " + s.Counted, faint})
			r.packets, r.bytes = numbers(s.Count, green)
		}
		if slices.ContainsFunc(s.Rules, func(p Passed) bool { return p.Count != nil }) {
			r.packets, r.bytes = cell{"packets", faint}, cell{"bytes", faint}
		}
		out = append(out, r)
		if below {
			out = append(out, row{cells: []cell{{margin + "|", faint}, {"   " + s.About, faint}}})
		}
		for _, l := range s.Ports {
			out = append(out, row{cells: []cell{{margin + " ", faint}, {"   " + l, plain}}})
		}
		words := 0
		for _, l := range s.Rules {
			words = max(words, len(l.Verdict))
		}
		for _, l := range s.Rules {
			hue := map[string]ink{"accept": green, "drop": red, "return": plain}[strings.Fields(l.Verdict + " -")[0]]
			if strings.HasPrefix(l.Verdict, "masq") || strings.Contains(l.Verdict, "nat") {
				hue = yellow
			}
			r := row{cells: []cell{
				{margin + "|", faint}, {"   ", plain}, {l.Verdict, hue}, {strings.Repeat(" ", words-len(l.Verdict)+2) + l.About, plain},
			}}
			if l.Count != nil {
				counted := green
				if l.Verdict == "drop" {
					counted = red
				}
				r.packets, r.bytes = numbers(l.Count, counted)
			}
			out = append(out, r)
		}
	}
	if !last {
		out = append(out, stemRow)
	}
	return out
}

// numbers are the cells of a count; hue is for one that is not zero.
func numbers(c *Count, hue ink) (packets, bytes cell) {
	if c.Packets == 0 {
		hue = faint
	}
	return cell{strconv.FormatUint(c.Packets, 10), hue}, cell{strconv.FormatUint(c.Bytes, 10), hue}
}
