package engine

import (
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gcr/internal/launch"
	"gcr/internal/plan"
	"gcr/internal/program"
	"gcr/internal/state"
	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

// This file breaks gcr on purpose: every call of a container's program fails in turn, and gcr itself is killed
// at every step. After each, nothing may be left behind.

func TestMain(m *testing.M) {
	if spec := os.Getenv(victimVar); spec != "" {
		os.Exit(victim(spec))
	}
	lab.Main(m)
}

// shapes are the containers that are broken: the three kinds of root filesystem, and one with much asked for.
func shapes(t *testing.T) map[string]func() *Options {
	dir := lab.Busybox(t)
	out := map[string]func() *Options{
		"directory": func() *Options { return &Options{Networks: []string{"none"}, Rootfs: dir, Command: []string{"true"}} },
		"ephemeral": func() *Options {
			return &Options{Networks: []string{"none"}, Rootfs: dir, Ephemeral: true, Command: []string{"true"}}
		},
		"host": func() *Options {
			return &Options{Networks: []string{"none"}, Rootfs: HostRootfs, Command: []string{"true"}}
		},
		"much": func() *Options {
			return &Options{
				Networks: []string{"none"}, Rootfs: dir, Command: []string{"true"}, Init: true, ReadOnly: true, TTY: On, Verbose: true, Trace: true,
				Volumes: []string{"/etc/passwd:/new/file:ro", dir + ":/new/dir"}, Tmpfs: []string{"/scratch"},
				Ulimits: []string{"core=0"}, Sysctls: []string{"net.core.somaxconn=100"}, Devices: []string{"/dev/fuse"},
				OOMScore: Optional{"500", true}, Workdir: "/home", Umask: "077",
			}
		},
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		much := out["much"]
		out["much"] = func() *Options { o := much(); o.Devices = nil; return o }
	}
	return out
}

// silently keeps what gcr says out of the test's output.
func silently(t *testing.T) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = null
	log.SetOutput(null)
	t.Cleanup(func() {
		os.Stderr = old
		log.SetOutput(old)
		null.Close()
	})
}

func runWith(o *Options, adjust func(*run, *launch.Options)) (int, *plan.Plan, error) {
	r := &run{o: o, begin: monotonic()}
	r.adjust = func(l *launch.Options) { adjust(r, l) }
	defer r.close()
	if err := r.prepare(); err != nil {
		return StatusGCR, nil, err
	}
	status, err := r.start()
	return status, r.plan, err
}

func stateDir(t *testing.T) string {
	host, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := host.LookupEnv("XDG_RUNTIME_DIR")
	return state.Root(int(host.UID), dir, os.TempDir())
}

// Every call of every shape fails in turn.
func TestEveryCallFails(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		silently(t)
		shapes := shapes(t)
		done := map[string]bool{} // steps that are the same in an earlier shape
		for _, name := range []string{"directory", "ephemeral", "host", "much"} {
			options := shapes[name]
			if lab.Current() == lab.SubIDs && name != "directory" {
				continue // the maps are all that is different for this user
			}
			t.Run(name, func(t *testing.T) {
				// The first run opens what gcr keeps open, and makes what a root filesystem lacks.
				status, p, err := runWith(options(), func(*run, *launch.Options) {})
				if err != nil || status != 0 {
					t.Fatalf("without a fault: status %d, %v", status, err)
				}
				scene, open := lab.Look(t, stateDir(t)), lab.Descriptors(t)
				calls := len(p.Program.Calls())
				skippable := mayBeSkipped(p.Program)
				reached, tried := 0, 0
				here := map[string]bool{}
				for i := range calls {
					if c := p.Program.Calls()[i]; c.Step >= 0 {
						step := stepText(p, c.Step)
						if done[step] || lab.Current() == lab.SubIDs && here[step] {
							continue
						}
						here[step] = true
					}
					tried++
					call := ""
					status, p, err := runWith(options(), func(r *run, l *launch.Options) {
						c := r.plan.Program.Calls()[i]
						call = c.String()
						l.Compile = []program.Option{program.FailCall(i, unix.EIO)}
					})
					c := p.Program.Calls()[i]
					var e *plan.Error
					switch {
					case err == nil:
						if !skippable[i] {
							t.Errorf("call %d, %s: no error, though nothing leads around it", i, call)
						}
						// Once the command runs, the init process has nobody left to report to.
						if init := c.Step >= 0 && p.Steps[c.Step].Info().What == initStep; status != 0 && (!init || status != program.FailureStatus) {
							t.Errorf("call %d, %s: status %d without an error", i, call, status)
						}
					case !errors.As(err, &e):
						t.Errorf("call %d, %s: %v is no *plan.Error", i, call, err)
					case e.Call != call && (c.Step < 0 || p.Steps[c.Step].Info().What != initStep):
						// (The end of an init process makes calls of its child fail.)
						t.Errorf("call %d, %s: the error is about %s", i, call, e.Call)
					case c.Step >= 0 && p.Steps[c.Step].Info().What == initStep:
						// Any of the two processes may have spoken first.
					case !errors.Is(err, unix.EIO) || strings.Contains(err.Error(), "\n"):
						t.Errorf("call %d, %s: %v", i, call, err)
					case c.Step >= 0 && !strings.HasPrefix(err.Error(), p.Steps[c.Step].Info().What+" (") &&
						!strings.HasPrefix(err.Error(), p.Steps[c.Step].Info().What+": ") && !errors.Is(err, plan.ErrNotExecutable) && !errors.Is(err, plan.ErrNotFound):
						t.Errorf("call %d, %s: %q does not name the step %q", i, call, err, p.Steps[c.Step].Info().What)
					case status != Status(err) || status < StatusGCR || status > StatusNotFound:
						t.Errorf("call %d, %s: status %d", i, call, status)
					}
					if err != nil {
						reached++
					}
					if now := lab.Descriptors(t); !maps.Equal(open, now) {
						t.Fatalf("call %d, %s: open before: %v\nafter: %v", i, call, open, now)
					}
					if i%16 == 0 || i == calls-1 {
						scene.Unchanged(t)
					}
					if t.Failed() {
						return
					}
				}
				maps.Copy(done, here)
				t.Logf("%d of %d calls were made to fail, %d of them were reached", tried, calls, reached)
			})
		}
	})
}

