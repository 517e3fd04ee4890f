package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Explain writes the plan for a person to read: what the host side does, then the container's program step by
// step with the calls of each.
func (p *Plan) Explain(w io.Writer) error {
	t := &textWriter{w: w}
	t.printf("What the host side does\n\n")
	for i, s := range p.Host {
		t.step(i+1, s.Info)
		for _, d := range s.Detail {
			t.printf("        %s\n", d)
		}
		t.printf("\n")
	}
	image, err := p.Program.Compile(program.Native)
	if err != nil {
		return err
	}
	t.printf("What the container's first process does: %d calls, a program of %d bytes\n\n", len(p.Program.Calls()), len(image))
	lines := p.Program.Lines()
	i := 0
	for n, s := range p.Steps {
		t.step(n+1, s.Info())
		for ; i < len(lines) && lines[i].Step < n; i++ {
			t.line(lines[i]) // before the first step
		}
		for ; i < len(lines) && lines[i].Step == n; i++ {
			t.line(lines[i])
		}
		t.printf("\n")
	}
	return t.err
}

// textWriter keeps the first error, so that each line need not look at its own.
type textWriter struct {
	w   io.Writer
	err error
}

func (t *textWriter) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *textWriter) step(n int, info Info) {
	head := info.What
	if info.Field != "" {
		head += " [" + info.Field + "]"
	}
	t.printf("%3d. %s\n", n, head)
	why := info.Why
	if info.Man != "" {
		why += ". See " + info.Man + "."
	}
	for _, l := range wrap(why, 92) {
		t.printf("     %s\n", l)
	}
}

func (t *textWriter) line(l program.Line) {
	text := l.Text
	if l.Else != "" {
		text += "   # on " + l.Else
	}
	if l.Call < 0 {
		t.printf("        %s\n", text)
		return
	}
	t.printf("   %4d %s\n", l.Call, text)
}

// wrap breaks text into lines of at most width bytes, between words.
func wrap(text string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}

// jsonStep is a step as --explain=json prints it. Tools rely on the names.
type jsonStep struct {
	Info
	Detail []string   `json:"detail,omitempty"`
	Calls  []jsonCall `json:"calls,omitempty"`
	Shell  []string   `json:"shell,omitempty"`
}

type jsonCall struct {
	Index   int    `json:"index"`
	Name    string `json:"name"`
	Text    string `json:"text"`
	OnError string `json:"onError,omitempty"`
}

// MarshalJSON encodes the plan as an object with the members namespaces, host and program.
func (p *Plan) MarshalJSON() ([]byte, error) {
	var out struct {
		CloneFlags string     `json:"cloneFlags"`
		Host       []jsonStep `json:"host"`
		Program    []jsonStep `json:"program"`
	}
	out.CloneFlags = cloneText(p.CloneFlags)
	for _, s := range p.Host {
		out.Host = append(out.Host, jsonStep{Info: s.Info, Detail: s.Detail, Shell: s.Shell})
	}
	calls := p.Program.Calls()
	lines := p.Program.Lines()
	for n, s := range p.Steps {
		js := jsonStep{Info: s.Info(), Shell: s.Shell()}
		for _, l := range lines {
			if l.Step == n && l.Call >= 0 {
				js.Calls = append(js.Calls, jsonCall{l.Call, calls[l.Call].Sys.String(), l.Text, l.Else})
			}
		}
		out.Program = append(out.Program, js)
	}
	return json.Marshal(out)
}

// ExplainShell writes the plan as a bash script of unshare, mount, pivot_root and their kin, for a learner to
// read and to run.
func (p *Plan) ExplainShell(w io.Writer) error {
	t := &textWriter{w: w}
	t.printf("#!/bin/bash\n# What gcr does, in shell. Each comment says why.\nset -eu\n")
	undoes := p.undoes()
	if undoes {
		t.printf("\n# At the end, what has been made outside of the container is taken away, the last first.\n%s\n%s\n", "undo=()",
			`trap 'for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}" || true; done' EXIT`)
	}
	for _, s := range p.Host {
		if len(s.Shell) > 0 {
			t.comment(s.Info)
			for _, l := range s.Shell {
				t.printf("%s\n", l)
			}
		}
	}
	inner := &strings.Builder{}
	in := &textWriter{w: inner}
	for _, s := range p.Steps {
		if lines := s.Shell(); len(lines) > 0 {
			in.comment(s.Info())
			for _, l := range lines {
				in.printf("%s\n", l)
			}
		}
	}
	// No line of the text may be the one that ends it.
	end := "GCR"
	for strings.Contains(inner.String(), "\n"+end+"\n") {
		end += "_"
	}
	t.printf("\n# Start a process in its namespaces. What it does there is the text between the two lines %s.\n", end)
	enter := "exec "
	switch n := p.in.Network; {
	case n == nil:
	case n.Held && p.CloneFlags&unix.CLONE_NEWUSER != 0:
		enter += "nsenter --preserve-credentials --user --net --target $namespaces "
	case n.Held:
		enter += "nsenter --net --target $namespaces "
	case n.Enter != "":
		enter += n.Enter + " "
	}
	if undoes {
		// The script goes on afterwards.
		t.printf("(\n")
		for _, l := range p.in.Cgroup.Join {
			t.printf("%s\n", l)
		}
	}
	t.printf("%sunshare %s bash -eu -c \"$(cat <<'%s'\n%s%s\n)\"\n", enter, p.unshareFlags(), end, inner.String(), end)
	if undoes {
		t.printf(")\n")
	}
	return t.err
}

