package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// A user to whom nothing is delegated gets a container without a group, and a clear error for limits.
func TestRootlessWithoutDelegation(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become a user to whom nothing is delegated")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary may lie where the user cannot get at it.
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command("/proc/self/fd/3", groupPath(t.Name()))
	c.ExtraFiles = []*os.File{f}
	c.Env = append(os.Environ(), roleVariable+"=rootless")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p := &process{Cmd: c, out: &output{}, end: make(chan error, 1)}
	c.Stdout, c.Stderr = p.out, p.out
	childLock.Lock()
	err = c.Start()
	if err == nil {
		childPids[c.Process.Pid] = true
	}
	childLock.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	go func() { p.end <- c.Wait() }()
	if code := p.wait(t); code != 0 {
		t.Errorf("%d: %s", code, p.out)
	}
}

func playRootless(absolute string) error {
	h, err := Detect()
	if err != nil {
		return err
	}
	for _, path := range []string{"", absolute} {
		p, err := Compile(h, path, nil, Options{ID: "rootless"})
		if err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
		g, err := p.Create()
		if err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
		if !g.Empty() || g.CgroupFD() != -1 {
			return fmt.Errorf("path %q: got %v", path, g.State())
		}
		if _, err := g.Procs(); err == nil || !strings.Contains(err.Error(), ErrNoGroup.Error()) {
			return fmt.Errorf("list processes: %w", err)
		}
		p, err = Compile(h, path, limits(), Options{ID: "rootless"})
		if err == nil {
			_, err = p.Create()
		}
		hint := "systemd-run --user --scope"
		if h.Version == 1 {
			hint = "cgroup v1 cannot be delegated safely"
		}
		if err == nil || !strings.Contains(err.Error(), hint) {
			return fmt.Errorf("path %q with limits: %w", path, err)
		}
	}
	return nil
}

// The root of a container with its own user namespace may make groups of its own, and no more.
func TestOwnerMayMakeGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a group away")
	}
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if h.Version != 2 {
		t.Skip("needs cgroup v2: v1 groups are never given away")
	}
	p, err := Compile(h, groupPath(t.Name()), limits(), Options{Owner: &Owner{nobody, nobody}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	dir := g.Path()
	c := exec.Command("sh", "-c", "mkdir "+dir+"/sub && echo $$ >"+dir+"/sub/cgroup.procs && ! { echo 1 >"+dir+"/pids.max; }")
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.CgroupFD(), Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	childLock.Lock() // no reaping meanwhile
	out, err := c.CombinedOutput()
	childLock.Unlock()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "sub")); err != nil {
		t.Error(err)
	}
	if err := errorsOf(g.Kill(t.Context(), unix.SIGKILL), g.Delete(t.Context())); err != nil {
		t.Error(err)
	}
}

// A group whose parent holds processes itself cannot have limits on v2; the error says what to do.
func TestNoInternalProcesses(t *testing.T) {
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if h.Version != 2 || os.Geteuid() != 0 {
		t.Skip("needs cgroup v2 and root")
	}
	for name, h := range hosts(t) {
		t.Run(name, func(t *testing.T) {
			// "outer" has no controllers enabled below it, and a process.
			outer := newGroup(t, h, nil)
			p := role(t, outer, "hold")
			eventually(t, "the process is there", func() bool { return strings.Contains(p.out.String(), "ready") })
			plan, err := Compile(h, groupPath(t.Name())+"/inner", limits(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = plan.Create()
			if err == nil || !strings.Contains(err.Error(), "move them into a child group first") {
				t.Error(err)
			}
			if _, err := os.Stat(outer.Path() + "/inner"); !os.IsNotExist(err) {
				t.Errorf("inner is left: %v", err)
			}
		})
	}
}
