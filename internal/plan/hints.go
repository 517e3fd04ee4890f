package plan

import (
	"fmt"
	"strings"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// hint explains the cause of a failed call where it is known, and names a fix.
func hint(step Step, c *program.Call, errno unix.Errno, in *Input) string {
	switch s := step.(type) {
	case search:
		return s.hint(errno, in)
	case execCommand:
		return s.hint(errno)
	case workdir:
		return s.hint(errno)
	case bindMount:
		return s.hint(c, errno)
	case fsMount:
		return s.hint(c, errno)
	case unmount:
		return s.hint(errno)
	case directoryRoot:
		return rootHint(s.path, errno)
	case overlayRoot:
		return overlayHint(errno)
	case hostRoot:
		return overlayHint(errno)
	case pivot:
		if errno == unix.EINVAL {
			return "pivot_root is impossible when the host's root is the initial ramfs"
		}
	case propagation:
		if errno == unix.EINVAL {
			return "the root directory of the caller is not a mount: gcr was probably started in a chroot"
		}
		if errno == unix.EPERM || errno == unix.EACCES {
			return "a security module does not let this user namespace mount; on Ubuntu see the sysctl kernel.apparmor_restrict_unprivileged_userns"
		}
	case scheduler:
		if errno == unix.EPERM {
			return "real-time policies need CAP_SYS_NICE on the host and, with a kernel that shares real-time out among groups (CONFIG_RT_GROUP_SCHED), linux.resources.cpu.realtimeRuntime"
		}
	case rlimit:
		if errno == unix.EPERM {
			return "raising a hard limit needs CAP_SYS_RESOURCE on the host: ask for no more than the caller has (ulimit -H)"
		}
	case oomScore:
		if errno == unix.EACCES {
			return "lowering the adjustment needs CAP_SYS_RESOURCE on the host"
		}
	case ids:
		if errno == unix.EINVAL {
			return "the id is not mapped into the container's user namespace"
		}
	case sysctl:
		if errno == unix.ENOENT {
			return "this kernel has no such setting"
		}
	case joinCgroupV1:
		if errno == unix.ENOSPC {
			return "the cgroup has no processors or memory nodes: cpuset.cpus and cpuset.mems must be set"
		}
	case defaultDev:
		if errno == unix.ELOOP {
			return "/dev in the root filesystem is a symbolic link, which could lead anywhere: make it a directory"
		}
		if errno == unix.EROFS {
			return "the root filesystem cannot be written and has no /dev with these devices: mount a tmpfs on /dev"
		}
	}
	return ""
}

func (s search) hint(errno unix.Errno, in *Input) string {
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		if strings.ContainsRune(s.name, '/') {
			return "there is no such file in the container"
		}
		where := "PATH"
		if len(s.candidates) > 0 {
			where = fmt.Sprintf("PATH (%d directories)", len(s.candidates))
		}
		text := "executable file not found in " + where
		if s.name == "sh" || s.name == "bash" {
			text += "; is this really a root filesystem? Name a command that it has, or check with ls what is in it"
		}
		return text
	case unix.EACCES:
		return "the file is there but its mode, or the mode of a directory above it, does not let user " + fmt.Sprint(in.Spec.Process.User.UID) + " execute it; or it lies on a file system that is mounted noexec"
	case unix.EISDIR:
		return "name a program in it"
	}
	return ""
}

func (s execCommand) hint(errno unix.Errno) string {
	switch errno {
	case unix.ENOENT:
		return "the file is there, so its interpreter is missing: the program named in the first line of a script (#!), or the dynamic loader of a binary (see it with readelf -l)"
	case unix.ENOEXEC:
		return "the kernel does not know this format: a binary for another processor, a script without a first line #!/bin/sh, or an empty file"
	case unix.EACCES:
		return "the file cannot be executed: check its mode, the mode of its interpreter, and that the root filesystem is not mounted noexec"
	case unix.E2BIG:
		return "arguments and environment are too large: one string may have 128 KiB, all together a quarter of the stack limit (execve(2))"
	case unix.ENOMEM:
		return "the memory limit of the container is too small for this program"
	case unix.EPERM:
		return "the program has file capabilities that the container does not have in its bounding set"
	}
	return ""
}

