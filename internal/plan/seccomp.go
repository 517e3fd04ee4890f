package plan

import (
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

func (b *builder) seccomp() error {
	if b.spec.Linux.Seccomp == nil {
		return nil
	}
	return fieldError("linux.seccomp", "plan system call filter", "filters cannot be compiled yet", "")
}

var (
	_ = program.SysSeccomp
	_ = unix.SECCOMP_SET_MODE_FILTER
)
