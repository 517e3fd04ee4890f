package engine

import "strings"

// Error is a mistake in what the user asked for, or something that this host cannot do. Its text is one
// line: `verb object (flag): cause; hint`.
type Error struct {
	Op     string // the verb: "parse", "mount", "find"
	Object string // what it was done to
	Flag   string // where it was asked for: "--user", "rootfs/ubuntu.json"; may be empty
	Cause  error
	Hint   string // what to do about it; may be empty
}

// Error returns the one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteByte(' ')
		b.WriteString(e.Object)
	}
	if e.Flag != "" {
		b.WriteString(" (")
		b.WriteString(e.Flag)
		b.WriteByte(')')
	}
	b.WriteString(": ")
	b.WriteString(e.Cause.Error())
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return oneLine(b.String())
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ExitStatus is what gcr exits with: 125, an error of gcr itself, as in Docker and Podman.
func (e *Error) ExitStatus() int { return 125 }

// text is a cause that is only words. Unlike errors.New it is a constant expression and compares
// equal to itself.
type text string

func (t text) Error() string { return string(t) }

// badValue says that the value of a flag cannot be read.
func badValue(flag, value, cause, hint string) *Error {
	return &Error{Op: "parse", Object: quote(value), Flag: flag, Cause: text(cause), Hint: hint}
}

// conflict says that two flags contradict each other.
func conflict(a, b, why, hint string) *Error {
	return &Error{Op: "combine", Object: a + " with " + b, Cause: text(why), Hint: hint}
}

// shellWord writes s as one word of a shell command.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// oneLine writes control characters as \x0a and the like, wherever in a message they came from: a file
// name must neither break the line nor speak to the terminal.
func oneLine(s string) string {
	control := func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !control(r) {
			b.WriteRune(r)
			continue
		}
		const hex = "0123456789abcdef"
		b.WriteString(`\x`)
		b.WriteByte(hex[byte(r)>>4])
		b.WriteByte(hex[byte(r)&15])
	}
	return b.String()
}

// quote makes any input safe to print on one line, and short.
func quote(s string) string {
	const most = 120
	tail := ""
	if len(s) > most {
		s, tail = s[:most], "…"
	}
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
	return `"` + oneLine(strings.ReplaceAll(s, "\n", `\n`)) + tail + `"`
}
