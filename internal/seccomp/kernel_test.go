package seccomp

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// These tests load filters into the real kernel. A filter cannot be taken off again, so a copy of the test binary
// does it: it reads an order from childEnv, loads the filter into one thread and makes the calls there.

const childEnv = "GCR_SECCOMP_TEST_CHILD"

// order is what a child has to do.
type order struct {
	Program []unix.SockFilter
	Flags   uint32
	Calls   []probe
	Exec    []string   // in the end, run this instead of the calls
	Agent   unix.Errno // answer the calls that the filter hands over with this error
}

type probe struct {
	Name string
	Args [6]uint64
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(childEnv); raw != "" {
		var o order
		if err := json.Unmarshal([]byte(raw), &o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		if err := obey(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// obey runs in the child. It prints one errno for each call.
func obey(o order) error {
	runtime.LockOSThread()
	if len(o.Program) > 0 {
		listener, err := install(o.Program, o.Flags)
		if err != nil {
			return err
		}
		if o.Flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
			go agent(listener, o.Agent, len(o.Calls))
		}
	}
	if len(o.Exec) > 0 {
		os.Unsetenv(childEnv)
		return unix.Exec(o.Exec[0], o.Exec, os.Environ())
	}
	// Nothing but the probes may make a call between them that the filter could refuse.
	result := make([]unix.Errno, len(o.Calls))
	for i, c := range o.Calls {
		nr, ok := Number(Native(), c.Name)
		if !ok {
			return fmt.Errorf("%s is no call here", c.Name)
		}
		r, _, errno := unix.RawSyscall6(uintptr(nr), uintptr(c.Args[0]), uintptr(c.Args[1]), uintptr(c.Args[2]), uintptr(c.Args[3]), uintptr(c.Args[4]), uintptr(c.Args[5]))
		result[i] = errno
		if errno == 0 && (c.Name == "socket" || c.Name == "userfaultfd") {
			unix.RawSyscall(unix.SYS_CLOSE, r, 0, 0)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// notification is struct seccomp_notif (linux/seccomp.h).
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	data  [64]byte
}

// agent answers calls that a filter handed over, on a thread that the filter does not bind. A signal (the Go runtime
// sends some) takes a call back, which then comes again under another id: ENOENT.
func agent(listener int, answer unix.Errno, calls int) {
	control := func(request uintptr, what unsafe.Pointer) bool {
		for {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), request, uintptr(what))
			switch errno {
			case 0:
				return true
			case unix.EINTR:
			case unix.ENOENT:
				return false
			default:
				fmt.Fprintf(os.Stderr, "ioctl(%#x) on the listener: %v\n", request, errno)
				os.Exit(3)
			}
		}
	}
	for answered := 0; answered < calls; {
		var n notification
		if !control(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) {
			continue
		}
		reply := struct { // struct seccomp_notif_resp
			id    uint64
			value int64
			err   int32
			flags uint32
		}{id: n.id, err: -int32(answer)}
		if control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&reply)) {
			answered++
		}
	}
}

// install loads a filter into the calling thread and returns what seccomp(2) returns.
func install(program []unix.SockFilter, flags uint32) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, fmt.Errorf("seccomp(SECCOMP_SET_MODE_FILTER, %#x): %w", flags, errno)
	}
	return int(r), nil
}

// child runs an order in a copy of this program.
func child(t *testing.T, o order) ([]byte, error) {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return out, err
}

