package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// With a mount namespace by path the container is in that namespace, and its root is a path in there.
func TestJoinMountNamespace(t *testing.T) {
	other, pid := running(t, nil)
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	other.must(err)
	b := newBox(t, func(s *specs.Spec) {
		// /proc of that namespace shows the processes of the PID namespace that belongs to it.
		s.Linux.Namespaces = append(without(without(s.Linux.Namespaces, specs.MountNamespace), specs.PIDNamespace),
			specs.LinuxNamespace{Type: specs.MountNamespace, Path: fmt.Sprintf("/proc/%d/ns/mnt", pid)},
			specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", pid)})
		s.Root.Path, s.Root.Readonly, s.Mounts = "/", false, nil
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	}, "report")
	r := b.report()
	want(t, "mount namespace", r.Namespaces["mnt"], own)
	want(t, "program", r.Exe, "/probe")
	// The other container is as it was.
	want(t, "root of the other container", other.parse(other.ok("exec", other.id, "/probe", "report")).mount("/").Point, "/")

	b.spec.Root.Path = "/tmp" // in there
	b.spec.Process.Args = []string{"/other"}
	b.must(copyProgram(probe, filepath.Join(other.bundle, "rootfs/tmp/other")))
	b.id += "x"
	b.write()
	want(t, "program", b.report().Cwd, "/")
	want(t, "program of the other container", other.parse(other.ok("exec", other.id, "/probe", "report")).Exe, "/probe")
	b.spec.Root.Readonly = true
	b.write()
	b.fails(1, "(root.readonly): the mount namespace is another container's", "create", b.id)
}

// Each policy of sched(7) that the kernel gives to root is there, with its parameters.
func TestSchedulers(t *testing.T) {
	for policy, number := range map[specs.LinuxSchedulerPolicy]int{
		specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedIdle: 5, specs.SchedDeadline: 6,
	} {
		t.Run(string(policy), func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) {
				s.Process.Scheduler = &specs.Scheduler{Policy: policy}
				allowRealtime(s)
				switch policy {
				case specs.SchedFIFO, specs.SchedRR:
					s.Process.Scheduler.Priority = 7
				case specs.SchedDeadline:
					// Otherwise the probe could not make a second thread.
					s.Process.Scheduler.Flags = []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}
					s.Process.Scheduler.Runtime, s.Process.Scheduler.Deadline, s.Process.Scheduler.Period = 1e6, 1e7, 1e8
				}
			}, "scheduler")
			if number == 1 || number == 2 || number == 6 {
				if err := tryPolicy(number); err != nil {
					t.Skipf("this machine does not let root have %s: %v", policy, err)
				}
			}
			text := fmt.Sprintf("policy %d ", number)
			switch number {
			case 1, 2:
				text += "priority 7"
			case 6:
				text += "runtime 1000000 deadline 10000000 period 100000000"
			}
			if out := b.ok("run", b.id); !strings.HasPrefix(out, text) {
				t.Errorf("the process has %q, want %q", out, text)
			}
		})
	}
}

// tryPolicy asks the kernel for a policy in a thread that ends with that.
func tryPolicy(policy int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: uint32(policy)}
		if policy == 6 {
			attr.Runtime, attr.Deadline, attr.Period = 1e6, 1e7, 1e8
		} else {
			attr.Priority = 7
		}
		done <- unix.SchedSetAttr(0, &attr, 0)
	}()
	return <-done
}

// What features prints has the fields of the specification and no others.
func TestFeatures(t *testing.T) {
	b := newBox(t, nil)
	d := json.NewDecoder(strings.NewReader(b.ok("features")))
	d.DisallowUnknownFields()
	var f features.Features
	b.must(d.Decode(&f))
	want(t, "oldest version", f.OCIVersionMin, "1.0.0")
	want(t, "newest version", f.OCIVersionMax, specs.Version)
	want(t, "hooks", len(f.Hooks), 6)
	want(t, "namespaces", len(f.Linux.Namespaces), 8)
	want(t, "network devices", *f.Linux.NetDevices.Enabled, true)
	want(t, "id maps of mounts", *f.Linux.MountExtensions.IDMap.Enabled, true)
	for _, o := range []string{"rro", "tmpcopyup", "ridmap", "nosymfollow"} {
		if !strings.Contains(" "+strings.Join(f.MountOptions, " ")+" ", " "+o+" ") {
			t.Errorf("the mount option %s is missing", o)
		}
	}
}

