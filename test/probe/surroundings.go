package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sysctls are settings of namespaces.
var sysctls = []string{
	"net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "net/core/somaxconn", "kernel/msgmax", "kernel/msgmnb",
	"kernel/shmmax", "kernel/shmmni", "kernel/sem", "kernel/hostname", "kernel/domainname", "fs/mqueue/msg_max",
}

// Place is what a path is.
type Place struct {
	Error string // of lstat(2)
	Stat  string // type and mode, owner, group, device
	Link  string
	Names []string // of a directory, outside proc and sys
	Size  int64    // of a file
	Text  string   // of a small file
	Write string   // what happens to somebody who wants to write: "ok" or the error
}

func surroundings(r *Report) {
	if devices, err := net.Interfaces(); err == nil {
		for _, d := range devices {
			r.Network = append(r.Network, d.Name)
			if d.Name == "lo" {
				r.Loopback = d.Flags.String()
			}
		}
	}
	sort.Strings(r.Network)
	buffer := make([]byte, 256)
	if n, err := unix.KeyctlBuffer(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING, buffer, 0); err == nil {
		r.SessionKeys = strings.TrimRight(string(buffer[:n]), "\x00")
	} else {
		r.SessionKeys = err.Error()
	}
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	r.Dumpable = dumpable
	r.PGID, _ = unix.Getpgid(0)
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// look never reads what could block and never changes what was there.
func look(path string) Place {
	var p Place
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		p.Error = err.Error()
		return p
	}
	p.Stat = fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	kernels := strings.HasPrefix(path, "/proc") || strings.HasPrefix(path, "/sys")
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		p.Link, _ = os.Readlink(path)
	case unix.S_IFDIR:
		if !kernels {
			entries, err := os.ReadDir(path)
			if err != nil {
				p.Names = []string{err.Error()}
			}
			for _, e := range entries {
				p.Names = append(p.Names, e.Name())
			}
		}
		p.Write = result(unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS))
	case unix.S_IFREG:
		if !kernels {
			p.Size = st.Size
		}
		if data := text(path); len(data) < 100 && !kernels {
			p.Text = data
		}
		p.Write = writable(path)
	default:
		p.Stat += fmt.Sprintf(" %d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		p.Write = writable(path)
	}
	return p
}

func writable(path string) string {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err == nil {
		unix.Close(fd)
	}
	return result(err)
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// calls are made with arguments that change nothing where they are allowed.
func calls() map[string]string {
	out := map[string]string{}
	try := func(name string, number uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == 0 {
			out[name] = "ok"
			return
		}
		if out[name] = unix.ErrnoName(errno); out[name] == "" {
			out[name] = fmt.Sprint(uintptr(errno))
		}
	}
	bad := ^uintptr(0)
	try("getcwd", unix.SYS_GETCWD, 0, 0)
	try("mkdirat", unix.SYS_MKDIRAT, bad, 0, 0)
	try("unlinkat", unix.SYS_UNLINKAT, bad, 0, 0)
	try("fchmodat", unix.SYS_FCHMODAT, bad, 0, 0)
	try("fchownat", unix.SYS_FCHOWNAT, bad, 0, 0, 0, 0)
	try("mount", unix.SYS_MOUNT, 0, 0, 0, 0, 0)
	try("umount2", unix.SYS_UMOUNT2, 0, 0)
	try("ptrace", unix.SYS_PTRACE, 16, 0, 0, 0)
	try("unshare 0", unix.SYS_UNSHARE, 0)
	try("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	try("setns", unix.SYS_SETNS, bad, 0)
	try("keyctl", unix.SYS_KEYCTL, 0, 0, 0)
	try("sethostname", unix.SYS_SETHOSTNAME, 0, 5)
	try("socket unix", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	try("socket vsock", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	try("socket raw", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 1)
	try("personality", unix.SYS_PERSONALITY, 0xffffffff)
	try("sched_yield", unix.SYS_SCHED_YIELD)
	try("getrandom", unix.SYS_GETRANDOM, 0, 0, 0)
	try("bpf", unix.SYS_BPF, bad, 0, 0)
	try("perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0, bad, bad, 0)
	try("io_uring_setup", unix.SYS_IO_URING_SETUP, 0, 0)
	try("statx", unix.SYS_STATX, bad, 0, 0, 0, 0)
	try("clone3", unix.SYS_CLONE3, 0, 0)
	try("setuid", unix.SYS_SETUID, uintptr(unix.Getuid()))
	try("capset", unix.SYS_CAPSET, 0, 0)
	return out
}
