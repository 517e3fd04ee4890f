package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// newLinks is a counter that holds on to something, in a root filesystem that it can write to.
func newLinks(t *testing.T, edit func(*specs.Spec), links ...string) *counter {
	t.Helper()
	needCRIU(t)
	return startCounter(newBox(t, func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Args = append([]string{"/probe", "links"}, links...)
		if edit != nil {
			edit(s)
		}
	}))
}

// there is one round: a checkpoint that ends the container, and its restoration.
func (c *counter) round(options ...string) {
	c.t.Helper()
	pid := c.wantStatus("running")
	c.good(nil, append(append([]string{"checkpoint", "--image-path", c.images()}, options...), c.id)...)
	c.reap(pid)
	before := c.last()
	c.good(c.into, append(append([]string{"restore", "--detach", "--image-path", c.images()}, options...), c.id)...)
	c.restored(before)
}

// finish ends the counter, which says by its status that nothing has broken.
func (c *counter) finish() {
	c.t.Helper()
	pid := c.wantStatus("running")
	c.ok("kill", c.id, "USR1")
	if status := c.reap(pid); status != 9 {
		c.t.Errorf("it ends with %d, want 9: %s", status, content(c.out))
	}
	c.ok("delete", c.id)
}

// What has a peer or a lock is not taken along without being asked for: the container goes on as if nothing had been.
func (c *counter) refused() {
	c.t.Helper()
	r := c.run("checkpoint", "--image-path", filepath.Join(c.bundle, "refused"), c.id)
	if r.code != 1 || !strings.Contains(r.stderr, "criu dump") {
		c.t.Errorf("checkpoint without an option: status %d: %s", r.code, r.stderr)
	}
	c.wantStatus("running")
	c.restored(c.last())
}

func TestCheckpointTCP(t *testing.T) {
	c := newLinks(t, nil, "tcp")
	c.refused()
	c.round("--tcp-established")
	c.finish()
}

// A connection stays whole when the container goes on after its checkpoint.
func TestCheckpointTCPLeaveRunning(t *testing.T) {
	c := newLinks(t, nil, "tcp")
	for range 2 {
		c.good(nil, "checkpoint", "--tcp-established", "--leave-running", "--image-path", c.images(), c.id)
		c.restored(c.last())
	}
	c.finish()
}

func TestCheckpointFileLocks(t *testing.T) {
	c := newLinks(t, nil, "lock=/lock")
	c.ok("exec", c.id, "/probe", "locked", "/lock")
	c.refused()
	c.round("--file-locks")
	c.ok("exec", c.id, "/probe", "locked", "/lock")
	c.finish()
}

// CRIU finds the peer when it is in the same network namespace and has the same name inside as outside.
func TestCheckpointExternalUnixSocket(t *testing.T) {
	dir := t.TempDir()
	peer, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "peer")})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	go func() {
		b := make([]byte, 100)
		for {
			if _, err := peer.Read(b); err != nil {
				return
			}
		}
	}()
	c := newLinks(t, func(s *specs.Spec) {
		s.Linux.Namespaces = without(s.Linux.Namespaces, specs.NetworkNamespace)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: dir, Source: dir, Type: "bind", Options: []string{"rbind"}})
	}, "unix="+filepath.Join(dir, "peer"))
	c.refused()
	c.round("--ext-unix-sk")
	c.finish()
}

func TestCheckpointUserNamespace(t *testing.T) {
	needCRIU(t)
	b := newBox(t, func(s *specs.Spec) {
		userNS(s)
		s.Process.Args = []string{"/probe", "count"}
	})
	b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
	b.must(os.Chown(filepath.Join(b.bundle, "rootfs"), 100000, 100000))
	c := startCounter(b)
	c.round()
	r := c.parse(c.ok("exec", c.id, "/probe", "report"))
	want(t, "uid", r.Status["Uid"], "0 0 0 0")
	c.finish()
}

// Under systemd a container that is restored is in a scope of the same name, with the same limits.
func TestSystemdCheckpoint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	m := newManaged(t, nil, "count")
	needCRIU(t)
	c := &counter{box: m.box}
	c.out = c.file()
	if r := c.runWith(c.into, "--systemd-cgroup", "run", "--detach", c.id); r.code != 0 {
		t.Fatal(r.stderr)
	}
	waitFor(t, "the counter to count", func() bool { return c.last() > 3 })
	pid := c.wantStatus("running")
	m.agree("before", pid, 64<<20, 30, 50000)
	c.good(nil, "--systemd-cgroup", "checkpoint", "--image-path", c.images(), c.id)
	c.reap(pid)
	before := c.last()
	c.good(c.into, "--systemd-cgroup", "restore", "--detach", "--image-path", c.images(), c.id)
	c.restored(before)
	if p := m.show(); p["ActiveState"] != "active" {
		t.Errorf("the scope is %s", p["ActiveState"])
	}
	m.agree("restored", c.wantStatus("running"), 64<<20, 30, 50000)
	c.finish()
}
