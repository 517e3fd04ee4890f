package agree

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bench runs configurations with both runtimes.
type bench struct {
	t            *testing.T
	dir          string
	gcrun, crun  string
	probe        string
	id           string
	source       string // a directory of the host to bind, with a mount inside
	holder       int    // process in namespaces that containers join
	oomScore     int    // of the caller: less needs a capability
	ignored      uint64 // signals that the caller ignores, bit 0 for number 1
	capabilities []string
	count        int
}

func newBench(t *testing.T, crun string) *bench {
	// Other users get into it, for containers with mapped ids.
	dir, err := os.MkdirTemp("", "gcr-agree")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{t: t, dir: dir, crun: crun, id: fmt.Sprintf("agree%d", os.Getpid())}
	b.gcrun, b.probe = filepath.Join(dir, "gcrun"), filepath.Join(dir, "probe")
	for out, pkg := range map[string]string{b.gcrun: "gcr/gcrun", b.probe: "gcr/test/probe"} {
		cmd := exec.Command("go", "build", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	if err := lab.MountHierarchy("hugetlb"); err != nil {
		t.Skipf("crun 1.8 wants the hugetlb hierarchy: %v", err)
	}
	b.devices()

	b.source = filepath.Join(dir, "source")
	must(t, os.MkdirAll(filepath.Join(b.source, "below"), 0o755))
	must(t, os.WriteFile(filepath.Join(b.source, "file"), []byte("bound"), 0o644))
	must(t, unix.Mount("tmpfs", filepath.Join(b.source, "below"), "tmpfs", unix.MS_NODEV, "size=64k,mode=755"))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(b.source, "below"), unix.MNT_DETACH) })
	must(t, unix.Mount("", filepath.Join(b.source, "below"), "", unix.MS_SHARED, ""))

	holder := exec.Command(b.probe, "sleep")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP, Pdeathsig: syscall.SIGKILL,
	}
	must(t, holder.Start())
	b.holder = holder.Process.Pid
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		// The first process of a PID namespace ends when the others have been reaped.
		for pid := 0; pid != b.holder; {
			var ws unix.WaitStatus
			if pid, err = unix.Wait4(-1, &ws, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	})

	score, err := os.ReadFile("/proc/self/oom_score_adj")
	must(t, err)
	b.oomScore, err = strconv.Atoi(strings.TrimSpace(string(score)))
	must(t, err)
	b.oomScore = max(b.oomScore, 0)
	b.ignored = ownIgnored(t)
	b.capabilities = ownCapabilities(t)
	t.Cleanup(b.removeCgroups)
	return b
}

// devices gives this mount namespace a /dev of its own: crun gives the device that is its standard input to the
// container's user.
func (b *bench) devices() {
	dev := filepath.Join(b.dir, "dev")
	must(b.t, os.MkdirAll(dev, 0o755))
	must(b.t, unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755"))
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}, {"fuse", 10, 229}} {
		must(b.t, unix.Mknod(filepath.Join(dev, d.name), unix.S_IFCHR, int(unix.Mkdev(d.major, d.minor))))
		must(b.t, os.Chmod(filepath.Join(dev, d.name), 0o666))
	}
	must(b.t, os.Mkdir(filepath.Join(dev, "pts"), 0o755))
	must(b.t, unix.Mount("/dev/pts", filepath.Join(dev, "pts"), "", unix.MS_BIND, ""))
	must(b.t, os.Symlink("pts/ptmx", filepath.Join(dev, "ptmx")))
	must(b.t, unix.Mount(dev, "/dev", "", unix.MS_MOVE, ""))
}

// ownCapabilities are those that the caller can give: crun refuses others.
func ownIgnored(t *testing.T) uint64 {
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := strings.Cut(string(status), "\nSigIgn:\t")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(line, 16, 64)
	must(t, err)
	return n
}

func ownCapabilities(t *testing.T) []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	var out []string
	for i, name := range []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
		"NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
		"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	} {
		if data[0].Permitted>>i&1 != 0 {
			out = append(out, "CAP_"+name)
		}
	}
	return out
}

