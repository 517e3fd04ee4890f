package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// act is one thing that is measured. prepare, which is not timed, returns what is timed and what tidies up.
type act struct {
	name string
	who  func(*contender) bool
	prep func(b *bench, s *spawner, c *contender, v variant) (timed func() (usage, error), after func(), err error)
}

var (
	actRun        = act{"run", runsBundle, prepareRun}
	actCreate     = act{"create + start + delete", isOCI, prepareCreate}
	actExec       = act{"exec", isOCI, prepareExec}
	actKillDelete = act{"kill + delete", isOCI, prepareKill}
	actTool       = act{"run of a tool", isTool, prepareRun}
)

var acts = []act{actRun, actCreate, actExec, actKillDelete}

func nothing() {}

// prepareRun: `run`, from the start of the runtime to its end.
func prepareRun(b *bench, s *spawner, c *contender, v variant) (func() (usage, error), func(), error) {
	id := b.newID()
	if !c.oci {
		argv := c.once(id, v)
		return func() (usage, error) { return s.run(argv...) }, nothing, nil
	}
	dir, err := b.bundle(id, v.change, "/bin/true")
	if err != nil {
		return nil, nil, err
	}
	argv := c.command("run", "--bundle", dir, id)
	return func() (usage, error) { return s.run(argv...) }, func() { os.RemoveAll(dir) }, nil
}

// container is one that has been created.
type container struct {
	id, dir string
	pid     int
}

func (b *bench) create(s *spawner, c *contender, change func(*specs.Spec), args ...string) (*container, usage, error) {
	id := b.newID()
	dir, err := b.bundle(id, change, args...)
	if err != nil {
		return nil, usage{}, err
	}
	k := &container{id: id, dir: dir}
	u, err := b.createIn(s, c, k)
	return k, u, err
}

func (b *bench) createIn(s *spawner, c *contender, k *container) (usage, error) {
	pidFile := filepath.Join(k.dir, "pid")
	u, err := s.run(c.command("create", "--bundle", k.dir, "--pid-file", pidFile, k.id)...)
	if err != nil {
		return u, err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return u, err
	}
	k.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return u, err
}

// destroy ends a container that is still there.
func (b *bench) destroy(s *spawner, c *contender, k *container) {
	if k.pid > 0 {
		_ = unix.Kill(k.pid, unix.SIGKILL)
		_, _ = waitFor(k.pid)
	}
	_, _ = s.run(c.command("delete", "--force", k.id)...)
	s.said()
	os.RemoveAll(k.dir)
}

// prepareCreate: three processes one after the other, as containerd starts them, and the wait for the
// container's end between start and delete.
func prepareCreate(b *bench, s *spawner, c *contender, v variant) (func() (usage, error), func(), error) {
	id := b.newID()
	dir, err := b.bundle(id, v.change, "/bin/true")
	if err != nil {
		return nil, nil, err
	}
	k := &container{id: id, dir: dir}
	timed := func() (usage, error) {
		begin := time.Now()
		total, err := b.createIn(s, c, k)
		if err != nil {
			return total, err
		}
		u, err := s.run(c.command("start", id)...)
		total.add(u)
		if err != nil {
			return total, err
		}
		u, err = waitFor(k.pid)
		k.pid = 0
		total.add(u)
		if err != nil {
			return total, fmt.Errorf("the container: %w", err)
		}
		u, err = s.run(c.command("delete", id)...)
		total.add(u)
		total.Wall = time.Since(begin)
		return total, err
	}
	return timed, func() {
		if k.pid > 0 {
			b.destroy(s, c, k)
		}
		os.RemoveAll(dir)
	}, nil
}

// running makes a container that sleeps.
func (b *bench) running(s *spawner, c *contender, v variant) (*container, error) {
	k, _, err := b.create(s, c, v.change, "/bin/sleep", "3600")
	if err != nil {
		return nil, err
	}
	if _, err := s.run(c.command("start", k.id)...); err != nil {
		b.destroy(s, c, k)
		return nil, err
	}
	return k, nil
}

// prepareExec: `exec` of /bin/true in a container that runs.
func prepareExec(b *bench, s *spawner, c *contender, v variant) (func() (usage, error), func(), error) {
	k, err := b.running(s, c, v)
	if err != nil {
		return nil, nil, err
	}
	return func() (usage, error) { return s.run(c.command("exec", k.id, "/bin/true")...) },
		func() { b.destroy(s, c, k) }, nil
}

// prepareKill: `kill ID KILL`, the wait for the container's end, `delete`.
func prepareKill(b *bench, s *spawner, c *contender, v variant) (func() (usage, error), func(), error) {
	k, err := b.running(s, c, v)
	if err != nil {
		return nil, nil, err
	}
	timed := func() (usage, error) {
		begin := time.Now()
		total, err := s.run(c.command("kill", k.id, "KILL")...)
		if err != nil {
			return total, err
		}
		var ws unix.WaitStatus
		for {
			if _, err = unix.Wait4(k.pid, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		k.pid = 0
		u, err := s.run(c.command("delete", k.id)...)
		total.add(u)
		total.Wall = time.Since(begin)
		return total, err
	}
	return timed, func() {
		if k.pid > 0 {
			b.destroy(s, c, k)
		}
		os.RemoveAll(k.dir)
	}, nil
}
