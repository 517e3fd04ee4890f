package program

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// This file holds the calls about the process itself: its ids, namespaces, limits, privileges and what it
// becomes.

// Exit records exit_group(2).
func (p *Program) Exit(code int) *Call { return p.record(SysExitGroup, Num(int64(code))) }

// ExitWith records exit_group(2) with a status known only at run time.
func (p *Program) ExitWith(code Ref) *Call { return p.record(SysExitGroup, code.arg()) }

// Execve records execve(2). The path is an Arg so that a search through PATH can settle it at run time.
func (p *Program) Execve(path Ref, argv, env []string) *Call {
	return p.record(SysExecve, path.arg(), p.stringArray(argv, "argv"), p.stringArray(env, "envp"))
}

func (p *Program) stringArray(list []string, name string) Arg {
	ptrs := make([]Arg, len(list))
	for i, s := range list {
		ptrs[i] = p.String(s)
	}
	return p.Pointers(ptrs, func() string {
		if name == "envp" {
			return fmt.Sprintf("[/* %d variables */]", len(list))
		}
		quoted := make([]string, len(list))
		for i, s := range list {
			quoted[i] = quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	})
}

// Unshare records unshare(2).
func (p *Program) Unshare(flag uint64) *Call {
	return p.record(SysUnshare, flags(flag, &namespaceFlags))
}

// Setns records setns(2): the process joins the namespace behind the descriptor (or, for a pidfd, all those
// named by the flags; Linux 5.8).
func (p *Program) Setns(fd Ref, flag uint64) *Call {
	return p.record(SysSetns, fd.arg(), flags(flag, &namespaceFlags))
}

// Sethostname records sethostname(2).
func (p *Program) Sethostname(name string) *Call {
	return p.record(SysSethostname, p.quoted(name), Num(int64(len(name))))
}

// Setdomainname records setdomainname(2).
func (p *Program) Setdomainname(name string) *Call {
	return p.record(SysSetdomainname, p.quoted(name), Num(int64(len(name))))
}

// Prctl records prctl(2); name is the operation as its manual page spells it.
func (p *Program) Prctl(op int, name string, args ...Ref) *Call {
	all := [5]Arg{Named(uint64(op), name), Num(0), Num(0), Num(0), Num(0)}
	for i, a := range args[:min(len(args), 4)] {
		all[i+1] = a.arg()
	}
	return p.record(SysPrctl, all[:]...)
}

// Capset records capset(2) for the calling thread with version 3 sets; bit n stands for capability n.
func (p *Program) Capset(effective, permitted, inheritable uint64) *Call {
	le := binary.LittleEndian
	hdr := le.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	hdr = le.AppendUint32(hdr, 0)
	var data []byte
	for shift := 0; shift < 64; shift += 32 {
		for _, set := range []uint64{effective, permitted, inheritable} {
			data = le.AppendUint32(data, uint32(set>>shift))
		}
	}
	return p.record(SysCapset, p.Bytes(hdr, func() string { return "{_LINUX_CAPABILITY_VERSION_3, 0}" }),
		p.Bytes(data, func() string {
			return fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}", effective, permitted, inheritable)
		}))
}

// Setgroups records setgroups(2).
func (p *Program) Setgroups(gids []uint32) *Call {
	var b []byte
	for _, g := range gids {
		b = binary.LittleEndian.AppendUint32(b, g)
	}
	return p.record(SysSetgroups, Num(int64(len(gids))), p.Bytes(b, func() string { return fmt.Sprint(gids) }))
}

// Setresgid records setresgid(2) with the same id thrice.
func (p *Program) Setresgid(gid uint32) *Call {
	g := Num(int64(gid))
	return p.record(SysSetresgid, g, g, g)
}

// Setresuid records setresuid(2) with the same id thrice.
func (p *Program) Setresuid(uid uint32) *Call {
	u := Num(int64(uid))
	return p.record(SysSetresuid, u, u, u)
}

// Setsid records setsid(2).
func (p *Program) Setsid() *Call { return p.record(SysSetsid) }

