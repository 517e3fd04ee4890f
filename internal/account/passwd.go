package account

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxLine bounds one line of passwd, group, subuid or subgid, in bytes. A longer one is an error: it
// is either damage or an attempt to make the reader work.
const maxLine = 256 << 10

// User is one line of passwd(5).
type User struct {
	Name  string
	UID   uint32
	GID   uint32
	Home  string
	Shell string
}

// Identity is what a container's process runs as.
type Identity struct {
	UID, GID uint32
	// Groups are the supplementary groups from the group file, in its order, without GID.
	Groups []uint32
	// Name is the user's name, empty when the passwd file has no entry for UID.
	Name string
	// Home is the home directory; "/" when there is no entry or the entry has none.
	Home string
	// Shell is the login shell, empty when not known.
	Shell string
}

// Resolve finds the identity that spec means in the given passwd and group files, which may be nil
// when the root filesystem has none.
//
// An id without an entry gets group 0, no supplementary groups and home "/"; a name without an entry
// is an error. Supplementary groups are those whose member list names the user; when spec has a group,
// that group alone counts, as in Docker and Podman.
func Resolve(spec Spec, passwd, group []byte) (Identity, error) {
	user, found, err := findUser(spec.User, passwd)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{UID: spec.User.ID, Home: "/"}
	switch {
	case found:
		id = Identity{UID: user.UID, GID: user.GID, Name: user.Name, Home: user.Home, Shell: user.Shell}
		if !strings.HasPrefix(id.Home, "/") {
			id.Home = "/"
		}
	case !spec.User.Numeric:
		return Identity{}, fmt.Errorf("user %q is not in /etc/passwd", spec.User.Name)
	}
	if spec.HasGroup {
		id.GID, err = FindGroup(spec.Group, group)
		return id, err
	}
	if found {
		id.Groups, err = groupsOf(id.Name, id.GID, group)
	}
	return id, err
}

// findUser returns the first entry that matches. Lines that are not an entry (comments, NIS
// markers, damage) are skipped; a damaged line of the user who is asked for is an error.
func findUser(ref Ref, passwd []byte) (User, bool, error) {
	var out User
	found := false
	err := eachLine("/etc/passwd", passwd, func(n int, line []byte) (bool, error) {
		name, rest, _ := bytes.Cut(line, colon)
		if !ref.Numeric && string(name) != ref.Name {
			return true, nil
		}
		f := bytes.Split(rest, colon) // password, uid, gid, comment, home, shell
		if len(f) < 3 {
			if ref.Numeric {
				return true, nil
			}
			return false, fmt.Errorf("line %d of /etc/passwd (user %q) has %d fields, not 7", n, name, bytes.Count(line, colon)+1)
		}
		uid, err := ParseID(string(f[1]))
		if err != nil {
			if ref.Numeric {
				return true, nil
			}
			return false, fmt.Errorf("line %d of /etc/passwd: uid %q of user %q %w", n, f[1], name, err)
		}
		if ref.Numeric && uid != ref.ID {
			return true, nil
		}
		gid, err := ParseID(string(f[2]))
		if err != nil {
			return false, fmt.Errorf("line %d of /etc/passwd: gid %q of user %q %w", n, f[2], name, err)
		}
		out = User{Name: string(name), UID: uid, GID: gid}
		if len(f) > 4 {
			out.Home = string(f[4])
		}
		if len(f) > 5 {
			out.Shell = string(f[5])
		}
		found = true
		return false, nil
	})
	return out, found, err
}

// UserByID returns the entry of uid in a passwd file.
func UserByID(uid uint32, passwd []byte) (User, bool, error) {
	return findUser(Ref{ID: uid, Numeric: true}, passwd)
}

// FindGroup returns the id of a group. An id needs no entry; a name does.
func FindGroup(ref Ref, group []byte) (uint32, error) {
	if ref.Numeric {
		return ref.ID, nil
	}
	var gid uint32
	found := false
	err := eachLine("/etc/group", group, func(n int, line []byte) (bool, error) {
		name, rest, _ := bytes.Cut(line, colon)
		if string(name) != ref.Name {
			return true, nil
		}
		_, rest, _ = bytes.Cut(rest, colon) // password
		field, _, _ := bytes.Cut(rest, colon)
		id, err := ParseID(string(field))
		if err != nil {
			return false, fmt.Errorf("line %d of /etc/group: gid %q of group %q %w", n, field, name, err)
		}
		gid, found = id, true
		return false, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("group %q is not in /etc/group", ref.Name)
	}
	return gid, err
}

// maxGroups is NGROUPS_MAX of limits.h: setgroups(2) takes no more.
const maxGroups = 65536

// groupsOf lists the groups whose member list names user, except primary.
func groupsOf(user string, primary uint32, group []byte) ([]uint32, error) {
	var out []uint32
	seen := map[uint32]bool{primary: true}
	err := eachLine("/etc/group", group, func(n int, line []byte) (bool, error) {
		i := bytes.LastIndexByte(line, ':')
		if i < 0 || !bytes.Contains(line[i+1:], []byte(user)) || !hasMember(line[i+1:], user) {
			return true, nil
		}
		f := bytes.SplitN(line, colon, 4)
		if len(f) != 4 {
			return true, nil
		}
		id, err := ParseID(string(f[2]))
		if err != nil {
			return false, fmt.Errorf("line %d of /etc/group: gid %q of group %q %w", n, f[2], f[0], err)
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
		if len(out) > maxGroups {
			return false, fmt.Errorf("/etc/group puts user %q in more than %d groups", user, maxGroups)
		}
		return true, nil
	})
	return slices.Clip(out), err
}

func hasMember(list []byte, user string) bool {
	for len(list) > 0 {
		var one []byte
		one, list, _ = bytes.Cut(list, comma)
		if string(bytes.TrimSpace(one)) == user {
			return true
		}
	}
	return false
}

var (
	colon = []byte{':'}
	comma = []byte{','}
)

// eachLine calls f with the number (from 1) and text of each line that is neither empty nor a
// comment, until f returns false or an error.
func eachLine(file string, data []byte, f func(n int, line []byte) (bool, error)) error {
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		if len(line) > maxLine {
			return fmt.Errorf("line %d of %s is longer than %d bytes", n, file, maxLine)
		}
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if more, err := f(n, line); !more || err != nil {
			return err
		}
	}
	return nil
}
