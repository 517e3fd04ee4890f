package plan

import (
	"fmt"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (b *builder) sysctls() error {
	for _, key := range sortedKeys(b.spec.Linux.Sysctl) {
		value := b.spec.Linux.Sysctl[key]
		field := fmt.Sprintf("linux.sysctl[%q]", key)
		if err := b.checkSysctl(field, key, value); err != nil {
			return err
		}
		b.add(sysctl{key, value, field})
	}
	return nil
}

// checkSysctl lets only those through that belong to a namespace of the container's own; any other would
// change the host (CVE-2022-0811).
func (b *builder) checkSysctl(field, key, value string) error {
	if strings.ContainsAny(value, "\n\x00") {
		return fieldError(field, "set sysctl "+key, "the value holds a line break or a NUL byte", "")
	}
	if strings.ContainsAny(key, "\n\x00") {
		return fieldError(field, "set sysctl", "its name holds a line break or a NUL byte", "")
	}
	slash := sysctlPath(key)
	for _, part := range strings.Split(slash, "/") {
		if part == "" || part == "." || part == ".." {
			return fieldError(field, "set sysctl "+key, "this is no name of a sysctl", "")
		}
	}
	need := specs.LinuxNamespaceType("")
	switch {
	case strings.HasPrefix(slash, "net/"):
		need = specs.NetworkNamespace
	case strings.HasPrefix(slash, "fs/mqueue/"), strings.HasPrefix(slash, "kernel/msg"), strings.HasPrefix(slash, "kernel/shm"), slash == "kernel/sem":
		need = specs.IPCNamespace
	case slash == "kernel/domainname", slash == "kernel/hostname":
		need = specs.UTSNamespace
	default:
		return fieldError(field, "set sysctl "+key, "it belongs to no namespace, so it would change the host", "set it on the host, with sysctl(8)")
	}
	if !b.has(need) {
		return fieldError(field, "set sysctl "+key, fmt.Sprintf("the container has no %s namespace of its own, so it would change the host", need), "")
	}
	return nil
}

// sysctlPath turns net.ipv4.ip_forward, or net/ipv4/ip_forward where names hold dots (sysctl(8)), into a path.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

type sysctl struct{ key, value, field string }

func (s sysctl) Info() Info {
	return Info{
		What: fmt.Sprintf("set sysctl %s to %s", s.key, s.value), Field: s.field, Man: "proc_sys(5)",
		Why: "this setting belongs to a namespace of the container; it is written through our own mount of proc, whatever the image has put on /proc",
	}
}

func (s sysctl) Emit(e *emitter) {
	f := e.Openat2(e.ownProc(), "sys/"+sysctlPath(s.key), unix.O_WRONLY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
	e.Write(f, s.value)
	e.Close(f)
}

func (s sysctl) Shell() []string {
	return []string{"echo " + shellQuote(s.value) + " >/proc/sys/" + shellQuote(sysctlPath(s.key))}
}

// ownProc is a mount of proc that nothing in the root filesystem can have covered or replaced
// (CVE-2019-16884, CVE-2025-52881).
func (e *emitter) ownProc() program.Ref {
	if e.proc == nil {
		fs := e.Fsopen("proc")
		e.FsconfigCreate(fs)
		e.proc = e.Fsmount(fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		e.Close(fs)
	}
	return e.proc
}

func (b *builder) oomScore() error {
	if v := b.spec.Process.OOMScoreAdj; v != nil {
		if *v < -1000 || *v > 1000 {
			return fieldError("process.oomScoreAdj", "plan OOM score", fmt.Sprintf("%d is not between -1000 and 1000", *v), "")
		}
		b.add(oomScore{*v})
	}
	return nil
}

// oomScore says how soon the kernel kills the container when memory runs out. It is set while the process still
// sees the host's /proc and is its own master: an untraceable process may not write its own files there.
type oomScore struct {
	value int
}

func (s oomScore) Info() Info {
	return Info{What: fmt.Sprintf("set the OOM score adjustment to %d", s.value), Field: "process.oomScoreAdj", Why: "when memory runs out the kernel kills processes with a high score first", Man: "proc_pid_oom_score_adj(5)"}
}

func (s oomScore) Emit(e *emitter) {
	f := e.Open("/proc/self/oom_score_adj", unix.O_WRONLY)
	e.Write(f, fmt.Sprint(s.value))
	e.Close(f)
}

func (s oomScore) Shell() []string {
	return []string{fmt.Sprintf("echo %d >/proc/self/oom_score_adj", s.value)}
}
