package plan

import (
	"fmt"
	"strings"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// clientText puts a failure into the words of runc. Docker, containerd, Podman and CRI-O look for them in what a
// runtime prints, and choose exit statuses and messages by them.
func clientText(step Step, c *program.Call, errno unix.Errno) string {
	switch s := step.(type) {
	case search:
		if len(s.candidates) != 1 || !strings.ContainsRune(s.name, '/') {
			if errno == unix.ENOENT {
				return fmt.Sprintf("exec: %q: executable file not found in $PATH", s.name)
			}
			return fmt.Sprintf("exec: %q: %v", s.name, errno)
		}
		if errno == unix.ENOENT || errno == unix.ENOTDIR {
			return fmt.Sprintf("exec: %q: stat %s: %v", s.name, s.name, errno)
		}
		return fmt.Sprintf("exec: %q: %v", s.name, errno)
	case execCommand:
		if c.Sys == program.SysExecve {
			return fmt.Sprintf("exec %s: %v", s.args[0], errno)
		}
	case rootWorkdir:
		return fmt.Sprintf("chdir to cwd (%q) set in config.json failed: %v", s.path, errno)
	case workdir:
		return fmt.Sprintf("chdir to cwd (%q) set in config.json failed: %v", s.path, errno)
	case bindMount:
		if c.Sys == program.SysOpenTree {
			return fmt.Sprintf("failed to fulfil mount request: open %s: %v", s.source, errno)
		}
		if c.Sys == program.SysMoveMount && errno == unix.EINVAL {
			// mount(2) says ENOTDIR for a directory on a file and a file on a directory, and engines look for its text.
			errno = unix.ENOTDIR
		}
		return fmt.Sprintf("error mounting %q to rootfs at %q: %v", s.source, s.dst, errno)
	case fsMount:
		return fmt.Sprintf("error mounting %q to rootfs at %q: %v", s.fstype, s.dst, errno)
	case directoryRoot:
		return fmt.Sprintf("invalid rootfs: stat %s: %v", s.path, errno)
	case plainRoot:
		return fmt.Sprintf("invalid rootfs: stat %s: %v", s.path, errno)
	case rlimit:
		return fmt.Sprintf("error setting rlimit type %d: %v", rlimitNumber(s.r.Type), errno)
	}
	return ""
}
