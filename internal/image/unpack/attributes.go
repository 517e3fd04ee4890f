package unpack

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type xattr struct {
	name  string
	value []byte
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	capability = "security.capability"

	paxXattr    = "SCHILY.xattr."
	paxACL      = "SCHILY.acl.access"
	paxDefACL   = "SCHILY.acl.default"
	paxLibarch  = "LIBARCHIVE.xattr."
	paxGNUSpars = "GNU.sparse."
)

// xattrsOf reads the extended attributes and ACLs of an entry. An attribute that steers overlayfs or this package
// would let a layer forge whiteouts, redirects or owners; it is left out, as are the attributes that belong to the
// host's security modules (security.selinux, security.ima, security.evm).
func xattrsOf(h *tar.Header) (out []xattr, dropped int64, err error) {
	if len(h.PAXRecords) == 0 {
		return nil, 0, nil
	}
	seen := map[string]bool{}
	add := func(name string, value []byte) error {
		if len(out) >= maxXattrs {
			return fmt.Errorf("more than %d extended attributes", maxXattrs)
		}
		if len(name) > 255 || len(value) > maxXattrSize {
			return fmt.Errorf("extended attribute %.40q is larger than Linux allows", name)
		}
		if !seen[name] {
			seen[name] = true
			out = append(out, xattr{name, value})
		}
		return nil
	}
	keys := make([]string, 0, len(h.PAXRecords))
	for k := range h.PAXRecords {
		keys = append(keys, k)
	}
	// SCHILY.xattr sorts after SCHILY.acl and LIBARCHIVE; the binary form is exact and must win.
	sort.Sort(sort.Reverse(sort.StringSlice(keys)))
	for _, k := range keys {
		v := h.PAXRecords[k]
		var name string
		var value []byte
		switch {
		case strings.HasPrefix(k, paxXattr):
			name, value = k[len(paxXattr):], []byte(v)
		case strings.HasPrefix(k, paxLibarch):
			b, e := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
			if e != nil {
				dropped++
				continue
			}
			name, value = k[len(paxLibarch):], b
		case k == paxACL, k == paxDefACL:
			b, e := parseACL(v)
			if e != nil {
				return nil, dropped, fmt.Errorf("read ACL: %w", e)
			}
			name, value = aclAccess, b
			if k == paxDefACL {
				name = aclDefault
			}
			if b == nil {
				continue
			}
		default:
			continue
		}
		if !allowedXattr(name) {
			dropped++
			continue
		}
		if err := add(name, value); err != nil {
			return nil, dropped, err
		}
	}
	return out, dropped, nil
}

func allowedXattr(name string) bool {
	switch {
	case strings.ContainsRune(name, 0):
		return false
	case name == capability, name == aclAccess, name == aclDefault:
		return true
	case strings.HasPrefix(name, "user.overlay."), strings.HasPrefix(name, "trusted.overlay."),
		strings.HasPrefix(name, "user.containers."), strings.HasPrefix(name, "user.rootlesscontainers"):
		return false
	}
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.")
}

// setXattrs sets the attributes of an open file or directory. What the file system or the user namespace does not
// allow is counted and left out: a container image must unpack on a file system without ACLs, too.
func (t *Tree) setXattrs(fd int, xs []xattr) error {
	for _, x := range xs {
		err := unix.Fsetxattr(fd, x.name, x.value, 0)
		if err := t.xattrError(x.name, err); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) xattrError(name string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.EOPNOTSUPP, unix.EPERM, unix.EACCES, unix.EINVAL:
		t.stats.dropped.Add(1)
		return nil
	}
	return fmt.Errorf("set attribute %s: %w", name, err)
}

