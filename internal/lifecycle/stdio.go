package lifecycle

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// chownStdio gives the standard streams to the user of the process, who could otherwise not open /dev/stdout again.
// Devices are left alone but for terminals: /dev/null of the host belongs to everybody. Where the kernel says no
// the streams stay as they are, which most programs never notice.
func chownStdio(stdio [3]*os.File, s *specs.Spec) {
	uid := int(s.Process.User.UID)
	if s.Linux != nil && len(s.Linux.UIDMappings) > 0 {
		host, ok := toHost(s.Linux.UIDMappings, s.Process.User.UID)
		if !ok {
			return
		}
		uid = host
	}
	for _, f := range stdio {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || int(st.Uid) == uid {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFCHR && !terminalDevice(uint64(st.Rdev)) || kind == unix.S_IFBLK {
			continue
		}
		_ = unix.Fchown(int(f.Fd()), uid, -1)
	}
}

// terminalDevice reports whether the device number is that of a terminal (Documentation/admin-guide/devices.txt:
// 4 consoles and serial lines, 136 to 143 pseudo-terminals).
func terminalDevice(dev uint64) bool {
	major := unix.Major(dev)
	return major == 4 || major >= 136 && major <= 143
}
