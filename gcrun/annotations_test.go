package main

import (
	"encoding/base64"
	le "encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gcr/internal/hostfacts"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// annotated makes a bundle with annotations, names and values in turn.
func annotated(t *testing.T, edit func(*specs.Spec), annotations []string, args ...string) *box {
	t.Helper()
	return newBox(t, func(s *specs.Spec) {
		s.Annotations = map[string]string{}
		for i := 0; i < len(annotations); i += 2 {
			s.Annotations[annotations[i]] = annotations[i+1]
		}
		if edit != nil {
			edit(s)
		}
	}, args...)
}

// A container with Landlock rules reaches what they name and nothing else, and so does what joins it.
func TestLandlockAnnotations(t *testing.T) {
	if hostfacts.LandlockABI() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	b := annotated(t, func(s *specs.Spec) { s.Root.Readonly, s.Process.NoNewPrivileges = false, false },
		[]string{"gcr.landlock.ro", "/probe,/etc/deep,/proc", "gcr.landlock.rw", "/tmp/"}, "sleep")
	b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs/etc/deep"), 0o755))
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/etc/deep/file"), []byte("may be read"), 0o644))
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/etc/secret"), []byte("must not"), 0o644))
	b.ok("create", b.id)
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	if !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Error("new privileges are not forbidden")
	}
	want(t, "a file of the rules", b.ok("exec", b.id, "/probe", "cat", "/etc/deep/file"), "may be read")
	b.ok("exec", b.id, "/probe", "write", "/tmp/file", "x")
	b.fails(99, "permission denied", "exec", b.id, "/probe", "cat", "/etc/secret")
	b.fails(99, "permission denied", "exec", b.id, "/probe", "write", "/etc/deep/file", "x")
	b.fails(99, "permission denied", "exec", b.id, "/probe", "write", "/new", "x")
	b.ok("delete", "--force", b.id)
	b.reap(pid)

	// The first process is held to them as well.
	b = annotated(t, nil, []string{"gcr.landlock.ro", "/probe"}, "cat", "/etc/secret")
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/etc/secret"), []byte("must not"), 0o644))
	b.fails(99, "permission denied", "run", b.id)
	// What is missing is known when the command is to run.
	b = annotated(t, nil, []string{"gcr.landlock.ro", "/probe,/nowhere"}, "exit", "0")
	b.fails(1, "restrict files to ro:/probe, ro:/nowhere: no such file or directory", "run", b.id)
}

func TestAnnotationsThatAreRefused(t *testing.T) {
	for text, a := range map[string][]string{
		`annotations[gcr.landlock.r]: there is no such annotation`:                 {"gcr.landlock.r", "/x"},
		`annotations[gcr.landlock.ro]: "usr" is not an absolute path`:              {"gcr.landlock.ro", "/etc,usr"},
		`annotations[gcr.landlock.rw]: /etc is named twice`:                        {"gcr.landlock.ro", "/etc", "gcr.landlock.rw", "/etc/"},
		`annotations[run.oci.handler]: there is no handler "wasm"`:                 {"run.oci.handler", "wasm"},
		`annotations[run.oci.seccomp.plugins]`:                                     {"run.oci.seccomp.plugins", "x.so"},
		`annotations[run.oci.seccomp_bpf_data]: it is no program in base64`:        {"run.oci.seccomp_bpf_data", "!"},
		`annotations[run.oci.timens_offset]: there is no time namespace`:           {"run.oci.timens_offset", "boottime 5 0"},
		`annotations[run.oci.timens_offset]: "boottime x" is not`:                  {"run.oci.timens_offset", "boottime x"},
		`annotations[run.oci.mount_context_type]: "x" is none of`:                  {"run.oci.mount_context_type", "x"},
		`annotations[run.oci.hooks.stdout]: "rel" is not an absolute path`:         {"run.oci.hooks.stdout", "rel"},
		`(linux.seccomp): syscalls[0].names[0]: unknown system call "nosuch" left`: {"run.oci.seccomp_fail_unknown_syscall", "1"},
	} {
		b := annotated(t, func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"nosuch"}, Action: specs.ActErrno}}}
		}, a, "exit", "0")
		b.fails(1, text, "run", b.id)
	}
}

func TestAnnotationsOfCrun(t *testing.T) {
	t.Run("keep_original_groups", func(t *testing.T) {
		b := annotated(t, nil, []string{"run.oci.keep_original_groups", "1"}, "report")
		r := b.runWith(func(c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 0, Gid: 0, Groups: []uint32{41, 42}}}
		}, "run", b.id)
		want(t, "groups", b.parse(r.stdout).Status["Groups"], "41 42")
	})
	t.Run("timens_offset", func(t *testing.T) {
		b := annotated(t, func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		}, []string{"run.oci.timens_offset", "boottime 2000000 7"}, "cat", "/proc/self/timens_offsets")
		if out := strings.Fields(b.ok("run", b.id)); len(out) != 6 || out[4] != "2000000" || out[5] != "7" {
			t.Errorf("the offsets are %q", out)
		}
	})
	t.Run("seccomp_bpf_data", func(t *testing.T) {
		// Load the number of the call; getcwd fails with EPERM, everything else is allowed.
		var code []byte
		for _, in := range []unix.SockFilter{{Code: 0x20}, {Code: 0x15, Jf: 1, K: unix.SYS_GETCWD}, {Code: 6, K: 0x50001}, {Code: 6, K: 0x7fff0000}} {
			code = le.LittleEndian.AppendUint16(code, in.Code)
			code = append(code, in.Jt, in.Jf)
			code = le.LittleEndian.AppendUint32(code, in.K)
		}
		b := annotated(t, nil, []string{"run.oci.seccomp_bpf_data", base64.StdEncoding.EncodeToString(code)}, "report")
		r := b.report()
		want(t, "mode", r.Status["Seccomp"], "2")
		want(t, "cwd, which getcwd refuses", r.Cwd, "")
	})
	t.Run("hooks.stdout", func(t *testing.T) {
		dir := t.TempDir()
		out, errs := filepath.Join(dir, "out"), filepath.Join(dir, "err")
		hook := func(text string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + text + "; echo " + text + " failed >&2"}}}
		}
		b := annotated(t, func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: hook("one"), CreateContainer: hook("two"), Poststop: hook("three")}
		}, []string{"run.oci.hooks.stdout", out, "run.oci.hooks.stderr", errs}, "exit", "0")
		b.ok("run", b.id)
		for file, text := range map[string]string{out: "one\ntwo\nthree\n", errs: "one failed\ntwo failed\nthree failed\n"} {
			data, err := os.ReadFile(file)
			b.must(err)
			want(t, file, string(data), text)
		}
	})
	t.Run("pidfd_receiver", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "s")
		b := annotated(t, nil, []string{"run.oci.pidfd_receiver", socket}, "sleep")
		receive := receiveConsole(b, socket)
		b.ok("create", b.id)
		f, _ := receive()
		pid := b.wantStatus("created")
		b.must(unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0))
		b.reap(pid)
		b.ok("delete", b.id)
	})
}
