package account

import (
	"errors"
	"fmt"
	"strings"
)

// MaxID is the largest user or group id, 2^32-2. The value above it, (uid_t)-1, means "no change" to
// chown(2) and setresuid(2) and is never an id.
const MaxID = 1<<32 - 2

// maxName bounds a user or group name, in bytes; useradd(8) stops at 32, directories allow up to 256.
const maxName = 256

// errNotNumeric says that a text is not an id at all, so that it may be looked up as a name.
var errNotNumeric = errors.New("not made of digits only")

// ParseID reads a user or group id: decimal digits only, at most 2^32-2. There is no sign, space,
// base prefix or separator, and a number that is too large is an error and never wraps.
func ParseID(s string) (uint32, error) {
	if s == "" {
		return 0, errors.New("is empty")
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, errNotNumeric
		}
		if n = n*10 + uint64(c-'0'); n > MaxID {
			return 0, fmt.Errorf("is larger than the largest id, %d", uint32(MaxID))
		}
	}
	return uint32(n), nil
}

// Ref names a user or a group, by number or by name.
type Ref struct {
	Name string // empty when Numeric
	ID   uint32 // when Numeric
	// Numeric: digits are always an id, even where a passwd file has a user whose name is made of
	// digits. Otherwise an image could turn "1000" into its root.
	Numeric bool
}

// String returns the reference as a person writes it.
func (r Ref) String() string {
	if r.Numeric {
		return fmt.Sprint(r.ID)
	}
	return r.Name
}

// Spec is a parsed USER[:GROUP].
type Spec struct {
	User     Ref
	Group    Ref
	HasGroup bool
}

// ParseSpec reads USER, USER:GROUP, where each side is a name or an id. Empty sides, signs, spaces,
// control characters, mixtures such as "1x" and ids above 2^32-2 are refused.
func ParseSpec(s string) (Spec, error) {
	user, group, hasGroup := strings.Cut(s, ":")
	var out Spec
	var err error
	if out.User, err = ParseRef(user); err != nil {
		return Spec{}, fmt.Errorf("user %q %w", user, err)
	}
	if hasGroup {
		out.HasGroup = true
		if out.Group, err = ParseRef(group); err != nil {
			return Spec{}, fmt.Errorf("group %q %w", group, err)
		}
	}
	return out, nil
}

// ParseRef reads one name or id.
func ParseRef(s string) (Ref, error) {
	id, err := ParseID(s)
	if err == nil {
		return Ref{ID: id, Numeric: true}, nil
	}
	if !errors.Is(err, errNotNumeric) {
		return Ref{}, err
	}
	if err := checkName(s); err != nil {
		return Ref{}, err
	}
	return Ref{Name: s}, nil
}

// checkName accepts what shadow's useradd and directory services make: it starts with a letter or an
// underscore (so never a digit or a sign), then letters, digits and "_.-@\" and may end in "$" (Samba).
// Bytes above ASCII are letters.
func checkName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("is longer than %d bytes", maxName)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
		switch {
		case letter:
		case i == 0 && c >= '0' && c <= '9':
			return errors.New("starts with a digit but is not a number; an id holds digits only, a name starts with a letter")
		case i == 0:
			return errors.New("is neither an id (digits only) nor a name (which starts with a letter or _)")
		case c >= '0' && c <= '9' || c == '.' || c == '-' || c == '@' || c == '\\':
		case c == '$' && i == len(s)-1:
		default:
			return fmt.Errorf("holds %q, which no user or group name has", c)
		}
	}
	return nil
}
