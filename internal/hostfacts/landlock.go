package hostfacts

import "golang.org/x/sys/unix"

// LandlockABI returns the version of the kernel's Landlock interface (landlock(7)), 0 where there is none or it is
// not among the security modules that were started.
func LandlockABI() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}
