package plan

import (
	"fmt"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// ErrNotFound and ErrNotExecutable say that the user's command could not be run; the conventional exit statuses
// of a shell are 127 and 126.
var (
	ErrNotFound      error = textError("command not found")
	ErrNotExecutable error = textError("command cannot be executed")
)

// commandError is an Error about the user's command: it is also ErrNotFound or ErrNotExecutable.
type commandError struct {
	err  *Error
	kind error
}

func (e *commandError) Error() string   { return e.err.Error() }
func (e *commandError) Unwrap() []error { return []error{e.kind, e.err} }

// Failure puts into words that the call with the given index failed with errno.
func (p *Plan) Failure(index int, errno unix.Errno) error {
	calls := p.Program.Calls()
	if index < 0 || index >= len(calls) {
		return fmt.Errorf("run the container's program: call %d failed: %w", index, errno)
	}
	c := calls[index]
	if c.Step < 0 {
		return &Error{What: "prepare the first process", Cause: errno, Call: c.String()}
	}
	step := p.Steps[c.Step]
	info := step.Info()
	e := Error{What: info.What, Field: info.Field, Cause: errno, Call: c.String(), Hint: hint(step, c, errno, &p.in), Client: clientText(step, c, errno)}
	switch s := step.(type) {
	case search:
		e.What = "run " + s.name
		return &commandError{&e, notFoundOr(errno)}
	case execCommand:
		if c.Sys == program.SysExecve {
			kind := notFoundOr(errno)
			if errno == unix.ENOENT {
				kind = ErrNotFound
			}
			return &commandError{&e, kind}
		}
	}
	return &e
}

func notFoundOr(errno unix.Errno) error {
	if errno == unix.ENOENT || errno == unix.ENOTDIR {
		return ErrNotFound
	}
	return ErrNotExecutable
}
