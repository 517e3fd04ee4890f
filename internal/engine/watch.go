package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gcr/internal/launch"
	"gcr/internal/plan"
)

// errQuit says that the person at --step has had enough.
var errQuit = errors.New("quit")

// watcher tells on standard error what happens, as --trace and --step want it.
type watcher struct {
	r     *run
	out   io.Writer
	in    *bufio.Reader
	trace bool
	step  bool
}

// watch puts the watcher between launch and the person.
func (r *run) watch(o *launch.Options) *watcher {
	w := &watcher{r: r, out: os.Stderr, in: bufio.NewReader(os.Stdin), trace: r.o.Trace, step: r.o.Step}
	if w.trace || w.step {
		o.OnHost = func(_ int, s plan.HostStep) error { return w.at("host", s.Info, s.Detail, monotonic(), 0) }
		o.OnStep = func(n int, at time.Duration, pidfd int) error {
			var calls []string
			if w.step {
				for _, c := range r.plan.Program.Calls() {
					if c.Step == n {
						calls = append(calls, c.String())
					}
				}
			}
			return w.at("container", r.plan.Steps[n].Info(), calls, at, pidfd)
		}
	}
	return w
}

// done tells that the command has taken over.
func (w *watcher) done() {
	if w.trace || w.step {
		w.line("host", monotonic(), "the command runs: "+strings.Join(w.r.cfg.Spec.Process.Args, " "))
	}
}

func (w *watcher) line(who string, at time.Duration, what string) {
	fmt.Fprintf(w.out, "%8d µs  %-9s  %s\n", (at - w.r.begin).Microseconds(), who, what)
}

// at is called before a step; pidfd is the container's first process, 0 while there is none.
func (w *watcher) at(who string, info plan.Info, calls []string, at time.Duration, pidfd int) error {
	what := info.What
	if info.Field != "" {
		what += " (" + info.Field + ")"
	}
	w.line(who, at, what)
	if !w.step {
		return nil
	}
	fmt.Fprintf(w.out, "             %s\n", info.Why)
	const most = 6
	for i, c := range calls {
		if i == most {
			fmt.Fprintf(w.out, "               … and %d more\n", len(calls)-most)
			break
		}
		fmt.Fprintf(w.out, "               %s\n", c)
	}
	for {
		keys := "[enter] go on, [q] quit"
		if pidfd != 0 {
			keys = "[enter] go on, [s] shell in the half-built container, [q] quit"
		}
		fmt.Fprintf(w.out, "             %s > ", keys)
		answer, err := w.in.ReadString('\n')
		if err != nil && answer == "" {
			fmt.Fprintln(w.out)
			return errQuit
		}
		switch strings.TrimSpace(answer) {
		case "":
			return nil
		case "q":
			return errQuit
		case "s":
			if pidfd == 0 {
				fmt.Fprintln(w.out, "             there is no process yet that a shell could join")
				continue
			}
			if err := launch.Shell(w.r.plan, pidfd, os.Stdin, os.Stdout); err != nil {
				fmt.Fprintf(w.out, "gcr: %v\n", err)
			}
		}
	}
}
