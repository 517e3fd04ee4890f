// Bench measures gcrun side by side with crun, runc, youki and bubblewrap, and against a floor: a C program that
// makes the same system calls and nothing else (floor/floor.c).
//
//	make bench                       everything
//	make bench BENCH=quick           the main figures
//	CRUN=/opt/crun make bench        with another crun
//	build/bench -merge -only exec    one measure anew, the others as they were
//
// The contenders take turns within each measure (turns.go), so that whatever else happens on the machine happens to all
// of them, and figures are compared as ratios of medians. Every measure starts processes in the same way (vfork and
// execve by package syscall, wait4) and runs under one subreaper, which stands where containerd's shim stands.
//
// Results go to a directory as a Markdown table, a plot (SVG) and the raw numbers (JSON).
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

func main() {
	debug.SetGCPercent(-1) // no collection in the middle of a measure
	debug.SetMemoryLimit(1 << 30)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

func run() error {
	mode := flag.String("mode", "full", "full or quick")
	gcrun := flag.String("gcrun", "build/gcrun", "the gcrun to measure")
	gcr := flag.String("gcr", "build/gcr", "the gcr to measure, empty for none")
	floor := flag.String("floor", "bench/floor/floor.c", "source of the floor")
	out := flag.String("out", "docs/bench", "directory for the results, empty for none")
	only := flag.String("only", "", "measure only what has one of these in its name, separated by semicolons")
	rounds := flag.Int("rounds", 0, "how often each contender is measured, 0 for as often as the mode says")
	merge := flag.Bool("merge", false, "keep the results in the directory that are not measured anew")
	flag.Parse()
	if os.Geteuid() != 0 {
		return fmt.Errorf("measure containers: it needs root, as its peers do; try sudo make bench")
	}
	if *mode != "full" && *mode != "quick" {
		return fmt.Errorf("measure: there is no mode %q; use full or quick", *mode)
	}
	if err := ownNamespaces(); err != nil {
		return err
	}
	if err := furnish(); err != nil {
		return err
	}
	b, err := newBench(*mode == "quick", *only)
	if err != nil {
		return err
	}
	defer b.cleanUp()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		starting.Lock() // nothing new comes while things are taken away
		b.cleanUp()
		os.Exit(130)
	}()
	if err := b.findContenders(*gcrun, *gcr, *floor); err != nil {
		return err
	}
	b.rounds = *rounds
	b.system = describe(b)
	fmt.Println(b.system.text())
	if err := b.measureAll(); err != nil {
		return err
	}
	if *merge && *out != "" {
		if err := b.merge(*out); err != nil {
			return err
		}
	}
	text := b.markdown()
	fmt.Print("\n" + strings.TrimPrefix(text, "# Measurements\n"))
	if *out == "" {
		return nil
	}
	return b.write(*out, text)
}
