package systemd

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"gcr/internal/cgroup"
)

// Manager is which systemd to talk to.
type Manager int

const (
	System Manager = iota // PID 1
	User                  // the user's own (systemd --user)
)

// Unit names the scope (or slice) of a container.
type Unit struct {
	Slice string // "machine.slice"
	Name  string // "gcr-c1.scope"
}

const pathField = "linux.cgroupsPath"

// ParsePath reads linux.cgroupsPath in the form that --systemd-cgroup gives it: "slice:prefix:name", any of
// which may be empty: the slice is then system.slice (user.slice for a user's manager), the name the
// container's id. "slice::name.slice" names a slice instead of a scope. An empty path stands for all defaults.
func ParsePath(cgroupsPath, id string, m Manager) (Unit, error) {
	fail := func(cause string) (Unit, error) {
		return Unit{}, &cgroup.Error{
			Op: "use", Object: fmt.Sprintf("%q", cgroupsPath), Field: pathField, Cause: errors.New(cause),
			Hint: "with --systemd-cgroup it has the form slice:prefix:name, such as machine.slice:gcr:c1",
		}
	}
	parts := []string{"", "gcr", ""}
	if cgroupsPath != "" {
		if parts = strings.Split(cgroupsPath, ":"); len(parts) != 3 {
			return fail("it does not have three parts")
		}
	}
	slice, prefix, name := parts[0], parts[1], parts[2]
	if slice == "" {
		slice = "system.slice"
		if m == User {
			slice = "user.slice"
		}
	}
	if name == "" {
		name = id
	}
	if _, err := ExpandSlice(slice); err != nil {
		return fail(err.Error())
	}
	if !strings.HasSuffix(name, ".slice") {
		if prefix != "" {
			name = prefix + "-" + name
		}
		name += ".scope"
	}
	if !validName(name) {
		return fail("unit names have letters, digits and :-_.\\@ only, at most 255")
	}
	return Unit{Slice: slice, Name: name}, nil
}

// validName checks what systemd.unit(5) says of names.
func validName(name string) bool {
	if len(name) > 255 || strings.HasPrefix(name, ".") {
		return false
	}
	for _, c := range name {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.ContainsRune(`:-_.\@`, c):
		default:
			return false
		}
	}
	return true
}

// ExpandSlice gives the group of a slice: each dash in its name is a level (systemd.slice(5)), so
// "a-b.slice" is /a.slice/a-b.slice.
func ExpandSlice(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok || name == "" || !validName(slice) {
		return "", fmt.Errorf("%q is not the name of a slice", slice)
	}
	if name == "-" {
		return "/", nil
	}
	p, prefix := "/", ""
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", fmt.Errorf("%q has an empty part between dashes", slice)
		}
		p = path.Join(p, prefix+part+".slice")
		prefix += part + "-"
	}
	return p, nil
}
