package plan

import (
	"strings"
)

// Error is what went wrong in planning or setting up a container: what was to be done, which field of the
// configuration asked for it, why it could not be, and, where it is known, what to do.
type Error struct {
	What  string // an order: "mount proc on /proc"
	Field string // the field of config.json, empty when none asked for it
	Cause error
	Hint  string // cause and fix in words, may be empty
	Call  string // the system call that failed, as the listing shows it
	// Client says the same in the words of runc, where container engines look for them; empty elsewhere.
	Client string
}

// Error is one line: "what (field): cause; hint".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.What)
	if e.Field != "" {
		b.WriteString(" (" + e.Field + ")")
	}
	b.WriteString(": " + e.Cause.Error())
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

type textError string

func (t textError) Error() string { return string(t) }

func fieldError(field, what, cause, hint string) error {
	return &Error{What: what, Field: field, Cause: textError(cause), Hint: hint}
}