// namespace is the file of one that exists.
func (b *bench) namespace(kind specs.LinuxNamespaceType) string {
	name := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net"}[kind]
	if name == "" {
		name = string(kind)
	}
	return fmt.Sprintf("/proc/%d/ns/%s", b.holder, name)
}

// outcome is what one runtime made of a configuration.
type outcome struct {
	refused string // the error
	facts   map[string]string
}

// compare runs a configuration with both. It reports the differences that are not allowed, and whether it ran.
func (b *bench) compare(s *specs.Spec, used map[string]int) ([]difference, bool) {
	ours, theirs := b.run(b.gcrun, "gcrun", s), b.run(b.crun, "crun", s)
	// On a busy machine crun 1.8 now and then fails without a word; that says nothing about the configuration.
	for n := 0; n < 5 && strings.HasSuffix(theirs.refused, "exit status 255: "); n++ {
		theirs = b.run(b.crun, "crun", s)
	}
	if ours.refused != "" && theirs.refused != "" {
		return nil, false
	}
	if ours.refused != "" || theirs.refused != "" {
		d := difference{"refused", ours.refused, theirs.refused}
		return unallowed([]difference{d}, s, used), false
	}
	return unallowed(differences(ours.facts, theirs.facts), s, used), true
}

// run runs the container of a configuration in a fresh bundle.
func (b *bench) run(program, name string, s *specs.Spec) outcome {
	b.count++
	bundle := filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.count))
	state := filepath.Join(b.dir, "state-"+name)
	id := b.id
	owner := 0
	if maps := s.Linux.UIDMappings; len(maps) > 0 {
		owner = int(maps[0].HostID)
	}
	must(b.t, os.MkdirAll(filepath.Join(bundle, "relative"), 0o755))
	must(b.t, makeRoot(filepath.Join(bundle, "rootfs"), owner, b.probe))
	data, err := json.Marshal(s)
	must(b.t, err)
	must(b.t, os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644))
	b.tidy()
	r := runner{b: b, program: program, state: state, id: id, bundle: bundle}
	out, fail := r.run(s)
	cmd := exec.Command(program, "--root", state, "delete", "--force", id)
	if text, err := cmd.CombinedOutput(); err != nil && fail == "" {
		b.t.Errorf("%s delete: %v\n%s", name, err, text)
	}
	b.unmount(bundle)
	if b.unspill() && name == "gcrun" {
		b.t.Errorf("mounts of the container have come to the host: %s", data)
	}
	if fail == "" {
		must(b.t, os.RemoveAll(bundle))
		facts, err := parse(out, r.cgroup, b, bundle, s)
		if err == nil {
			return outcome{facts: facts}
		}
		fail = fmt.Sprintf("%v: %.500q %s", err, out, r.errors())
	}
	_ = os.RemoveAll(bundle)
	return outcome{refused: fail}
}

// unmount fails the test when a runtime has left a mount behind, and removes it: what is removed next would be what
// is mounted.
func (b *bench) unmount(dir string) {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(b.t, err)
	var points []string
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	for i := len(points) - 1; i >= 0; i-- {
		b.t.Errorf("%s is still mounted", points[i])
		must(b.t, unix.Unmount(points[i], unix.MNT_DETACH))
	}
}

