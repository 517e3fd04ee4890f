package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"gcr/internal/launch"
	"gcr/internal/lifecycle"
	"gcr/internal/plan"
)

// createFlags are the options that create and run share.
func createFlags(fs *flag.FlagSet, o *lifecycle.CreateOptions) {
	bothText(fs, &o.Bundle, "bundle", "b", "`directory` of the bundle (default: the working directory)")
	bothText(fs, &o.Config, "config", "f", "`file` with the configuration (default: config.json in the bundle)")
	fs.StringVar(&o.PidFile, "pid-file", "", "write the process id of the container to `file`")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "unix `socket` that gets the container's terminal")
	fs.StringVar(&o.PidfdSocket, "pidfd-socket", "", "unix `socket` that gets a pidfd of the container")
	fs.BoolVar(&o.NoPivot, "no-pivot", false, "chroot instead of pivot_root, for an initial ramfs")
	fs.BoolVar(&o.NoNewKeyring, "no-new-keyring", false, "keep the caller's session keyring")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass on `N` descriptors, from 3 on")
	fs.Bool("no-subreaper", false, "accepted for compatibility: gcrun is never a subreaper")
}

// finish checks and completes the options.
func (g *globals) finish(o *lifecycle.CreateOptions, id string) error {
	if o.PreserveFDs < 0 {
		return usageError{fmt.Errorf("invalid value %d for --preserve-fds: it is a number of descriptors", o.PreserveFDs)}
	}
	o.ID, o.Environ, o.NoCgroup, o.SystemdCgroup = id, os.Environ(), g.cgroupManager == "disabled", g.systemdCgroup
	return nil
}

func runCreate(g *globals, c *command, args []string) error {
	fs := flagSet("create")
	o := lifecycle.CreateOptions{Detached: true}
	createFlags(fs, &o)
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if err := g.finish(&o, rest[0]); err != nil {
		return err
	}
	if g.explain.value != "" {
		return g.explainCreate(o, true)
	}
	if err := g.store().Create(o); err != nil {
		return setupError("gcrun create failed: ", "unable to start container process: ", err)
	}
	return nil
}

func (g *globals) explainCreate(o lifecycle.CreateOptions, wait bool) error {
	p, err := g.store().ExplainCreate(o, wait)
	if err != nil {
		return err
	}
	return g.print(p)
}

// print writes a plan in the form that --explain asks for.
func (g *globals) print(p *plan.Plan) error {
	switch g.explain.value {
	case "json":
		return printJSON(os.Stdout, p)
	case "shell":
		return p.ExplainShell(os.Stdout)
	}
	return p.Explain(os.Stdout)
}

// setupError puts the words that engines look for first, and what helps a person after them.
func setupError(prefix, what string, err error) error {
	if err == nil {
		return nil
	}
	var p *plan.Error
	if !errors.As(err, &p) {
		return fmt.Errorf("%s%w", prefix, err)
	}
	if p.Client == "" {
		return fmt.Errorf("%s%s%w", prefix, what, err)
	}
	text := p.Client
	if p.Field != "" {
		text += " (" + p.Field + ")"
	}
	// What is not there needs no second explanation.
	if p.Hint != "" && !errors.Is(err, plan.ErrNotFound) {
		text += "; " + p.Hint
	}
	return fmt.Errorf("%s%s%s", prefix, what, text)
}

func runRun(g *globals, c *command, args []string) error {
	fs := flagSet("run")
	var o lifecycle.CreateOptions
	keep := false
	createFlags(fs, &o)
	both(fs, &o.Detached, "detach", "d", "return when the container runs")
	fs.BoolVar(&keep, "keep", false, "do not delete the container at its end")
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if err := g.finish(&o, rest[0]); err != nil {
		return err
	}
	if g.explain.value != "" {
		return g.explainCreate(o, false)
	}
	var forward *launch.Forwarder
	if !o.Detached {
		if forward, err = launch.ForwardSignals(); err != nil {
			return err
		}
	}
	r, err := g.store().Run(o)
	if err != nil {
		return setupError("gcrun run failed: ", "unable to start container process: ", err)
	}
	if o.Detached {
		r.Release()
		return nil
	}
	status, err := attend(r.Process, r.Master, forward)
	if err != nil {
		r.Stop()
	}
	if !keep || err != nil {
		if derr := r.End(); derr != nil {
			g.log.warn(derr.Error())
		}
	}
	if err != nil {
		return err
	}
	return exitStatus(status)
}

// attend copies the terminal, passes signals on and waits for the end.
func attend(p *launch.Process, master *os.File, forward *launch.Forwarder) (int, error) {
	var t *launch.Terminal
	if master != nil {
		var err error
		if t, err = launch.Connect(master, os.Stdin, os.Stdout); err != nil {
			return 0, fmt.Errorf("connect the container's terminal: %w", err)
		}
	}
	status, err := forward.Wait(p)
	if t != nil {
		if terr := t.Close(); err == nil && terr != nil {
			err = fmt.Errorf("give the terminal back: %w", terr)
		}
	}
	return status, err
}

func runStart(g *globals, c *command, args []string) error {
	rest, err := parse(c, flagSet("start"), args, 1, 1)
	if err != nil {
		return err
	}
	if err := g.store().Start(rest[0], lifecycle.NotifySocket(os.Environ())); err != nil {
		return setupError("", "unable to start container process: ", err)
	}
	return nil
}