// errnos makes calls under a profile, or without one.
func errnos(t *testing.T, p *specs.LinuxSeccomp, calls []probe) []unix.Errno {
	t.Helper()
	o := order{Calls: calls, Agent: unix.EMULTIHOP}
	if p != nil {
		f, err := Compile(p, Native())
		if err != nil {
			t.Fatal(err)
		}
		o.Program, o.Flags = f.Program, f.Flags
	}
	out, err := child(t, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []unix.Errno
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(calls) {
		t.Fatalf("%d calls, answer %q: %v", len(calls), out, err)
	}
	return got
}

const bad = ^uint64(0) // no descriptor, no address

// blocked are the families that the default profile keeps from containers, with arguments that do no harm where
// there is no filter. unlock names the capability that opens the family.
var blocked = []struct {
	family string
	unlock string
	want   unix.Errno // 0 is EPERM
	calls  []probe
}{
	{family: "AF_ALG", calls: []probe{{"socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}}}},
	{family: "AF_VSOCK", calls: []probe{{"socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}}}},
	{family: "rare sockets", calls: []probe{
		{"socket", [6]uint64{unix.AF_RDS, unix.SOCK_SEQPACKET}},
		{"socket", [6]uint64{unix.AF_X25, unix.SOCK_SEQPACKET}},
		{"socket", [6]uint64{unix.AF_KCM, unix.SOCK_DGRAM}},
	}},
	{family: "tunnel sockets", unlock: "CAP_NET_ADMIN", calls: []probe{
		{"socket", [6]uint64{unix.AF_TIPC, unix.SOCK_DGRAM}},
		{"socket", [6]uint64{unix.AF_LLC, unix.SOCK_DGRAM}},
	}},
	{family: "io_uring", calls: []probe{
		{"io_uring_setup", [6]uint64{0, 0}},
		{"io_uring_enter", [6]uint64{bad}},
		{"io_uring_register", [6]uint64{bad, bad}},
	}},
	{family: "userfaultfd", calls: []probe{{"userfaultfd", [6]uint64{0xffff0000}}}},
	{family: "keys", calls: []probe{{"add_key", [6]uint64{}}, {"request_key", [6]uint64{}}, {"keyctl", [6]uint64{9999}}}},
	{family: "lsm", unlock: "CAP_SYS_ADMIN", calls: []probe{
		{"lsm_get_self_attr", [6]uint64{9999}},
		{"lsm_set_self_attr", [6]uint64{9999}},
		{"lsm_list_modules", [6]uint64{0, 0, 99}},
	}},
	{family: "mount", unlock: "CAP_SYS_ADMIN", calls: []probe{
		{"mount", [6]uint64{}},
		{"umount2", [6]uint64{}},
		{"open_tree", [6]uint64{bad, bad, 0}},
		{"open_tree_attr", [6]uint64{bad, bad, 0}},
		{"move_mount", [6]uint64{bad, bad, bad, bad, 0}},
		{"fsopen", [6]uint64{bad, 0}},
		{"fsconfig", [6]uint64{bad, 0}},
		{"fsmount", [6]uint64{bad, 0, 0}},
		{"fspick", [6]uint64{bad, bad, 0}},
		{"mount_setattr", [6]uint64{bad, bad, 0, bad, 0}},
		{"quotactl", [6]uint64{0xffffffff}},
		{"listns", [6]uint64{bad, 0, 0, 0}},
	}},
	{family: "pivot_root", calls: []probe{{"pivot_root", [6]uint64{bad, bad}}}},
	{family: "namespaces", unlock: "CAP_SYS_ADMIN", calls: []probe{
		{"unshare", [6]uint64{1 << 1}}, // no such flag
		{"setns", [6]uint64{bad, 0}},
		{"clone", [6]uint64{unix.CLONE_NEWUSER | unix.CLONE_THREAD}}, // the kernel refuses the two together
	}},
	{family: "clone3", unlock: "CAP_SYS_ADMIN", want: unix.ENOSYS, calls: []probe{{"clone3", [6]uint64{0, 0}}}},
	{family: "bpf", unlock: "CAP_BPF", calls: []probe{{"bpf", [6]uint64{9999, 0, 0}}}},
	{family: "perf", unlock: "CAP_PERFMON", calls: []probe{{"perf_event_open", [6]uint64{bad}}}},
	{family: "modules", unlock: "CAP_SYS_MODULE", calls: []probe{{"finit_module", [6]uint64{bad, bad, 0}}, {"init_module", [6]uint64{bad, 0, bad}}}},
	{family: "kexec", calls: []probe{{"kexec_load", [6]uint64{0, 0, 0, 0xffff}}}},
	{family: "swap", calls: []probe{{"swapon", [6]uint64{bad}}, {"swapoff", [6]uint64{bad}}}},
	{family: "reboot", unlock: "CAP_SYS_BOOT", calls: []probe{{"reboot", [6]uint64{0, 0, 0, 0}}}},
	{family: "clock", unlock: "CAP_SYS_TIME", calls: []probe{{"clock_settime", [6]uint64{9999, bad}}, {"settimeofday", [6]uint64{bad, bad}}}},
	{family: "file handles", unlock: "CAP_DAC_READ_SEARCH", calls: []probe{{"open_by_handle_at", [6]uint64{bad, bad, 0}}}},
	{family: "other processes", unlock: "CAP_SYS_PTRACE", calls: []probe{{"pidfd_getfd", [6]uint64{bad, bad, 1}}, {"process_madvise", [6]uint64{bad, bad, 0, 9999}}}},
	{family: "memory policy", unlock: "CAP_SYS_NICE", calls: []probe{{"set_mempolicy", [6]uint64{9999}}}},
	{family: "accounting", unlock: "CAP_SYS_PACCT", calls: []probe{{"acct", [6]uint64{bad}}}},
	{family: "personality", calls: []probe{{"personality", [6]uint64{0x0040000}}}}, // ADDR_NO_RANDOMIZE
}

// TestDefaultBlocks makes the calls of each blocked family without a filter, under the default profile, and under
// the default profile of a container with the capability that opens the family.
func TestDefaultBlocks(t *testing.T) {
	for _, b := range blocked {
		t.Run(b.family, func(t *testing.T) {
			want := b.want
			if want == 0 {
				want = unix.EPERM
			}
			free := errnos(t, nil, b.calls)
			shut := errnos(t, Default(dockerCaps, runtime.GOARCH), b.calls)
			told := false
			for i, c := range b.calls {
				if shut[i] != want {
					t.Errorf("%s%#x: %v under the default profile, want %v", c.Name, c.Args, shut[i], want)
				}
				if free[i] == want {
					t.Logf("%s: this kernel answers %v by itself, so the filter shows nothing", c.Name, want)
					continue
				}
				told = true
			}
			if !told {
				t.Skipf("the kernel refuses all of %s itself (needs root, or another kernel)", b.family)
			}
			if b.unlock == "" {
				return
			}
			open := errnos(t, Default(append(slices.Clip(dockerCaps), b.unlock), runtime.GOARCH), b.calls)
			for i, c := range b.calls {
				if open[i] != free[i] {
					t.Errorf("%s%#x: %v under the default profile with %s, and %v without a filter", c.Name, c.Args, open[i], b.unlock, free[i])
				}
			}
		})
	}
}

// TestDefaultRunsPrograms runs ordinary programs under the default profile.
func TestDefaultRunsPrograms(t *testing.T) {
	f, err := Compile(Default(dockerCaps, runtime.GOARCH), Native())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "set -e; cd " + dir + "; mkdir a; echo x >a/b; mv a/b a/c; cat a/c | grep x; sleep 0.01 & wait; ls -la /proc/self/; rm -r a; id"
	out, err := child(t, order{Program: f.Program, Flags: f.Flags, Exec: []string{"/bin/sh", "-c", script}})
	if err != nil || !strings.Contains(string(out), "uid=") {
		t.Errorf("sh: %v\n%s", err, out)
	}
	// And a Go program with threads: this one, which lists its tests.
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err = child(t, order{Program: f.Program, Flags: f.Flags, Exec: []string{exe, "-test.list", "TestDefault"}})
	if err != nil || !strings.Contains(string(out), "TestDefaultRunsPrograms") {
		t.Errorf("%s: %v\n%s", exe, err, out)
	}
}

// TestSocketcall shows that 32-bit code cannot make the sockets that the default profile of a 64-bit image blocks.
func TestSocketcall(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("socketcall(2) of a second architecture exists on amd64 only")
	}
	bin := filepath.Join(t.TempDir(), "socketcall")
	build := exec.Command("go", "build", "-o", bin, "testdata/socketcall/main.go")
	build.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a 32-bit program: %v\n%s", err, out)
	}
	free, err := exec.Command(bin).Output()
	if err != nil {
		t.Skipf("this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION): %v", err)
	}
	// Where the kernel has no AF_ALG, its own answer differs from the filter's, so that the lines still tell.
	lines := strings.Split(string(free), "\n")
	lines[3] = "socket AF_ALG: EPERM"
	for image, want := range map[string]string{
		"amd64": "socketcall AF_INET: ENOSYS\nsocketcall AF_ALG: ENOSYS\nsocket AF_INET: ok\nsocket AF_ALG: EPERM\n",
		"386":   strings.Join(lines, "\n"),
	} {
		f, err := Compile(Default(dockerCaps, image), Native())
		if err != nil {
			t.Fatal(err)
		}
		out, err := child(t, order{Program: f.Program, Flags: f.Flags, Exec: []string{bin}})
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != want {
			t.Errorf("%s image:\n%swant\n%swithout a filter\n%s", image, out, want, free)
		}
	}
}

// TestActions loads every action that lets its caller live, and sees what the kernel does.
func TestActions(t *testing.T) {
	two := uint(unix.ENOTBLK)
	entry := func(name string, a specs.LinuxSeccompAction, errno *uint, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Action: a, ErrnoRet: errno, Args: args}
	}
	// A bit pattern whose halves compare unlike the whole.
	const big = 0x7fff_ffff_0000_0001
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		ListenerPath:  "/run/agent.sock",
		Flags:         []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow},
		Syscalls: []specs.LinuxSyscall{
			entry("acct", specs.ActErrno, &two),
			entry("swapon", specs.ActErrno, nil),
			entry("swapoff", specs.ActTrace, nil), // ENOSYS, because there is no tracer
			entry("delete_module", specs.ActLog, nil),
			entry("getpriority", specs.ActErrno, &two, specs.LinuxSeccompArg{Index: 1, Value: big, Op: specs.OpGreaterThan}),
			entry("getpgid", specs.ActErrno, &two, specs.LinuxSeccompArg{Index: 3, Value: big, Op: specs.OpLessThan}),
			entry("getsid", specs.ActErrno, &two, specs.LinuxSeccompArg{Index: 5, Value: 0xff00_0000_ff00_0000, ValueTwo: 0x1200_0000_3400_0000, Op: specs.OpMaskedEqual}),
		},
	}
	calls := []probe{
		{"acct", [6]uint64{bad}},
		{"swapon", [6]uint64{bad}},
		{"swapoff", [6]uint64{bad}},
		{"delete_module", [6]uint64{bad}},
		{"getpriority", [6]uint64{0, big}},
		{"getpriority", [6]uint64{0, big + 1}},
		{"getpriority", [6]uint64{0, 0x8000_0000_0000_0000}},
		{"getpriority", [6]uint64{0, 2}},
		{"getpgid", [6]uint64{0, 0, 0, big - 1}},
		{"getpgid", [6]uint64{0, 0, 0, big}},
		{"getpgid", [6]uint64{0, 0, 0, 0x7fff_fffe_ffff_ffff}},
		{"getsid", [6]uint64{0, 0, 0, 0, 0, 0x1211_1111_3411_1111}},
		{"getsid", [6]uint64{0, 0, 0, 0, 0, 0x1211_1111_3511_1111}},
	}
	free := errnos(t, nil, calls)
	got := errnos(t, p, calls)
	want := []unix.Errno{
		unix.ENOTBLK, unix.EPERM, unix.ENOSYS, free[3],
		free[4], unix.ENOTBLK, unix.ENOTBLK, free[7],
		unix.ENOTBLK, 0, unix.ENOTBLK,
		unix.ENOTBLK, 0,
	}
	for i, c := range calls {
		if got[i] != want[i] {
			t.Errorf("%s%#x: %v, want %v", c.Name, c.Args, got[i], want[i])
		}
	}
}

// TestNotify hands a call to an agent and gets the agent's answer, with every set of flags that the kernel takes
// together with a listener.
func TestNotify(t *testing.T) {
	for _, flags := range [][]specs.LinuxSeccompFlag{
		nil,
		{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow},
		{specs.LinuxSeccompFlagWaitKillableRecv},
	} {
		if slices.Contains(flags, specs.LinuxSeccompFlagWaitKillableRecv) && older(t, 5, 19) {
			t.Log("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV not tried: it needs Linux 5.19")
			continue
		}
		p := &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: "/run/agent.sock", Flags: flags,
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdirat", "acct"}, Action: specs.ActNotify}},
		}
		f, err := Compile(p, Native())
		if err != nil {
			t.Fatal(err)
		}
		mkdirat, _ := Number(Native(), "mkdirat")
		if !f.Notify || len(f.Notified) != 2 || !slices.Contains(f.Notified, mkdirat) {
			t.Errorf("Notify %v, Notified %v", f.Notify, f.Notified)
		}
		got := errnos(t, p, []probe{{"mkdirat", [6]uint64{bad, bad}}, {"acct", [6]uint64{bad}}})
		if got[0] != unix.EMULTIHOP || got[1] != unix.EMULTIHOP {
			t.Errorf("flags %v: %v, want the agent's answer %v", flags, got, unix.EMULTIHOP)
		}
	}
}

// older says whether the running kernel is older than a release.
func older(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	k, err := ParseKernel(unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		t.Fatal(err)
	}
	return k.Before(Kernel{major, minor})
}

// TestFlags loads a filter with each flag, alone and together.
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags  []specs.LinuxSeccompFlag
		want   uint32
		notify bool
	}{
		{[]specs.LinuxSeccompFlag{flagTSYNC}, unix.SECCOMP_FILTER_FLAG_TSYNC, false},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, unix.SECCOMP_FILTER_FLAG_LOG, false},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, false},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, 0, false},
		{[]specs.LinuxSeccompFlag{flagTSYNC, specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv}, 0x1f | 1<<5, true},
	} {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/run/agent.sock", Flags: c.flags}
		if c.notify {
			p.Syscalls = []specs.LinuxSyscall{{Names: []string{"acct"}, Action: specs.ActNotify}}
		}
		f, err := Compile(p, Native())
		if err != nil {
			t.Fatal(err)
		}
		if f.Flags != c.want {
			t.Errorf("flags %v: %#x, want %#x", c.flags, f.Flags, c.want)
		}
		if f.Flags&unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0 && older(t, 5, 19) {
			t.Logf("flags %v not loaded: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19", c.flags)
			continue
		}
		if _, err := child(t, order{Program: f.Program, Flags: f.Flags}); err != nil {
			t.Errorf("flags %v: %v", c.flags, err)
		}
	}
}

// TestKills sees a program die of a call.
func TestKills(t *testing.T) {
	for _, a := range []specs.LinuxSeccompAction{specs.ActKillProcess, specs.ActTrap} {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: a}}}
		f, err := Compile(p, Native())
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "d")
		_, err = child(t, order{Program: f.Program, Exec: []string{"/bin/mkdir", dir}})
		if err == nil || !strings.Contains(err.Error(), "bad system call") {
			t.Errorf("%s: mkdir ended with %v, want SIGSYS", a, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the directory is there", a)
		}
	}
	// KILL kills a thread; mkdir has one only.
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActKill}}}
	f, err := Compile(p, Native())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = child(t, order{Program: f.Program, Exec: []string{"/bin/mkdir", filepath.Join(t.TempDir(), "d")}}); err == nil || !strings.Contains(err.Error(), "bad system call") {
		t.Errorf("mkdir ended with %v, want SIGSYS", err)
	}
}
