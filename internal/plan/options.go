package plan

import (
	"fmt"
	"slices"
	"strings"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// mountOptions is what the options of a mount mean (OCI config-linux.md "Linux mount options", mount(8)).
type mountOptions struct {
	attr        program.MountAttr // of the mount itself
	rec         program.MountAttr // of the mount and everything below it (rro, rnosuid, ...)
	propagation []propagationOption
	bind        bool
	recursive   bool
	remount     bool // change what is mounted there already
	copyUp      bool
	idmap       string // "idmap", "ridmap" or empty
	superblock  []string
	data        []dataOption // for the file system itself
}

type propagationOption struct {
	flag      uint64
	recursive bool
	name      string
}

type dataOption struct {
	key, value string
	flag       bool // no value
}

// attrOptions maps an option to the mount attributes that it sets and clears. With a leading r the same names
// apply to all mounts below as well.
func attrOption(name string) (set, clear uint64, ok bool) {
	switch name {
	case "ro":
		return unix.MOUNT_ATTR_RDONLY, 0, true
	case "rw":
		return 0, unix.MOUNT_ATTR_RDONLY, true
	case "nosuid":
		return unix.MOUNT_ATTR_NOSUID, 0, true
	case "suid":
		return 0, unix.MOUNT_ATTR_NOSUID, true
	case "nodev":
		return unix.MOUNT_ATTR_NODEV, 0, true
	case "dev":
		return 0, unix.MOUNT_ATTR_NODEV, true
	case "noexec":
		return unix.MOUNT_ATTR_NOEXEC, 0, true
	case "exec":
		return 0, unix.MOUNT_ATTR_NOEXEC, true
	case "nodiratime":
		return unix.MOUNT_ATTR_NODIRATIME, 0, true
	case "diratime":
		return 0, unix.MOUNT_ATTR_NODIRATIME, true
	case "nosymfollow":
		return unix.MOUNT_ATTR_NOSYMFOLLOW, 0, true
	case "symfollow":
		return 0, unix.MOUNT_ATTR_NOSYMFOLLOW, true
	case "noatime":
		return unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME, true
	case "strictatime":
		return unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME, true
	case "relatime", "atime", "norelatime", "nostrictatime":
		return unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME, true
	}
	return 0, 0, false
}

func parseOptions(options []string) (mountOptions, error) {
	var o mountOptions
	for _, opt := range options {
		if err := o.add(opt); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *mountOptions) add(opt string) error {
	if set, clear, ok := attrOption(opt); ok {
		merge(&o.attr, set, clear)
		return nil
	}
	if set, clear, ok := attrOption(strings.TrimPrefix(opt, "r")); ok && strings.HasPrefix(opt, "r") {
		merge(&o.rec, set, clear)
		return nil
	}
	switch opt {
	case "defaults":
	case "silent", "loud":
		// Messages about the file system go to the descriptor of fsopen(2), not to the kernel's log: it is silent as
		// it is.
	case "async", "noiversion", "nomand", "nolazytime":
		on := strings.TrimPrefix(opt, "no")
		if opt == "async" {
			on = "sync"
		}
		o.superblock = slices.DeleteFunc(o.superblock, func(s string) bool { return s == on })
	case "bind":
		o.bind = true
	case "rbind":
		o.bind, o.recursive = true, true
	case "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable":
		name := strings.TrimPrefix(opt, "r")
		flag := map[string]uint64{"private": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "shared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE}[name]
		o.propagation = append(o.propagation, propagationOption{flag, opt != name, opt})
	case "tmpcopyup":
		o.copyUp = true
	case "idmap", "ridmap":
		o.idmap = opt
	case "remount":
		o.remount = true
	case "sync", "dirsync", "lazytime", "mand", "iversion":
		o.superblock = append(o.superblock, opt)
	default:
		key, value, has := strings.Cut(opt, "=")
		if key == "" {
			return fmt.Errorf("option %q has no name", opt)
		}
		if strings.ContainsRune(opt, 0) {
			return fmt.Errorf("option %q holds a NUL byte", opt)
		}
		if len(value) > 255 {
			return fmt.Errorf("the value of option %s has %d bytes: the kernel takes 255", key, len(value))
		}
		o.data = append(o.data, dataOption{key, value, !has})
	}
	return nil
}

// merge lets a later option win over an earlier one.
func merge(a *program.MountAttr, set, clear uint64) {
	a.Set = a.Set&^clear | set
	a.Clear = a.Clear&^set | clear
}

// shell is the option list as mount(8) takes it.
func (o mountOptions) shell(options []string) string {
	var out []string
	for _, opt := range options {
		switch opt {
		case "bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable":
		default:
			// mount(8) has no word for the recursive form that all versions of it know; the mount itself is what
			// a reader of the script looks at.
			if _, _, plain := attrOption(opt); !plain {
				if _, _, ok := attrOption(strings.TrimPrefix(opt, "r")); ok {
					opt = strings.TrimPrefix(opt, "r")
				}
			}
			out = append(out, opt)
		}
	}
	return strings.Join(out, ",")
}