// undo is a line of the script that remembers a command for its end.
func undo(command string) string { return "undo+=(" + shellQuote(command) + ")" }

// undoes reports whether a step of the host side has something to take away.
func (p *Plan) undoes() bool {
	return slices.ContainsFunc(p.Host, func(s HostStep) bool {
		return slices.ContainsFunc(s.Shell, func(l string) bool { return strings.HasPrefix(l, "undo+=(") })
	})
}

func (t *textWriter) comment(info Info) {
	t.printf("\n")
	for _, l := range wrap(info.What+": "+info.Why, 100) {
		t.printf("# %s\n", l)
	}
}

// unshareFlags are the options of unshare(1) for the namespaces of the plan.
func (p *Plan) unshareFlags() string {
	var f []string
	entered := p.in.Network != nil && p.in.Network.Enter != ""
	held := p.in.Network != nil && p.in.Network.Held
	for _, n := range []struct {
		flag uint64
		name string
	}{
		{unix.CLONE_NEWUSER, "--user"},
		{unix.CLONE_NEWNS, "--mount"},
		{unix.CLONE_NEWUTS, "--uts"},
		{unix.CLONE_NEWIPC, "--ipc"},
		{unix.CLONE_NEWNET, "--net"},
	} {
		if n.flag == unix.CLONE_NEWNET && (held || entered) || n.flag == unix.CLONE_NEWUSER && held {
			continue // made before, and entered
		}
		if p.CloneFlags&n.flag != 0 {
			f = append(f, n.name)
		}
	}
	for _, s := range p.Steps {
		switch s.(type) {
		case unshareCgroup:
			f = append(f, "--cgroup")
		case unshareTime:
			f = append(f, "--time")
		}
	}
	if ids := p.idFlags(); ids != "" && !held {
		f = append(f, ids)
	}
	if p.CloneFlags&unix.CLONE_NEWPID != 0 {
		f = append(f, "--pid --fork --kill-child")
	}
	return strings.Join(f, " ")
}

// heldFlags are the options of unshare(1) for what is made before the rest where a network is Held.
func (p *Plan) heldFlags() string {
	if p.CloneFlags&unix.CLONE_NEWUSER == 0 {
		return "--net"
	}
	return strings.Join(strings.Fields("--user "+p.idFlags()+" --net"), " ")
}

// idFlags are the options of unshare(1) for the id maps.
func (p *Plan) idFlags() string {
	if len(p.UIDMap) == 0 {
		return ""
	}
	if OwnIDsOnly(p.UIDMap, p.in.Host.UID) {
		return "--map-root-user"
	}
	f := append(mapFlags("user", p.UIDMap, p.in.Host.UID), mapFlags("group", p.GIDMap, p.in.Host.GID)...)
	return strings.Join(append(f, "--setuid 0 --setgid 0"), " ")
}

// mapFlags are the options of unshare(1) for one id map; what is "user" or "group". The caller's own id has an option of
// its own, since unshare before util-linux 2.39 takes one range only.
func mapFlags(what string, m []specs.LinuxIDMapping, own int) []string {
	var f []string
	for _, r := range m {
		if len(m) == 2 && r.Size == 1 && int(r.HostID) == own {
			f = append(f, fmt.Sprintf("--map-%s %d", what, r.ContainerID))
			continue
		}
		f = append(f, fmt.Sprintf("--map-%ss %d,%d,%d", what, r.HostID, r.ContainerID, r.Size))
	}
	return f
}
