// Package hostfacts asks the kernel about the caller and the machine: which capabilities and limits
// the caller has, whether its descriptors are terminals, what a device node is. It changes nothing.
//
// Each function is one question, so that a command pays only for what it wants to know:
//
//	effective, err := hostfacts.Capabilities()
//	if hostfacts.IsTerminal(0) { … }
package hostfacts

import (
	"fmt"
	"io/fs"
	"math"

	"golang.org/x/sys/unix"
)

// Capabilities returns the calling thread's effective set, bit n for capability n (capabilities(7)).
func Capabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("read capabilities of gcr: %w", err)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}

// InBoundingSet tells whether capability n is in the calling thread's bounding set; one that the kernel
// does not know is not.
func InBoundingSet(n int) bool {
	set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
	return err == nil && set == 1
}

// BoundingSet returns the calling thread's bounding set, bit n for capability n, and the highest capability that
// the kernel knows: asking for the next one is an error (PR_CAPBSET_READ(2const)).
func BoundingSet() (set uint64, last int) {
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break
		}
		set |= uint64(has) << n
		last = n
	}
	return set, last
}

// Uname returns the host's name and the kernel's release, such as "6.8.0-45-generic" (uname(2)).
func Uname() (hostname, release string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", fmt.Errorf("read the host's name and kernel release: %w", err)
	}
	return unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:]), nil
}

// Random fills buf from the kernel's generator (getrandom(2)). crypto/rand would do the same and bring the
// start-up of all of its package's ciphers along.
func Random(buf []byte) error {
	for len(buf) > 0 {
		n, err := unix.Getrandom(buf, 0)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("draw random bytes: %w", err)
		}
		buf = buf[max(n, 0):]
	}
	return nil
}

// IsTerminal tells whether a descriptor is a terminal.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// WindowSize returns the rows and columns of the terminal fd, zero where it is none or does not know.
func WindowSize(fd int) (rows, columns uint16) {
	ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return ws.Row, ws.Col
}

// Unlimited is the value of a resource limit that is off (RLIM_INFINITY of getrlimit(2)).
const Unlimited = math.MaxUint64

// Rlimit returns the caller's soft and hard limit of a resource, by its number in getrlimit(2).
func Rlimit(resource int) (soft, hard uint64, err error) {
	var lim unix.Rlimit
	if err := unix.Prlimit(0, resource, nil, &lim); err != nil {
		return 0, 0, fmt.Errorf("read resource limit %d of gcr: %w", resource, err)
	}
	return lim.Cur, lim.Max, nil
}

// The resources of getrlimit(2); they are the same on amd64 and arm64.
const (
	RlimitCPU        = unix.RLIMIT_CPU
	RlimitFsize      = unix.RLIMIT_FSIZE
	RlimitData       = unix.RLIMIT_DATA
	RlimitStack      = unix.RLIMIT_STACK
	RlimitCore       = unix.RLIMIT_CORE
	RlimitRSS        = unix.RLIMIT_RSS
	RlimitNproc      = unix.RLIMIT_NPROC
	RlimitNofile     = unix.RLIMIT_NOFILE
	RlimitMemlock    = unix.RLIMIT_MEMLOCK
	RlimitAS         = unix.RLIMIT_AS
	RlimitLocks      = unix.RLIMIT_LOCKS
	RlimitSigpending = unix.RLIMIT_SIGPENDING
	RlimitMsgqueue   = unix.RLIMIT_MSGQUEUE
	RlimitNice       = unix.RLIMIT_NICE
	RlimitRtprio     = unix.RLIMIT_RTPRIO
	RlimitRttime     = unix.RLIMIT_RTTIME
)

// File is what Stat tells of a file on the host.
type File struct {
	Type         byte // 'd' directory, 'f' regular, 'c' or 'b' device, 'p' FIFO, 's' socket
	Major, Minor uint32
	Mode         uint32 // permission bits
	UID, GID     uint32
}

// Stat looks at a file on the host; symbolic links are followed. The error is an *fs.PathError.
func Stat(path string) (File, error) {
	var st unix.Stat_t
	for {
		err := unix.Stat(path, &st)
		if err == nil {
			return fileOf(&st), nil
		}
		if err != unix.EINTR {
			return File{}, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

func fileOf(st *unix.Stat_t) File {
	f := File{
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev)),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Type = 'd'
	case unix.S_IFREG:
		f.Type = 'f'
	case unix.S_IFCHR:
		f.Type = 'c'
	case unix.S_IFBLK:
		f.Type = 'b'
	case unix.S_IFIFO:
		f.Type = 'p'
	case unix.S_IFSOCK:
		f.Type = 's'
	}
	return f
}
