package engine

import (
	"strconv"
	"strings"
)

// mountOption is one option as it is typed. Options of the same group contradict each other.
type mountOption struct{ name, group, oci string }

// bindOptions are the options of a bind mount. It is an array, not a map, so that it costs nothing when the
// program starts.
var bindOptions = [...]mountOption{
	{"ro", "write", "ro"},
	{"rw", "write", "rw"},
	{"readonly", "write", "ro"},
	{"bind", "depth", "bind"},
	{"rbind", "depth", "rbind"},
	{"private", "propagation", "private"},
	{"rprivate", "propagation", "rprivate"},
	{"shared", "propagation", "shared"},
	{"rshared", "propagation", "rshared"},
	{"slave", "propagation", "slave"},
	{"rslave", "propagation", "rslave"},
	{"unbindable", "propagation", "unbindable"},
	{"runbindable", "propagation", "runbindable"},
	{"suid", "suid", "suid"},
	{"nosuid", "suid", "nosuid"},
	{"dev", "dev", "dev"},
	{"nodev", "dev", "nodev"},
	{"exec", "exec", "exec"},
	{"noexec", "exec", "noexec"},
	{"atime", "atime", "atime"},
	{"noatime", "atime", "noatime"},
	{"relatime", "atime", "relatime"},
	{"strictatime", "atime", "strictatime"},
	{"diratime", "diratime", "diratime"},
	{"nodiratime", "diratime", "nodiratime"},
	{"symfollow", "symfollow", "symfollow"},
	{"nosymfollow", "symfollow", "nosymfollow"},
	{"z", "label", ""},
	{"Z", "label", ""},
}

// findOption looks an option up; the group of an unknown one is empty.
func findOption(name string) mountOption {
	for _, o := range bindOptions {
		if o.name == name {
			return o
		}
	}
	return mountOption{}
}

const bindOptionHint = "options are ro, rw, z, Z, bind, rbind, [r]private, [r]shared, [r]slave, nosuid, nodev, noexec, noatime, nosymfollow"

// optionSet collects the options of one mount and notices contradictions.
type optionSet struct {
	flag, value string // for errors
	groups      map[string]string
	list        []string
	relabel     byte // 'z' shared, 'Z' private, 0 no
}

func newOptionSet(flag, value string) *optionSet {
	return &optionSet{flag: flag, value: value, groups: map[string]string{}}
}

// add takes one option that has been found in a table.
func (s *optionSet) add(group, name, oci string) error {
	if old, ok := s.groups[group]; ok {
		if old == name {
			return badValue(s.flag, s.value, "has the option "+name+" twice", "")
		}
		return badValue(s.flag, s.value, "options "+old+" and "+name+" contradict each other", "keep one of them")
	}
	s.groups[group] = name
	if group == "label" {
		s.relabel = name[0]
		return nil
	}
	s.list = append(s.list, oci)
	return nil
}

// addBind takes an option of a bind mount.
func (s *optionSet) addBind(name string) error {
	o := findOption(name)
	if o.group == "" {
		return badValue(s.flag, s.value, "has the unknown option "+quote(name), bindOptionHint)
	}
	return s.add(o.group, name, o.oci)
}

// bind completes the options of a bind mount: recursive and private unless told otherwise, and read-only
// all the way down, so that a file system mounted below the source is not left writable (mount_setattr(2)
// with AT_RECURSIVE, Linux 5.12).
func (s *optionSet) bind() []string {
	depth := s.groups["depth"]
	if depth == "" {
		depth = "rbind"
		s.list = append([]string{depth}, s.list...)
	}
	if s.groups["propagation"] == "" {
		s.list = append(s.list, "rprivate")
	}
	if depth == "rbind" {
		for i, o := range s.list {
			if o == "ro" {
				s.list[i] = "rro"
			}
		}
	}
	return s.list
}

const tmpfsOptionHint = "options are size=64m, mode=1777, uid=N, gid=N, nr_inodes=N, ro, exec, suid, dev, noatime"

// addTmpfs takes an option of a tmpfs (tmpfs(5)).
func (s *optionSet) addTmpfs(option string) error {
	name, value, hasValue := strings.Cut(option, "=")
	if !hasValue {
		o := findOption(name)
		switch o.group {
		case "", "depth", "propagation", "label":
			return badValue(s.flag, s.value, "has the unknown option "+quote(name), tmpfsOptionHint)
		}
		return s.add(o.group, name, o.oci)
	}
	switch name {
	case "size":
		if percent, ok := strings.CutSuffix(value, "%"); ok {
			n, err := strconv.Atoi(percent)
			if err != nil || !digits(percent) || n < 1 || n > 100 {
				return badValue(s.flag, s.value, "size "+quote(value)+" is not a share of memory", "write 1% to 100%, or a size such as 64m")
			}
			break
		}
		n, err := parseSize(s.flag, value)
		if err != nil {
			return err
		}
		value = strconv.FormatInt(n, 10)
	case "mode":
		n, err := strconv.ParseUint(value, 8, 16)
		if err != nil || n > 0o7777 || !digits(value) {
			return badValue(s.flag, s.value, "mode "+quote(value)+" is not octal", "for instance mode=1777")
		}
	case "uid", "gid", "nr_inodes", "nr_blocks":
		if _, err := strconv.ParseUint(value, 10, 32); err != nil || !digits(value) {
			return badValue(s.flag, s.value, name+" "+quote(value)+" is not a number", "")
		}
	default:
		return badValue(s.flag, s.value, "has the unknown option "+quote(name), tmpfsOptionHint)
	}
	return s.add(name, option, name+"="+value)
}

// tmpfs completes the options of a tmpfs: no set-user-id, devices or programs unless asked for, as in Docker.
func (s *optionSet) tmpfs() []string {
	var out []string
	for _, d := range [...]struct{ group, oci string }{{"suid", "nosuid"}, {"dev", "nodev"}, {"exec", "noexec"}} {
		if s.groups[d.group] == "" {
			out = append(out, d.oci)
		}
	}
	return append(out, s.list...)
}
