// Package fault is the form that errors about images take: "verb object: cause", with a hint where one is known.
//
//	return fault.New("pull", ref.String(), err).Hint("log in first: gcr login " + host)
//
// Error is found again with errors.As, and the cause with errors.Is.
package fault

import (
	"errors"
	"io/fs"
	"syscall"
)

// Error says what was being done, to what, why it did not work, and, where known, what would help.
type Error struct {
	Op     string // what was being done: "pull", "unpack entry"
	Object string // to what: an image name, a path, a digest
	Err    error  // why not
	Advice string // what to do about it, or ""
}

// New makes an Error. A nil cause gives nil.
func New(op, object string, cause error) *Error {
	return &Error{Op: op, Object: object, Err: cause, Advice: advice(cause)}
}

// Hint adds what the reader can do about it.
func (e *Error) Hint(s string) *Error {
	e.Advice = s
	return e
}

func (e *Error) Error() string {
	s := e.Op
	if e.Object != "" {
		s += " " + e.Object
	}
	s += ": " + e.Err.Error()
	// The hint of an error further down is already in its text.
	var inner *Error
	if e.Advice != "" && !(errors.As(e.Err, &inner) && inner.Advice == e.Advice) {
		s += " (" + e.Advice + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func advice(cause error) string {
	switch {
	case errors.Is(cause, syscall.ENOSPC):
		return "the disk is full: gcr image prune removes what no image uses"
	case errors.Is(cause, syscall.EDQUOT):
		return "the disk quota is used up"
	case errors.Is(cause, syscall.EROFS):
		return "the file system is mounted read-only"
	case errors.Is(cause, fs.ErrPermission):
		return "permission of the user or of the user namespace is missing"
	}
	return ""
}
