package main

import (
	"fmt"
	"html"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// step is one line of gcr run --trace, with the medians of many runs in microseconds.
type step struct {
	who, what string
	begin     float64 // since the start of the run
	length    float64 // until the next step of the same side
}

var traceLine = regexp.MustCompile(`^ *(\d+) µs  (host|container) +(.*)$`)

// timeline runs gcr with --trace several times and takes the median of each step's begin and length.
func (b *bench) timeline() ([]step, error) {
	found := b.with(func(c *contender) bool { return c.name == nameGcr })
	if len(found) == 0 {
		return nil, nil
	}
	type key struct {
		who string
		n   int
	}
	begins, lengths := map[key][]float64{}, map[key][]float64{}
	var order []key
	text := map[key]string{}
	for range b.samples(50) {
		out, err := exec.Command(found[0].path, "run", "--trace", b.path("rootfs"), "/bin/true").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("trace a run: %w: %s", err, out)
		}
		count := map[string]int{}
		last := map[string]float64{}
		for line := range strings.Lines(string(out)) {
			m := traceLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
			if m == nil {
				continue
			}
			at, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return nil, err
			}
			k := key{m[2], count[m[2]]}
			if k.n > 0 {
				before := key{k.who, k.n - 1}
				lengths[before] = append(lengths[before], at-last[k.who])
			}
			if _, known := text[k]; !known {
				order = append(order, k)
			}
			text[k] = m[3]
			begins[k] = append(begins[k], at)
			last[k.who] = at
			count[k.who]++
		}
	}
	var steps []step
	for _, k := range order {
		if len(lengths[k]) == 0 {
			continue // the last one of its side
		}
		steps = append(steps, step{k.who, text[k], median(begins[k]), median(lengths[k])})
	}
	return steps, nil
}

var longID = regexp.MustCompile(`[0-9a-f]{12,}`)

// timelineSVG draws the steps one below the other, from where they begin to where they end.
func timelineSVG(steps []step) string {
	const (
		row, top, text, chart = 16, 40, 430, 620
	)
	end := 1.0
	for _, s := range steps {
		end = max(end, s.begin+s.length)
	}
	scale := chart / end
	var w strings.Builder
	for us := 0.0; us < end; us += 500 {
		x := text + us*scale
		fmt.Fprintf(&w, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#d0d7de"/><text x="%.1f" y="%d" text-anchor="middle">%.1f ms</text>`+"\n",
			x, x, top-8, top+row*len(steps), x, top-14, us/1000)
	}
	for i, s := range steps {
		y := top + i*row
		colour := "#0969da"
		if s.who == "host" {
			colour = "#9a6700"
		}
		what := longID.ReplaceAllString(s.what, "ID")
		if len(what) > 62 {
			what = what[:60] + "…"
		}
		fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" fill="#57606a">%.0f µs</text>`+"\n",
			text-8, y+12, html.EscapeString(what), text+s.begin*scale, y+2, max(1, s.length*scale), row-4, colour, text+(s.begin+s.length)*scale+4, y+12, s.length)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+
		"\n"+`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n"+
		`<text x="8" y="14" fill="#57606a">One gcr run, medians of each step. Brown: the parent; blue: the container's first process.</text>`+"\n%s</svg>\n",
		text+chart+80, top+row*len(steps)+10, w.String())
}