// Umask records umask(2).
func (p *Program) Umask(mask uint32) *Call { return p.record(SysUmask, octal(mask)) }

// Prlimit records prlimit64(2) for the calling process; name is the resource as setrlimit(2) spells it.
func (p *Program) Prlimit(resource int, name string, soft, hard uint64) *Call {
	b := binary.LittleEndian.AppendUint64(nil, soft)
	b = binary.LittleEndian.AppendUint64(b, hard)
	return p.record(SysPrlimit64, Num(0), Named(uint64(resource), name), p.Bytes(b, func() string { return fmt.Sprintf("{%s, %s}", limit(soft), limit(hard)) }), Named(0, "NULL"))
}

func limit(v uint64) string {
	if v == ^uint64(0) {
		return "RLIM_INFINITY"
	}
	return fmt.Sprint(v)
}

// Seccomp records seccomp(2), SECCOMP_SET_MODE_FILTER; filter holds struct sock_filter entries of eight bytes.
func (p *Program) Seccomp(flag uint64, filter []byte) *Call {
	prog := binary.LittleEndian.AppendUint64(nil, uint64(len(filter)/8))
	prog = binary.LittleEndian.AppendUint64(prog, p.AddressOf(p.Bytes(filter, nil)))
	return p.record(SysSeccomp, Named(unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"),
		hex(flag), p.Bytes(prog, func() string { return fmt.Sprintf("{len=%d}", len(filter)/8) }))
}

// Fork records clone(2) without shared memory: the child goes on at the label, the caller after it. With sibling
// the child's parent is the caller's (CLONE_PARENT). The result in the caller is the child's id in the caller's
// PID namespace.
func (p *Program) Fork(sibling bool, child Label) *Call {
	flag := Named(uint64(unix.SIGCHLD), "SIGCHLD")
	if sibling {
		flag = Named(uint64(unix.SIGCHLD)|unix.CLONE_PARENT, "CLONE_PARENT|SIGCHLD")
	}
	zero := Num(0)
	c := p.Call(SysClone, flag, zero, zero, zero, zero)
	p.If(c, 0, child)
	return c
}

// Getpid records getpid(2).
func (p *Program) Getpid() *Call { return p.record(SysGetpid) }

// Dup3 records dup3(2) with O_CLOEXEC unset: the copy is there after execve, as standard streams must be.
func (p *Program) Dup3(from Ref, to int) *Call {
	return p.record(SysDup3, from.arg(), Num(int64(to)), Num(0))
}

// Ioctl records ioctl(2); name is the request as its manual page spells it.
func (p *Program) Ioctl(fd Ref, request uint64, name string, arg Ref) *Call {
	return p.record(SysIoctl, fd.arg(), Named(request, name), arg.arg())
}

// UnblockSignals records rt_sigprocmask(2) with an empty set: the process starts with no signal blocked, as
// execve(2) leaves the mask as it is.
func (p *Program) UnblockSignals() *Call { return p.SetSignalMask(0) }

// SetSignalMask records rt_sigprocmask(2), SIG_SETMASK; bit n-1 blocks signal n.
func (p *Program) SetSignalMask(set uint64) *Call {
	b := binary.LittleEndian.AppendUint64(nil, set)
	return p.record(SysRtSigprocmask, Named(2, "SIG_SETMASK"), p.Bytes(b, func() string { return fmt.Sprintf("%#x", set) }), Named(0, "NULL"), Num(8))
}

// DropStack gives back the stack with the arguments and the environment on it, up to 12 KiB: the program never uses
// them. The kernel puts it below the end of the address space, at a distance that is drawn (up to 16 GiB on amd64, 1 GiB on
// arm64); the program itself lies far from there. The first call is for address spaces of 47 bits (amd64), the second
// one for those of 48 (arm64); where neither is the kernel's, it stays.
func (p *Program) DropStack() {
	for _, end := range []uint64{1<<47 - 4096, 1 << 48} {
		const reach = 1 << 36
		start := end&^(reach-1) - reach
		p.record(SysMunmap, Named(start, "stack"), Named(end-start, "to the end")).Ignore(unix.EINVAL)
	}
}
