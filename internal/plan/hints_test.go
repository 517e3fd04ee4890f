package plan

import (
	"errors"
	"strings"
	"testing"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// find returns the plan and the index of the nth call to sys whose step's order holds text.
func find(t *testing.T, in Input, text string, sys program.Sys, nth int) (*Plan, int) {
	t.Helper()
	p, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Program.Calls() {
		if c.Step >= 0 && strings.Contains(p.Steps[c.Step].Info().What, text) && c.Sys == sys {
			if nth--; nth < 0 {
				return p, c.Index
			}
		}
	}
	t.Fatalf("no call %v in a step %q", sys, text)
	return nil, 0
}

// What a person is told about the errors that happen in practice.
func TestHints(t *testing.T) {
	with := func(change func(*Input)) Input { in := base(); change(&in); return in }
	bind := with(mount(specs.Mount{Destination: "/mnt", Type: "bind", Source: "/home/me", Options: []string{"bind", "ro"}}))
	script := with(func(in *Input) { in.Spec.Process.Args = []string{"./run.sh"} })
	limited := with(func(in *Input) {
		in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 1}}
		in.Spec.Process.OOMScoreAdj = ptr(-1)
		in.Spec.Linux.Sysctl = map[string]string{"net.x": "1"}
	})
	v1 := with(func(in *Input) {
		in.Cgroup = Cgroup{Version: 1, TaskFiles: 1, Mounts: []CgroupMount{{"cpuset", "/sys/fs/cgroup/cpuset/c1"}}}
	})
	overlay := with(func(in *Input) { in.Root = Root{Lower: []string{"/srv"}} })
	host := with(func(in *Input) { in.Root = Root{Host: []HostDir{{"usr", true}}} })
	for _, c := range []struct {
		name  string
		in    Input
		step  string
		sys   program.Sys
		nth   int
		errno unix.Errno
		want  []string
	}{
		{"command not found", base(), "find sh", program.Sys{}, 0, unix.ENOENT, []string{"run sh (process.args[0])", "not found in PATH", "really a root filesystem"}},
		{"script not found", script, "find ./run.sh", program.Sys{}, 0, unix.ENOENT, []string{"no such file in the container"}},
		{"command without x", base(), "find sh", program.Sys{}, 0, unix.EACCES, []string{"does not let user 0 execute"}},
		{"command is a directory", script, "find ./run.sh", program.Sys{}, 0, unix.EISDIR, []string{"directory"}},
		{"no interpreter", script, "run ./run.sh", program.SysExecve, 0, unix.ENOENT, []string{"process.args", "interpreter", "#!"}},
		{"other architecture", script, "run ./run.sh", program.SysExecve, 0, unix.ENOEXEC, []string{"another processor"}},
		{"noexec", script, "run ./run.sh", program.SysExecve, 0, unix.EACCES, []string{"noexec"}},
		{"too large", script, "run ./run.sh", program.SysExecve, 0, unix.E2BIG, []string{"128 KiB"}},
		{"no memory for it", script, "run ./run.sh", program.SysExecve, 0, unix.ENOMEM, []string{"memory limit"}},
		{"file capabilities", script, "run ./run.sh", program.SysExecve, 0, unix.EPERM, []string{"file capabilities"}},
		{"no working directory", base(), "change to directory", program.SysChdir, 0, unix.ENOENT, []string{"process.cwd", "--workdir"}},
		{"working directory is a file", base(), "change to directory", program.SysChdir, 0, unix.ENOTDIR, []string{"file"}},
		{"working directory forbidden", base(), "change to directory", program.SysChdir, 0, unix.EACCES, []string{"may not enter"}},
		{"working directory outside", base(), "change to directory", program.Sys{}, 0, unix.EXDEV, []string{"outside the root"}},
		{"bind source missing", bind, "mount /home/me", program.SysOpenTree, 0, unix.ENOENT, []string{"mounts[4]", "/home/me does not exist on the host"}},
		{"bind source forbidden", bind, "mount /home/me", program.SysOpenTree, 0, unix.EACCES, []string{"may not reach"}},
		{"bind of locked mounts", bind, "mount /home/me", program.SysOpenTree, 0, unix.EINVAL, []string{"rbind"}},
		{"directory on file", bind, "mount /home/me", program.SysMoveMount, 0, unix.ENOTDIR, []string{"a file on a file"}},
		{"locked flags", bind, "mount /home/me", program.SysMountSetattr, 0, unix.EPERM, []string{"may not take off flags"}},
		{"proc is a link", base(), "mount proc", program.SysOpenat2, 0, unix.ELOOP, []string{"mounts[0]", "/proc in the root filesystem is a symbolic link", "make it a directory"}},
		{"link loop", bind, "mount /home/me", program.SysOpenat2, 0, unix.ELOOP, []string{"too many symbolic links"}},
		{"file on the way", bind, "mount /home/me", program.SysOpenat2, 0, unix.ENOTDIR, []string{"is a file"}},
		{"read-only rootfs", bind, "mount /home/me", program.SysMkdirat, 0, unix.EROFS, []string{"read-only"}},
		{"rootfs of somebody else", bind, "mount /home/me", program.SysMkdirat, 0, unix.EACCES, []string{"belongs to somebody else"}},
		{"broken link", bind, "mount /home/me", program.SysOpenat2, 1, unix.ENOENT, []string{"leads nowhere"}},
		{"no such file system", base(), "mount proc", program.SysFsopen, 0, unix.ENODEV, []string{"no file system proc"}},
		{"option refused", base(), "mount tmpfs", program.SysFsconfig, 0, unix.EINVAL, []string{"size=65536k"}},
		{"sysfs of the host's network", base(), "mount sysfs", program.SysFsmount, 0, unix.EPERM, []string{"network namespace", "bind /sys"}},
		{"proc covered", base(), "mount proc", program.SysFsmount, 0, unix.EPERM, []string{"whole of the host's is visible"}},
		{"tmpfs refused", base(), "mount tmpfs", program.SysFsmount, 0, unix.EPERM, []string{"root on the host"}},
		{"rootfs gone", base(), "mount the root", program.SysOpenTree, 0, unix.ENOENT, []string{"root.path", "/srv/rootfs does not exist"}},
		{"rootfs is a file", base(), "mount the root", program.SysOpenTree, 0, unix.ENOTDIR, []string{"not a directory"}},
		{"rootfs forbidden", base(), "mount the root", program.SysOpenTree, 0, unix.EACCES, []string{"may not enter"}},
		{"no overlay", overlay, "overlay over", program.SysMount, 1, unix.ENODEV, []string{"modprobe overlay"}},
		{"overlay forbidden", host, "host's directories", program.SysMount, 2, unix.EPERM, []string{"5.11"}},
		{"overlay refused", overlay, "overlay over", program.SysMount, 1, unix.EINVAL, []string{"dmesg"}},
		{"initramfs", base(), "pivot", program.SysPivotRoot, 0, unix.EINVAL, []string{"initial ramfs"}},
		{"chroot", base(), "make all mounts", program.SysMountSetattr, 0, unix.EINVAL, []string{"chroot"}},
		{"rlimit", limited, "limit RLIMIT_NOFILE", program.SysPrlimit64, 0, unix.EPERM, []string{"process.rlimits[0]", "CAP_SYS_RESOURCE"}},
		{"OOM score", limited, "OOM score", program.SysOpenat, 0, unix.EACCES, []string{"CAP_SYS_RESOURCE"}},
		{"sysctl", limited, "set sysctl", program.SysOpenat2, 0, unix.ENOENT, []string{`linux.sysctl["net.x"]`, "no such setting"}},
		{"user not mapped", base(), "become user", program.SysSetresuid, 0, unix.EINVAL, []string{"not mapped"}},
		{"cpuset empty", v1, "enter cgroup", program.SysWrite, 0, unix.ENOSPC, []string{"cpuset.cpus"}},
		{"dev is a link", base(), "fill /dev", program.SysOpenat2, 0, unix.ELOOP, []string{"/dev in the root filesystem is a symbolic link"}},
		{"dev is read-only", base(), "fill /dev", program.SysMkdirat, 0, unix.EROFS, []string{"mount a tmpfs on /dev"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p *Plan
			index := -1
			if c.sys != (program.Sys{}) {
				p, index = find(t, c.in, c.step, c.sys, c.nth)
			} else { // a check that failed, not a call: any call of the step stands for it
				var err error
				if p, err = New(c.in); err != nil {
					t.Fatal(err)
				}
				for _, call := range p.Program.Calls() {
					if call.Step >= 0 && strings.Contains(p.Steps[call.Step].Info().What, c.step) {
						index = call.Index
					}
				}
			}
			err := p.Failure(index, c.errno)
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("message %q, want it to hold %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") || !errors.Is(err, c.errno) {
				t.Errorf("message %q", err)
			}
		})
	}
}

// Whatever call fails with whatever error, there is one line that names the step, and the exit statuses of a
// shell can be told.
func TestFailureOfEveryCall(t *testing.T) {
	for _, c := range goldenConfigs {
		p, err := New(c.in())
		if err != nil {
			t.Fatal(err)
		}
		for i, call := range p.Program.Calls() {
			for errno := unix.Errno(1); errno < 134; errno++ {
				err := p.Failure(i, errno)
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, errno) || strings.Contains(err.Error(), "\n") || e.Call != call.String() {
					t.Fatalf("%s: call %d, %v: %q", c.name, i, errno, err)
				}
				if call.Step >= 0 && call.Sys != program.SysExecve {
					if _, search := p.Steps[call.Step].(search); search != (errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotExecutable)) {
						t.Fatalf("%s: call %d, %v: %q is about the command: %v", c.name, i, errno, err, !search)
					}
				}
			}
		}
		for _, index := range []int{-1, len(p.Program.Calls())} {
			if err := p.Failure(index, unix.EIO); !errors.Is(err, unix.EIO) {
				t.Errorf("call %d: %v", index, err)
			}
		}
	}
}
