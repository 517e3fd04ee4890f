package plan

import (
	"strings"

	"golang.org/x/sys/unix"
)

// labels asks for the labels of security modules. Those of a module that the kernel does not have are left out, as
// crun does: engines send the same configuration to every host.
func (b *builder) labels() error {
	p := b.spec.Process
	if profile := p.ApparmorProfile; profile != "" && profile != "unconfined" {
		if strings.ContainsRune(profile, 0) {
			return fieldError("process.apparmorProfile", "apply apparmor profile", "the name holds a NUL byte", "")
		}
	}
	if profile := p.ApparmorProfile; profile != "" && b.in.Host.AppArmorExec != "" {
		b.add(label{file: b.in.Host.AppArmorExec, value: "exec " + profile, what: "apply apparmor profile " + profile, field: "process.apparmorProfile", man: "apparmor(7)"})
	}
	if l := p.SelinuxLabel; l != "" && b.in.Host.SELinux {
		b.add(label{file: "attr/exec", value: l, what: "set selinux label " + l, field: "process.selinuxLabel", man: "selinux(8)"})
	}
	return nil
}

// label asks a security module for another label from the next execve on. The process has no other execve before
// the user's command.
type label struct{ file, value, what, field, man string }

func (s label) Info() Info {
	return Info{What: s.what, Field: s.field, Man: s.man, Why: "the security module confines the command from its first instruction on; the wish is written while the process sees the host's /proc, which no image can have replaced"}
}

func (s label) Emit(e *emitter) {
	// A file of the same name could be bound over it, so no mount is crossed on the way.
	proc := e.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	f := e.Openat2(proc, "self/"+s.file, unix.O_WRONLY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV)
	e.Write(f, s.value)
	e.Close(f)
	e.Close(proc)
}
func (s label) Shell() []string { return nil }
