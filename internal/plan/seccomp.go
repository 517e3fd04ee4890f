package plan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"gcr/internal/program"
	"gcr/internal/seccomp"

	"golang.org/x/sys/unix"
)

func (b *builder) seccomp() error {
	profile := b.spec.Linux.Seccomp
	var f seccomp.Filter
	var err error
	switch {
	case len(b.in.Filter) > 0:
		if f, err = b.in.rawFilter(); err != nil {
			return &Error{What: "read system call filter", Field: "annotations", Cause: err}
		}
	case profile == nil:
		return nil
	default:
		if f, err = seccomp.Compile(profile, seccomp.Native()); err != nil {
			var wrong *seccomp.ProfileError
			if errors.As(err, &wrong) {
				return fieldError("linux.seccomp."+wrong.Field, wrong.What, wrong.Cause, "")
			}
			return &Error{What: "compile system call filter", Field: "linux.seccomp", Cause: err}
		}
		if b.in.StrictFilter && len(f.Warnings) > 0 {
			return fieldError("linux.seccomp", "compile system call filter", f.Warnings[0], "an annotation asks for a profile without unknown names")
		}
	}
	sets := b.capabilitySet()
	if nr := uint32(program.SysSendmsg.Number(program.Native)); slices.Contains(f.Notified, nr) {
		return fieldError("linux.seccomp.syscalls", "plan system call filter", "the profile hands sendmsg to the agent, which cannot have the listener before sendmsg has passed it on", "")
	}
	agent := ""
	if f.Notify && profile != nil && profile.ListenerPath != "" {
		agent = fmt.Sprintf("; the calls that it hands over go to the agent at %s", profile.ListenerPath)
	}
	if f.Notify && profile != nil && profile.ListenerMetadata != "" {
		agent += fmt.Sprintf(", which is told %q", profile.ListenerMetadata)
	}
	b.add(seccompFilter{f: f, agent: agent, raise: !b.spec.Process.NoNewPrivileges && b.spec.Process.Capabilities != nil, sets: sets, held: b.held()})
	return nil
}

// seccompFilter loads the system call filter.
type seccompFilter struct {
	f     seccomp.Filter
	agent string // who gets the calls that the filter hands over
	raise bool   // CAP_SYS_ADMIN must be made effective for the load
	sets  capabilitySets
	held  uint64
}

func (s seccompFilter) Info() Info {
	return Info{
		What: fmt.Sprintf("load a system call filter of %d instructions", len(s.f.Program)), Field: "linux.seccomp", Man: "seccomp(2)",
		Why: "the kernel runs it at each system call and refuses those that a container has no need of: what cannot be called cannot be exploited" + s.agent,
	}
}

func (s seccompFilter) Emit(e *emitter) {
	if s.raise {
		// Without no_new_privs the kernel wants CAP_SYS_ADMIN, lest a set-user-ID program be fooled by a filter.
		e.Capset(s.sets.effective|1<<unix.CAP_SYS_ADMIN&s.held, s.held, s.sets.inheritable)
	}
	code := make([]byte, 0, 8*len(s.f.Program))
	for _, in := range s.f.Program {
		code = binary.LittleEndian.AppendUint16(code, in.Code)
		code = append(code, in.Jt, in.Jf)
		code = binary.LittleEndian.AppendUint32(code, in.K)
	}
	load := e.Seccomp(uint64(s.f.Flags), code)
	if s.f.Notify {
		e.SendFD(program.Message{Kind: program.Notify}, load)
		e.Close(load)
	}
}
func (s seccompFilter) Shell() []string { return nil }
