package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// user is what runs a command as an ordinary user who has a runtime directory and may open /dev/net/tun.
func user(t *testing.T) []string {
	t.Helper()
	const dir = "/run/user/1000"
	must(os.MkdirAll(dir, 0o700))
	must(os.Chmod("/run/user", 0o755))
	must(os.Chown(dir, 1000, 1000))
	must(os.Chmod(work, 0o755))
	if st, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("the kernel has no /dev/net/tun")
	} else if st.Mode()&0o006 != 0o006 {
		// udev gives it to everybody; a machine without udev may not. In our own mount namespace it is ours to say.
		tun := filepath.Join("/run", "tun")
		must(unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))))
		must(os.Chmod(tun, 0o666))
		must(unix.Mount(tun, "/dev/net/tun", "", unix.MS_BIND, ""))
	}
	return []string{"--reuid", "1000", "--regid", "1000", "--clear-groups", "env", "XDG_RUNTIME_DIR=" + dir, "HOME=/"}
}

// userRoot is a root filesystem that belongs to the user, who may not make mount points in somebody else's.
func userRoot(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(work, "userroot")
	if _, err := os.Stat(dir); err != nil {
		must(sh("cp -a " + rootfs + " " + dir + " && chown -R 1000:1000 " + dir))
	}
	return dir
}

func needs(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed (package %s)", program, pkg)
	}
}

// asUser is gcr run by the user; note lines about ids are not of interest here.
func asUser(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command("setpriv", append(append(user(t), gcr, "run", "--quiet"), args...)...)
}

// openToAll lets the user into a temporary directory.
func openToAll(dir string) {
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		must(os.Chmod(d, 0o755))
	}
}

func helpers(program string) int {
	n := 0
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && strings.HasPrefix(filepath.Base(exe), program) {
			// Those of other network namespaces are not ours.
			if a, err := os.Readlink("/proc/" + e.Name() + "/ns/net"); err == nil {
				if b, _ := os.Readlink("/proc/self/ns/net"); a == b {
					n++
				}
			}
		}
	}
	return n
}

// TestPasta publishes a port without root and looks at the client's address; nothing is left when gcr is killed.
func TestPasta(t *testing.T) {
	needs(t, "pasta", "passt")
	before := helpers("pasta")
	p := background(t, asUser(t, "-p", "8090:8000", "-p", "8090:8000/udp", userRoot(t), "/agent", "serve", "8000"))
	for _, c := range []struct{ from, network, to, want string }{
		{"client", "tcp", join(hostIn4, "8090"), client4},
		{"client", "tcp", join(hostIn6, "8090"), client6},
		{"client", "udp", join(hostIn4, "8090"), client4},
		{"client", "udp", join(hostIn6, "8090"), client6},
	} {
		if got, err := ask(c.from, c.network, c.to); err != nil || got != c.want {
			t.Errorf("%s from %s to %s: seen as %s, not %s", c.network, c.from, c.to, got, c.want)
		}
	}
	background(t, in("server", agent, "serve", "99"))
	for to, want := range map[string]string{join(server4, "99"): hostOut4, join(server6, "99"): hostOut6} {
		out, err := asUser(t, userRoot(t), "/agent", "dial", "tcp", to).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("out to %s: %s", to, out)
		}
	}
	// setpriv has become gcr by exec, so this kills gcr itself.
	p.kill()
	eventually(t, "pasta to be ended by the next gcr", func() bool {
		_ = asUser(t, userRoot(t), "/agent", "lookup", "localhost").Run()
		return helpers("pasta") <= before
	})
}

// TestSlirp does the same where it is named.
func TestSlirp(t *testing.T) {
	needs(t, "slirp4netns", "slirp4netns")
	before := helpers("slirp4netns")
	p := background(t, asUser(t, "--network", "slirp4netns", "-p", "8091:8000", userRoot(t), "/agent", "serve", "8000"))
	if got, err := ask("client", "tcp", join(hostIn4, "8091")); err != nil || got != client4 {
		t.Errorf("seen as %s", got)
	}
	p.kill()
	eventually(t, "slirp4netns to end with gcr", func() bool { return helpers("slirp4netns") <= before })
}

// TestUserMistakes has one clear line for each, besides notes.
func TestUserMistakes(t *testing.T) {
	needs(t, "pasta", "passt")
	empty := t.TempDir() // but for what maps ids
	for _, p := range []string{"newuidmap", "newgidmap"} {
		if path, err := exec.LookPath(p); err == nil {
			must(os.Symlink(path, filepath.Join(empty, p)))
		}
	}
	openToAll(empty)
	for _, c := range []struct {
		env  string
		args []string
		want []string
	}{
		{"", []string{"-p", "80:80"}, []string{"ports below 1024 are for root", "net.ipv4.ip_unprivileged_port_start=80"}},
		{"", []string{"--network", "web"}, []string{"ordinary user may not make interfaces"}},
		{"", []string{"-p", "8080:80/sctp"}, []string{"TCP and UDP only"}},
		{"PATH=" + empty, []string{"-p", "8080:80"}, []string{"pasta is not installed", "package passt"}},
		{"PATH=" + empty, []string{"--network", "pasta"}, []string{"not installed", "passt"}},
	} {
		cmd := asUser(t, append(c.args, userRoot(t), "/agent", "lookup", "localhost")...)
		if c.env != "" {
			args := append(user(t), c.env, gcr, "run", "--quiet")
			cmd = exec.Command("setpriv", append(append(args, c.args...), userRoot(t), "/agent", "lookup", "localhost")...)
		}
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%v: taken", c.args)
		}
		for _, w := range c.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%v:\n%s\ndoes not say %q", c.args, out, w)
			}
		}
		if n := strings.Count(string(out), "gcr: ") - strings.Count(string(out), "gcr: note:"); n != 1 {
			t.Errorf("%v: %d lines of error:\n%s", c.args, n, out)
		}
	}
	// Without either program and without ports the container runs, alone, and a line says why.
	args := append(user(t), "PATH="+empty, gcr, "run", "--verbose", userRoot(t), "/agent", "lookup", "localhost")
	if out, err := exec.Command("setpriv", args...).CombinedOutput(); err != nil || strings.Count(string(out), "no network but loopback") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestPastaDies tells that the network is gone, and lets the container run on.
func TestPastaDies(t *testing.T) {
	needs(t, "pasta", "passt")
	dir := t.TempDir()
	must(os.WriteFile(filepath.Join(dir, "pasta"), []byte("#!/bin/sh\necho 'no way out' >&2\nexit 1\n"), 0o755))
	openToAll(dir)
	args := append(user(t), "PATH="+dir+":/usr/bin:/bin", gcr, "run", "--quiet", userRoot(t), "/agent", "lookup", "localhost")
	out, err := exec.Command("setpriv", args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "connect the container with pasta: no way out") {
		t.Errorf("%v: %s", err, out)
	}
}
