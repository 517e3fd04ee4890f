// Command conformance runs the validation suite of opencontainers/runtime-tools against OCI runtimes, and prints
// which of its programs each one passes:
//
//	go run . -dir /tmp/conformance -known known-failures.txt ../../gcrun/gcrun runc crun
//
// The first runtime is the one under test: it must pass all programs but those that the file of known failures
// names, each with its reason. The others stand beside it for comparison.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const module = "github.com/opencontainers/runtime-tools"

// patience bounds one program of the suite, which waits ten seconds here and there.
const patience = 3 * time.Minute

func main() {
	dir := flag.String("dir", filepath.Join(os.TempDir(), "gcr-conformance"), "`directory` to build and run in")
	known := flag.String("known", "", "`file` with the programs that the first runtime cannot pass, and why")
	only := flag.String("run", "", "run only the programs in this comma-separated `list`")
	flag.Parse()
	if err := run(*dir, *known, *only, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// outcome is what one program says about one runtime.
type outcome struct {
	pass               bool
	good, bad, skipped int
	output             string
}

func (o outcome) String() string {
	word := "FAIL"
	if o.pass {
		word = "pass"
	}
	return fmt.Sprintf("%s %d/%d/%d", word, o.good, o.bad, o.skipped)
}

func run(dir, knownFile, only string, runtimes []string) error {
	if os.Geteuid() != 0 {
		return errors.New("the suite needs root")
	}
	if len(runtimes) == 0 {
		return errors.New("name at least one runtime")
	}
	known, err := readKnown(knownFile)
	if err != nil {
		return err
	}
	names, err := build(dir, only)
	if err != nil {
		return err
	}
	commands := make([]string, 0, len(runtimes))
	heads := []string{"program"}
	for _, r := range runtimes {
		path, err := exec.LookPath(r)
		if err != nil {
			fmt.Fprintf(os.Stderr, "leave out %s: it is not installed\n", r)
			continue
		}
		if path, err = wrap(dir, path); err != nil {
			return err
		}
		commands, heads = append(commands, path), append(heads, filepath.Base(r))
	}
	results := make([]map[string]outcome, len(commands))
	for i, c := range commands {
		results[i] = map[string]outcome{}
		for _, n := range names {
			results[i][n] = runOne(dir, n, c)
			fmt.Fprintf(os.Stderr, "%-10s %-34s %s\n", heads[i+1], n, results[i][n])
		}
	}
	table(heads, names, results)
	return judge(names, results[0], known)
}

// readKnown reads lines of the form "program: reason".
func readKnown(path string) (map[string]string, error) {
	out := map[string]string{}
	if path == "" {
		return out, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for _, l := range strings.Split(string(data), "\n") {
		if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		name, reason, ok := strings.Cut(l, ": ")
		if !ok {
			return nil, fmt.Errorf("read %s: line %q has no reason", path, l)
		}
		out[name] = reason
	}
	return out, nil
}

// build builds the suite's programs and returns their names.
func build(dir, only string) ([]string, error) {
	src, err := output("go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, arch := range []string{"amd64", "386"} {
		name := "rootfs-" + arch + ".tar.gz"
		if err := copyFile(filepath.Join(src, name), filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(filepath.Join(src, "validation"))
	if err != nil {
		return nil, err
	}
	var names []string
	wanted := strings.Split(only, ",")
	for _, e := range entries {
		if e.IsDir() && e.Name() != "util" && (only == "" || slices.Contains(wanted, e.Name())) {
			names = append(names, e.Name())
		}
	}
	args := []string{"build", "-o", dir + string(filepath.Separator), module + "/cmd/runtimetest"}
	for _, n := range names {
		args = append(args, module+"/validation/"+n)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // runtimetest runs in a root filesystem without libraries
	cmd.Stderr = os.Stderr
	return names, cmd.Run()
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(out)), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// wrap helps crun 1.8, which refuses configurations of a specification that is newer than itself: it gets them with
// the version that it knows.
func wrap(dir, path string) (string, error) {
	text, err := output(path, "--version")
	if err != nil || !strings.Contains(text, "crun version 1.8") {
		return path, err
	}
	script := fmt.Sprintf("#!/bin/sh\nprev=\nfor a; do [ \"$prev\" = --bundle ] && sed -i 's/\"ociVersion\": *\"[^\"]*\"/\"ociVersion\": \"1.0.2\"/' \"$a/config.json\"; prev=$a; done\nexec %s \"$@\"\n", path)
	to := filepath.Join(dir, "crun")
	return to, os.WriteFile(to, []byte(script), 0o755)
}

// runOne runs a program of the suite, which prints its findings in the Test Anything Protocol.
func runOne(dir, name, runtime string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, name))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUNTIME="+runtime)
	var out, both bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &both), &both
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	o := outcome{output: both.String()}
	for _, l := range strings.Split(out.String(), "\n") {
		switch {
		case strings.HasPrefix(l, "not ok"):
			o.bad++
		case strings.HasPrefix(l, "ok") && strings.Contains(strings.ToUpper(l), "# SKIP"):
			o.skipped++
		case strings.HasPrefix(l, "ok"):
			o.good++
		}
	}
	o.pass = err == nil && o.bad == 0
	return o
}

func table(heads, names []string, results []map[string]outcome) {
	w := tabwriter.NewWriter(os.Stdout, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	for _, n := range names {
		row := []string{n}
		for _, r := range results {
			row = append(row, r[n].String())
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	row := []string{"passed"}
	for _, r := range results {
		passed := 0
		for _, o := range r {
			if o.pass {
				passed++
			}
		}
		row = append(row, fmt.Sprintf("%d of %d", passed, len(names)))
	}
	fmt.Fprintln(w, strings.Join(row, "\t"))
	w.Flush()
}

// judge compares what the runtime under test did with what is known.
func judge(names []string, results map[string]outcome, known map[string]string) error {
	var errs []error
	for _, n := range names {
		reason, expected := known[n]
		switch o := results[n]; {
		case !o.pass && !expected:
			errs = append(errs, fmt.Errorf("%s fails: %.2000s", n, o.output))
		case o.pass && expected:
			fmt.Printf("%s passes here, though: %s\n", n, reason)
		case !o.pass:
			fmt.Printf("%s fails as it must: %s\n", n, reason)
		}
	}
	return errors.Join(errs...)
}
