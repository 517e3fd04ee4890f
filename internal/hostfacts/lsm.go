package hostfacts

import (
	"os"
	"strconv"
	"strings"

	"gcr/internal/procfs"

	"golang.org/x/sys/unix"
)

// AppArmorExec returns the file below /proc/PID that takes an AppArmor profile for the next execve, empty where the
// kernel has no AppArmor. The file that no other security module shares has been there since Linux 5.8, if the
// kernel was built so.
func AppArmorExec() string {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !strings.HasPrefix(string(b), "Y") {
		return ""
	}
	const own = "attr/apparmor/exec"
	if f, err := procfs.Open(os.Getpid(), own, unix.O_WRONLY); err == nil {
		f.Close()
		return own
	}
	return "attr/exec"
}

// SELinux reports whether SELinux labels what there is.
func SELinux() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &fs) == nil && fs.Type == unix.SELINUX_MAGIC
}

// SELinuxContext is the context that this process runs in, user:role:type[:level], empty without SELinux.
func SELinuxContext() string {
	if !SELinux() {
		return ""
	}
	b, err := procfs.Read(strconv.Itoa(os.Getpid()) + "/attr/current")
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b), "\x00\n")
}
