// Package network tests the networks of gcr with real traffic. The test binary moves itself into a network, a mount
// and a PID namespace of its own before anything else: that is the "host" of the tests, with its own routes, firewall,
// /run and /var/lib/gcr. Nothing of the machine is touched.
package network

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gcr/internal/network"
	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

const inside = "GCR_NETWORK_TEST"

var work, gcr, agent, rootfs string

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("skipped: the tests of networks need root, for bridges and namespaces")
		os.Exit(0)
	}
	switch {
	case os.Getenv(inside) == "":
		os.Exit(outside())
	case os.Getpid() == 1:
		os.Exit(first())
	}
	os.Exit(prepared(m))
}

// outside builds the programs and starts the test again in its own namespaces.
func outside() int {
	dir, err := os.MkdirTemp("", "gcr-network")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for out, pkg := range map[string]string{"gcr": "gcr", "agent": "gcr/test/network/agent"} {
		if !lab.HasGo() {
			brought := map[string]string{"gcr": "../../gcr", "agent": "agent/agent"}[out]
			if b, err := exec.Command("cp", brought, dir).CombinedOutput(); err != nil {
				fmt.Printf("take %s, since there is no go command: %v\n%s", brought, err, b)
				return 1
			}
			continue
		}
		c := exec.Command("go", "build", "-o", filepath.Join(dir, out), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		c.Stderr = os.Stderr
		if err := c.Run(); err != nil {
			fmt.Println("build", pkg, err)
			return 1
		}
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	network, err := os.Open("/proc/self/ns/net")
	must(err)
	c.ExtraFiles = []*os.File{network}
	c.Env = append(os.Environ(), inside+"="+dir)
	// The kernel ends all of a PID namespace with its first process: no daemon of a test outlives it, however it ends.
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	// The thread that starts a child with Pdeathsig must live as long.
	runtime.LockOSThread()
	if err := c.Run(); err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			return e.ExitCode()
		}
		fmt.Println(err)
		return 1
	}
	return 0
}

// first is the first process of the PID namespace: it starts the tests, and reaps what they leave as an init does.
func first() int {
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	machine := filepath.Join(os.Getenv(inside), "machine") // one test looks there
	must(os.WriteFile(machine, nil, 0o600))
	must(unix.Mount("/proc/self/fd/3", machine, "", unix.MS_BIND, ""))
	unix.Close(3)
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	must(err)
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			fmt.Println("wait for the tests:", err)
			return 1
		case pid == p.Pid && ws.Exited():
			return ws.ExitStatus()
		case pid == p.Pid:
			fmt.Println("the tests ended by signal", ws.Signal())
			return 1
		}
	}
}

func prepared(m *testing.M) int {
	// Its settings are there when the module is; without it one test skips.
	_ = exec.Command("modprobe", "br_netfilter").Run()
	work = os.Getenv(inside)
	gcr, agent, rootfs = filepath.Join(work, "gcr"), filepath.Join(work, "agent"), filepath.Join(work, "root")
	must(os.MkdirAll("/var/lib/gcr", 0o755))
	for _, d := range []string{"/run", "/var/lib/gcr"} {
		must(unix.Mount("tmpfs", d, "tmpfs", 0, ""))
	}
	must(os.MkdirAll("/run/netns", 0o755))
	for _, d := range []string{"proc", "dev", "sys", "etc", "tmp"} {
		must(os.MkdirAll(filepath.Join(rootfs, d), 0o755))
	}
	b, err := os.ReadFile(agent)
	must(err)
	must(os.WriteFile(filepath.Join(rootfs, "agent"), b, 0o755))
	must(os.WriteFile(filepath.Join(rootfs, "etc/nsswitch.conf"), []byte("hosts: files dns\n"), 0o644))
	must(sh("ip link set lo up"))
	makeWorld()
	return m.Run()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func sh(script string) error {
	c := exec.Command("bash", "-euc", script)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s\n%s", err, script, out)
	}
	return nil
}

// The addresses of the world: client -- host -- router -- server.
const (
	hostIn4, hostIn6   = "192.0.2.1", "2001:db8:1::1"
	client4, client6   = "192.0.2.9", "2001:db8:1::9"
	hostOut4, hostOut6 = "198.51.100.1", "2001:db8:2::1"
	server4, server6   = "203.0.113.9", "2001:db8:3::9"
)

