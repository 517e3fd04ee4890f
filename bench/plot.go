package main

import (
	"fmt"
	"html"
	"strings"
)

// plot draws the times as bars: the median, and a line to the 90th percentile.
func (b *bench) plot() string {
	colours := map[string]string{
		nameGcrun: "#1a7f37", nameGcr: "#1a7f37", nameFloor: "#8c959f", nameCrun: "#0969da",
		nameRunc: "#cf222e", nameBwrap: "#9a6700", "youki": "#8250df", namePodman: "#bc4c00", nameDocker: "#1b7c83",
	}
	const (
		left, right, row, gap = 110, 90, 18, 34
		width                 = 760
	)
	var w strings.Builder
	y := 30
	for _, r := range b.results {
		if r.Unit != milliseconds {
			continue
		}
		most := 0.0
		for _, s := range r.Samples {
			most = max(most, quantile(s, 0.9))
		}
		if most == 0 {
			continue
		}
		fmt.Fprintf(&w, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(r.Name))
		y += 8
		scale := (width - left - right) / most
		for _, name := range r.Order {
			s := r.Samples[name]
			if len(s) == 0 {
				continue
			}
			m, p90 := median(s), quantile(s, 0.9)
			fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-6, y+13, html.EscapeString(name))
			fmt.Fprintf(&w, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, y+2, m*scale, row-4, colours[name])
			fmt.Fprintf(&w, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#57606a"/>`, left+m*scale, left+p90*scale, y+row/2, y+row/2)
			fmt.Fprintf(&w, `<text x="%.1f" y="%d">%s ms</text>`+"\n", left+p90*scale+5, y+13, number(m))
			y += row
		}
		y += gap
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+
		"\n"+`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n"+
		`<text x="8" y="14" fill="#57606a">Medians; the thin line ends at the 90th percentile.</text>`+"\n%s</svg>\n", width, y, w.String())
}