// tidy removes what mounts in containers have made in the directories that are bound.
func (b *bench) tidy() {
	for _, dir := range []string{b.source, filepath.Join(b.source, "below")} {
		entries, err := os.ReadDir(dir)
		must(b.t, err)
		for _, e := range entries {
			if e.Name() != "file" && e.Name() != "below" || dir != b.source {
				must(b.t, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
		}
	}
}

// unspill removes mounts that have come from a container to what the host has bound into it, and says whether there
// were any.
func (b *bench) unspill() bool {
	below, spilled := filepath.Join(b.source, "below"), false
	for {
		mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
		must(b.t, err)
		last := ""
		n := 0
		for _, line := range strings.Split(string(mounts), "\n") {
			if f := strings.Fields(line); len(f) > 4 && (f[4] == below || strings.HasPrefix(f[4], b.source+"/")) {
				last = f[4]
				n++
			}
		}
		if n <= 1 {
			return spilled
		}
		spilled = true
		must(b.t, unix.Unmount(last, unix.MNT_DETACH))
	}
}

type runner struct {
	b                          *bench
	program, state, id, bundle string
	cgroup                     map[string]string
	stderr                     *os.File
}

func (r *runner) errors() string {
	if r.stderr == nil {
		return ""
	}
	data, _ := os.ReadFile(r.stderr.Name())
	return strings.TrimSpace(string(data))
}

// run returns what the probe printed, or why there is nothing.
func (r *runner) run(s *specs.Spec) (out, fail string) {
	t := r.b.t
	var err error
	r.stderr, err = os.Create(filepath.Join(r.bundle, "stderr"))
	must(t, err)
	defer r.stderr.Close()
	read, write, err := os.Pipe()
	must(t, err)
	args := []string{"--root", r.state, "create", "--bundle", r.bundle, "--pid-file", filepath.Join(r.bundle, "pid")}
	listener := -1
	if s.Process.Terminal {
		socket := filepath.Join(r.bundle, "console")
		listener, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		defer unix.Close(listener)
		must(t, unix.Bind(listener, &unix.SockaddrUnix{Name: socket}))
		must(t, unix.Listen(listener, 1))
		args = append(args, "--console-socket", socket)
	}
	create := exec.Command(r.program, append(args, r.id)...)
	create.Stdout, create.Stderr = write, r.stderr
	err = create.Run()
	write.Close()
	_ = os.Chown("/dev/null", 0, 0)
	if err != nil {
		read.Close()
		return "", fmt.Sprintf("create: %v: %s", err, r.errors())
	}
	text, err := os.ReadFile(filepath.Join(r.bundle, "pid"))
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	// Nothing takes this long; a container that hangs shall not hang the test.
	watch := time.AfterFunc(2*time.Minute, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	defer watch.Stop()
	r.cgroup = cgroupValues(pid, r.id)
	output := make(chan string, 1)
	from := read
	if listener >= 0 {
		read.Close()
		if from = accept(listener); from == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			wait(pid)
			return "", "create: no terminal came"
		}
	}
	go func() {
		data, _ := io.ReadAll(from) // a terminal ends with EIO
		output <- string(data)
		from.Close()
	}()
	start := exec.Command(r.program, "--root", r.state, "start", r.id)
	start.Stderr = r.stderr
	if err := start.Run(); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		wait(pid)
		<-output
		return "", fmt.Sprintf("start: %v: %s", err, r.errors())
	}
	status := wait(pid)
	out = <-output
	if status != 0 {
		return "", fmt.Sprintf("the probe ended with status %d: %.300s %s", status, out, r.errors())
	}
	return out, ""
}

// accept takes the terminal that a runtime has sent.
func accept(listener int) *os.File {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	data, rights := make([]byte, 4096), make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(fd, data, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "terminal")
}

func wait(pid int) int {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return ws.ExitStatus()
	}
}

// cgroupFiles are the limits that configurations set, for both versions of cgroups.
var cgroupFiles = []string{
	"pids.max", "memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.oom_control", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpuset.cpus", "cpuset.mems",
	"devices.list", "hugetlb.2MB.limit_in_bytes", "memory.max", "memory.low", "memory.high", "cpu.max", "cpu.weight", "hugetlb.2MB.max",
}

// cgroupValues are the limits of a process, and where it is.
func cgroupValues(pid int, id string) map[string]string {
	values := map[string]string{}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		name := strings.TrimPrefix(parts[1], "name=")
		values["path "+name] = strings.ReplaceAll(parts[2], id, "ID")
		if strings.Contains(parts[2], "..") || !strings.Contains(parts[2], id) {
			continue
		}
		for _, f := range cgroupFiles {
			if data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", name, parts[2], f)); err == nil {
				values[f] = strings.Join(strings.Fields(string(data)), " ")
			}
		}
	}
	return values
}

// removeCgroups removes the directories above the containers' cgroups.
func (b *bench) removeCgroups() {
	for _, top := range []string{"/sys/fs/cgroup/*/agree-gcr", "/sys/fs/cgroup/agree-gcr"} {
		dirs, _ := filepath.Glob(top)
		for _, d := range dirs {
			_ = os.Remove(filepath.Join(d, "deeper"))
			_ = os.Remove(d)
		}
	}
}
