package main

import (
	"errors"
	"fmt"
	"os"

	"gcr/internal/launch"
	"gcr/internal/lifecycle"
	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// execFlags are the options that describe a process without a file.
type execFlags struct {
	process, cwd, user, apparmor, label string
	env, caps, groups                   list
	tty, noNewPrivs                     bool
}

func runExec(g *globals, c *command, args []string) error {
	fs := flagSet("exec")
	var o lifecycle.ExecOptions
	var f execFlags
	bothText(fs, &f.process, "process", "p", "`file` with the process as JSON")
	fs.StringVar(&o.PidFile, "pid-file", "", "write the process id to `file`")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "unix `socket` that gets the terminal")
	fs.StringVar(&o.PidfdSocket, "pidfd-socket", "", "unix `socket` that gets a pidfd of the process")
	both(fs, &o.Detached, "detach", "d", "return when the process runs")
	both(fs, &f.tty, "tty", "t", "give the process a terminal")
	fs.StringVar(&f.cwd, "cwd", "", "working `directory`")
	fs.Var(&f.env, "env", "`variable` of the environment, NAME=VALUE; may be repeated")
	fs.Var(&f.env, "e", "same as --env")
	bothText(fs, &f.user, "user", "u", "`USER[:GROUP]`, each a name in the container or a number")
	fs.Var(&f.groups, "additional-gids", "supplementary `group`, a number or a name in the container; may be repeated")
	fs.Var(&f.groups, "g", "same as --additional-gids")
	fs.Var(&f.caps, "cap", "add a `capability`; may be repeated")
	fs.Var(&f.caps, "c", "same as --cap")
	fs.BoolVar(&f.noNewPrivs, "no-new-privs", false, "forbid new privileges")
	fs.StringVar(&f.apparmor, "apparmor", "", "AppArmor `profile`")
	fs.StringVar(&f.label, "process-label", "", "SELinux `label`")
	fs.IntVar(&o.PreserveFDs, "preserve-fds", 0, "pass on `N` descriptors, from 3 on")
	fs.BoolVar(&o.IgnorePaused, "ignore-paused", false, "run in a paused container as well; the process starts when it is resumed")
	fs.BoolVar(&o.NoNewKeyring, "no-new-keyring", false, "keep the caller's session keyring")
	fs.Var((*list)(&o.SubCgroups), "cgroup", "run in the cgroup `[controller:]path` below the container's; may be repeated with controllers")
	rest, err := parse(c, fs, args, 1, -1)
	if err != nil {
		return err
	}
	if f.process == "" && len(rest) < 2 {
		return errors.New("exec failed: process args cannot be empty")
	}
	o.ID = rest[0]
	o.Process = func(defaults *specs.Process, read lifecycle.Accounts) (*specs.Process, error) {
		return f.make(defaults, read, rest[1:])
	}
	if g.explain.value != "" {
		p, err := g.store().ExplainExec(o)
		if err != nil {
			return err
		}
		return g.print(p)
	}
	var forward *launch.Forwarder
	if !o.Detached {
		if forward, err = launch.ForwardSignals(); err != nil {
			return err
		}
	}
	x, err := g.store().Exec(o)
	if err != nil {
		return setupError("exec failed: ", "unable to start container process: ", err)
	}
	defer x.Close()
	if o.Detached {
		return nil
	}
	status, err := attend(x.Process, x.Master, forward)
	if err != nil {
		return fmt.Errorf("exec failed: %w", err)
	}
	return exitStatus(status)
}

// make describes the process: by the file, or by the container's own process with what the options change.
func (f *execFlags) make(defaults *specs.Process, read lifecycle.Accounts, args []string) (*specs.Process, error) {
	if f.process != "" {
		data, err := spec.ReadFile(f.process)
		if err != nil {
			return nil, err
		}
		var p specs.Process
		if err := spec.Decode(data, &p); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.process, err)
		}
		return &p, nil
	}
	p := *defaults
	p.Args, p.Terminal, p.ConsoleSize, p.CommandLine = args, f.tty, nil, ""
	if f.cwd != "" {
		p.Cwd = f.cwd
	}
	p.Env = append(append([]string{}, p.Env...), f.env...)
	if f.apparmor != "" {
		p.ApparmorProfile = f.apparmor
	}
	if f.label != "" {
		p.SelinuxLabel = f.label
	}
	p.NoNewPrivileges = p.NoNewPrivileges || f.noNewPrivs
	if err := setUser(&p.User, f.user, f.groups, read); err != nil {
		return nil, err
	}
	if len(f.caps) > 0 {
		p.Capabilities = addCapabilities(p.Capabilities, f.caps)
	}
	return &p, nil
}

// addCapabilities adds to the sets that matter at once. The ambient set follows only where the inheritable one
// already has something, since the kernel wants both.
func addCapabilities(old *specs.LinuxCapabilities, caps []string) *specs.LinuxCapabilities {
	var c specs.LinuxCapabilities
	if old != nil {
		c = *old
	}
	add := func(set []string) []string { return append(append([]string{}, set...), caps...) }
	c.Bounding, c.Effective, c.Permitted = add(c.Bounding), add(c.Effective), add(c.Permitted)
	if len(c.Inheritable) > 0 {
		c.Ambient = add(c.Ambient)
	}
	return &c
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && terminal(f)
}
