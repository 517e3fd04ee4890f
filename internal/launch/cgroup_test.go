package launch_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gcr/internal/cgroup"
	"gcr/internal/launch"
	"gcr/internal/plan"

	"golang.org/x/sys/unix"
)

// ownChildren lists the processes that this one has started, the dead ones that nobody has waited for included.
func ownChildren(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Fatal("no /proc/self/task/*/children:", err)
	}
	all := ""
	for _, f := range files {
		b, _ := os.ReadFile(f) // the thread may end
		all += string(b)
	}
	return strings.TrimSpace(all)
}

// awaitChildren waits until there are n of them.
func awaitChildren(t *testing.T, n int) {
	for range 1000 {
		if len(strings.Fields(ownChildren(t))) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no process comes into being")
}

// fakeCgroup is a cgroup with a single file.
type fakeCgroup struct{ tasks *os.File }

func (c fakeCgroup) CgroupFD() int                  { return -1 }
func (c fakeCgroup) TaskFiles() ([]*os.File, error) { return []*os.File{c.tasks}, nil }

// v1 gives a plan a cgroup with one hierarchy of v1.
func v1(in *plan.Input) {
	in.Cgroup = plan.Cgroup{Version: 1, TaskFiles: 1, Mounts: []plan.CgroupMount{{Name: "pids", Path: "/x"}}, Writes: []string{"x"}}
}

// TestCgroupComesAfterTheProcess makes the cgroup when the process is there: it enters through the file that it gets then.
func TestCgroupComesAfterTheProcess(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *plan.Input){
		"meanwhile":                      func(*testing.T, *plan.Input) {},
		"before, for inherited files":    func(_ *testing.T, in *plan.Input) { in.PreserveFDs = 1 },
		"meanwhile, without an id map":   noUserNamespace,
		"before, without an id map, too": func(t *testing.T, in *plan.Input) { noUserNamespace(t, in); in.PreserveFDs = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			in := input(t, "exit 7")
			v1(&in)
			change(t, &in)
			file := filepath.Join(t.TempDir(), "tasks")
			if in.PreserveFDs > 0 {
				// Whatever is there is inherited.
				f, err := os.Open("/dev/null")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			p, err := plan.New(in)
			if err != nil {
				t.Fatal(err)
			}
			proc, err := launch.Start(p, launch.Options{Host: in.Host, MakeCgroup: func(func(int) func()) (launch.Cgroup, error) {
				if p.MakesCgroupMeanwhile() {
					awaitChildren(t, 1)
				}
				f, err := os.Create(file)
				return fakeCgroup{f}, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer proc.Close()
			if status, err := proc.Wait(); err != nil || status != 7 {
				t.Errorf("status %d: %v", status, err)
			}
			if b, _ := os.ReadFile(file); string(b) != "0" {
				t.Errorf("%q was written to tasks", b)
			}
		})
	}
}

func noUserNamespace(t *testing.T, in *plan.Input) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	l := in.Spec.Linux
	l.Namespaces, l.UIDMappings, l.GIDMappings = l.Namespaces[1:], nil, nil
	in.Host.SysAdmin = true
}

// TestCgroupThatFails finds nothing left when the cgroup cannot be made though the process is there already.
func TestCgroupThatFails(t *testing.T) {
	in := input(t, "exit 7")
	v1(&in)
	p, err := plan.New(in)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	_, err = launch.Start(p, launch.Options{Host: in.Host, MakeCgroup: func(func(int) func()) (launch.Cgroup, error) {
		awaitChildren(t, 1)
		return nil, broken
	}})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if c := ownChildren(t); c != "" {
		t.Errorf("left: %s", c)
	}
}

// TestCgroupInUse makes a cgroup of which one hierarchy is in use, while the process is born into another one.
func TestCgroupInUse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	host, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, "exit 7")
	cg, err := cgroup.Compile(host, fmt.Sprintf("/launch-test-%d", os.Getpid()), nil, cgroup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in.Cgroup = plan.Cgroup{Version: cg.Version, Writes: []string{"x"}}
	used := ""
	for _, d := range cg.Dirs {
		if d.Key == "" {
			in.Cgroup.Into = true
		} else {
			in.Cgroup.TaskFiles++
			in.Cgroup.Mounts = append(in.Cgroup.Mounts, plan.CgroupMount{Name: d.Key, Path: d.Dir()})
		}
		if strings.Contains(d.Key, "pids") || used == "" {
			used = d.Dir()
		}
	}
	if err := os.Mkdir(used, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep, err := os.StartProcess("/bin/sleep", []string{"sleep", "100"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleep.Kill()
		_, _ = sleep.Wait()
		// The processes of a group are gone when the last of them has been waited for.
		if err := unix.Rmdir(used); err != nil {
			t.Errorf("remove %s: %v", used, err)
		}
	}()
	pid := strconv.Itoa(sleep.Pid)
	if err := os.WriteFile(used+"/cgroup.procs", []byte(pid), 0); err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(in)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_, err = launch.Start(p, launch.Options{Host: in.Host, MakeCgroup: func(born func(int) func()) (launch.Cgroup, error) {
			return cg.CreateAround(func(dir int) func() {
				end := born(dir)
				awaitChildren(t, 2)
				return end
			})
		}})
		if err == nil || !strings.Contains(err.Error(), "processes are in it") {
			t.Fatalf("error %v", err)
		}
		if c := ownChildren(t); c != pid {
			t.Fatalf("left: %s beside %s", c, pid)
		}
		for _, d := range cg.Dirs {
			if d.Dir() == used {
				continue
			}
			if _, err := os.Stat(d.Dir()); err == nil {
				t.Fatalf("%s is left", d.Dir())
			}
		}
	}
}
