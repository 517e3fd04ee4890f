package program

// Sys is a system call that programs can make: its name and its number on each architecture.
type Sys struct {
	name         string
	amd64, arm64 uint16
}

// String returns the name of the call as in its manual page.
func (s Sys) String() string { return s.name }

// Number returns the number of the call on the architecture (arch/x86/entry/syscalls/syscall_64.tbl and
// include/uapi/asm-generic/unistd.h of Linux).
func (s Sys) Number(arch Arch) int {
	if arch == ARM64 {
		return int(s.arm64)
	}
	return int(s.amd64)
}

// The system calls that a container's program is made of.
var (
	SysAccept4               = Sys{"accept4", 288, 242}
	SysCapset                = Sys{"capset", 126, 91}
	SysChdir                 = Sys{"chdir", 80, 49}
	SysChroot                = Sys{"chroot", 161, 51}
	SysClockGettime          = Sys{"clock_gettime", 228, 113}
	SysClone                 = Sys{"clone", 56, 220}
	SysClose                 = Sys{"close", 3, 57}
	SysCloseRange            = Sys{"close_range", 436, 436}
	SysDup3                  = Sys{"dup3", 292, 24}
	SysExecve                = Sys{"execve", 59, 221}
	SysExitGroup             = Sys{"exit_group", 231, 94}
	SysFaccessat2            = Sys{"faccessat2", 439, 439}
	SysFchdir                = Sys{"fchdir", 81, 50}
	SysFchown                = Sys{"fchown", 93, 55}
	SysFchownat              = Sys{"fchownat", 260, 54}
	SysFsconfig              = Sys{"fsconfig", 431, 431}
	SysFsmount               = Sys{"fsmount", 432, 432}
	SysFsopen                = Sys{"fsopen", 430, 430}
	SysFspick                = Sys{"fspick", 433, 433}
	SysGetcwd                = Sys{"getcwd", 79, 17}
	SysGetpid                = Sys{"getpid", 39, 172}
	SysIoctl                 = Sys{"ioctl", 16, 29}
	SysIoprioSet             = Sys{"ioprio_set", 251, 30}
	SysKeyctl                = Sys{"keyctl", 250, 219}
	SysKill                  = Sys{"kill", 62, 129}
	SysLandlockCreateRuleset = Sys{"landlock_create_ruleset", 444, 444}
	SysLandlockAddRule       = Sys{"landlock_add_rule", 445, 445}
	SysLandlockRestrictSelf  = Sys{"landlock_restrict_self", 446, 446}
	SysMkdirat               = Sys{"mkdirat", 258, 34}
	SysMknodat               = Sys{"mknodat", 259, 33}
	SysMount                 = Sys{"mount", 165, 40}
	SysMountSetattr          = Sys{"mount_setattr", 442, 442}
	SysMoveMount             = Sys{"move_mount", 429, 429}
	SysMunmap                = Sys{"munmap", 11, 215}
	SysOpenat                = Sys{"openat", 257, 56}
	SysOpenat2               = Sys{"openat2", 437, 437}
	SysOpenTree              = Sys{"open_tree", 428, 428}
	SysPersonality           = Sys{"personality", 135, 92}
	SysPivotRoot             = Sys{"pivot_root", 155, 41}
	SysPrctl                 = Sys{"prctl", 157, 167}
	SysPrlimit64             = Sys{"prlimit64", 302, 261}
	SysRead                  = Sys{"read", 0, 63}
	SysRtSigprocmask         = Sys{"rt_sigprocmask", 14, 135}
	SysRtSigtimedwait        = Sys{"rt_sigtimedwait", 128, 137}
	SysSchedSetaffinity      = Sys{"sched_setaffinity", 203, 122}
	SysSchedSetattr          = Sys{"sched_setattr", 314, 274}
	SysSeccomp               = Sys{"seccomp", 317, 277}
	SysSendmsg               = Sys{"sendmsg", 46, 211}
	SysSendto                = Sys{"sendto", 44, 206}
	SysSetMempolicy          = Sys{"set_mempolicy", 238, 237}
	SysSetdomainname         = Sys{"setdomainname", 171, 162}
	SysSetgroups             = Sys{"setgroups", 116, 159}
	SysSethostname           = Sys{"sethostname", 170, 161}
	SysSetns                 = Sys{"setns", 308, 268}
	SysSetpgid               = Sys{"setpgid", 109, 154}
	SysSetresgid             = Sys{"setresgid", 119, 149}
	SysSetresuid             = Sys{"setresuid", 117, 147}
	SysSetsid                = Sys{"setsid", 112, 157}
	SysSocket                = Sys{"socket", 41, 198}
	SysStatx                 = Sys{"statx", 332, 291}
	SysSymlinkat             = Sys{"symlinkat", 266, 36}
	SysUmask                 = Sys{"umask", 95, 166}
	SysUmount2               = Sys{"umount2", 166, 39}
	SysUnshare               = Sys{"unshare", 272, 97}
	SysWaitid                = Sys{"waitid", 247, 95}
	SysWrite                 = Sys{"write", 1, 64}
)
