package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Each option of update reaches its file.
func TestUpdateFlags(t *testing.T) {
	b, pid := running(t, func(s *specs.Spec) {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(128 * mib), Swap: ptr(256 * mib)}
		s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: ptr(int64(90000))}
	})
	for flag, c := range map[string]struct {
		value  string
		v1, v2 limitFile
	}{
		"memory":             {"64M", limitFile{"memory", "memory.limit_in_bytes", "67108864"}, limitFile{"memory", "memory.max", "67108864"}},
		"memory-reservation": {"32m", limitFile{"memory", "memory.soft_limit_in_bytes", "33554432"}, limitFile{"memory", "memory.low", "33554432"}},
		"memory-swap":        {"201326592", limitFile{"memory", "memory.memsw.limit_in_bytes", "201326592"}, limitFile{}},
		"kernel-memory-tcp":  {"1M", limitFile{"memory", "memory.kmem.tcp.limit_in_bytes", "1048576"}, limitFile{}},
		"cpu-share":          {"512", limitFile{"cpu", "cpu.shares", "512"}, limitFile{"cpu", "cpu.weight", "59"}},
		"cpu-quota":          {"50000", limitFile{"cpu", "cpu.cfs_quota_us", "50000"}, limitFile{"cpu", "cpu.max", "50000 "}},
		"cpu-period":         {"200000", limitFile{"cpu", "cpu.cfs_period_us", "200000"}, limitFile{"cpu", "cpu.max", " 200000"}},
		"cpu-burst":          {"7000", limitFile{"cpu", "cpu.cfs_burst_us", "7000"}, limitFile{"cpu", "cpu.max.burst", "7000"}},
		"cpu-idle":           {"1", limitFile{"cpu", "cpu.idle", "1"}, limitFile{"cpu", "cpu.idle", "1"}},
		"cpu-rt-period":      {"500000", limitFile{"cpu", "cpu.rt_period_us", "500000"}, limitFile{}},
		"cpu-rt-runtime":     {"10000", limitFile{"cpu", "cpu.rt_runtime_us", "10000"}, limitFile{}},
		"cpuset-cpus":        {"0", limitFile{"cpuset", "cpuset.cpus", "0"}, limitFile{"cpuset", "cpuset.cpus", "0"}},
		"cpuset-mems":        {"0", limitFile{"cpuset", "cpuset.mems", "0"}, limitFile{"cpuset", "cpuset.mems", "0"}},
		"pids-limit":         {"77", limitFile{"pids", "pids.max", "77"}, limitFile{"pids", "pids.max", "77"}},
		"blkio-weight":       {"300", limitFile{"blkio", "blkio.bfq.weight", "300"}, limitFile{"io", "io.bfq.weight", "default 300"}},
	} {
		t.Run(flag, func(t *testing.T) {
			// A group that is idle takes no weight, and one container has all of this in turn.
			if flag == "cpu-idle" {
				defer b.run("update", "--cpu-idle", "0", b.id)
			}
			file, version := cgroupFile(pid, c.v1)
			want := c.v1
			if version == 2 {
				want = c.v2
				file, _ = cgroupFile(pid, c.v2)
			}
			if want.name == "" {
				t.Skipf("version %d of cgroups has no such limit", version)
			}
			if _, err := os.Stat(file); file == "" || err != nil {
				t.Skipf("this machine has no %s", want.name)
			}
			b.t = t
			b.ok("update", "--"+flag, c.value, b.id)
			data, err := os.ReadFile(file)
			b.must(err)
			if text := string(data); strings.TrimSpace(text) != want.value && !strings.Contains(" "+text, want.value) {
				t.Errorf("%s has %q, want %s", want.name, text, want.value)
			}
		})
	}
	b.t = t
	b.ok("update", "--kernel-memory", "1M", "--memory", "", "--pids-limit", "", b.id)
	b.fails(1, `invalid value for memory: "1.5"`, "update", "--memory", "1.5", b.id)
	b.fails(1, `invalid value for memory: "9000000P"`, "update", "--memory", "9000000P", b.id)
	if file, version := cgroupFile(pid, limitFile{controller: "memory", name: "memory.limit_in_bytes"}); version == 1 && file != "" {
		for _, c := range []struct{ value, want string }{{"64.5M", "67633152"}, {"65536 KiB", "67108864"}, {"", "67108864"}} {
			b.ok("update", "--memory", c.value, b.id)
			data, err := os.ReadFile(file)
			b.must(err)
			want(t, "limit by "+c.value, strings.TrimSpace(string(data)), c.want)
		}
	}
	b.fails(1, "update resctrl group (linux.intelRdt): the container has none", "update", "--l3-cache-schema", "L3:0=1", b.id)
	b.fails(1, "linux.intelRdt.memBwSchema", "update", "--mem-bw-schema", "L3:0=1", b.id)
	b.fails(255, "exec failed: process args cannot be empty", "exec", b.id)
}

