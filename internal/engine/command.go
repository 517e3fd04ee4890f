package engine

import (
	"fmt"
	"path"
	"strings"

	"gcr/internal/rootfile"
)

// buildCommand decides what runs, as in Docker: the entrypoint, then the command. --entrypoint replaces the
// image's and forgets its Cmd; a command on the line replaces Cmd.
func (b *builder) buildCommand() error {
	var entrypoint, command []string
	if b.image != nil {
		entrypoint, command = b.image.Entrypoint, b.image.Cmd
	}
	if b.o.Entrypoint.Given {
		entrypoint, command = nil, nil
		if b.o.Entrypoint.Value != "" {
			entrypoint = []string{b.o.Entrypoint.Value}
		}
	}
	if len(b.o.Command) > 0 {
		command = b.o.Command
	}
	args := append(append([]string{}, entrypoint...), command...)
	if len(args) == 0 {
		shell, err := b.shell()
		if err != nil {
			return err
		}
		args = []string{shell}
	}
	if args[0] == "" {
		return &Error{Op: "run", Object: `""`, Cause: text("the command is empty"), Hint: "name a program, for instance sh"}
	}
	b.spec.Process.Args = args
	return nil
}

// shell finds what to run when nobody said: the user's login shell, else /bin/sh.
func (b *builder) shell() (string, error) {
	for _, sh := range []string{b.who.Shell, "/bin/sh"} {
		if !strings.HasPrefix(sh, "/") || strings.HasSuffix(sh, "/nologin") || strings.HasSuffix(sh, "/false") {
			continue
		}
		st, err := b.files.Stat(sh)
		if err == nil && st.Kind == rootfile.Regular && st.Executable {
			return sh, nil
		}
	}
	return "", &Error{
		Op: "run", Object: "a shell in " + quote(b.rootName()), Cause: text("it has no /bin/sh"),
		Hint: "name a command that it has: gcr run " + b.root.Name + " /path/to/program",
	}
}

func (b *builder) rootName() string {
	if b.set.has(nsMount) {
		return b.root.Name
	}
	return "the host"
}

// buildCwd sets the working directory.
func (b *builder) buildCwd() error {
	flag, dir := "--workdir", b.o.Workdir
	if dir == "" && b.image != nil {
		flag, dir = "WorkingDir of "+b.image.file, b.image.WorkingDir
		b.config.MakeCwd = dir != ""
	}
	if b.config.Root.Kind == RootImage {
		b.config.MakeCwd = true // as docker run does for -w; the container's files are its own
	}
	if dir == "" {
		dir = "/"
	}
	if !strings.HasPrefix(dir, "/") {
		return badValue(flag, dir, "is not an absolute path", "write /"+dir)
	}
	b.spec.Process.Cwd = path.Clean(dir)
	return nil
}

// buildTerminal decides about the terminal and standard input: with a terminal on both sides a container is
// interactive unless told otherwise.
func (b *builder) buildTerminal() error {
	both := b.h.StdinTerminal && b.h.StdoutTerminal
	tty, interactive := b.o.TTY == On, b.o.Interactive == On
	if b.o.TTY == Auto && both && b.o.Interactive != Off {
		tty = true
	}
	if b.o.Interactive == Auto && both {
		interactive = true
	}
	if b.o.TTY == On && interactive && !b.h.StdinTerminal {
		return &Error{
			Op: "attach", Object: "standard input", Flag: "--tty --interactive",
			Cause: text("it is not a terminal"), Hint: "leave out -t to pass on a pipe or a file",
		}
	}
	b.spec.Process.Terminal = tty
	b.config.Interactive = interactive
	if tty && b.h.Rows > 0 && b.h.Columns > 0 {
		b.spec.Process.ConsoleSize = newBox(b.h.Rows, b.h.Columns)
	}
	return nil
}

// parseKeyValues reads NAME=VALUE pairs, such as labels. needValue refuses NAME alone.
func parseKeyValues(flag string, values []string, needValue bool) (map[string]string, error) {
	var out map[string]string
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if name == "" || needValue && !ok {
			return nil, badValue(flag, v, "is not NAME=VALUE", "")
		}
		if out == nil {
			out = make(map[string]string, len(values))
		}
		if old, dup := out[name]; dup && old != value {
			return nil, badValue(flag, v, fmt.Sprintf("%s has the value %s already", name, quote(old)), "give it once")
		}
		out[name] = value
	}
	return out, nil
}
