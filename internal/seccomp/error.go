package seccomp

// ProfileError says what is wrong with a field of a profile.
type ProfileError struct {
	What  string // what was tried
	Field string // such as syscalls[2].names[0]
	Cause string
}

func (e *ProfileError) Error() string { return e.What + " (" + e.Field + "): " + e.Cause }
