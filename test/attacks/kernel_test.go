package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"gcr/internal/hostfacts"

	"golang.org/x/sys/unix"
)

// This room has the attacks on what the kernel offers everybody: files of /proc, the cgroup hierarchy, device
// nodes, system calls. Attacks that would change the host write back what they have read.

func init() {
	unconfined := []string{"--security-opt", "seccomp=unconfined"}
	exhibits = append(exhibits,
		exhibit{
			class: "core_pattern", known: "CVE-2022-0811, CVE-2025-31133", weak: "--security-opt systempaths=unconfined",
			attack:  withFlags([]string{"--security-opt", "systempaths=unconfined"}, "rewrite", "/proc/sys/kernel/core_pattern"),
			refusal: "read-only file system",
		},
		exhibit{
			class: "sysrq-trigger", known: "CVE-2025-52881", weak: "--security-opt systempaths=unconfined",
			needs:   needsFile("/proc/sysrq-trigger"),
			attack:  withFlags([]string{"--security-opt", "systempaths=unconfined"}, "openwrite", "/proc/sysrq-trigger"),
			refusal: "read-only file system",
		},
		exhibit{
			class: "kernel memory in /proc/kcore", known: "information leak", weak: "--privileged",
			needs:   needsFile("/proc/kcore"),
			attack:  withFlags([]string{"--privileged"}, "read", "/proc/kcore"),
			refusal: "empty",
		},
		exhibit{
			class: "cgroup release_agent", known: "CVE-2022-0492", weak: "--privileged --without=cgroup",
			needs:   needsV1,
			attack:  withFlags([]string{"--privileged", "--without=cgroup"}, "release_agent"),
			refusal: "operation not permitted",
		},
		exhibit{
			class: "cgroup hierarchy writable", known: "CVE-2023-25809", weak: "--privileged",
			attack:  withFlags([]string{"--privileged"}, "cgroup"),
			refusal: "read-only file system",
		},
		exhibit{
			class: "cgroup of the host visible", known: "information leak", weak: "--without=cgroup",
			attack:  withFlags([]string{"--without=cgroup"}, "cgrouppath"),
			refusal: "root of the hierarchy",
		},
		exhibit{
			class: "host's disk by mknod", known: "device nodes", weak: "--privileged",
			needs:   needsDisk,
			attack:  func(m *museum, weak bool) outcome { return mknodAttack(m, weak, "b", disk()) },
			refusal: "operation not permitted",
		},
		exhibit{
			class: "kernel log by mknod", known: "device nodes", weak: "--privileged",
			attack:  func(m *museum, weak bool) outcome { return mknodAttack(m, weak, "c", "1:11") },
			refusal: "operation not permitted",
		},
		exhibit{
			class: "files beyond those needed", known: "a program taken over", weak: "no --landlock",
			needs: func(*museum) string {
				if hostfacts.LandlockABI() == 0 {
					return "this kernel has no Landlock"
				}
				return ""
			},
			attack: func(m *museum, weak bool) outcome {
				m.write(m.rootfs+"/tmp/secret", secret)
				flags := []string{"--landlock", "ro:/museum"}
				if weak {
					flags = nil
				}
				return m.gcr(flags, "secret", "/tmp/secret")
			},
			refusal: "permission denied",
		},
		exhibit{
			class: "fsconfig in a new user namespace", known: "CVE-2022-0185", weak: "seccomp=unconfined",
			needs:   needsUserNamespaces,
			attack:  withFlags(unconfined, "fsconfig"),
			refusal: "operation not permitted",
		},
		exhibit{
			class: "AF_ALG", known: "CVE-2026-31431", weak: "seccomp=unconfined",
			needs:   needsSocket(unix.AF_ALG, "AF_ALG"),
			attack:  withFlags(unconfined, "socket", strconv.Itoa(unix.AF_ALG)),
			refusal: "not supported|not permitted",
		},
		exhibit{
			class: "AF_VSOCK", known: "sockets past the network namespace", weak: "seccomp=unconfined",
			needs:   needsSocket(unix.AF_VSOCK, "AF_VSOCK"),
			attack:  withFlags(unconfined, "socket", strconv.Itoa(unix.AF_VSOCK)),
			refusal: "not supported|not permitted",
		},
		exhibit{
			class: "kernel keyrings", known: "CVE-2016-0728 and kin", weak: "seccomp=unconfined",
			needs:   needsCall("keyctl", keyctl),
			attack:  withFlags(unconfined, "keyctl"),
			refusal: "operation not permitted",
		},
		exhibit{
			class: "io_uring", known: "CVE-2022-29582 and kin", weak: "seccomp=unconfined",
			needs:   needsCall("io_uring_setup", iouring),
			attack:  withFlags(unconfined, "iouring"),
			refusal: "operation not permitted",
		},
		exhibit{
			class: "userfaultfd", known: "help for races in the kernel", weak: "seccomp=unconfined",
			needs:   needsCall("userfaultfd", userfaultfd),
			attack:  withFlags(unconfined, "userfaultfd"),
			refusal: "operation not permitted",
		},
	)
	attackers["rewrite"] = func(a []string) outcome { return rewrite(a[0]) }
	attackers["openwrite"] = func(a []string) outcome {
		f, err := os.OpenFile(a[0], os.O_WRONLY, 0)
		if err != nil {
			return refused("%v", err)
		}
		f.Close()
		return worked("opened %s for writing", a[0])
	}
	attackers["read"] = func(a []string) outcome {
		f, err := os.Open(a[0])
		if err != nil {
			return refused("%v", err)
		}
		defer f.Close()
		if n, err := f.Read(make([]byte, 16)); n == 0 {
			return refused("%s is empty: %v", a[0], err)
		}
		return worked("read from %s", a[0])
	}
	attackers["release_agent"] = func([]string) outcome { return releaseAgent() }
	attackers["cgroup"] = func([]string) outcome { return writeCgroup() }
	attackers["cgrouppath"] = func([]string) outcome {
		b, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return refused("%v", err)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n") {
			if part := strings.SplitN(line, ":", 3); len(part) == 3 && strings.Contains(part[2], "gcr-") {
				return worked("%s", line)
			}
		}
		return refused("the container sees itself at the root of the hierarchy")
	}
	attackers["mknod"] = func(a []string) outcome { return mknod(a[0], a[1]) }
	attackers["fsconfig"] = func([]string) outcome {
		// A Go process has many threads, and unshare(CLONE_NEWUSER) wants one: a child is made in the namespaces.
		cmd := exec.Command("/proc/self/exe", "attack", "fsconfig-inside")
		one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: one, GidMappings: one}
		out, err := cmd.Output()
		if text, ok := strings.CutPrefix(string(out), "worked: "); ok {
			return worked("%s", strings.TrimSpace(text))
		}
		return refused("clone(CLONE_NEWUSER): %v %s", err, out)
	}
	attackers["fsconfig-inside"] = func([]string) outcome {
		fs, err := unix.Fsopen("tmpfs", 0)
		if err != nil {
			return refused("fsopen: %v", err)
		}
		if err := unix.FsconfigSetString(fs, "size", "4k"); err != nil {
			return refused("fsconfig: %v", err)
		}
		return worked("fsconfig in a user namespace of its own")
	}
	attackers["socket"] = func(a []string) outcome {
		family, _ := strconv.Atoi(a[0])
		kind := unix.SOCK_SEQPACKET
		if family == unix.AF_VSOCK {
			kind = unix.SOCK_STREAM
		}
		if _, err := unix.Socket(family, kind, 0); err != nil {
			return refused("socket: %v", err)
		}
		return worked("made a socket of family %d", family)
	}
	for name, call := range map[string]func() error{"keyctl": keyctl, "iouring": iouring, "userfaultfd": userfaultfd} {
		attackers[name] = func([]string) outcome {
			if err := call(); err != nil {
				return refused("%s: %v", name, err)
			}
			return worked("called %s", name)
		}
	}
}

