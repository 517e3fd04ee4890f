package network

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// pathWith is a directory for PATH with some programs only, and those that map ids.
func pathWith(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range append(programs, "newuidmap", "newgidmap") {
		if path, err := exec.LookPath(p); err == nil {
			must(os.Symlink(path, filepath.Join(dir, p)))
		}
	}
	openToAll(dir)
	return dir
}

// TestSlirp is a machine that has slirp4netns and no pasta.
func TestSlirp(t *testing.T) {
	needs(t, "slirp4netns", "slirp4netns")
	before := helpers("slirp4netns")
	slirpOnly := append(user(t), "PATH="+pathWith(t, "slirp4netns"), gcr, "run")
	p := background(t, exec.Command("setpriv", append(slirpOnly, "-p", "8091:8000", "-p", "8091:8000/udp", userRoot(t), "/agent", "serve", "8000")...))
	for _, network := range []string{"tcp", "udp"} {
		if got, err := ask("client", network, join(hostIn4, "8091")); err != nil || got != client4 {
			t.Errorf("%s: seen as %s", network, got)
		}
	}
	if said := p.said(); !strings.Contains(said, "slirp4netns publishes ports on IPv4 only") {
		t.Errorf("a line does not say what slirp4netns lacks: %q", said)
	}
	background(t, in("server", agent, "serve", "99"))
	for _, to := range []string{join(server4, "99"), join(server6, "99")} {
		if out, err := exec.Command("setpriv", append(slirpOnly, userRoot(t), "/agent", "dial", "tcp", to)...).CombinedOutput(); err != nil {
			t.Errorf("out to %s: %s", to, out)
		}
	}
	if out, err := exec.Command("setpriv", append(slirpOnly, "-p", "[::1]:8092:80", userRoot(t), "/agent", "wait")...).CombinedOutput(); err == nil || !strings.Contains(string(out), "IPv4 addresses only") {
		t.Errorf("a port on ::1: %s", out)
	}
	p.kill()
	eventually(t, "slirp4netns to end with gcr", func() bool { return helpers("slirp4netns") <= before })
}

// TestUserMistakes has one clear line for each, besides notes.
func TestUserMistakes(t *testing.T) {
	needs(t, "pasta", "passt")
	empty := pathWith(t)
	for _, c := range []struct {
		env  string
		args []string
		want []string
	}{
		{"", []string{"-p", "80:80"}, []string{"ports below 1024 are for root", "net.ipv4.ip_unprivileged_port_start=80"}},
		{"", []string{"--network", "web"}, []string{"ordinary user may not make interfaces"}},
		{"", []string{"--ip", "10.1.2.3"}, []string{"(--ip, --ip6, --mac-address)", "pasta copies"}},
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
	// Without either program and without ports the container runs, alone, and a line says why, unless told to be quiet.
	for _, quiet := range []bool{false, true} {
		args := append(user(t), "PATH="+empty, gcr, "run", userRoot(t), "/agent", "lookup", "localhost")
		want := 1
		if quiet {
			args, want = append(args[:len(args)-4], "--quiet", userRoot(t), "/agent", "lookup", "localhost"), 0
		}
		out, err := exec.Command("setpriv", args...).CombinedOutput()
		if err != nil || strings.Count(string(out), "no network but loopback, for pasta is not installed: install the package passt") != want {
			t.Errorf("quiet %v: %v: %s", quiet, err, out)
		}
	}
	nothingOfUser(t)
}

// nothingOfUser looks for what a container without root may leave.
func nothingOfUser(t *testing.T) {
	t.Helper()
	left, _ := filepath.Glob("/run/user/1000/gcr/*")
	left = slices.DeleteFunc(left, func(s string) bool { return filepath.Base(s)[0] == '.' })
	if len(left) > 0 || helpers("pasta") > 0 {
		t.Errorf("left: %v, %d processes of pasta", left, helpers("pasta"))
	}
}

// TestPastaDiesLater tells that the network is gone, writes it down, and lets the container run on.
func TestPastaDiesLater(t *testing.T) {
	needs(t, "pasta", "passt")
	p := background(t, asUser(t, "--name", "orphan", "-p", "8090:8000", userRoot(t), "/agent", "serve", "8000"))
	if got, err := ask("client", "tcp", join(hostIn4, "8090")); err != nil {
		t.Fatal(got)
	}
	var record struct {
		Helper struct {
			PID   int
			Ended string
		}
	}
	read := func() {
		b, err := os.ReadFile("/run/user/1000/gcr/orphan/network.json")
		must(err)
		must(json.Unmarshal(b, &record))
	}
	read()
	must(unix.Kill(record.Helper.PID, unix.SIGKILL))
	eventually(t, "the loss to be told and written down", func() bool {
		read()
		return strings.Contains(p.said(), "lost its network") && record.Helper.Ended != ""
	})
	if said := strings.TrimSpace(p.said()); strings.Contains(said, "\n") || !strings.Contains(said, "pasta ended: signal: killed") {
		t.Errorf("not one clear line: %s", said)
	}
	if got, ok := reaches("client", "tcp", join(hostIn4, "8090")); ok {
		t.Errorf("the port is still served: %s", got)
	}
	if unix.Kill(p.cmd.Process.Pid, 0) != nil {
		t.Error("gcr has ended with pasta")
	}
	p.stop()
	nothingOfUser(t)
}

// TestPastaDies has one line with pasta's own words when it cannot connect the container.
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
	nothingOfUser(t)
}

// TestScriptWithoutRoot runs what --explain=shell prints for an ordinary user: the learner's container reaches the world
// and is reached as gcr's is, and the script leaves no process.
func TestScriptWithoutRoot(t *testing.T) {
	background(t, in("server", agent, "serve", "99"))
	for program, pkg := range map[string]string{"pasta": "passt", "slirp4netns": "slirp4netns"} {
		t.Run(program, func(t *testing.T) {
			needs(t, program, pkg)
			script := func(args ...string) *exec.Cmd {
				text, err := asUser(t, append([]string{"--explain=shell", "--network", program}, args...)...).Output()
				if err != nil {
					t.Fatal(err, string(text))
				}
				c := exec.Command("setpriv", append(user(t), "bash")...)
				c.Stdin = strings.NewReader(string(text))
				return c
			}
			left := func() {
				t.Helper()
				eventually(t, "the processes of the script to end", func() bool {
					return helpers(program) == 0 && exec.Command("pgrep", "-u", "1000", "-x", "sleep").Run() != nil
				})
				nothingOfUser(t)
			}
			// Takes away what killed ones of other tests have left.
			must(asUser(t, userRoot(t), "/agent", "lookup", "localhost").Run())
			out, err := script("host", "timeout", "20", "bash", "-c", "exec 3<>/dev/tcp/"+server4+"/99; echo >&3; read -r a <&3; echo $a; exit 7").CombinedOutput()
			if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 7 || !strings.Contains(string(out), hostOut4) {
				t.Errorf("%v: %s", err, out)
			}
			left()
			if program == "slirp4netns" {
				needs(t, "socat", "socat")
			}
			must(os.Chmod(agent, 0o755))
			p := background(t, script("-p", "8094:8000", "-v", filepath.Dir(agent)+":/mnt:ro", "host", "/mnt/agent", "serve", "8000"))
			if got, err := ask("client", "tcp", join(hostIn4, "8094")); err != nil || got != client4 {
				t.Errorf("from the client: %s, %v", got, err)
			}
			must(sh("pkill -KILL -u 1000 -x agent"))
			p.once.Do(func() { _ = p.cmd.Wait() })
			left()
		})
	}
}
