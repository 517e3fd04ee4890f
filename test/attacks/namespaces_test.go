package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This room has what namespaces are there for: the attacker reaches for processes, sockets, memory and files of
// the host.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "signal to a process of the host", known: "--pid=host", weak: "--without=pid",
			attack: func(m *museum, weak bool) outcome {
				victim := exec.Command("sleep", "1000")
				m.must(victim.Start())
				defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
				return withFlags([]string{"--without=pid"}, "kill", strconv.Itoa(victim.Process.Pid))(m, weak)
			},
			refusal: "no such process|no process",
		},
		exhibit{
			class: "abstract socket of the host", known: "CVE-2020-15257", weak: "--without=net",
			attack: func(m *museum, weak bool) outcome {
				// Package net would link the C library, which the attacker's root filesystem has not.
				name := fmt.Sprintf("@museum-%d-%t", os.Getpid(), weak)
				l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				m.must(err)
				defer unix.Close(l)
				m.must(unix.Bind(l, &unix.SockaddrUnix{Name: name}))
				m.must(unix.Listen(l, 1))
				return withFlags([]string{"--without=net"}, "dial", name)(m, weak)
			},
			refusal: "connection refused",
		},
		exhibit{
			class: "shared memory of the host", known: "--ipc=host", weak: "--without=ipc",
			attack:  sharedMemory,
			refusal: "shmat: invalid argument",
		},
		exhibit{
			class: "files of the host", known: "no mount namespace", weak: "--without=mnt",
			attack: func(m *museum, weak bool) outcome {
				self, err := os.Executable()
				m.must(err)
				args := []string{"run", "--quiet", "--network=none"}
				if weak {
					args = append(args, "--without=mnt", m.rootfs, self)
				} else {
					args = append(args, m.rootfs, "/museum")
				}
				return m.run(0, gcrProgram(m.t), append(args, "attack", "secret", filepath.Join(m.outside, "secret"))...)
			},
			refusal: "secret: no such file",
		},
		exhibit{
			class: "escape from the root directory", known: "chroot escape", weak: "a runtime that uses chroot alone",
			attack: func(m *museum, weak bool) outcome {
				if weak {
					return m.naive("chroot", m.rootfs, "escape", filepath.Join(m.outside, "secret"))
				}
				return m.gcr(nil, "escape", filepath.Join(m.outside, "secret"))
			},
			refusal: "secret: no such file",
		},
		exhibit{
			class: "mount in the container", known: "remounting read-only paths", weak: "--privileged",
			attack:  withFlags([]string{"--privileged"}, "remount"),
			refusal: "operation not permitted",
		},
	)
	attackers["kill"] = func(a []string) outcome {
		pid, _ := strconv.Atoi(a[0])
		// The number may be taken by a process of the container: what is asked for is a sleep.
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(name)) != "sleep" {
			return refused("there is no process %d: %v", pid, err)
		}
		if err := unix.Kill(pid, 0); err != nil {
			return refused("kill: %v", err)
		}
		return worked("may signal process %d of the host", pid)
	}
	attackers["dial"] = func(a []string) outcome {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(c, &unix.SockaddrUnix{Name: a[0]})
		}
		if err != nil {
			return refused("%s: %v", a[0], err)
		}
		return worked("connected to %s", a[0])
	}
	attackers["shm"] = func(a []string) outcome {
		id, _ := strconv.Atoi(a[0])
		b, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
		if err != nil {
			return refused("shmat: %v", err)
		}
		if text := string(b[:len(secret)]); text != secret {
			return refused("another segment has that number: %q", text)
		}
		return worked("read the memory segment %d", id)
	}
	attackers["secret"] = func(a []string) outcome { return readSecret(a[0]) }
	attackers["escape"] = func(a []string) outcome {
		top, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return refused("open /: %v", err)
		}
		// The descriptor lies above the new root directory, and from there ".." leads on.
		if err := unix.Chroot("/tmp"); err != nil {
			return refused("chroot: %v", err)
		}
		if err := unix.Fchdir(top); err != nil {
			return refused("fchdir: %v", err)
		}
		for range 100 {
			_ = unix.Chdir("..")
		}
		if err := unix.Chroot("."); err != nil {
			return refused("chroot: %v", err)
		}
		return readSecret(a[0])
	}
	attackers["remount"] = func([]string) outcome {
		if err := unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
			return refused("mount: %v", err)
		}
		return worked("made /sys writable")
	}
	naives["chroot"] = func(a []string) outcome { return chrootAndRun(a[0], a[1:]) }
}

func readSecret(file string) outcome {
	b, err := os.ReadFile(file)
	if err != nil {
		return refused("%v", err)
	}
	if string(b) != secret {
		return refused("%s holds %q", file, b)
	}
	return worked("read %s of the host", filepath.Base(file))
}

func sharedMemory(m *museum, weak bool) outcome {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
	m.must(err)
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	b, err := unix.SysvShmAttach(id, 0, 0)
	m.must(err)
	copy(b, secret)
	defer func() { _ = unix.SysvShmDetach(b) }()
	return withFlags([]string{"--without=ipc"}, "shm", strconv.Itoa(id))(m, weak)
}

// chrootAndRun is a container of the simplest kind: chroot and execve, with everything that the process has.
func chrootAndRun(root string, attack []string) outcome {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return refused("make mounts private: %v", err)
	}
	if err := os.MkdirAll(root+"/proc", 0o755); err != nil {
		return refused("%v", err)
	}
	if err := unix.Mount("proc", root+"/proc", "proc", 0, ""); err != nil {
		return refused("mount proc: %v", err)
	}
	if err := unix.Chroot(root); err != nil {
		return refused("chroot: %v", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return refused("chdir: %v", err)
	}
	return refused("execve: %v", unix.Exec("/museum", append([]string{"/museum", "attack"}, attack...), os.Environ()))
}
