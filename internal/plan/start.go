package plan

import (
	"encoding/binary"
	"fmt"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This file holds the first steps: what the process does about itself before it touches anything else.

func (b *builder) closeStrangers() error {
	b.add(closeStrangers{first: b.plan.FDs[len(b.plan.FDs)-1].Num + 1})
	return nil
}

// closeStrangers closes what the caller of the runtime left open.
type closeStrangers struct{ first int }

func (s closeStrangers) Info() Info {
	return Info{
		What: fmt.Sprintf("close descriptors from %d on", s.first),
		Why:  "whatever the caller left open would be open inside the container: the way out in CVE-2024-21626",
		Man:  "close_range(2)",
	}
}
func (s closeStrangers) Emit(e *emitter) { e.CloseFrom(s.first, false) }
func (s closeStrangers) Shell() []string { return nil }

func (b *builder) announce() error {
	if b.in.Announce {
		b.add(announce{})
	}
	return nil
}

// announce tells the host side which process id the first process sees.
type announce struct{}

func (s announce) Info() Info {
	return Info{What: "tell the own process id", Why: "in a new PID namespace the first process is number 1", Man: "getpid(2)"}
}

func (s announce) Emit(e *emitter) {
	e.SendValue(program.Message{Kind: program.PID}, e.Getpid())
}
func (s announce) Shell() []string { return []string{`echo "[fork] as pid $$" >&2`} }

func (b *builder) joinCgroup() error {
	for _, f := range b.plan.FDs {
		if f.Kind == FDTasks {
			b.add(joinCgroupV1{fd: f.Num, mount: b.in.Cgroup.Mounts[f.Index]})
		}
	}
	return nil
}

func (b *builder) joinResctrl() error {
	for _, f := range b.plan.FDs {
		if f.Kind == FDResctrl {
			b.add(joinResctrl{f.Num})
		}
	}
	return nil
}

// joinResctrl moves the process into its group of the resctrl file system.
type joinResctrl struct{ fd int }

func (s joinResctrl) Info() Info {
	return Info{What: "enter the resctrl group", Field: "linux.intelRdt", Why: "the processor then gives it the share of cache and memory bandwidth of that group", Man: "Documentation/filesystems/resctrl.rst"}
}

func (s joinResctrl) Emit(e *emitter) {
	e.Write(program.FD(s.fd), "0")
	e.Close(program.FD(s.fd))
}
func (s joinResctrl) Shell() []string { return nil }

// joinCgroupV1 moves the process into its cgroup of one hierarchy.
type joinCgroupV1 struct {
	fd    int
	mount CgroupMount
}

func (s joinCgroupV1) Info() Info {
	return Info{
		What: "enter cgroup " + s.mount.Path, Field: "linux.cgroupsPath",
		Why: "a process with one thread that writes 0 to tasks moves itself at once; being moved through cgroup.procs can wait 10 ms for an RCU grace period",
		Man: "cgroups(7)",
	}
}

func (s joinCgroupV1) Emit(e *emitter) {
	e.Write(program.FD(s.fd), "0")
	e.Close(program.FD(s.fd))
}
func (s joinCgroupV1) Shell() []string { return nil } // the script enters its cgroups before unshare

func (b *builder) newSession() error {
	b.add(newSession{})
	if b.in.Host.Keyring {
		b.add(newKeyring{})
	}
	return nil
}

// newSession detaches the process from the caller's terminal and process group.
type newSession struct{}

func (s newSession) Info() Info {
	return Info{
		What: "start a session", Man: "setsid(2)",
		Why: "a process that stays in the caller's session could push input into its terminal (TIOCSTI)",
	}
}

// A process that leads a group already cannot start a session; init of a new PID namespace never does.
func (s newSession) Emit(e *emitter) { e.Setsid().Ignore(unix.EPERM) }
func (s newSession) Shell() []string { return nil }

type newKeyring struct{}

func (s newKeyring) Info() Info {
	return Info{
		What: "make a session keyring", Man: "KEYCTL_JOIN_SESSION_KEYRING(2const)",
		Why: "otherwise the container could read the keys of the session that started it",
	}
}

func (s newKeyring) Emit(e *emitter) {
	e.Call(program.SysKeyctl, program.Named(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), program.Named(0, "NULL")).
		Ignore(unix.ENOSYS, unix.EDQUOT, unix.EACCES)
}
func (s newKeyring) Shell() []string { return nil }

func (b *builder) loopback() error {
	if ns, ok := b.ns[specs.NetworkNamespace]; ok && ns.Path == "" {
		b.add(loopback{})
	}
	return nil
}

// loopback sets the interface lo up, which brings 127.0.0.1 and ::1 with it.
type loopback struct{}

func (s loopback) Info() Info {
	return Info{
		What: "set the loopback interface up", Field: "linux.namespaces",
		Why: "a new network namespace has only lo, and it is down",
		Man: "netdevice(7)",
	}
}

func (s loopback) Emit(e *emitter) {
	sock := e.Call(program.SysSocket, program.Named(unix.AF_INET, "AF_INET"), program.Named(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), program.Num(0))
	req := make([]byte, 40) // struct ifreq
	copy(req, "lo")
	binary.LittleEndian.PutUint16(req[16:], unix.IFF_UP|unix.IFF_RUNNING)
	e.Ioctl(sock, unix.SIOCSIFFLAGS, "SIOCSIFFLAGS", e.Bytes(req, func() string { return `{"lo", IFF_UP|IFF_RUNNING}` }))
	e.Close(sock)
}
func (s loopback) Shell() []string { return []string{"ip link set lo up"} }

func (b *builder) hostname() error {
	if b.spec.Hostname != "" {
		if !b.has(specs.UTSNamespace) {
			return fieldError("hostname", "set hostname", "there is no UTS namespace to set it in: it would change the host's", "add a namespace of type uts")
		}
		b.add(hostname{b.spec.Hostname})
	}
	if b.spec.Domainname != "" {
		if !b.has(specs.UTSNamespace) {
			return fieldError("domainname", "set domainname", "there is no UTS namespace to set it in: it would change the host's", "add a namespace of type uts")
		}
		b.add(domainname{b.spec.Domainname})
	}
	return nil
}

type hostname struct{ name string }

func (s hostname) Info() Info {
	return Info{What: "set hostname " + s.name, Field: "hostname", Why: "the new UTS namespace starts with a copy of the host's name", Man: "sethostname(2)"}
}
func (s hostname) Emit(e *emitter) { e.Sethostname(s.name) }
func (s hostname) Shell() []string { return []string{"hostname " + shellQuote(s.name)} }

type domainname struct{ name string }

func (s domainname) Info() Info {
	return Info{What: "set domainname " + s.name, Field: "domainname", Why: "the NIS domain name is part of the UTS namespace", Man: "setdomainname(2)"}
}
func (s domainname) Emit(e *emitter) { e.Setdomainname(s.name) }
func (s domainname) Shell() []string { return []string{"domainname " + shellQuote(s.name)} }

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:,+@%", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