// rewrite writes what a file holds back to it: nothing changes, but it shows that it could.
func rewrite(file string) outcome {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return refused("%v", err)
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.ReadAt(b, 0)
	if n == 0 {
		return refused("read %s: %v", file, err)
	}
	if _, err := f.WriteAt(b[:n], 0); err != nil {
		return refused("%v", err)
	}
	return worked("wrote to %s", file)
}

// releaseAgent mounts a v1 hierarchy and writes the name of the program that the kernel runs as root of the host
// when a cgroup becomes empty: the same name that stands there.
func releaseAgent() outcome {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return refused("%v", err)
	}
	var errs []error
	for line := range strings.SplitSeq(string(b), "\n") {
		part := strings.SplitN(line, ":", 3)
		if len(part) < 3 || part[1] == "" || strings.HasPrefix(part[1], "name=") {
			continue
		}
		if err := unix.Mount("cgroup", "/tmp", "cgroup", 0, part[1]); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", part[1], err))
			continue
		}
		agent := "/tmp/release_agent"
		now, err := os.ReadFile(agent)
		if err == nil {
			err = os.WriteFile(agent, now, 0)
		}
		_ = unix.Unmount("/tmp", unix.MNT_DETACH)
		if err == nil {
			return worked("wrote release_agent of %s", part[1])
		}
		errs = append(errs, err)
	}
	return refused("%v", errors.Join(errs...))
}