// stepText tells steps apart: what they do and the number of their calls.
func stepText(p *plan.Plan, n int) string {
	calls := 0
	for _, c := range p.Program.Calls() {
		if c.Step == n {
			calls++
		}
	}
	return fmt.Sprint(p.Steps[n].Info(), calls)
}

const initStep = "stay as init and start the command as a child"

// mayBeSkipped finds the calls that some jump leads around, by the listing: those of directories that are there
// already, of files where there may be directories, and their like.
func mayBeSkipped(p *program.Program) map[int]bool {
	lines := p.Lines()
	place := map[string]int{}
	for n, l := range lines {
		if label, ok := strings.CutSuffix(l.Text, ":"); ok {
			place[label] = n
		}
	}
	out := map[int]bool{}
	last := -1 // the furthest that a jump seen so far leads to
	for n, l := range lines {
		if l.Call >= 0 && n < last {
			out[l.Call] = true
		}
		for _, text := range []string{l.Text, l.Else} {
			for _, m := range jump.FindAllStringSubmatch(text, -1) {
				last = max(last, place[m[1]])
			}
		}
	}
	return out
}

var jump = regexp.MustCompile(`goto (L[0-9]+)`)

// victimVar makes the test program a gcr that kills itself: "SHAPE DIRECTORY WHERE N".
const victimVar = "GCR_TEST_VICTIM"

func victim(spec string) int {
	f := strings.Fields(spec)
	n, err := strconv.Atoi(f[2])
	if err != nil {
		panic(err)
	}
	o := &Options{Networks: []string{"none"}, Rootfs: f[0], Command: []string{"sleep", "1000"}, Trace: f[1] == "step"}
	die := func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL); time.Sleep(time.Hour) }
	status, _, err := runWith(o, func(r *run, l *launch.Options) {
		switch f[1] {
		case "host":
			l.OnHost = func(i int, _ plan.HostStep) error {
				if i == n {
					die()
				}
				return nil
			}
		case "step":
			l.OnStep = func(i int, _ time.Duration, _ int) error {
				if i == n {
					die()
				}
				return nil
			}
		case "running":
			go func() {
				// The command runs when the program has become it: the name of the process is no longer the program's.
				for {
					tasks, _ := filepath.Glob("/proc/self/task/*/children")
					for _, task := range tasks {
						child, _ := os.ReadFile(task)
						if name, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/comm"); err == nil && string(name) == "sleep\n" {
							die()
						}
					}
					time.Sleep(time.Millisecond)
				}
			}()
		}
	})
	fmt.Fprintln(os.Stderr, "survived:", status, err)
	return 3
}

// Gcr is killed before every step of the host side, at every step of the program, and while the command runs.
// What it leaves is gone after the next gcr command. A step that is the same for the directory is not tried again for the
// host's files; with -short every fourth step of the program is tried.
func TestKilledAtEveryStep(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		dir := lab.Busybox(t)
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		every := 1
		if testing.Short() {
			every = 4
		}
		done := map[string]bool{}
		for _, shape := range []struct{ name, rootfs string }{{"directory", dir}, {"host", HostRootfs}} {
			rootfs := shape.rootfs
			t.Run(shape.name, func(t *testing.T) {
				silently(t)
				o := &Options{Networks: []string{"none"}, Rootfs: rootfs, Command: []string{"true"}}
				status, p, err := runWith(o, func(*run, *launch.Options) {})
				if err != nil || status != 0 {
					t.Fatalf("status %d, %v", status, err)
				}
				scene := lab.Look(t, stateDir(t))
				kill := func(where string, n int) {
					t.Helper()
					cmd := exec.Command(exe)
					cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
					cmd.Env = append(os.Environ(), victimVar+"="+fmt.Sprintf("%s %s %d", rootfs, where, n))
					out, err := cmd.CombinedOutput()
					if status := lab.ExitStatus(t, err); status != 128+9 {
						t.Fatalf("killed at %s %d: status %d: %s", where, n, status, out)
					}
					if status, _, err := runWith(o, func(*run, *launch.Options) {}); status != 0 || err != nil {
						t.Errorf("after a kill at %s %d the next run ends with %d, %v", where, n, status, err)
					}
					scene.Unchanged(t)
				}
				for n, h := range p.Host {
					kill("host", n)
					if t.Failed() {
						t.Fatalf("killed before %q", h.Info.What)
					}
				}
				fresh := 0
				for n, s := range p.Steps {
					step := stepText(p, n)
					if done[step] {
						continue
					}
					done[step] = true
					if fresh++; fresh%every != 0 {
						continue
					}
					kill("step", n)
					if t.Failed() {
						t.Fatalf("killed at %q", s.Info().What)
					}
				}
				kill("running", 0)
			})
		}
	})
}
