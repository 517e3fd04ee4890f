package cgroup

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests of this file and of the files named *_kernel_test.go run on the real kernel of whatever
// machine they find: v1, hybrid, v2, root or a delegated user. Their processes are this very test binary,
// playing a role.

const roleVariable = "GCR_CGROUP_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role, os.Args[1:])
		return
	}
	// Orphans come to this process: the machine's init may take its time, and dead processes that nobody
	// collected count for pids.max.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a subreaper:", err)
		os.Exit(1)
	}
	go reapOrphans()
	code := m.Run()
	removePrefix()
	os.Exit(code)
}

// sink keeps a loop from being empty.
var sink atomic.Int64

// play is what a process of a test does.
func play(role string, args []string) {
	switch role {
	case "hog": // use memory without end
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
			if len(all) > 1024 {
				os.Exit(3) // nothing limits it
			}
		}
	case "spin": // use CPU until the end of input
		go func() {
			for n := 0; ; n++ {
				sink.Store(int64(n))
			}
		}()
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "fork": // start chains of processes, again when they broke at pids.max
		for {
			c := exec.Command("sh", "-c", "f() { f & }; f; f")
			if c.Start() == nil {
				go func() { _ = c.Wait() }()
			}
			time.Sleep(time.Millisecond)
		}
	case "count": // write a growing number to a file
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			panic(err)
		}
		for n := uint64(1); ; n++ {
			_, _ = f.WriteAt(binary.LittleEndian.AppendUint64(nil, n), 0)
		}
	case "hold": // wait for the end of input
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "create": // make a group and be killed somewhere on the way
		h, err := Detect()
		if err != nil {
			panic(err)
		}
		p, err := Compile(h, args[0], limits(), Options{})
		if err != nil {
			panic(err)
		}
		b, _ := json.Marshal(p.State())
		fmt.Println(string(b))
		for {
			g, err := p.Create()
			if err != nil {
				panic(err)
			}
			if err := g.Delete(context.Background()); err != nil {
				panic(err)
			}
		}
	case "rootless": // what an ordinary user gets where nothing is delegated
		if err := playRootless(args[0]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "hugepages":
		if err := playHugePages(args[0]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
	default:
		panic("no role " + role)
	}
}

// limits is an ordinary set of resources that a test machine of any kind can apply.
func limits() *specs.LinuxResources {
	memory, pids, shares := int64(256<<20), int64(200), uint64(512)
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory}, Pids: &specs.LinuxPids{Limit: &pids}, CPU: &specs.LinuxCPU{Shares: &shares},
	}
}

// children that exec.Cmd waits for; everything else that dies here is an orphan.
var (
	childLock sync.Mutex
	childPids = map[int]bool{}
)

func reapOrphans() {
	for range time.Tick(5 * time.Millisecond) {
		childLock.Lock()
		for {
			var info unix.Siginfo
			if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
				break
			}
			// si_pid follows si_signo, si_errno, si_code and, on 64 bits, a hole.
			pid := int(*(*int32)(ptr(&info, 16)))
			if pid == 0 || childPids[pid] {
				break
			}
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
		childLock.Unlock()
	}
}

// prefix keeps the groups of one run apart from everything else.
var prefix = fmt.Sprintf("gcrtest-%d", os.Getpid())

// groupPath is where a test's group goes: absolute for root, relative for a user, who may write only below
// what was delegated.
func groupPath(name string) string {
	p := prefix + "/" + strings.ReplaceAll(name, "/", "-")
	if os.Geteuid() == 0 {
		p = "/" + p
	}
	return p
}

func removePrefix() {
	h, err := Detect()
	if err != nil {
		return
	}
	for _, m := range h.Mounts {
		for _, parent := range []string{"/", m.Parent} {
			_ = os.Remove(filepath.Join(m.Point, parent, prefix))
		}
	}
}

// hosts gives what to test: the host as it is and, if that is hybrid, as plain v1 too.
func hosts(t *testing.T) map[string]Host {
	t.Helper()
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Host{}
	if h.Version == 2 {
		all["v2"] = h
		return all
	}
	last := len(h.Mounts) - 1
	if h.Mounts[last].Unified {
		all["hybrid"] = h
		h.Mounts = h.Mounts[:last:last]
	}
	all["v1"] = h
	return all
}

// forHosts runs a test with a group on each kind of host. Tests whose user may not make groups are
// skipped: they need delegation.
func forHosts(t *testing.T, r *specs.LinuxResources, test func(t *testing.T, g *Group)) {
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) { test(t, newGroup(t, h, r)) })
	}
}

func newGroup(t *testing.T, h Host, r *specs.LinuxResources) *Group {
	t.Helper()
	if os.Geteuid() != 0 && (h.Version == 1 || h.Mounts[0].Parent == "") {
		t.Skip("needs root or a delegated cgroup v2")
	}
	p, err := Compile(h, groupPath(t.Name()), r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errorsOf(g.Kill(ctx, unix.SIGKILL), g.Delete(ctx)); err != nil {
			t.Error(err)
		}
		g.Close()
	})
	return g
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// process is a running process of a test.
type process struct {
	*exec.Cmd
	in  *os.File
	out *output
	end chan error
}

// output is what a process has written so far.
type output struct {
	lock sync.Mutex
	b    bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.b.String()
}

// role starts this binary in the group, in a role.
func role(t *testing.T, g *Group, name string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, g, append([]string{"env", roleVariable + "=" + name, self}, args...)...)
}

// door is what a process enters a group by: a Group or an Entry.
type door interface {
	CgroupFD() int
	TaskFiles() ([]*os.File, error)
}

// start runs a command in the group the way the launcher does: cloned into it where there is a unified
// hierarchy, and writing itself into tasks where there are others.
func start(t *testing.T, g door, argv ...string) *process {
	t.Helper()
	tasks, err := g.TaskFiles()
	if err != nil {
		t.Fatal(err)
	}
	script := `for f in $TASKS; do echo 0 >/proc/self/fd/$f || exit 120; done; exec "$@"`
	c := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, argv...)...)
	numbers := ""
	for i := range tasks {
		numbers += fmt.Sprintf("%d ", 3+i)
	}
	c.Env = append(os.Environ(), "TASKS="+numbers)
	c.ExtraFiles = tasks
	if fd := g.CgroupFD(); fd >= 0 {
		c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: c, in: w, out: &output{}, end: make(chan error, 1)}
	c.Stdin, c.Stdout, c.Stderr = r, p.out, p.out
	c.WaitDelay = time.Second
	childLock.Lock()
	err = c.Start()
	if err == nil {
		childPids[c.Process.Pid] = true
	}
	childLock.Unlock()
	r.Close()
	for _, f := range tasks {
		f.Close()
	}
	if err != nil {
		w.Close()
		t.Fatal(err)
	}
	go func() {
		p.end <- c.Wait()
		childLock.Lock()
		delete(childPids, c.Process.Pid)
		childLock.Unlock()
	}()
	t.Cleanup(func() { w.Close() })
	return p
}

// wait gives the exit status: the code, or 128 and the signal's number.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.end:
	case <-time.After(time.Minute):
		t.Fatalf("%v still runs; its output: %s", p.Args, p.out)
	}
	ws := p.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// eventually waits for a condition that the kernel brings about without a notification.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 30 s: " + what)
		}
	}
}
