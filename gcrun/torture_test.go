package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestTorture runs random sequences of operations from parallel workers and kills gcrun in the midst of some. What
// `state` says must be true after each, and `delete --force` must leave nothing.
func TestTorture(t *testing.T) {
	needRoot(t)
	sequences := 500
	if testing.Short() {
		sequences = 40
	}
	if os.Getenv("GCR_VM_PLACE") != "" && os.Getenv("GCR_TEST_FULL") == "" {
		sequences = 12 // an emulated processor is slow
	}
	const workers = 4
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("GCRUN_TORTURE_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("GCRUN_TORTURE_SEED=%d", seed)
	// One bundle for all: the root filesystem is read-only.
	b := newBox(t, func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}} }, "sleep")
	r := &reaper{active: map[int]bool{}}
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Add(1)
	go func() {
		defer background.Done()
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				r.reap()
			}
		}
	}()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for n := range sequences / workers {
				v := &victim{t: t, box: b, reaper: r, rnd: rnd, id: fmt.Sprintf("%s-%d-%d", b.id, w, n)}
				v.sequence()
				if t.Failed() {
					return
				}
			}
		}()
	}
	wg.Wait()
	close(stop)
	background.Wait()
	waitFor(t, "every process to end", func() bool {
		r.reap()
		return len(children()) == 0
	})
	if entries, _ := os.ReadDir(b.root); len(entries) != 0 {
		t.Errorf("state is left behind: %v", entries)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + b.id + "*", "/sys/fs/cgroup/*/*/" + b.id + "*", "/sys/fs/cgroup/" + b.id + "*"} {
		if left, _ := filepath.Glob(pattern); len(left) != 0 {
			t.Errorf("cgroups are left behind: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	b.must(err)
	if strings.Contains(string(mounts), b.bundle) {
		t.Error("mounts are left behind")
	}
}

// reaper reaps orphans but no child that somebody waits for.
type reaper struct {
	sync.Mutex
	active map[int]bool
}

func children() []int {
	var out []int
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		for _, w := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(w); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func (r *reaper) reap() {
	r.Lock()
	defer r.Unlock()
	for _, pid := range children() {
		if !r.active[pid] {
			var ws unix.WaitStatus
			_, _ = unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		}
	}
}

// victim is one container on its way through a random life.
type victim struct {
	t      *testing.T
	box    *box
	reaper *reaper
	rnd    *rand.Rand
	id     string
	log    []string
}

// gcrun runs a command, perhaps kills it on the way, and returns its status and output.
func (v *victim) gcrun(mayKill bool, args ...string) (int, string) {
	cmd := exec.Command(binary, append([]string{"--root", v.box.root}, args...)...)
	cmd.Dir = v.box.bundle
	out, err := os.CreateTemp("", "torture")
	if err != nil {
		v.t.Error(err)
		return -1, ""
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	v.reaper.Lock()
	err = cmd.Start()
	if err == nil {
		v.reaper.active[cmd.Process.Pid] = true
	}
	v.reaper.Unlock()
	if err != nil {
		v.t.Error(err)
		return -1, ""
	}
	killed := mayKill && v.rnd.IntN(3) == 0
	if killed {
		time.Sleep(time.Duration(v.rnd.IntN(12000)) * time.Microsecond)
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	v.reaper.Lock()
	delete(v.reaper.active, cmd.Process.Pid)
	v.reaper.Unlock()
	text, _ := os.ReadFile(out.Name())
	v.log = append(v.log, fmt.Sprintf("%s (killed: %v): %d %s", strings.Join(args, " "), killed, cmd.ProcessState.ExitCode(), strings.TrimSpace(string(text))))
	return cmd.ProcessState.ExitCode(), string(text)
}

func (v *victim) sequence() {
	for range 3 + v.rnd.IntN(6) {
		switch v.rnd.IntN(8) {
		case 0, 1:
			v.gcrun(true, "create", v.id)
		case 2, 3:
			v.gcrun(true, "start", v.id)
		case 4:
			v.gcrun(true, "exec", "-d", v.id, "/probe", "sleep")
		case 5:
			v.gcrun(true, []string{"pause", "resume"}[v.rnd.IntN(2)], v.id)
		case 6:
			v.gcrun(true, "kill", v.id, "KILL")
		case 7:
			v.gcrun(true, "delete", v.id)
		}
		if !v.truthful() {
			return
		}
	}
	for range 3 {
		v.gcrun(true, "delete", "--force", v.id)
	}
	if code, out := v.gcrun(false, "delete", "--force", v.id); code != 0 {
		v.fail("delete --force fails: %s", out)
	}
	if code, _ := v.gcrun(false, "state", v.id); code != 1 {
		v.fail("the container is still there after delete --force")
	}
}

// truthful compares what state says with what the kernel says.
func (v *victim) truthful() bool {
	code, out := v.gcrun(false, "state", v.id)
	if code != 0 {
		if !strings.Contains(out, "container does not exist") {
			v.fail("state fails: %s", out)
			return false
		}
		return true
	}
	var st victimState
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		v.fail("state prints %q", out)
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", st.PID))
	switch st.Status {
	case "stopped":
		if st.PID != 0 {
			v.fail("a stopped container has process id %d", st.PID)
		}
	case "created":
		// A start that was killed may have sent its word, and the command takes over between the two looks: then the
		// container is running from now on.
		if err == nil && !strings.Contains(exe, "memfd:gcr") && v.status() == "created" {
			v.fail("a created container runs %s", exe)
		}
	case "paused": // created or running
	case "running":
		if err == nil && exe != "/probe" {
			v.fail("a running container runs %s", exe)
		}
	case "creating":
	default:
		v.fail("the status is %q", st.Status)
	}
	return !v.t.Failed()
}

type victimState struct {
	Status string
	PID    int
}

// status asks for the status once more.
func (v *victim) status() string {
	var st victimState
	_, out := v.gcrun(false, "state", v.id)
	_ = json.Unmarshal([]byte(out), &st)
	return st.Status
}

func (v *victim) fail(format string, args ...any) {
	v.t.Errorf("%s: %s\n  %s", v.id, fmt.Sprintf(format, args...), strings.Join(v.log, "\n  "))
}