// makeWorld connects the host with a client, and by a router with a server that knows no way back to containers.
func makeWorld() {
	must(sh(`
ip netns add client; ip netns add router; ip netns add server
ip link add tocl type veth peer name e1 netns client
ip link add toro type veth peer name e2 netns router
ip -n router link add e1 type veth peer name e1 netns server
ip addr add 192.0.2.1/24 dev tocl; ip addr add 2001:db8:1::1/64 dev tocl nodad; ip link set tocl up
ip addr add 198.51.100.1/24 dev toro; ip addr add 2001:db8:2::1/64 dev toro nodad; ip link set toro up
ip route add default via 198.51.100.254; ip -6 route add default via 2001:db8:2::fe
ip -n client addr add 192.0.2.9/24 dev e1; ip -n client addr add 2001:db8:1::9/64 dev e1 nodad
ip -n router addr add 198.51.100.254/24 dev e2; ip -n router addr add 2001:db8:2::fe/64 dev e2 nodad
ip -n router addr add 203.0.113.1/24 dev e1; ip -n router addr add 2001:db8:3::1/64 dev e1 nodad
ip -n server addr add 203.0.113.9/24 dev e1; ip -n server addr add 2001:db8:3::9/64 dev e1 nodad
for n in client router server; do ip -n $n link set lo up; ip -n $n link set e1 up; done
ip -n router link set e2 up
ip -n client route add default via 192.0.2.1; ip -n client -6 route add default via 2001:db8:1::1
ip -n server route add 198.51.100.0/24 via 203.0.113.1; ip -n server -6 route add 2001:db8:2::/64 via 2001:db8:3::1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
`))
}

// in is a command that runs in a network namespace of the world; the empty name is the host.
func in(ns string, name string, args ...string) *exec.Cmd {
	if ns == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + ns, name}, args...)...)
}

// ask dials from a namespace and returns what the server says.
func ask(ns, network, addr string) (string, error) {
	out, err := in(ns, agent, "dial", network, addr).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// reaches tells whether somebody answers where nobody should.
func reaches(ns, network, addr string) (string, bool) {
	out, err := in(ns, agent, "try", network, addr).CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}

// proc is a command that runs on.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	err  words
	once sync.Once
}

// words is what a process has written so far.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (p *proc) said() string { return p.err.String() }

// start runs gcr and waits until the agent in the container says that it is ready.
func start(t *testing.T, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(gcr, append([]string{"run", "--quiet"}, args...)...)}
	p.begin()
	return p
}

// background runs any command that says "ready".
func background(t *testing.T, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{t: t, cmd: cmd}
	p.begin()
	return p
}

func (p *proc) begin() {
	p.t.Helper()
	out, err := p.cmd.StdoutPipe()
	must(err)
	p.cmd.Stderr = &p.err
	// Something in the background may keep the outputs open when the command has ended.
	p.cmd.WaitDelay = time.Second
	must(p.cmd.Start())
	p.t.Cleanup(p.stop)
	late := time.AfterFunc(2*time.Minute, p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	if line != "ready\n" {
		p.kill()
		p.t.Fatalf("%v did not start: %q, %v: %s", p.cmd.Args, line, err, p.err.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
}

func (p *proc) end(sig syscall.Signal) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(sig)
		_ = p.cmd.Wait()
	})
}
func (p *proc) stop() { p.end(syscall.SIGTERM) }
func (p *proc) kill() { p.end(syscall.SIGKILL) }

// output runs gcr to its end.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(gcr, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("gcr %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// eventually waits for what the kernel does in its own time, such as removing a dead namespace's interfaces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !waitFor(ok) {
		t.Fatalf("%s: not after ten seconds", what)
	}
}

func waitFor(ok func() bool) bool {
	for range 200 {
		if ok() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// setBridgeNetfilter sets what br_netfilter does, where the kernel has it; some of the ways differ.
func setBridgeNetfilter(on bool) error {
	for _, f := range []string{"iptables", "ip6tables"} {
		v := "0"
		if on {
			v = "1"
		}
		if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+f, []byte(v), 0); err != nil {
			return err
		}
	}
	return nil
}

// pidOf waits until a container of the host has its process id written down.
func pidOf(t *testing.T, name string) string {
	t.Helper()
	pid := ""
	eventually(t, "the process id to be written", func() bool {
		b, err := os.ReadFile("/run/gcr/" + name + "/pid")
		pid = strings.TrimSpace(string(b))
		return err == nil && pid != ""
	})
	return pid
}

// record is a container's record of networks.
func record(t *testing.T, dir string) *network.Record {
	t.Helper()
	r, err := network.ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
