package attacks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// This room has the attacks of a root filesystem: links in the place of directories and files that a runtime
// mounts on, masks with, writes to or reads.

func init() {
	for _, dir := range []string{"proc", "sys", "dev"} {
		exhibits = append(exhibits, exhibit{
			class: "/" + dir + " is a symbolic link", known: "CVE-2023-27561, CVE-2023-28642, CVE-2026-41579", weak: "a runtime that mounts by path",
			attack: func(m *museum, weak bool) outcome {
				m.must(os.Symlink(m.outside, filepath.Join(m.rootfs, dir)))
				defer m.unchanged()
				if weak {
					return m.naive("mountdir", m.rootfs, dir, m.outside)
				}
				return m.gcr(nil, "secret", "/"+dir+"/secret")
			},
			refusal: `mount \w+ on /` + dir + ` .*symbolic link`,
		})
	}
	exhibits = append(exhibits,
		exhibit{
			class: "symbolic link in a mount's destination", known: "CVE-2019-18837, CVE-2024-45310, CVE-2025-24965", weak: "a runtime that mounts by path",
			attack: func(m *museum, weak bool) outcome {
				m.must(os.Symlink(m.outside, filepath.Join(m.rootfs, "data")))
				if weak {
					o := m.naive("mkdirall", filepath.Join(m.rootfs, "data/volume"))
					if _, err := os.Stat(filepath.Join(m.outside, "volume")); err != nil {
						return refused("%v", err)
					}
					return o
				}
				defer m.unchanged()
				return m.gcr([]string{"-v", m.rootfs + ":/data/volume"}, "mounted", filepath.Join(m.outside, "volume"))
			},
			refusal: "stayed in the root filesystem",
		},
		exhibit{
			class: "/etc is a symbolic link", known: "CVE-2021-30465 and kin", weak: "a runtime that writes /etc/hosts by path",
			attack: func(m *museum, weak bool) outcome {
				m.must(os.Symlink(m.outside, filepath.Join(m.rootfs, "etc")))
				if weak {
					o := m.naive("write", filepath.Join(m.rootfs, "etc/hosts"))
					if _, err := os.Stat(filepath.Join(m.outside, "hosts")); err != nil {
						return refused("%v", err)
					}
					return o
				}
				defer m.unchanged()
				return m.gcr(nil, "mounted", filepath.Join(m.outside, "hosts"))
			},
			refusal: "stayed in the root filesystem",
		},
		exhibit{
			class: "/dev/null swapped before masking", known: "CVE-2025-31133", weak: "a runtime that masks with the container's /dev/null",
			attack: func(m *museum, weak bool) outcome {
				dev := evilDev(m, "null")
				if weak {
					m.write(filepath.Join(m.rootfs, "masked"), "")
					return m.naive("mask", dev+"/null", filepath.Join(m.rootfs, "masked"))
				}
				defer m.unchanged()
				return m.gcr([]string{"-v", dev + ":/dev"}, "masks")
			},
			refusal: "character device 1:3",
		},
		exhibit{
			class: "/dev/console swapped", known: "CVE-2025-52565", weak: "a runtime that binds the terminal by path",
			attack: func(m *museum, weak bool) outcome {
				dev := evilDev(m, "console")
				if weak {
					return m.naive("console", dev+"/console", filepath.Join(m.outside, "secret"))
				}
				defer m.unchanged()
				return m.gcr([]string{"-t", "-v", dev + ":/dev", "-v", "/dev/pts:/dev/pts"}, "console")
			},
			refusal: "is the container's own terminal",
		},
		exhibit{
			class: "write to /proc lands elsewhere", known: "CVE-2019-16884, CVE-2019-19921, CVE-2025-52881", weak: "a runtime that writes sysctls through the container's /proc",
			attack: func(m *museum, weak bool) outcome {
				// The image brings a /proc of its own, in which a setting is a link to a file of the host.
				ipv4 := filepath.Join(m.rootfs, "proc/sys/net/ipv4")
				m.mkdir(ipv4)
				m.must(os.Symlink(filepath.Join(m.outside, "secret"), ipv4+"/ip_forward"))
				if weak {
					o := m.naive("write", ipv4+"/ip_forward")
					if b, err := os.ReadFile(filepath.Join(m.outside, "secret")); err != nil || string(b) == secret {
						return refused("the host's file is as it was: %v", err)
					}
					return o
				}
				defer m.unchanged()
				return m.gcr([]string{"--sysctl", "net.ipv4.ip_forward=1"}, "setting", "/proc/sys/net/ipv4/ip_forward", "1")
			},
			refusal: "the kernel's own setting",
		},
		exhibit{
			class: "volume over /proc", known: "CVE-2019-16884", weak: "a runtime that mounts what it is told",
			attack: func(m *museum, weak bool) outcome {
				fake := filepath.Join(m.outside, "../fake")
				m.mkdir(fake + "/self/attr")
				m.write(fake+"/self/attr/exec", "")
				if weak {
					m.mkdir(m.rootfs + "/proc")
					return m.naive("cover", fake, m.rootfs+"/proc", "self/attr/exec")
				}
				return m.gcr([]string{"-v", fake + ":/proc"}, "secret", "/proc/self/attr/exec")
			},
			refusal: "replace the kernel's /proc",
		},
		exhibit{
			class: "/etc/passwd is a FIFO", known: "CVE-2024-9676", weak: "a runtime that opens what the image has",
			attack: func(m *museum, weak bool) outcome {
				m.mkdir(m.rootfs + "/etc")
				fifo := m.rootfs + "/etc/passwd"
				m.must(unix.Mkfifo(fifo, 0o644))
				if weak {
					return readsFIFO(m, fifo)
				}
				return m.gcr([]string{"-u", "somebody"}, "uid0")
			},
			refusal: "regular file",
		},
		exhibit{
			class: "/etc/passwd is huge", known: "CVE-2023-25153, CVE-2026-61801", weak: "a runtime that reads it whole",
			attack: func(m *museum, weak bool) outcome {
				m.mkdir(m.rootfs + "/etc")
				const size = 64 << 20
				m.write(m.rootfs+"/etc/passwd", "")
				m.must(os.Truncate(m.rootfs+"/etc/passwd", size))
				if weak {
					b, err := os.ReadFile(m.rootfs + "/etc/passwd")
					m.must(err)
					if len(b) < size {
						return refused("read %d bytes", len(b))
					}
					return worked("%d bytes of the image are in the runtime's memory", len(b))
				}
				return m.gcr([]string{"-u", "somebody"}, "uid0")
			},
			refusal: "larger than|too large|bytes",
		},
		exhibit{
			class: "/etc/passwd is a link to a file of the host", known: "CVE-2026-61801 and kin", weak: "a runtime that opens it by path",
			attack: func(m *museum, weak bool) outcome {
				m.mkdir(m.rootfs + "/etc")
				m.write(m.outside+"/secret", "somebody:x:0:0::/:/bin/sh\n")
				m.must(os.Symlink(m.outside+"/secret", m.rootfs+"/etc/passwd"))
				if weak {
					b, err := os.ReadFile(m.rootfs + "/etc/passwd")
					m.must(err)
					return worked("the host's file decides on the user: %q", b)
				}
				return m.gcr([]string{"-u", "somebody"}, "uid0")
			},
			refusal: "somebody",
		},
	)

	attackers["mounted"] = func(a []string) outcome {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return refused("%v", err)
		}
		if regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ ` + regexp.QuoteMeta(a[0]) + ` `).Match(b) {
			return refused("the mount stayed in the root filesystem, at %s", a[0])
		}
		return worked("there is no mount at %s in the container: it is elsewhere", a[0])
	}
	attackers["masks"] = func([]string) outcome {
		found := 0
		for _, file := range []string{"/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/timer_list", "/proc/latency_stats"} {
			var st unix.Stat_t
			if err := unix.Stat(file, &st); err != nil {
				continue
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				continue
			}
			found++
			if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
				return worked("%s is not masked by the real /dev/null", file)
			}
		}
		if found == 0 {
			return worked("no masked file was found")
		}
		return refused("%d masked files are the character device 1:3", found)
	}
	attackers["console"] = func([]string) outcome {
		// The terminal is mounted over the link itself, which nobody follows.
		var st unix.Stat_t
		if err := unix.Stat("/dev/console", &st); err != nil {
			return refused("%v", err)
		}
		const firstPTS = 136 // Documentation/admin-guide/devices.txt
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(st.Rdev) < firstPTS || unix.Major(st.Rdev) > firstPTS+7 {
			return worked("/dev/console is something else: mode %o, device %d", st.Mode, st.Rdev)
		}
		return refused("/dev/console is the container's own terminal")
	}
	attackers["setting"] = func(a []string) outcome {
		var fs unix.Statfs_t
		b, err := os.ReadFile(a[0])
		if err != nil {
			return worked("%v", err)
		}
		if err := unix.Statfs(a[0], &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
			return worked("%s is no file of the kernel", a[0])
		}
		if got := strings.TrimSpace(string(b)); got != a[1] {
			return worked("the setting was not written: it is %s", got)
		}
		return refused("the kernel's own setting was written")
	}

	naives["mountdir"] = func(a []string) outcome {
		private()
		if err := unix.Mount("tmpfs", filepath.Join(a[0], a[1]), "tmpfs", 0, ""); err != nil {
			return refused("%v", err)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(a[2], &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
			return refused("the host's directory is as it was")
		}
		return worked("mounted over %s of the host", filepath.Base(a[2]))
	}
	naives["mkdirall"] = func(a []string) outcome {
		if err := os.MkdirAll(a[0], 0o755); err != nil {
			return refused("%v", err)
		}
		return worked("made a directory of the host")
	}
	naives["write"] = func(a []string) outcome {
		if err := os.WriteFile(a[0], []byte("1"), 0o644); err != nil {
			return refused("%v", err)
		}
		return worked("wrote to a file of the host")
	}
	naives["mask"] = func(a []string) outcome {
		private()
		if err := unix.Mount(a[0], a[1], "", unix.MS_BIND, ""); err != nil {
			return refused("%v", err)
		}
		return readSecret(a[1])
	}
	naives["console"] = func(a []string) outcome {
		private()
		if err := unix.Mount("/dev/null", a[0], "", unix.MS_BIND, ""); err != nil {
			return refused("%v", err)
		}
		if o := readSecret(a[1]); o.worked {
			return refused("the host's file is as it was")
		}
		return worked("mounted the terminal over a file of the host")
	}
	naives["cover"] = func(a []string) outcome {
		private()
		if err := unix.Mount(a[0], a[1], "", unix.MS_BIND, ""); err != nil {
			return refused("%v", err)
		}
		if err := os.WriteFile(filepath.Join(a[1], a[2]), []byte("exec profile"), 0o644); err != nil {
			return refused("%v", err)
		}
		return worked("the label went to a file of the attacker")
	}
}

// private keeps what a naive part mounts from the host.
func private() {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		panic(err)
	}
}

// evilDev is a directory for /dev in which one name is a link to the host's secret.
func evilDev(m *museum, name string) string {
	dev := filepath.Join(m.outside, "../dev")
	m.mkdir(dev)
	m.must(os.Symlink(filepath.Join(m.outside, "secret"), filepath.Join(dev, name)))
	return dev
}

// readsFIFO shows that whoever opens the file by its name waits until the attacker lets go: the other end can
// be opened without blocking only while somebody is there.
func readsFIFO(m *museum, fifo string) outcome {
	done := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(fifo)
		done <- b
	}()
	for {
		w, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == unix.ENXIO {
			continue
		}
		m.must(err)
		_, err = unix.Write(w, []byte("somebody:x:0:0::/:\n"))
		m.must(err)
		unix.Close(w)
		return worked("the runtime waited for the attacker, and got %q", <-done)
	}
}