func writeCgroup() outcome {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	dirs = append(dirs, "/sys/fs/cgroup/cgroup.procs")
	var errs []error
	for _, file := range dirs {
		dir := filepath.Join(filepath.Dir(file), "museum")
		if err := os.Mkdir(dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		os.Remove(dir)
		return worked("made cgroup %s", dir)
	}
	return refused("%v", errors.Join(errs...))
}

// disk is the number of a disk of the host, empty when there is none.
func disk() string {
	b, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Fields(line); len(f) == 4 && f[0] != "major" && f[2] != "0" {
			return f[0] + ":" + f[1]
		}
	}
	return ""
}

func needsDisk(m *museum) string {
	number := disk()
	if number == "" {
		return "this machine has no disk"
	}
	if o := openNode(filepath.Join(m.outside, "node"), "b", number); !o.worked {
		return "root of this machine may not open its disk itself: " + o.detail
	}
	return ""
}

func needsFile(file string) func(*museum) string {
	return func(*museum) string {
		if _, err := os.Stat(file); err != nil {
			return "this kernel has no " + file
		}
		return ""
	}
}

func mknodAttack(m *museum, weak bool, kind, number string) outcome {
	return withFlags([]string{"--privileged"}, "mknod", kind, number)(m, weak)
}

func mknod(kind, number string) outcome { return openNode("/dev/museum", kind, number) }

// openNode makes a device node and opens it for reading.
func openNode(node, kind, number string) outcome {
	major, minor, _ := strings.Cut(number, ":")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	mode := map[string]uint32{"b": unix.S_IFBLK, "c": unix.S_IFCHR}[kind]
	if err := unix.Mknod(node, mode|0o600, int(unix.Mkdev(uint32(a), uint32(b)))); err != nil {
		return refused("mknod %s %s: %v", kind, number, err)
	}
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return refused("%v", err)
	}
	f.Close()
	return worked("opened device %s %s", kind, number)
}

func keyctl() error {
	// The session keyring of the user, which all containers of that user id share.
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
	return err
}

func iouring() error {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func userfaultfd() error {
	const userModeOnly = 1 // UFFD_USER_MODE_ONLY: what an ordinary user may have (Linux 5.11)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|userModeOnly, 0, 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func needsProgram(name string) string {
	if _, err := exec.LookPath(name); err != nil {
		return name + " is missing"
	}
	return ""
}

func needsV1(*museum) string {
	b, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.SplitSeq(string(b), "\n") {
		if part := strings.SplitN(line, ":", 3); len(part) == 3 && part[1] != "" && !strings.HasPrefix(part[1], "name=") {
			return ""
		}
	}
	return "there is no hierarchy of cgroup v1, and v2 has no release_agent"
}

func needsUserNamespaces(*museum) string {
	b, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil || strings.TrimSpace(string(b)) == "0" {
		return "this kernel makes no user namespaces"
	}
	return ""
}

func needsSocket(family int, name string) func(*museum) string {
	return func(*museum) string {
		kind := unix.SOCK_SEQPACKET
		if family == unix.AF_VSOCK {
			kind = unix.SOCK_STREAM
		}
		fd, err := unix.Socket(family, kind, 0)
		if err != nil {
			return fmt.Sprintf("this kernel has no %s: %v", name, err)
		}
		unix.Close(fd)
		return ""
	}
}

func needsCall(name string, call func() error) func(*museum) string {
	return func(*museum) string {
		if err := call(); err != nil {
			return fmt.Sprintf("%s does not work on this machine: %v", name, err)
		}
		return ""
	}
}
