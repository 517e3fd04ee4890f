package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gcr/internal/account"
	"gcr/internal/hostfacts"

	"golang.org/x/sys/unix"
)

func terminal(f *os.File) bool { return hostfacts.IsTerminal(int(f.Fd())) }

func runState(g *globals, c *command, args []string) error {
	rest, err := parse(c, flagSet("state"), args, 1, 1)
	if err != nil {
		return err
	}
	st, err := g.store().State(rest[0])
	if err != nil {
		return err
	}
	return printJSON(os.Stdout, st)
}

// printJSON writes indented JSON with no line end behind it, as runc does.
func printJSON(f *os.File, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return err
}

func runKill(g *globals, c *command, args []string) error {
	fs := flagSet("kill")
	all := false
	both(fs, &all, "all", "a", "signal every process of the container")
	rest, err := parse(c, fs, args, 1, 2)
	if err != nil {
		return err
	}
	name := "SIGTERM"
	if len(rest) == 2 {
		name = rest[1]
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	return g.store().Kill(rest[0], sig, all)
}

// parseSignal takes a number, or a name in any case with or without SIG; real-time signals as RTMIN+n and RTMAX-n.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	// The first real-time signals belong to the C library (signal(7)).
	for _, base := range []struct {
		prefix    string
		from, dir int
	}{{"SIGRTMIN", 34, 1}, {"SIGRTMAX", 64, -1}} {
		rest, ok := strings.CutPrefix(name, base.prefix)
		if !ok {
			continue
		}
		n := 0
		if rest != "" {
			var err error
			if n, err = strconv.Atoi(strings.TrimLeft(rest, "+-")); err != nil {
				break
			}
		}
		if sig := base.from + base.dir*n; sig >= 34 && sig <= 64 {
			return unix.Signal(sig), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func runDelete(g *globals, c *command, args []string) error {
	fs := flagSet("delete")
	force := false
	both(fs, &force, "force", "f", "kill the container first when it is not stopped")
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	return g.store().Delete(rest[0], force)
}

func runPause(g *globals, c *command, args []string) error {
	rest, err := parse(c, flagSet("pause"), args, 1, 1)
	if err != nil {
		return err
	}
	return g.store().Pause(rest[0])
}

func runResume(g *globals, c *command, args []string) error {
	rest, err := parse(c, flagSet("resume"), args, 1, 1)
	if err != nil {
		return err
	}
	return g.store().Resume(rest[0])
}

func runList(g *globals, c *command, args []string) error {
	fs := flagSet("list")
	format, quiet := "table", false
	bothText(fs, &format, "format", "f", "`format`: table or json")
	both(fs, &quiet, "quiet", "q", "print the ids only")
	if _, err := parse(c, fs, args, 0, 0); err != nil {
		return err
	}
	states, owners, err := g.store().List()
	if err != nil {
		return err
	}
	names := ownerNames(owners)
	for i := range states {
		states[i].Owner = names[owners[i]]
	}
	switch {
	case quiet:
		for _, s := range states {
			fmt.Println(s.ID)
		}
		return nil
	case format == "json":
		return json.NewEncoder(os.Stdout).Encode(states)
	case format != "table":
		return usageError{fmt.Errorf("invalid format option %q: use table or json", format)}
	}
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return w.Flush()
}

// ownerNames looks user names up; an id without a name is shown as #id.
func ownerNames(uids []int) map[int]string {
	out := map[int]string{}
	passwd, _ := os.ReadFile("/etc/passwd")
	for _, uid := range uids {
		if _, ok := out[uid]; ok {
			continue
		}
		out[uid] = fmt.Sprintf("#%d", uid)
		if u, found, err := account.UserByID(uint32(uid), passwd); err == nil && found {
			out[uid] = u.Name
		}
	}
	return out
}

func runPS(g *globals, c *command, args []string) error {
	fs := flagSet("ps")
	format := "table"
	bothText(fs, &format, "format", "f", "`format`: table or json")
	rest, err := parse(c, fs, args, 1, -1)
	if err != nil {
		return err
	}
	pids, err := g.store().Processes(rest[0])
	if err != nil {
		return err
	}
	switch format {
	case "json":
		return json.NewEncoder(os.Stdout).Encode(pids)
	case "table":
		return printPS(pids, rest[1:])
	}
	return usageError{fmt.Errorf("invalid format option %q: use table or json", format)}
}

// printPS prints those lines of ps(1) that are about the processes.
func printPS(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	out, err := exec.Command("ps", options...).Output()
	if err != nil {
		err = fmt.Errorf("run ps %s: %w", strings.Join(options, " "), err)
		var failed *exec.ExitError
		if errors.As(err, &failed) { // an error of gcrun is one line
			err = fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(failed.Stderr)), " "))
		}
		return err
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	column := -1
	for i, name := range strings.Fields(lines[0]) {
		if name == "PID" {
			column = i
		}
	}
	if column < 0 {
		return fmt.Errorf("couldn't find PID field in ps output")
	}
	fmt.Println(lines[0])
	for _, l := range lines[1:] {
		f := strings.Fields(l)
		if len(f) <= column {
			continue
		}
		pid, err := strconv.Atoi(f[column])
		if err != nil {
			return fmt.Errorf("read output of ps: %q is no process id", f[column])
		}
		for _, p := range pids {
			if p == pid {
				fmt.Println(l)
			}
		}
	}
	return nil
}

func runEvents(g *globals, c *command, args []string) error {
	fs := flagSet("events")
	interval, stats := 5*time.Second, false
	fs.DurationVar(&interval, "interval", interval, "`time` between two lines")
	fs.BoolVar(&stats, "stats", false, "print one line and end")
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if interval <= 0 {
		return usageError{fmt.Errorf("duration interval must be greater than 0")}
	}
	if stats {
		b, err := g.store().Stats(rest[0])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(b)
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	return g.store().Events(ctx, rest[0], interval, func(b []byte) error {
		_, err := os.Stdout.Write(b)
		return err
	})
}
