package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"gcr/internal/hostfacts"
)

// defaultPath is the PATH of a container that says nothing else, as in Docker and Podman.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is a list of NAME=VALUE in which a later one replaces an earlier one in its place.
type environment []string

func (e *environment) set(pair string) {
	name, _, _ := strings.Cut(pair, "=")
	for i, old := range *e {
		if len(old) > len(name) && old[len(name)] == '=' && old[:len(name)] == name {
			(*e)[i] = pair
			return
		}
	}
	*e = append(*e, pair)
}

func (e environment) has(name string) bool {
	for _, old := range e {
		if len(old) > len(name) && old[len(name)] == '=' && old[:len(name)] == name {
			return true
		}
	}
	return false
}

// buildEnv puts the environment together: PATH, HOSTNAME, TERM, the image's, --env-file, -e, and HOME
// where nobody set it.
func (b *builder) buildEnv() error {
	env := environment{defaultPath, "HOSTNAME=" + b.hostname}
	if b.spec.Process.Terminal {
		env = append(env, "TERM=xterm")
	}
	if b.image != nil {
		for _, pair := range b.image.Env {
			if i := strings.IndexByte(pair, '='); i <= 0 || strings.IndexByte(pair, 0) >= 0 {
				return &Error{Op: "use", Object: "environment variable " + quote(pair), Flag: b.image.file, Cause: text("is not NAME=VALUE")}
			}
			env.set(pair)
		}
	}
	for _, file := range b.o.EnvFiles {
		pairs, err := b.readEnvFile(file)
		if err != nil {
			return err
		}
		for _, pair := range pairs {
			env.set(pair)
		}
	}
	for _, value := range b.o.Env {
		name, _, hasValue := strings.Cut(value, "=")
		if name == "" {
			return badValue("--env", value, "has no name", "write NAME=VALUE, or NAME to hand on the caller's")
		}
		if !hasValue {
			v, ok := b.h.LookupEnv(name)
			if !ok {
				continue
			}
			value = name + "=" + v
		}
		env.set(value)
	}
	if !env.has("HOME") {
		env = append(env, "HOME="+b.who.Home)
	}
	b.spec.Process.Env = env
	return nil
}

// maxEnvFile bounds an --env-file, in bytes; no more could be handed to execve(2) anyway.
const maxEnvFile = 6 << 20

func (b *builder) readEnvFile(path string) ([]string, error) {
	data, err := b.h.ReadFile(b.abs(path), maxEnvFile)
	if err != nil {
		e := &Error{Op: "read", Object: path, Flag: "--env-file", Cause: cause(err)}
		if errors.Is(err, fs.ErrNotExist) {
			e.Cause = text("no such file")
		}
		return nil, e
	}
	pairs, err := parseEnvFile(data, b.h.LookupEnv)
	if err != nil {
		return nil, &Error{Op: "read", Object: path, Flag: "--env-file", Cause: err}
	}
	return pairs, nil
}

// parseEnvFile reads the format of Docker's --env-file: one NAME=VALUE a line, blanks before the name
// ignored, everything after the first "=" taken as it stands, quotes included; NAME alone is the caller's;
// lines that start with "#" and empty ones are skipped.
func parseEnvFile(data []byte, lookup func(string) (string, bool)) ([]string, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var out []string
	for n := 1; len(data) > 0; n++ {
		var raw []byte
		raw, data, _ = bytes.Cut(data, []byte{'\n'})
		raw = bytes.TrimSuffix(raw, []byte{'\r'})
		if !utf8.Valid(raw) {
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		}
		if bytes.IndexByte(raw, 0) >= 0 {
			return nil, fmt.Errorf("line %d holds a NUL byte, which no environment can", n)
		}
		line := strings.TrimLeft(string(raw), " \t\v\f")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, hasValue := strings.Cut(line, "=")
		switch {
		case name == "":
			return nil, fmt.Errorf("line %d has no name before the =", n)
		case strings.ContainsAny(name, " \t\v\f\r"):
			return nil, fmt.Errorf("line %d: the name %s holds a blank; write NAME=VALUE without \"export\" and without blanks around the =", n, quote(name))
		}
		if !hasValue {
			var ok bool
			if value, ok = lookup(name); !ok {
				continue
			}
		}
		out = append(out, name+"="+value)
	}
	return out, nil
}

const (
	// maxArgString is MAX_ARG_STRLEN of execve(2): one argument or variable with its NUL.
	maxArgString = 128 << 10
	maxArgTotal  = 6 << 20 // the kernel's cap, three quarters of the default stack limit of 8 MiB
	minArgTotal  = 128 << 10
)

// checkArgs refuses what execve(2) would refuse with no more than "Argument list too long".
func (b *builder) checkArgs() error {
	p := b.spec.Process
	total := uint64(0)
	for i, s := range p.Args {
		if len(s) >= maxArgString {
			return &Error{
				Op: "run", Object: quote(p.Args[0]), Flag: "argument " + fmt.Sprint(i),
				Cause: fmt.Errorf("is %d bytes long, the kernel takes at most %d", len(s), maxArgString-1),
				Hint:  "hand it over in a file (-v) or on standard input (-i)",
			}
		}
		total += uint64(len(s)) + 9 // a NUL and a pointer
	}
	for _, s := range p.Env {
		if len(s) >= maxArgString {
			name, _, _ := strings.Cut(s, "=")
			return &Error{
				Op: "set", Object: "environment variable " + quote(name), Flag: "--env",
				Cause: fmt.Errorf("is %d bytes long, the kernel takes at most %d", len(s), maxArgString-1),
				Hint:  "hand it over in a file (-v)",
			}
		}
		total += uint64(len(s)) + 9
	}
	if total <= minArgTotal {
		return nil
	}
	stack, _, err := b.h.Rlimit(hostfacts.RlimitStack)
	if err != nil {
		return err
	}
	// The limit that counts is the one in force when the command is executed.
	for _, l := range p.Rlimits {
		if l.Type == "RLIMIT_STACK" {
			stack = l.Soft
		}
	}
	if limit := max(min(stack/4, maxArgTotal), minArgTotal); total > limit {
		return &Error{
			Op: "run", Object: quote(p.Args[0]),
			Cause: fmt.Errorf("arguments and environment are %d bytes, the kernel takes %d (a quarter of the stack limit)", total, limit),
			Hint:  "raise it with --ulimit stack=…, or hand the data over in a file (-v)",
		}
	}
	return nil
}