// Docker takes the last line with the word version, go-runc the first line.
func TestVersionOutput(t *testing.T) {
	b := newBox(t, nil)
	for _, flag := range []string{"--version", "-v", "-version", "-V"} {
		lines := strings.Split(strings.TrimSpace(b.ok(flag)), "\n")
		if !strings.HasPrefix(lines[0], "gcrun version ") || !strings.HasPrefix(lines[1], "commit: ") || lines[2] != "spec: "+specs.Version {
			t.Errorf("%s prints %q", flag, lines)
		}
		for _, l := range lines[1:] {
			if strings.Contains(l, "version") {
				t.Errorf("%s prints a second line about a version: %q", flag, l)
			}
		}
	}
}

// A container that runs out of memory is told of while it happens.
func TestEventsOOM(t *testing.T) {
	b, _ := running(t, func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(32 << 20)), Swap: ptr(int64(32 << 20))}
	})
	cmd := exec.Command(binary, "--root", b.root, "events", "--interval", "1h", b.id)
	out, err := cmd.StdoutPipe()
	b.must(err)
	b.must(cmd.Start())
	defer func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	found := make(chan bool, 1)
	go func() {
		for lines.Scan() {
			var e struct{ Type, ID string }
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Type == "oom" && e.ID == b.id {
				found <- true
				return
			}
		}
		found <- false
	}()
	// It may be a moment until the events are listened to, so the memory runs out until they come.
	var told, over bool
	for range 20 {
		want(t, "status of the process that is killed", b.run("exec", b.id, "/probe", "eat", "64").code, 137)
		select {
		case told = <-found:
			over = true
		default:
		}
		if over {
			break
		}
	}
	if !over {
		told = <-found
	}
	want(t, "an event of type oom", told, true)
}

// Without the file system of Resource Director Technology the error says how to get it.
func TestIntelRdt(t *testing.T) {
	if _, err := os.Stat("/sys/fs/resctrl/schemata"); err == nil {
		t.Skip("this machine has resctrl; what is tested is its absence")
	}
	b := newBox(t, func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gcrun-test"} }, "report")
	b.fails(1, "make resctrl group (linux.intelRdt): there is no resctrl file system at /sys/fs/resctrl", "run", b.id)
}

// Errors reach systemd's journal by its own protocol; here a socket of the test stands in its place.
func TestLogToJournal(t *testing.T) {
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the mounts end with the thread
		b := newBox(t, nil)
		b.must(unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS))
		b.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		b.must(unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
		b.must(os.MkdirAll("/run/systemd/journal", 0o755))
		r := b.run("--log-format", "journald", "state", "nobody")
		if r.code != 1 || !strings.Contains(r.stderr, "connect to the journal") {
			t.Errorf("without a journal: %+v", r)
		}
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/systemd/journal/socket", Net: "unixgram"})
		b.must(err)
		defer conn.Close()
		for _, args := range [][]string{{"--log-format", "journald", "--log", "name"}, {"--log", "journald:name"}} {
			r := b.run(append(args, "state", "nobody")...)
			want(t, "status", r.code, 1)
			want(t, "standard error", r.stderr, "container does not exist\n")
			buf := make([]byte, 4096)
			n, err := conn.Read(buf)
			b.must(err)
			entry := string(buf[:n])
			for _, w := range []string{"PRIORITY=3\n", "SYSLOG_IDENTIFIER=gcrun\n", "ID=name\n", "MESSAGE=container does not exist\n"} {
				if !strings.Contains(entry, w) {
					t.Errorf("the entry %q has no %q", entry, w)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(b.bundle, "name")); err == nil {
			t.Error("the identifier was taken for a file")
		}
	}()
	<-done
}
