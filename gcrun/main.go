// Command gcrun is an OCI runtime: it creates, starts, joins, measures and deletes containers for Docker,
// containerd, Podman, Buildah, CRI-O and anything else that speaks to runc or crun.
//
// It prints nothing but what was asked for: engines read its output and its errors. See docs/gcrun.md.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gcr/internal/lifecycle"
	_ "gcr/internal/prefault"
	"gcr/internal/stack"
)

// Exit statuses; engines tell failures by them (as runc).
const (
	exitFailure = 1
	exitUnknown = 3   // no such command
	exitExec    = 255 // exec could not run the process
)

// command is one word of the command line.
type command struct {
	name, args, help string
	run              func(g *globals, c *command, args []string) error
}

func commands() []command {
	return []command{
		{"create", "[options] ID", "create a container that waits for start", runCreate},
		{"start", "ID", "start the command of a created container", runStart},
		{"run", "[options] ID", "create and start a container, and wait for its end", runRun},
		{"state", "ID", "print the state of a container as JSON", runState},
		{"kill", "[options] ID [SIGNAL]", "send a signal to a container (default TERM)", runKill},
		{"delete", "[options] ID", "delete what is left of a container", runDelete},
		{"exec", "[options] ID COMMAND [ARG...]", "run a further process in a container", runExec},
		{"list", "[options]", "list containers", runList},
		{"ps", "[options] ID [PS-OPTION...]", "list the processes of a container", runPS},
		{"pause", "ID", "stop all processes of a container", runPause},
		{"resume", "ID", "let a paused container run on", runResume},
		{"update", "[options] ID", "change the limits of a container", runUpdate},
		{"mounts", "add|remove ID FILE", "add or remove mounts of a running container; FILE is JSON with mounts as in config.json", runMounts},
		{"events", "[options] ID", "print what a container uses, and when it runs out of memory", runEvents},
		{"spec", "[options]", "write a config.json to start from", runSpec},
		{"features", "", "print what this runtime can do as JSON", runFeatures},
		{"checkpoint", "[options] ID", "write the processes of a container to disk, with criu", runCheckpoint},
		{"restore", "[options] ID", "make a container of processes that checkpoint wrote to disk", runRestore},
	}
}

// globals are the options before the command.
type globals struct {
	root, logFile, logFormat, logLevel string
	cgroupManager, rootless, criu      string
	debug, systemdCgroup               bool
	explain                            optionalText
	log                                *logger
}

// exitStatus ends the program with a status and no further word.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is about the command line itself.
type usageError struct{ error }

func main() {
	stack.Grow()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	g := &globals{}
	fs := flagSet("gcrun")
	fs.StringVar(&g.root, "root", "", "`directory` of the containers' state")
	fs.StringVar(&g.logFile, "log", "", "append errors to `file`")
	fs.StringVar(&g.logFormat, "log-format", "text", "`format` of the log: text, json or journald")
	fs.StringVar(&g.logLevel, "log-level", "", "debug, info, warning or error")
	fs.BoolVar(&g.debug, "debug", false, "log warnings too")
	fs.BoolVar(&g.systemdCgroup, "systemd-cgroup", false, "let systemd make the cgroups")
	fs.StringVar(&g.cgroupManager, "cgroup-manager", "", "cgroupfs, systemd or disabled")
	fs.StringVar(&g.rootless, "rootless", "auto", "accepted for compatibility: true, false or auto; gcrun finds out by itself")
	fs.StringVar(&g.criu, "criu", "", "the `program` that checkpoint and restore use (default: criu in PATH)")
	fs.Var(&g.explain, "explain", "print what create, run or exec would do, as text, json or shell, and do nothing")
	var version, help bool
	both(fs, &version, "version", "v", "print the version")
	fs.BoolVar(&version, "V", version, "same as --version")
	both(fs, &help, "help", "h", "print this help")
	err := fs.Parse(args)
	switch {
	case err != nil:
		return fail(&globals{log: &logger{}}, usageError{err})
	case version:
		printVersion(os.Stdout)
		return 0
	case help || fs.NArg() == 0 || fs.Arg(0) == "help":
		usage(os.Stdout, fs)
		return 0
	}
	g.log = &logger{file: g.logFile, format: g.logFormat, verbose: g.debug || g.logLevel != "" && g.logLevel != "error"}
	if err := g.check(); err != nil {
		return fail(g, err)
	}
	all := commands()
	for i := range all {
		c := &all[i]
		if c.name != fs.Arg(0) {
			continue
		}
		if err := c.run(g, c, fs.Args()[1:]); err != nil {
			var status exitStatus
			if errors.As(err, &status) {
				g.log.flush()
				return int(status)
			}
			code := fail(g, err)
			if c.name == "exec" && !errors.As(err, &usageError{}) {
				return exitExec
			}
			return code
		}
		g.log.flush()
		return 0
	}
	fail(g, fmt.Errorf("no help topic for '%s'; gcrun --help lists the commands", fs.Arg(0)))
	return exitUnknown
}