// What --explain prints names each command's steps, and nothing is made.
func TestExplainCommands(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) {
		withHook(s, "poststop", specs.Hook{Path: "/bin/true"})
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(77))}
	}, "sleep")
	before := b.surroundings()
	for _, command := range []string{"create", "run"} {
		out := b.ok("--explain", command, b.id)
		for _, w := range []string{"[hooks]", "poststop: execve(", "write pids.max", "clone3({flags=CLONE_NEW", "set hostname gcrun [hostname]", "pivot", `"/probe"`} {
			if !strings.Contains(out, w) {
				t.Errorf("--explain %s does not tell of %q", command, w)
			}
		}
		if listens := strings.Contains(out, "accept4("); listens != (command == "create") {
			t.Errorf("%s waits for a start: %v", command, listens)
		}
		var plan struct{ Host, Program []struct{ What string } }
		if err := json.Unmarshal([]byte(b.ok("--explain=json", command, b.id)), &plan); err != nil || len(plan.Host) < 5 || len(plan.Program) < 20 {
			t.Errorf("as JSON: %v, %d and %d steps", err, len(plan.Host), len(plan.Program))
		}
		script := b.ok("--explain=shell", command, b.id)
		check := exec.Command("bash", "-n")
		check.Stdin = strings.NewReader(script)
		if text, err := check.CombinedOutput(); err != nil {
			t.Errorf("the script: %v: %s", err, text)
		}
	}
	if after := b.surroundings(); after != before {
		t.Errorf("--explain has made\n%s\nbefore there was\n%s", after, before)
	}
	b.ok("run", "-d", b.id)
	pid := b.wantStatus("running")
	out := b.ok("--explain", "exec", "--cwd", "/tmp", "-u", "7", b.id, "/probe", "report")
	for _, w := range []string{"setns(", "[process.cwd]", "setresuid(7, 7, 7)", `"/probe"`} {
		if !strings.Contains(out, w) {
			t.Errorf("--explain exec does not tell of %q", w)
		}
	}
	want(t, "processes", strings.TrimSpace(b.ok("ps", "-f", "json", b.id)), fmt.Sprintf("[%d]", pid))
	b.fails(1, "there is no form", "--explain=poem", "create", b.id)
}

// The configuration that spec --rootless writes runs as an ordinary user, from the first command to the last.
func TestSpecRootless(t *testing.T) {
	needRoot(t)
	const user = 12346
	dir, root := t.TempDir(), t.TempDir()
	for _, d := range []string{"proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyProgram(probe, filepath.Join(dir, "rootfs/sh")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, root, filepath.Dir(dir), filepath.Dir(binary)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, root} {
		if err := os.Chown(d, user, user); err != nil {
			t.Fatal(err)
		}
	}
	as := func(args ...string) string {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "user namespace") && strings.Contains(string(out), "operation not permitted") {
			t.Skip("users may not make user namespaces here: " + string(out))
		}
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	as(binary, "spec", "--rootless")
	// The shell of that configuration is the probe here, which prints its report when it is told nothing.
	as("sed", "-i", `s,"sh","/sh",; s,"terminal": true,"terminal": false,; s,^\t\t\t"sh"$,"/sh",`, "config.json")
	out := as(binary, "--root", root, "run", "simple")
	b := &box{t: t}
	r := b.parse(out)
	want(t, "uid", r.Status["Uid"], "0 0 0 0")
	want(t, "id map", r.UIDMap, "0 12346 1")
	want(t, "pid", r.PID, 1)
}

// Each annotation that docs/gcrun.md lists has a test that names it; those without effect are there as such.
func TestAnnotationsHaveTests(t *testing.T) {
	data, err := os.ReadFile("../docs/gcrun.md")
	if err != nil {
		t.Skip("the documentation is not here: ", err)
	}
	_, section, _ := strings.Cut(string(data), "## Annotations\n")
	var tests strings.Builder
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(section, -1)
	if len(rows) < 10 {
		t.Errorf("the table has %d lines", len(rows))
	}
	for _, row := range rows {
		for _, name := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			if !strings.Contains(tests.String(), `"`+strings.TrimSuffix(name[1], "*")) {
				t.Errorf("no test names %s", name[1])
			}
		}
	}
}

// Annotations of crun for an agent, and those that change nothing.
func TestMoreAnnotationsOfCrun(t *testing.T) {
	agent := lab.SeccompAgent(t, unix.EMULTIHOP)
	b := annotated(t, func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdirat"}, Action: specs.ActNotify}}}
	}, []string{"run.oci.seccomp.receiver", agent.Path}, "mkdir", "/made")
	want(t, "the agent's answer", strings.TrimSpace(b.ok("run", b.id)), unix.EMULTIHOP.Error())

	plain := newBox(t, nil, "report").report()
	for _, name := range []string{"run.oci.systemd.force_cgroup_v1", "run.oci.systemd.subgroup", "run.oci.delegate-cgroup"} {
		r := annotated(t, nil, []string{name, "sub"}, "report").report()
		want(t, "mounts with "+name, len(r.Mounts), len(plain.Mounts))
		want(t, "cgroup with "+name, r.Cgroup, plain.Cgroup)
	}
}
