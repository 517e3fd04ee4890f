package cgroup

import (
	"errors"
	"strings"
)

// Error says which operation on which object went wrong, which field of the config asked for it, why, and
// what helps. It reads "verb object (config field): cause; hint".
type Error struct {
	Op     string // verb: "write 1 to", "create", "freeze"
	Object string // what the verb acts on: a path, a file, a value
	Field  string // config field, such as linux.resources.memory.limit; may be empty
	Cause  error
	Hint   string // what to do about it; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteByte(' ')
		b.WriteString(e.Object)
	}
	if e.Field != "" {
		b.WriteString(" (" + e.Field + ")")
	}
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap gives the cause, so that errors.Is(err, unix.EBUSY) works.
func (e *Error) Unwrap() error { return e.Cause }

// ErrNoGroup is the cause of an operation that needs a cgroup on a container that has none (rootless
// without delegation).
var ErrNoGroup = errors.New("the container has no cgroup of its own")

// invalid makes the error of a config value that cannot be turned into writes.
func invalid(field, value, cause, hint string) error {
	return &Error{Op: "use", Object: value, Field: field, Cause: errors.New(cause), Hint: hint}
}