func (s workdir) hint(errno unix.Errno) string {
	switch errno {
	case unix.ENOENT:
		return "there is no such directory in the container: make it in the root filesystem, or choose another with --workdir"
	case unix.ENOTDIR:
		return "this is a file"
	case unix.EACCES:
		return "the user of the container may not enter it"
	case unix.EXDEV:
		return "the directory lies outside the root filesystem"
	}
	return ""
}

func (s bindMount) hint(c *program.Call, errno unix.Errno) string {
	switch {
	case c.Sys == program.SysOpenTree && errno == unix.ENOENT:
		return s.source + " does not exist on the host"
	case c.Sys == program.SysOpenTree && errno == unix.EACCES:
		return "the container's root may not reach " + s.source + " on the host"
	case c.Sys == program.SysOpenTree && errno == unix.EINVAL:
		return "there are mounts below " + s.source + " that a user namespace may not take apart: bind it recursively (rbind)"
	case c.Sys == program.SysMoveMount && (errno == unix.ENOTDIR || errno == unix.EINVAL):
		// EINVAL is what a detached mount gets (fs/namespace.c, do_move_mount).
		return "a directory can be mounted on a directory only, and a file on a file"
	case c.Sys == program.SysMountSetattr && errno == unix.EPERM:
		return "a user namespace may not take off flags that the host has put on this mount (ro, nosuid, nodev, noexec)"
	}
	return s.target.hint(errno)
}

func (s fsMount) hint(c *program.Call, errno unix.Errno) string {
	switch {
	case errno == unix.ENODEV:
		return "this kernel has no file system " + s.fstype
	case errno == unix.EINVAL && c.Sys == program.SysFsconfig:
		return "the file system does not take one of its options: " + strings.Join(s.options, ",")
	case errno == unix.EPERM && s.fstype == "sysfs":
		return "sysfs shows the network namespace that it is mounted in, which must belong to the container: with the host's network, bind /sys instead"
	case errno == unix.EPERM && s.fstype == "proc":
		return "a user namespace gets a new procfs only where the whole of the host's is visible, and only for a PID namespace of its own; inside another container parts of it are covered"
	case errno == unix.EPERM:
		return "mounting " + s.fstype + " needs root on the host"
	}
	return s.target.hint(errno)
}

func (t target) hint(errno unix.Errno) string {
	switch errno {
	case unix.ELOOP:
		if t.strict() {
			return t.dst + " in the root filesystem is a symbolic link, which could lead anywhere: make it a directory"
		}
		return "too many symbolic links on the way to " + t.dst + " in the root filesystem"
	case unix.ENOTDIR:
		return "a part of " + t.dst + " in the root filesystem is a file, not a directory"
	case unix.EROFS:
		return t.dst + " is missing in the root filesystem and cannot be made there, for it is read-only"
	case unix.EACCES:
		return t.dst + " cannot be made in the root filesystem: it belongs to somebody else"
	case unix.ENOENT:
		return "a part of " + t.dst + " in the root filesystem is a symbolic link that leads nowhere"
	}
	return ""
}

func rootHint(path string, errno unix.Errno) string {
	switch errno {
	case unix.ENOENT:
		return path + " does not exist"
	case unix.ENOTDIR:
		return path + " is not a directory"
	case unix.EACCES:
		return "the caller may not enter " + path
	}
	return ""
}

func overlayHint(errno unix.Errno) string {
	switch errno {
	case unix.ENODEV:
		return "this kernel has no overlay file system: load it with modprobe overlay"
	case unix.EPERM:
		return "this kernel does not let a user namespace mount an overlay (it does from Linux 5.11 on)"
	case unix.EINVAL:
		return "the kernel refuses this overlay; dmesg says why"
	}
	return ""
}