// check looks at the global options and fills in the defaults.
func (g *globals) check() error {
	if err := g.log.open(); err != nil {
		return err
	}
	if g.root == "" {
		g.root = defaultRoot(os.Geteuid(), lifecycle.InUserNamespace, os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("USER"))
	}
	var err error
	if g.root, err = filepath.Abs(g.root); err != nil {
		return fmt.Errorf("find state root: %w", err)
	}
	switch g.cgroupManager {
	case "", "cgroupfs", "disabled":
	case "systemd":
		g.systemdCgroup = true
	default:
		return usageError{fmt.Errorf("there is no cgroup manager %q: use cgroupfs, systemd or disabled", g.cgroupManager)}
	}
	return nil
}

func (g *globals) store() lifecycle.Store {
	return lifecycle.Store{Root: g.root, Warn: g.log.warn}
}

// defaultRoot is a pure function of the caller, since engines call some commands with an almost empty environment:
// /run/gcrun for root, below XDG_RUNTIME_DIR for others and for root of a user namespace.
func defaultRoot(euid int, inUserNS func() bool, xdg, user string) string {
	switch {
	case xdg != "" && (euid != 0 || inUserNS() && user != "root"):
		return filepath.Join(xdg, "gcrun")
	case euid != 0:
		return fmt.Sprintf("/tmp/gcrun-%d", euid)
	}
	return "/run/gcrun"
}

// flagSet parses options as Go's flag package does, which takes -name and --name alike.
func flagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// both defines a boolean option with a long and a short name.
func both(fs *flag.FlagSet, to *bool, long, short, help string) {
	fs.BoolVar(to, long, *to, help)
	fs.BoolVar(to, short, *to, "same as --"+long)
}

func bothText(fs *flag.FlagSet, to *string, long, short, help string) {
	fs.StringVar(to, long, *to, help)
	fs.StringVar(to, short, *to, "same as --"+long)
}

// list is an option that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// optionalText is an option with or without a value.
type optionalText struct{ value string }

func (t *optionalText) String() string   { return t.value }
func (t *optionalText) IsBoolFlag() bool { return true }
func (t *optionalText) Set(s string) error {
	switch s {
	case "true", "text":
		t.value = "text"
	case "json", "shell":
		t.value = s
	case "false":
		t.value = ""
	default:
		return fmt.Errorf("there is no form %q: use text, json or shell", s)
	}
	return nil
}

// errHelp says that help was printed.
var errHelp = exitStatus(0)

// parse reads the options of a command and checks the number of arguments; most may be -1 for any. Options may also
// come behind arguments, as with runc ("delete ID --force"), but not where what follows the id is for somebody else: a
// command, or ps(1).
func parse(c *command, fs *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var help bool
	both(fs, &help, "help", "h", "print this help")
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			return nil, usageError{err}
		}
		n := len(args) - fs.NArg() // what Parse has read
		if most < 0 || fs.NArg() == 0 || n > 0 && args[n-1] == "--" {
			rest = append(rest, fs.Args()...)
			break
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
	if help {
		fmt.Printf("gcrun %s %s\n\n%s.\n\n", c.name, c.args, c.help)
		printOptions(os.Stdout, fs)
		return nil, errHelp
	}
	n := len(rest)
	switch {
	case n != least && least == most:
		return nil, usageError{fmt.Errorf("%q requires exactly %d argument(s)", "gcrun "+c.name, least)}
	case n < least:
		return nil, usageError{fmt.Errorf("%q requires a minimum of %d argument(s)", "gcrun "+c.name, least)}
	case most >= 0 && n > most:
		return nil, usageError{fmt.Errorf("%q requires a maximum of %d argument(s)", "gcrun "+c.name, most)}
	}
	return rest, nil
}

func usage(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "gcrun [global options] COMMAND [options] [arguments]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.help)
	}
	fmt.Fprintf(w, "\nGlobal options:\n")
	printOptions(w, fs)
}

func printOptions(w io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		if strings.HasPrefix(f.Usage, "same as --") {
			return
		}
		name, help := flag.UnquoteUsage(f)
		short := ""
		fs.VisitAll(func(s *flag.Flag) {
			if s.Usage == "same as --"+f.Name {
				short = ", -" + s.Name
			}
		})
		if name != "" {
			name = " " + strings.ToUpper(name)
		}
		fmt.Fprintf(w, "  --%-30s %s\n", f.Name+short+name, help)
	})
}
