package attacks

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This room has the attacks on who a process is: ids, groups, capabilities, terminals.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "user id beyond 32 bits", known: "CVE-2024-40635", weak: "a runtime that converts without a check",
			attack: func(m *museum, weak bool) outcome {
				const id = "4294967296"
				if weak {
					n, err := strconv.Atoi(id)
					m.must(err)
					if uint32(n) == 0 {
						return worked("user %s became user %d", id, uint32(n))
					}
					return refused("it became %d", uint32(n))
				}
				return m.gcr([]string{"-u", id}, "uid0")
			},
			refusal: "larger than the largest id",
		},
		exhibit{
			class: "user id with a sign, a space or a letter", known: "CVE-2026-30892", weak: "a runtime that stops at the first strange character",
			attack: func(m *museum, weak bool) outcome {
				var last outcome
				for _, id := range []string{"0x3e8", "-4294967296", "1000:-1", " 0", "0e3"} {
					if weak {
						// As strtoul(3) and its like read it.
						digits := strings.TrimLeft(id, " -+")
						if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
							digits = digits[:i]
						}
						n, err := strconv.ParseUint(digits, 10, 64)
						m.must(err)
						last = outcome{uint32(n) == 0, "user " + id + " became user 0"}
						if last.worked {
							return last
						}
						continue
					}
					if last = m.gcr([]string{"-u", id}, "uid0"); last.worked {
						return last
					}
					if !strings.Contains(last.detail, "--user") {
						m.t.Errorf("-u %q was refused for another reason: %s", id, last.detail)
					}
				}
				return last
			},
			refusal: "--user",
		},
		exhibit{
			class: "user whose name is a number", known: "CVE-2026-30892 and kin", weak: "a runtime that looks up the name first",
			attack: func(m *museum, weak bool) outcome {
				m.mkdir(m.rootfs + "/etc")
				m.write(m.rootfs+"/etc/passwd", "1000:x:0:0::/:/bin/sh\n")
				if weak {
					b, err := os.ReadFile(m.rootfs + "/etc/passwd")
					m.must(err)
					for line := range strings.SplitSeq(string(b), "\n") {
						if f := strings.Split(line, ":"); f[0] == "1000" && f[2] == "0" {
							return worked("user 1000 is user 0 by the image's passwd file")
						}
					}
					return refused("no such user")
				}
				return m.gcr([]string{"-u", "1000"}, "uid0")
			},
			refusal: "user 1000",
		},
		exhibit{
			class: "inheritable capabilities", known: "CVE-2022-24769, CVE-2022-29162, CVE-2025-27612", weak: "a runtime that fills the inheritable set",
			attack: func(m *museum, weak bool) outcome {
				m.write(m.rootfs+"/rootonly", secret)
				m.must(os.Chmod(m.rootfs+"/rootonly", 0o600))
				// A program that takes CAP_DAC_OVERRIDE from the inheritable set, as any image may have.
				const revision2, effective = 0x02000000, 1
				var xattr []byte
				for _, v := range []uint32{revision2 | effective, 0, 1 << unix.CAP_DAC_OVERRIDE, 0, 0} {
					xattr = binary.LittleEndian.AppendUint32(xattr, v)
				}
				m.must(unix.Setxattr(m.rootfs+"/museum", "security.capability", xattr, 0))
				m.caps = []uintptr{unix.CAP_DAC_OVERRIDE}
				if weak {
					return m.naive("inherit", m.rootfs, "secret", "/rootonly")
				}
				return m.gcr([]string{"-u", "1000:1000"}, "secret", "/rootonly")
			},
			refusal: "permission denied",
		},
		exhibit{
			class: "groups of the caller", known: "CVE-2022-36109, CVE-2023-25173", weak: "a runtime that does not call setgroups",
			attack: func(m *museum, weak bool) outcome {
				m.write(m.rootfs+"/grouponly", secret)
				m.must(os.Chown(m.rootfs+"/grouponly", 0, 4321))
				m.must(os.Chmod(m.rootfs+"/grouponly", 0o640))
				m.groups = []uint32{4321}
				if weak {
					return m.naive("become", m.rootfs, "secret", "/grouponly")
				}
				return m.gcr([]string{"-u", "1000:1000"}, "secret", "/grouponly")
			},
			refusal: "permission denied",
		},
		exhibit{
			class: "set-user-ID program", known: "no_new_privs", weak: "no-new-privileges=false",
			attack: func(m *museum, weak bool) outcome {
				self, err := os.Executable()
				m.must(err)
				m.must(copyFile(self, m.rootfs+"/setuid", 0o755))
				m.must(os.Chmod(m.rootfs+"/setuid", 0o755|os.ModeSetuid))
				return m.gcr([]string{"-u", "1000", "--security-opt", "no-new-privileges=" + strconv.FormatBool(!weak)}, "setuid")
			},
			refusal: "user 1000",
		},
		exhibit{
			class: "keys pushed into the caller's terminal (TIOCSTI)", known: "CVE-2017-5226 and kin", weak: "--privileged",
			attack: func(m *museum, weak bool) outcome {
				master, slave := terminal(m)
				defer master.Close()
				defer slave.Close()
				m.stdin = slave
				flags := []string{"-i", "--tty=false"}
				if weak {
					flags = append(flags, "--privileged")
				}
				o := m.gcr(flags, "tiocsti")
				n, err := unix.IoctlGetInt(int(slave.Fd()), unix.TIOCINQ)
				m.must(err)
				if o.worked != (n > 0) {
					m.t.Errorf("the attacker says %v, and %d bytes wait in the caller's terminal", o, n)
				}
				return o
			},
			refusal: "TIOCSTI: (operation not permitted|input/output error)",
		},
		exhibit{
			class: "sysctl smuggled past the check", known: "CVE-2022-0811", weak: "a runtime that checks the prefix of the name",
			attack: func(m *museum, weak bool) outcome {
				if weak {
					const key = "net/../kernel/core_pattern"
					if !strings.HasPrefix(key, "net/") {
						return refused("the name is not allowed")
					}
					return rewrite(filepath.Join("/proc/sys", key))
				}
				now, err := os.ReadFile("/proc/sys/kernel/core_pattern")
				m.must(err)
				var last outcome
				for _, s := range []string{
					"net/../kernel/core_pattern=x", "net.../kernel/core_pattern=x", "kernel.shm_rmid_forced=1\nkernel.core_pattern=x",
					"kernel.core_pattern=x", "kernel/core_pattern=x", "net.ipv4.ip_forward=1+kernel.core_pattern=x",
				} {
					if last = m.gcr([]string{"--sysctl", s}, "uid0"); last.worked {
						return worked("%q was accepted", s)
					}
				}
				after, err := os.ReadFile("/proc/sys/kernel/core_pattern")
				m.must(err)
				if string(after) != string(now) {
					return worked("core_pattern became %q", after)
				}
				return last
			},
			refusal: "sysctl",
		},
	)

	attackers["uid0"] = func([]string) outcome {
		if id := os.Geteuid(); id != 0 {
			return refused("I am user %d", id)
		}
		return worked("I am root")
	}
	attackers["setuid"] = func([]string) outcome {
		return refused("%v", unix.Exec("/setuid", []string{"/setuid", "attack", "uid0"}, nil))
	}
	attackers["tiocsti"] = func([]string) outcome {
		key := []byte{'x'}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&key[0]))); errno != 0 {
			return refused("TIOCSTI: %v", errno)
		}
		return worked("typed %q into the caller's terminal", key)
	}
	naives["inherit"] = func(a []string) outcome {
		// The inheritable set comes from the caller; who becomes another user by setresuid keeps it.
		return becomeAndRun(a)
	}
	naives["become"] = becomeAndRun
}

// becomeAndRun does the change of user that every runtime does, and nothing else.
func becomeAndRun(a []string) outcome {
	runtime.LockOSThread()
	private()
	if err := unix.Chroot(a[0]); err != nil {
		return refused("chroot: %v", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return refused("chdir: %v", err)
	}
	if err := unix.Setresgid(1000, 1000, 1000); err != nil {
		return refused("setresgid: %v", err)
	}
	if err := unix.Setresuid(1000, 1000, 1000); err != nil {
		return refused("setresuid: %v", err)
	}
	return refused("execve: %v", unix.Exec("/museum", append([]string{"/museum", "attack"}, a[1:]...), nil))
}

// terminal makes a pseudo-terminal whose input is read key by key.
func terminal(m *museum) (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	m.must(err)
	m.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	m.must(err)
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	m.must(err)
	t, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	m.must(err)
	t.Lflag &^= unix.ICANON | unix.ECHO
	m.must(unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, t))
	return master, slave
}
