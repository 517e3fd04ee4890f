package plan

import (
	"fmt"
	"math/bits"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilityNames are the capabilities by number (capabilities(7), include/uapi/linux/capability.h of 6.18).
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
	"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
	"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// capabilityNumber is the number of a capability by its name, with or without CAP_, in any case; -1 for an
// unknown one.
func capabilityNumber(name string) int {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for i, n := range capabilityNames {
		if n == name {
			return i
		}
	}
	return -1
}

// capabilitySets are the five sets of capabilities(7), bit n for capability n.
type capabilitySets struct {
	bounding, effective, permitted, inheritable, ambient uint64
}

// capabilityLists are the lists of the configuration, by name.
func capabilityLists(c *specs.LinuxCapabilities) [5]struct {
	name string
	list []string
} {
	return [5]struct {
		name string
		list []string
	}{
		{"bounding", c.Bounding}, {"effective", c.Effective}, {"permitted", c.Permitted}, {"inheritable", c.Inheritable}, {"ambient", c.Ambient},
	}
}

// capabilitySet reads the sets. What nobody knows is left out, and so is what the caller does not hold itself: the
// specification wants no more than a warning (config.md, "Linux Process"), which Plan.Notes has.
func (b *builder) capabilitySet() capabilitySets {
	var s capabilitySets
	c := b.spec.Process.Capabilities
	if c == nil {
		return s
	}
	sets := [5]*uint64{&s.bounding, &s.effective, &s.permitted, &s.inheritable, &s.ambient}
	for i, l := range capabilityLists(c) {
		for _, name := range l.list {
			if n := capabilityNumber(name); n >= 0 {
				*sets[i] |= 1 << n
			}
		}
		*sets[i] &= b.held()
	}
	s.effective &= s.permitted
	s.ambient &= s.permitted & s.inheritable
	return s
}

// noteCapabilities notes each capability that the configuration asks for and the process cannot get.
func (b *builder) noteCapabilities(c *specs.LinuxCapabilities) {
	var noted uint64
	for _, l := range capabilityLists(c) {
		for i, name := range l.list {
			n := capabilityNumber(name)
			switch {
			case n < 0:
				b.plan.Notes = append(b.plan.Notes, fmt.Sprintf("process.capabilities.%s[%d]: there is no capability %q; it is left out", l.name, i, name))
			case (b.held()|noted)>>n&1 == 0:
				noted |= 1 << n
				b.plan.Notes = append(b.plan.Notes, fmt.Sprintf("process.capabilities.%s[%d]: the caller does not have CAP_%s and cannot give it", l.name, i, capabilityName(n)))
			}
		}
	}
}

// held is what the first process has at most. A new user namespace starts with every capability that the kernel
// knows, whatever the caller's bounding set (user_namespaces(7), "Capabilities").
func (b *builder) held() uint64 {
	all := uint64(1)<<(b.in.Host.LastCap+1) - 1
	if b.has(specs.UserNamespace) {
		return all
	}
	return all & b.in.Host.Capabilities
}

func (b *builder) boundingSet() error {
	if b.spec.Process.Capabilities == nil {
		return nil // the process keeps what it has
	}
	b.noteCapabilities(b.spec.Process.Capabilities)
	s := b.capabilitySet()
	if drop := b.held() &^ s.bounding; drop != 0 {
		b.add(boundingSet{drop: drop, keep: s.bounding})
	}
	return nil
}

// boundingSet gives up capabilities for good.
type boundingSet struct{ drop, keep uint64 }

func (s boundingSet) Info() Info {
	return Info{
		What: fmt.Sprintf("drop %d capabilities from the bounding set", bits.OnesCount64(s.drop)), Field: "process.capabilities.bounding", Man: "PR_CAPBSET_DROP(2const)",
		Why: "a capability outside this set can never be had again, not even by a program with the set-user-ID bit or file capabilities",
	}
}

func (s boundingSet) Emit(e *emitter) {
	for n := range 64 {
		if s.drop>>n&1 != 0 {
			e.Prctl(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP", program.Named(uint64(n), "CAP_"+capabilityName(n)))
		}
	}
}

func capabilityName(n int) string {
	if n < len(capabilityNames) {
		return capabilityNames[n]
	}
	return fmt.Sprint(n)
}

// Dropping happens where the script becomes the command; see exec.Shell.
func (s boundingSet) Shell() []string {
	words := []string{"-all"}
	for n := range 64 {
		if s.keep>>n&1 != 0 {
			words = append(words, "+"+strings.ToLower(capabilityName(n)))
		}
	}
	return []string{"CAPS=" + strings.Join(words, ",")}
}

func (b *builder) capabilities() error {
	if b.spec.Process.Capabilities == nil {
		return nil
	}
	s := b.capabilitySet()
	// A filter that is loaded without no_new_privs needs CAP_SYS_ADMIN until then.
	if b.spec.Linux.Seccomp != nil && !b.spec.Process.NoNewPrivileges {
		b.add(setCapabilities{s: capabilitySets{effective: s.effective, permitted: b.held(), inheritable: s.inheritable}, keep: true})
		return nil
	}
	b.add(setCapabilities{s: s})
	return nil
}

func (b *builder) finalCapabilities() error {
	if b.spec.Process.Capabilities == nil || b.spec.Linux.Seccomp == nil || b.spec.Process.NoNewPrivileges {
		return nil
	}
	s := b.capabilitySet()
	b.add(setCapabilities{s: s})
	return nil
}

// setCapabilities sets the capability sets of the process.
type setCapabilities struct {
	s    capabilitySets
	keep bool // the permitted set shrinks later
}

func (s setCapabilities) Info() Info {
	what := fmt.Sprintf("keep %d capabilities", bits.OnesCount64(s.s.permitted))
	why := "root is as mighty as its capabilities; what is not listed is given up. Inheritable and ambient stay empty unless asked for (CVE-2022-29162)"
	if s.keep {
		what, why = "make the wanted capabilities effective", "what the command may not do, the last checks should not be able to do either; the rest is given up after the system call filter is in place"
	}
	return Info{What: what, Field: "process.capabilities", Why: why, Man: "capabilities(7)"}
}

func (s setCapabilities) Emit(e *emitter) {
	e.Capset(s.s.effective, s.s.permitted, s.s.inheritable)
	for n := range 64 {
		if s.s.ambient>>n&1 != 0 {
			e.Prctl(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT", program.Named(unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"), program.Named(uint64(n), "CAP_"+capabilityName(n)))
		}
	}
}
func (s setCapabilities) Shell() []string { return nil }

func (b *builder) noNewPrivs() error {
	if b.spec.Process.NoNewPrivileges {
		b.add(noNewPrivs{})
	}
	return nil
}

type noNewPrivs struct{}

func (s noNewPrivs) Info() Info {
	return Info{
		What: "forbid new privileges", Field: "process.noNewPrivileges", Man: "PR_SET_NO_NEW_PRIVS(2const)",
		Why: "from now on no execve gives more rights: set-user-ID bits and file capabilities are ignored",
	}
}

func (s noNewPrivs) Emit(e *emitter) {
	e.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", program.Num(1))
}
func (s noNewPrivs) Shell() []string { return []string{"NNP=--no-new-privs"} }
