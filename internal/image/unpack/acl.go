package unpack

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Tags of an ACL entry and the id of those that have none (linux/posix_acl_xattr.h, linux/posix_acl.h).
const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
	aclNoID     = 0xffffffff
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// parseACL turns the text form of acl(5), which star and GNU tar write into SCHILY.acl records, into the value of
// system.posix_acl_access. Users and groups must be numbers, or have a number as the fourth field, as star writes it:
// a name would have to be looked up in the image. An empty text gives nil.
func parseACL(s string) ([]byte, error) {
	if len(s) > maxXattrSize {
		return nil, fmt.Errorf("text of %d bytes", len(s))
	}
	var es []aclEntry
	for _, line := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		e, err := parseACLEntry(line)
		if err != nil {
			return nil, err
		}
		es = append(es, e)
	}
	if len(es) == 0 {
		return nil, nil
	}
	// The kernel wants them by tag and id (posix_acl_valid).
	sort.SliceStable(es, func(i, j int) bool {
		if es[i].tag != es[j].tag {
			return es[i].tag < es[j].tag
		}
		return es[i].id < es[j].id
	})
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range es {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b, nil
}

func parseACLEntry(line string) (aclEntry, error) {
	f := strings.Split(line, ":")
	if len(f) == 2 { // "other:r-x" and "mask:r-x" without the empty field
		f = []string{f[0], "", f[1]}
	}
	if len(f) < 3 {
		return aclEntry{}, fmt.Errorf("entry %q has no three fields", line)
	}
	e := aclEntry{id: aclNoID}
	named := f[1] != ""
	switch f[0] {
	case "user", "u":
		e.tag = aclUserObj
		if named {
			e.tag = aclUser
		}
	case "group", "g":
		e.tag = aclGroupObj
		if named {
			e.tag = aclGroup
		}
	case "mask", "m":
		e.tag, named = aclMask, false
	case "other", "o":
		e.tag, named = aclOther, false
	default:
		return aclEntry{}, fmt.Errorf("entry %q is of no known kind", line)
	}
	if named {
		id := f[1]
		if len(f) > 3 {
			id = f[3]
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || n == aclNoID {
			return aclEntry{}, fmt.Errorf("entry %q names no numeric id", line)
		}
		e.id = uint32(n)
	}
	for _, c := range f[2] {
		switch c {
		case 'r':
			e.perm |= 4
		case 'w':
			e.perm |= 2
		case 'x':
			e.perm |= 1
		case '-':
		default:
			return aclEntry{}, fmt.Errorf("entry %q has a permission that is none of rwx", line)
		}
	}
	return e, nil
}