// linkXattrs sets attributes of what can only be named: a symlink, a FIFO, a device. The name is a single component
// below an open directory and is not followed.
func (t *Tree) linkXattrs(d *dir, name string, xs []xattr) error {
	for _, x := range xs {
		if err := t.xattrError(x.name, unix.Lsetxattr(fdPath(d.fd)+"/"+name, x.name, x.value, 0)); err != nil {
			return err
		}
	}
	return nil
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (t *Tree) setOpaque(fd int) error {
	name := "trusted.overlay.opaque"
	if t.opt.UserXattr {
		name = "user.overlay.opaque"
	}
	if err := unix.Fsetxattr(fd, name, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark directory opaque (%s): %w", name, err)
	}
	return nil
}

// chownFd gives an open file or directory its owner, or notes it. kind is the device part of the note, or "".
func (t *Tree) chownFd(fd, uid, gid int, mode uint32, kind string) error {
	if t.opt.Owners == Record || kind != "" {
		if uid != 0 || gid != 0 || kind != "" {
			v := overrideStat(uid, gid, mode, kind)
			if err := unix.Fsetxattr(fd, OverrideStat, []byte(v), 0); err != nil {
				t.stats.dropped.Add(1)
			} else {
				t.stats.recorded.Add(1)
			}
		}
		if t.opt.Owners == Record {
			return nil
		}
	}
	if uid == t.me.uid && gid == t.me.gid {
		return nil
	}
	return ownerError(unix.Fchown(fd, uid, gid), uid, gid)
}

// chownAt is chownFd for what cannot be opened. Such files take no user attribute (xattr(7)), so a note is not
// possible.
func (t *Tree) chownAt(d *dir, name string, uid, gid int) error {
	if t.opt.Owners == Record {
		if uid != 0 || gid != 0 {
			t.stats.dropped.Add(1)
		}
		return nil
	}
	if uid == t.me.uid && gid == t.me.gid {
		return nil
	}
	return ownerError(unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW), uid, gid)
}

func ownerError(err error, uid, gid int) error {
	if err == unix.EINVAL {
		return fmt.Errorf("set owner %d:%d: the user namespace maps no such id; more subordinate ids in /etc/subuid and /etc/subgid help: %w", uid, gid, err)
	}
	if err != nil {
		return fmt.Errorf("set owner %d:%d: %w", uid, gid, err)
	}
	return nil
}

func overrideStat(uid, gid int, mode uint32, kind string) string {
	s := fmt.Sprintf("%d:%d:0%o", uid, gid, mode&0o7777)
	if kind != "" {
		s += ":" + kind
	}
	return s
}

func chmodFd(fd int, mode uint32) error {
	err := unix.Fchmod(fd, mode)
	if err == unix.EBADF {
		err = unix.Chmod(fdPath(fd), mode)
	}
	return err
}

// futimens is utimensat(2) with an open file in place of a path.
func futimens(fd int, atime, mtime unix.Timespec) error {
	ts := [2]unix.Timespec{atime, mtime}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("set times: %w", e)
	}
	return nil
}

func times(h *tar.Header) (atime, mtime unix.Timespec) {
	mtime = timespec(h.ModTime)
	if h.AccessTime.IsZero() {
		return mtime, mtime
	}
	return timespec(h.AccessTime), mtime
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// entryError says which entry of the archive an error is about.
func entryError(name, what string, err error) error {
	var e *EntryError
	if errors.As(err, &e) {
		return err
	}
	return &EntryError{Name: name, Kind: what, Err: err}
}

// EntryError is an entry of an archive that could not, or must not, be unpacked.
type EntryError struct {
	Name string // as the archive has it
	Kind string // "file", "symlink", ...
	Err  error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("unpack %s %s: %v", e.Kind, strconv.QuoteToASCII(shorten(e.Name)), e.Err)
}

// Unwrap gives the cause.
func (e *EntryError) Unwrap() error { return e.Err }

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// readUmask reads the file mode creation mask without changing it (proc_pid_status(5), "Umask").
func readUmask() uint32 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, rest, ok := strings.Cut(string(b), "\nUmask:")
	if !ok {
		return 0o777
	}
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseUint(strings.TrimSpace(line), 8, 32)
	if err != nil {
		return 0o777
	}
	return uint32(v)
}
