package program_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite golden files")

// run compiles the program, runs it with the sync socket as descriptor 3 and returns what it wrote to
// standard output, the messages that it sent and its exit status. Answer is sent to it at once.
func run(t *testing.T, p *program.Program, answer string, opts ...program.Option) (string, []program.Message, int) {
	t.Helper()
	image, err := p.Compile(program.Native, opts...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, guest := pair[0], os.NewFile(uintptr(pair[1]), "sync")
	defer unix.Close(host)
	if answer != "" {
		if _, err := unix.Write(host, []byte(answer)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path)
	cmd.ExtraFiles = []*os.File{guest}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guest.Close()
	var msgs []program.Message
	for {
		b := make([]byte, 2*program.MessageSize)
		n, _ := unix.Read(host, b)
		if n <= 0 {
			break
		}
		m, err := program.Decode(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	_ = cmd.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		t.Fatalf("program killed by %s", ws.Signal())
	}
	return out.String(), msgs, ws.ExitStatus()
}

func TestRunsOffItsEnd(t *testing.T) {
	p := program.New(3)
	p.Write(program.FD(1), "hello\n")
	out, msgs, status := run(t, p, "")
	if out != "hello\n" || len(msgs) != 0 || status != 0 {
		t.Errorf("out %q, messages %v, status %d", out, msgs, status)
	}
}

func TestResultsFeedLaterCalls(t *testing.T) {
	dir := t.TempDir()
	p := program.New(3)
	d := p.Open(dir, unix.O_PATH|unix.O_DIRECTORY)
	p.Mkdirat(d, "made", 0o755)
	sub := p.OpenInRoot(d, "/made", unix.O_PATH|unix.O_DIRECTORY)
	p.Symlinkat("/target", sub, "link")
	if _, msgs, status := run(t, p, ""); status != 0 {
		t.Fatalf("status %d, messages %v", status, msgs)
	}
	if got, err := os.Readlink(dir + "/made/link"); got != "/target" {
		t.Errorf("link %q: %v", got, err)
	}
}

func TestFailureNamesTheCall(t *testing.T) {
	p := program.New(3)
	p.Getpid()
	p.Chdir("/nonexistent")
	p.Write(program.FD(1), "not reached")
	out, msgs, status := run(t, p, "")
	if out != "" || status != program.FailureStatus || len(msgs) != 1 {
		t.Fatalf("out %q, messages %v, status %d", out, msgs, status)
	}
	if m := msgs[0]; m.Kind != program.Failed || m.Arg != 1 || unix.Errno(m.Errno) != unix.ENOENT {
		t.Errorf("message %+v", m)
	}
}

func TestIgnoreAndOnError(t *testing.T) {
	p := program.New(3)
	other := p.NewLabel()
	p.Chdir("/nonexistent").Ignore(unix.EACCES, unix.ENOENT)
	p.Write(program.FD(1), "ignored ")
	p.Chdir("/nonexistent").OnError(unix.ENOTDIR, other).OnError(unix.ENOENT, other)
	p.Write(program.FD(1), "not reached")
	p.Bind(other)
	p.Write(program.FD(1), "jumped ")
	end := p.NewLabel()
	p.Chdir("/nonexistent").OnError(0, end)
	p.Write(program.FD(1), "not reached")
	p.Bind(end)
	p.Write(program.FD(1), "any")
	if out, msgs, status := run(t, p, ""); out != "ignored jumped any" || status != 0 {
		t.Errorf("out %q, messages %v, status %d", out, msgs, status)
	}
}

func TestFailCallTakesEveryPath(t *testing.T) {
	build := func() *program.Program {
		p := program.New(3)
		for range 300 { // jumps longer than a byte can say
			p.Getpid()
		}
		p.Write(program.FD(1), "end")
		return p
	}
	n := len(build().Calls())
	for _, i := range []int{0, 1, n / 2, n - 1} {
		for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS, 4095} {
			out, msgs, status := run(t, build(), "", program.FailCall(i, errno))
			if out != "" || status != program.FailureStatus || len(msgs) != 1 || msgs[0].Arg != uint32(i) || msgs[0].Errno != uint32(errno) {
				t.Errorf("call %d, %v: out %q, messages %v, status %d", i, errno, out, msgs, status)
			}
		}
	}
}

func TestMessages(t *testing.T) {
	p := program.New(3)
	p.Send(program.Message{Kind: program.Ready})
	p.SendValue(program.Message{Kind: program.PID}, p.Getpid())
	p.SendTime(program.Message{Kind: program.AtStep, Arg: 7})
	p.Wait()
	p.Write(program.FD(1), "on")
	out, msgs, status := run(t, p, "x")
	if out != "on" || status != 0 || len(msgs) != 3 {
		t.Fatalf("out %q, messages %v, status %d", out, msgs, status)
	}
	if msgs[0].Kind != program.Ready || msgs[1].Kind != program.PID || msgs[1].Arg <= 1 {
		t.Errorf("messages %+v", msgs)
	}
	if msgs[2].Arg != 7 || msgs[2].Time <= 0 {
		t.Errorf("step message %+v", msgs[2])
	}
}

func TestWaitEndsWhenTheHostIsGone(t *testing.T) {
	p := program.New(3)
	p.Wait()
	p.Write(program.FD(1), "not reached")
	image, err := p.Compile(program.Native)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[0])
	cmd := exec.Command(path)
	guest := os.NewFile(uintptr(pair[1]), "sync")
	defer guest.Close()
	cmd.ExtraFiles = []*os.File{guest}
	out, _ := cmd.Output()
	if len(out) != 0 || cmd.ProcessState.ExitCode() != program.FailureStatus {
		t.Errorf("out %q, %v", out, cmd.ProcessState)
	}
}

func TestSendFD(t *testing.T) {
	p := program.New(3)
	p.SendFD(program.Message{Kind: program.Console}, p.Open("/dev/null", unix.O_RDONLY))
	image, err := p.Compile(program.Native)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	guest := os.NewFile(uintptr(pair[1]), "sync")
	cmd := exec.Command(path)
	cmd.ExtraFiles = []*os.File{guest}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	guest.Close()
	defer unix.Close(pair[0])
	b, oob := make([]byte, 64), make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(pair[0], b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := program.Decode(b[:n]); err != nil || m.Kind != program.Console {
		t.Fatalf("message %+v: %v", m, err)
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&cmsgs[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v: %v", fds, err)
	}
	defer unix.Close(fds[0])
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("device %x: %v", st.Rdev, err)
	}
}

func TestBuffersBranchesAndArithmetic(t *testing.T) {
	p := program.New(3)
	words := make([]byte, 16)
	binary.LittleEndian.PutUint32(words, 40)
	binary.LittleEndian.PutUint64(words[8:], 1<<40|5)
	b := p.BufferOf(words)
	v := p.Load32(b, 0)
	p.Add(v, 2)
	yes, no := p.NewLabel(), p.NewLabel()
	p.If(v, 42, yes)
	p.Exit(1)
	p.Bind(yes)
	p.IfNot(v, 42, no)
	p.Store32(b, 8, v)
	w := p.Load32(b, 8)
	hi := p.Load32(b, 12)
	ok := p.NewLabel()
	p.If(hi, 256, ok) // the neighbour is untouched
	p.Exit(2)
	p.Bind(ok)
	slot := p.Set(program.Num(-1))
	p.SetTo(slot, w)
	p.Add(slot, -35)
	p.ExitWith(slot)
	p.Bind(no)
	p.Exit(3)
	if _, msgs, status := run(t, p, ""); status != 7 {
		t.Errorf("status %d, messages %v", status, msgs)
	}
}

func TestIfSame(t *testing.T) {
	p := program.New(3)
	a, b, c := p.Set(program.Num(1<<40)), p.Set(program.Num(1<<40)), p.Set(program.Num(0))
	wrong, same := p.NewLabel(), p.NewLabel()
	p.IfSame(a, c, wrong)
	p.IfSame(a, b, same)
	p.Bind(wrong)
	p.Exit(1)
	p.Bind(same)
	if _, msgs, status := run(t, p, ""); status != 0 {
		t.Errorf("status %d, messages %v", status, msgs)
	}
}

func TestForeverLoops(t *testing.T) {
	p := program.New(3)
	n := p.Set(program.Num(0))
	again, out := p.Forever(), p.NewLabel()
	p.Add(n, 1)
	p.If(n, 100000, out)
	p.Jump(again)
	p.Bind(out)
	p.Write(program.FD(1), "counted")
	if out, _, status := run(t, p, ""); out != "counted" || status != 0 {
		t.Errorf("out %q, status %d", out, status)
	}
}

func TestExecveHandsOverArgumentsAndEnvironment(t *testing.T) {
	p := program.New(3)
	p.Execve(p.String("/bin/sh"), []string{"sh", "-c", `echo "$0 $1 $A"; ls /proc/self/fd | tr '\n' ' '`, "zero", "one"}, []string{"A=b c", "PATH=/bin:/usr/bin"})
	out, _, status := run(t, p, "")
	if !strings.HasPrefix(out, "zero one b c\n") || status != 0 {
		t.Errorf("out %q, status %d", out, status)
	}
}

func TestMistakesOfTheRecorder(t *testing.T) {
	for name, build := range map[string]func(p *program.Program){
		"jump back":     func(p *program.Program) { l := p.NewLabel(); p.Bind(l); p.Jump(l) },
		"no place":      func(p *program.Program) { p.Jump(p.NewLabel()) },
		"bound twice":   func(p *program.Program) { l := p.NewLabel(); p.Bind(l); p.Bind(l) },
		"NUL byte":      func(p *program.Program) { p.Chdir("a\x00b") },
		"store of":      func(p *program.Program) { p.Store32(p.Buffer(4), 1, program.Num(1)) },
		"run time":      func(p *program.Program) { l := p.NewLabel(); p.If(program.Num(1), 1, l); p.Bind(l) },
		"six arguments": func(p *program.Program) { n := program.Num(0); p.Call(program.SysClose, n, n, n, n, n, n, n) },
	} {
		p := program.New(3)
		build(p)
		if _, err := p.Compile(program.AMD64); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := program.New(3).Compile("mips"); err == nil || !strings.Contains(err.Error(), "mips") {
		t.Errorf("unknown architecture: %v", err)
	}
}

// TestGolden holds the listing and both encodings of a program that uses every instruction.
func TestGolden(t *testing.T) {
	p := program.New(3)
	root := p.OpenTree(program.CWD, "/rootfs", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
	p.MoveMountTo(root, "/rootfs")
	mk, ok := p.NewLabel(), p.NewLabel()
	dst := p.OpenInRoot(root, "/proc", unix.O_PATH|unix.O_DIRECTORY).OnError(unix.ENOENT, mk)
	p.Jump(ok)
	p.Bind(mk)
	p.Mkdirat(root, "proc", 0o755).Ignore(unix.EEXIST)
	p.OpenInRoot(root, "/proc", unix.O_PATH|unix.O_DIRECTORY).Into(dst)
	p.Bind(ok)
	fs := p.Fsopen("proc")
	p.FsconfigString(fs, "hidepid", "2")
	p.FsconfigCreate(fs)
	p.MoveMount(p.Fsmount(fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV), dst)
	p.MountSetattr(root, true, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_SLAVE})
	p.Fchdir(root)
	p.PivotRoot()
	p.Umount(".", unix.MNT_DETACH)
	p.Prlimit(unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", 1024, ^uint64(0))
	p.Capset(1, 1<<40|1, 0)
	buf := p.Buffer(8)
	p.Store32(buf, 4, dst)
	v := p.Load32(buf, 4)
	p.Add(v, 1)
	end := p.NewLabel()
	p.If(v, -7, end)
	p.SetTo(v, program.Named(1<<40, "1<<40"))
	p.Bind(end)
	p.Execve(p.String("/bin/sh"), []string{"sh"}, []string{"A=1"})
	golden(t, "every-instruction.txt", []byte(p.Listing()))
	if program.Native != program.AMD64 {
		return // O_DIRECTORY and O_NOFOLLOW have other values elsewhere; the bytes were recorded on amd64
	}
	for _, arch := range []program.Arch{program.AMD64, program.ARM64} {
		image, err := p.Compile(arch)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "every-instruction."+string(arch)+".elf", image)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the golden file; if the change is meant, run go test -update\n%s", name, got)
	}
}

func FuzzStrings(f *testing.F) {
	f.Add("/bin/sh", "a")
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, path, arg string) {
		p := program.New(3)
		p.Execve(p.String(path), []string{arg, path}, nil)
		_ = p.Listing()
		image, err := p.Compile(program.AMD64)
		if bad := strings.ContainsRune(path+arg, 0); bad != (err != nil) {
			t.Fatalf("%q %q: %v", path, arg, err)
		}
		if err == nil && !bytes.Contains(image, []byte(path+"\x00")) {
			t.Fatalf("%q is not in the image", path)
		}
	})
}
