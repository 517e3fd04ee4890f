package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// goal is a figure to reach: a ratio of medians.
type goal struct {
	result string // name of the result, or its beginning
	of, to string
	most   float64
}

var goals = []goal{
	{"run, default bundle", nameGcrun, nameFloor, 1.5},
	{"run, default bundle", nameGcrun, nameCrun, 0.4},
	{"run, default bundle", nameGcrun, nameRunc, 0.12},
	{"create + start + delete, default bundle", nameGcrun, nameCrun, 0.5},
	{"exec, default bundle", nameGcrun, nameCrun, 0.4},
	{"run, default bundle, idle machine", nameGcrun, nameCrun, 0.3},
	{"memory: PSS of a created container", nameGcrun, nameCrun, 1.0 / 20},
	{"held: 1000 created containers, PSS of all", nameGcrun, nameCrun, 1.0 / 10},
	{"run of a root filesystem, no network", nameGcr, namePodman, 1.0 / 20},
	{"run of a root filesystem, default network", nameGcr, namePodman, 1.0 / 20},
	{"run of an image, no network", nameGcr, namePodman, 1.0 / 20},
	{"run of an image, default network", nameGcr, namePodman, 1.0 / 20},
}

func (b *bench) result(name string) *result {
	for _, r := range b.results {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// ratio is how the medians of two contenders compare.
func (r *result) ratio(of, to string) float64 {
	if r == nil {
		return math.NaN()
	}
	return median(r.Samples[of]) / median(r.Samples[to])
}

// markdown is the whole report.
func (b *bench) markdown() string {
	var w strings.Builder
	w.WriteString("# Measurements\n\n")
	w.WriteString("Written by `make bench`; [performance.md](../performance.md) explains the figures. Contenders take turns within each measure,\nin blocks of five of which the first is not counted, where nothing else is said.\n\n")
	for line := range strings.Lines(b.system.text()) {
		fmt.Fprintf(&w, "- %s\n", strings.TrimSuffix(line, "\n"))
	}
	w.WriteString("\n## Goals\n\n" + b.goals())
	w.WriteString("\n![medians](medians.svg)\n")
	for _, r := range b.results {
		r.markdown(&w)
	}
	if len(b.skipped) > 0 {
		w.WriteString("\n## Not measured\n\n")
		for _, s := range b.skipped {
			fmt.Fprintf(&w, "- %s\n", strings.ReplaceAll(s, "\n", " "))
		}
	}
	return w.String()
}

// goals is the table of the goals: how the medians compare, and how those of the floor would where it takes part.
func (b *bench) goals() string {
	var w strings.Builder
	w.WriteString("| measure | goal | ratio | medians | the floor's ratio | |\n|---|---|---|---|---|---|\n")
	for _, g := range goals {
		r := b.result(g.result)
		x := r.ratio(g.of, g.to)
		if math.IsNaN(x) {
			continue
		}
		verdict, floor := "met", "–"
		if x > g.most {
			verdict = "**missed**"
		}
		if least := r.ratio(nameFloor, g.to); g.to != nameFloor && !math.IsNaN(least) {
			floor = number(least)
		}
		fmt.Fprintf(&w, "| %s: %s / %s | ≤ %s | %s | %s and %s %s | %s | %s |\n", g.result, g.of, g.to, number(g.most), number(x),
			number(median(r.Samples[g.of])), number(median(r.Samples[g.to])), r.Unit, floor, verdict)
	}
	return w.String()
}

// Between these lines the page about performance has the table of the goals.
const goalsBegin, goalsEnd = "<!-- goals: written by make bench -->\n", "<!-- end of goals -->\n"

// putGoals replaces the table of the goals in a page that has one.
func putGoals(page, table string) (string, bool) {
	before, rest, ok := strings.Cut(page, goalsBegin)
	if !ok {
		return page, false
	}
	_, after, ok := strings.Cut(rest, goalsEnd)
	if !ok {
		return page, false
	}
	return before + goalsBegin + "\n" + table + "\n" + goalsEnd + after, true
}

// number shows three significant digits.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

func (r *result) markdown(w *strings.Builder) {
	first := ""
	for _, name := range r.Order {
		if len(r.Samples[name]) > 0 {
			first = name
			break
		}
	}
	if first == "" {
		return
	}
	cpu := len(r.User[first]) > 0
	fmt.Fprintf(w, "\n## %s\n\n| | median %s | p90 | p99 |", r.Name, r.Unit)
	if cpu {
		w.WriteString(" processor time user | system |")
	}
	fmt.Fprintf(w, " %s / this |\n|---|---|---|---|", first)
	if cpu {
		w.WriteString("---|---|")
	}
	w.WriteString("---|\n")
	for _, name := range r.Order {
		s := r.Samples[name]
		if len(s) == 0 {
			continue
		}
		p90, p99 := math.NaN(), math.NaN()
		if len(s) > 1 {
			p90, p99 = quantile(s, 0.9), quantile(s, 0.99)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |", name, number(median(s)), number(p90), number(p99))
		if cpu {
			fmt.Fprintf(w, " %s | %s |", number(median(r.User[name])), number(median(r.Sys[name])))
		}
		fmt.Fprintf(w, " %s |\n", number(r.ratio(first, name)))
	}
}

// write puts the report into a directory.
func (b *bench) write(dir, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(record{b.system, b.results, b.skipped}, "", " ")
	if err != nil {
		return err
	}
	files := map[string]string{"results.md": text, "medians.svg": b.plot(), "results.json": string(raw) + "\n"}
	if len(b.steps) > 0 {
		files["timeline.svg"] = timelineSVG(b.steps)
	}
	const page = "../performance.md"
	if text, err := os.ReadFile(filepath.Join(dir, page)); err == nil {
		if text, ok := putGoals(string(text), b.goals()); ok {
			files[page] = text
		}
	}
	for name, data := range files {
		tmp := filepath.Join(dir, filepath.Dir(name), "."+filepath.Base(name))
		if err := os.WriteFile(tmp, []byte(data), 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	fmt.Println("\nwritten to " + dir)
	return nil
}
