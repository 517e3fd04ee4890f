package attacks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This room has what goes wrong inside of a runtime: between its parts, on its second tries, in what it remembers.

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "overflow in the message between a runtime's parts", known: "CVE-2021-43784", weak: "a runtime that writes lengths in 16 bits",
			attack: func(m *museum, weak bool) outcome {
				// A name so long that its length starts again at 0, and then looks like what follows it.
				forged := netlinkAttribute(attrFlags, []byte{0, 0, 0, 0})
				name := strings.Repeat("x", 1<<16) + string(bytes.ReplaceAll(forged, []byte{0}, []byte{1}))
				if weak {
					const flags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
					message := append(netlinkAttribute(attrName, append(forged, make([]byte, 1<<16)...)), netlinkAttribute(attrFlags, binary.LittleEndian.AppendUint32(nil, flags))...)
					if got := firstFlags(message); got != flags {
						return worked("the namespaces asked for were %#x, and became %#x", flags, got)
					}
					return refused("the message was read as it was meant")
				}
				return m.oci("run", &specs.Spec{
					Process:  &specs.Process{Args: []string{"/museum", "attack", "whole", name}, Cwd: "/", Env: []string{"NAME=" + name}},
					Mounts:   []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
					Hostname: "museum",
					Linux:    &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.UTSNamespace}}},
				})
			},
			refusal: "^all 65544 bytes arrived",
		},
		exhibit{
			class: "second try by path after entering the container", known: "crun 2262", weak: "a runtime that mounts by path when the descriptor fails",
			attack: func(m *museum, weak bool) outcome {
				// A file cannot be mounted on a directory; but below the new root the same path is a directory.
				source := filepath.Join(m.outside, "secret")
				m.mkdir(filepath.Join(m.rootfs, source))
				m.write(filepath.Join(m.rootfs, source, "theirs"), "of the image")
				m.mkdir(m.rootfs + "/data")
				if weak {
					return m.naive("again-by-path", m.rootfs, source, "/data")
				}
				return m.gcr([]string{"-v", source + ":/data"}, "exists", "/data/theirs")
			},
			refusal: `mount .*secret on /data .*directory`,
		},
		exhibit{
			class: "name of an AppArmor profile that begins like unconfined", known: "crun 1.29.1", weak: "a runtime that compares the beginning",
			needs: func(*museum) string {
				if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || string(b) != "Y\n" {
					return "this kernel has no AppArmor"
				}
				return ""
			},
			attack: func(m *museum, weak bool) outcome {
				const profile = "unconfined_museum"
				if weak {
					if strings.HasPrefix(profile, "unconfined") {
						return m.naive("become", m.rootfs, "label")
					}
					return refused("the profile is looked for")
				}
				return m.gcr([]string{"--security-opt", "apparmor=" + profile}, "label")
			},
			refusal: "apparmor profile unconfined_museum",
		},
		exhibit{
			class: "program of the image run on the host", known: "CVE-2022-1227, CVE-2019-14271", weak: "a runtime that asks the image's ps",
			attack: func(m *museum, weak bool) outcome {
				m.mkdir(m.rootfs + "/bin")
				// The interpreter gets the script's name as its last argument: museum attack /bin/ps.
				m.write(m.rootfs+"/bin/ps", "#!/museum attack\n")
				m.must(os.Chmod(m.rootfs+"/bin/ps", 0o755))
				m.t.Setenv("PATH", m.rootfs+"/bin:"+os.Getenv("PATH"))
				if weak {
					return m.naive("top", m.rootfs)
				}
				m.t.Setenv("PATH", "/bin:"+os.Getenv("PATH"))
				c := m.waiting("wait")
				defer c.end()
				for _, format := range []string{"table", "json"} {
					out, err := exec.Command(gcrunProgram(m.t), "--root", c.state, "ps", "--format", format, c.id).CombinedOutput()
					if err != nil {
						m.t.Fatalf("gcrun ps: %v: %s", err, out)
					}
				}
				if _, err := os.Stat(m.rootfs + "/ran"); err == nil {
					return worked("the image's ps has run")
				}
				return refused("the image's ps has not run")
			},
			refusal: "has not run",
		},
		exhibit{
			class: "state read by another user of the host", known: "CVE-2021-41103, CVE-2021-41091, CVE-2024-25621", weak: "a runtime whose directories are open to all",
			attack: func(m *museum, weak bool) outcome {
				state, err := os.MkdirTemp("", "museum-state-")
				m.must(err)
				defer os.RemoveAll(state)
				m.must(os.Chmod(state, 0o755))
				old := unix.Umask(0)
				defer unix.Umask(old)
				if weak {
					m.must(os.Mkdir(state+"/c", 0o755))
					m.write(state+"/c/config.json", `{"env":["PASSWORD=`+secret+`"]}`)
				} else {
					bundle := m.t.TempDir()
					m.write(bundle+"/config.json", `{"ociVersion":"1.2.0","root":{"path":"`+m.rootfs+`"},"process":{"cwd":"/","args":["/museum","attack","wait"],"env":["PASSWORD=`+secret+`"]},"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}`)
					id := fmt.Sprintf("museum-%d", os.Getpid())
					cmd := exec.Command(gcrunProgram(m.t), "--root", state+"/run", "create", "--bundle", bundle, id)
					if err := cmd.Run(); err != nil {
						m.t.Fatalf("gcrun create: %v", err)
					}
					defer func() {
						_ = exec.Command(gcrunProgram(m.t), "--root", state+"/run", "delete", "--force", id).Run()
					}()
				}
				// The attacker's program must be where everybody may run it.
				program := state + "/museum"
				self, err := os.Executable()
				m.must(err)
				m.must(copyFile(self, program, 0o755))
				m.user = 12345
				return m.run(0, program, "attack", "snoop", state)
			},
			refusal: "nothing was readable and no socket answered",
		},
		exhibit{
			class: "defaults changed by an earlier container", known: "CVE-2020-14370", weak: "a runtime whose containers share their defaults",
			attack: func(m *museum, weak bool) outcome {
				if weak {
					defaults := &specs.Process{Env: []string{"PATH=/bin"}, Args: []string{"/museum"}}
					first := defaults // one container's wish goes into everybody's
					first.Env = append(first.Env, "PASSWORD="+secret)
					second := defaults
					if strings.Contains(strings.Join(second.Env, " "), secret) {
						return worked("the second container has the first one's password")
					}
					return refused("the second container has its own defaults")
				}
				first := m.gcr([]string{"-e", "PASSWORD=" + secret, "--cap-add", "ALL", "-v", m.outside + ":/given"}, "leftover")
				if !first.worked {
					m.t.Fatalf("the first container has not got what it was given: %v", first)
				}
				return m.gcr(nil, "leftover")
			},
			refusal: "^nothing of another container",
		},
		exhibit{
			class: "output without end", known: "CVE-2022-23471, CVE-2022-31030", weak: "a runtime that keeps what a hook prints",
			attack: func(m *museum, weak bool) outcome {
				self, err := os.Executable()
				m.must(err)
				var cmd *exec.Cmd
				peak := filepath.Join(m.outside, "../peak")
				if weak {
					cmd = exec.Command(self, "naive", "keep", self, peak)
				} else {
					bundle := m.t.TempDir()
					m.write(bundle+"/config.json", `{"ociVersion":"1.2.0","root":{"path":"`+m.rootfs+`"},"process":{"cwd":"/","args":["/museum","attack","uid0"]},
						"hooks":{"createRuntime":[{"path":"`+self+`","args":["hook","naive","flood"]}],"createContainer":[{"path":"`+self+`","args":["hook","naive","flood"]}],
							"poststart":[{"path":"`+self+`","args":["hook","naive","peak","`+peak+`"]}]},
						"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}`)
					cmd = exec.Command(gcrunProgram(m.t), "--root", bundle+"/state", "run", "--bundle", bundle, fmt.Sprintf("museum-%d", os.Getpid()))
				}
				out, err := cmd.Output()
				if err != nil {
					m.t.Fatalf("%v: %s", err, out)
				}
				b, err := os.ReadFile(peak)
				m.must(err)
				kib, err := strconv.Atoi(string(b))
				m.must(err)
				if kib>>10 >= floodMiB {
					return worked("%d MiB of output made the runtime take as much memory", floodMiB)
				}
				return refused("the runtime's memory does not follow the output")
			},
			refusal: "does not follow",
		},
	)

	attackers["whole"] = func(a []string) outcome {
		if os.Getpid() != 1 {
			return worked("the process is not in a PID namespace of its own")
		}
		if os.Getenv("NAME") != a[0] {
			return worked("of %d bytes %d arrived", len(a[0]), len(os.Getenv("NAME")))
		}
		return refused("all %d bytes arrived, and the process is in its own namespaces", len(a[0]))
	}
	attackers["exists"] = func(a []string) outcome {
		if _, err := os.Stat(a[0]); err != nil {
			return refused("%v", err)
		}
		return worked("%s is there: a directory of the image stands for the host's", a[0])
	}
	attackers["label"] = func([]string) outcome {
		for _, file := range []string{"/proc/self/attr/apparmor/current", "/proc/self/attr/current"} {
			if b, err := os.ReadFile(file); err == nil {
				return worked("the command runs, confined by %q", strings.TrimSpace(string(b)))
			}
		}
		return worked("the command runs")
	}
	attackers["/bin/ps"] = func([]string) outcome {
		if err := os.WriteFile("/ran", nil, 0o644); err != nil {
			return refused("%v", err)
		}
		return worked("a program of the image has run outside of the container's process ids, as process %d", os.Getpid())
	}
	attackers["snoop"] = func(a []string) outcome {
		var found outcome
		_ = filepath.WalkDir(a[0], func(path string, d os.DirEntry, err error) error {
			if err != nil || found.worked || filepath.Base(path) == "museum" {
				return nil
			}
			if d.Type()&os.ModeSocket != 0 {
				s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
				if err == nil && unix.Connect(s, &unix.SockaddrUnix{Name: path}) == nil {
					found = worked("connected to %s", path)
				}
				return nil
			}
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), secret) {
				found = worked("read the password from %s", filepath.Base(path))
			}
			return nil
		})
		if found.worked {
			return found
		}
		return refused("nothing was readable and no socket answered")
	}
	attackers["leftover"] = func([]string) outcome {
		if os.Getenv("PASSWORD") != "" {
			return worked("there is a password in the environment")
		}
		if o := readSecret("/given/secret"); o.worked {
			return o
		}
		if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""); err == nil {
			return worked("there is CAP_SYS_ADMIN")
		}
		return refused("nothing of another container is here")
	}
	naives["again-by-path"] = func(a []string) outcome {
		private()
		tree, err := unix.OpenTree(unix.AT_FDCWD, a[1], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return refused("open_tree: %v", err)
		}
		if err := unix.Chroot(a[0]); err != nil {
			return refused("chroot: %v", err)
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, a[2], unix.MOVE_MOUNT_F_EMPTY_PATH); err == nil {
			return refused("the first try succeeded")
		}
		if err := unix.Mount(a[1], a[2], "", unix.MS_BIND, ""); err != nil {
			return refused("mount: %v", err)
		}
		return attackers["exists"]([]string{a[2] + "/theirs"})
	}
	naives["top"] = func(a []string) outcome {
		runtime.LockOSThread()
		private()
		if err := unix.Chroot(a[0]); err != nil {
			return refused("chroot: %v", err)
		}
		return refused("execve: %v", unix.Exec("/bin/ps", []string{"ps"}, os.Environ()))
	}
	naives["flood"] = func([]string) outcome {
		block := bytes.Repeat([]byte("x"), 1<<20)
		for range floodMiB {
			if _, err := os.Stdout.Write(block); err != nil {
				return refused("%v", err)
			}
		}
		fmt.Println()
		return worked("printed %d MiB", floodMiB)
	}
	naives["keep"] = func(a []string) outcome {
		var kept bytes.Buffer
		cmd := exec.Command(a[0], "naive", "flood")
		out, err := cmd.StdoutPipe()
		if err != nil {
			return refused("%v", err)
		}
		if err := cmd.Start(); err != nil {
			return refused("%v", err)
		}
		if _, err := io.Copy(&kept, out); err != nil {
			return refused("%v", err)
		}
		if err := cmd.Wait(); err != nil {
			return refused("%v", err)
		}
		if err := exec.Command(a[0], "naive", "peak", a[1]).Run(); err != nil {
			return refused("%v", err)
		}
		return worked("kept %d bytes", kept.Len())
	}
	// peak writes down the most memory that its parent has had, in KiB. (What wait4(2) tells would count the memory of
	// whoever started the runtime, from the moment before execve.)
	naives["peak"] = func(a []string) outcome {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", os.Getppid()))
		if err != nil {
			return refused("%v", err)
		}
		_, rest, _ := strings.Cut(string(b), "VmHWM:")
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if err := os.WriteFile(a[0], []byte(kib), 0o600); err != nil {
			return refused("%v", err)
		}
		return worked("%s KiB", kib)
	}
}

// floodMiB is what the hook prints: more than gcrun takes for everything else.
const floodMiB = 96

const (
	attrName  = 1
	attrFlags = 2
)

// netlinkAttribute encodes as the vulnerable runtime did: the length has 16 bits (netlink(7), struct nlattr).
func netlinkAttribute(kind uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.LittleEndian.AppendUint16(b, kind)
	return append(b, value...)
}

// firstFlags reads a message until it comes to flags.
func firstFlags(message []byte) uint32 {
	for len(message) >= 4 {
		size, kind := int(binary.LittleEndian.Uint16(message)), binary.LittleEndian.Uint16(message[2:])
		if kind == attrFlags && len(message) >= 8 {
			return binary.LittleEndian.Uint32(message[4:])
		}
		if size < 4 || size > len(message) {
			return 0
		}
		message = message[size:]
	}
	return 0
}
