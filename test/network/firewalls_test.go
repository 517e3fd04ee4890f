package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A firewall of somebody else, the real program, in the network and mount namespace of the tests.
type firewall struct {
	begin, reload, end func(t *testing.T)
	// own checks that it still does what it is there for.
	own func(t *testing.T)
}

// own copies a directory, which the tests then have for themselves.
func ownCopy(dir string) {
	tmp, err := os.MkdirTemp(work, "own")
	must(err)
	must(unix.Mount("tmpfs", tmp, "tmpfs", 0, "mode=755"))
	must(sh("cp -a " + dir + "/. " + tmp))
	must(unix.Mount(tmp, dir, "", unix.MS_BIND, ""))
}

// daemon starts a program and ends it with the test.
func daemon(t *testing.T, up func() bool, name string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(name, args...)
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	must(c.Start())
	stopped := func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
	t.Cleanup(stopped)
	for range 4 {
		if waitFor(up) {
			return c
		}
	}
	stopped()
	t.Fatalf("%s does not answer: %s", name, said.String())
	return nil
}

func quietly(name string, args ...string) bool { return exec.Command(name, args...).Run() == nil }

func firewalldProgram(t *testing.T) firewall {
	needs(t, "firewalld", "firewalld")
	needs(t, "dbus-daemon", "dbus-daemon")
	ownCopy("/etc/firewalld")
	must(os.MkdirAll("/run/dbus", 0o755))
	must(os.MkdirAll("/run/lock", 0o755))
	daemon(t, func() bool {
		return quietly("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetId")
	}, "dbus-daemon", "--system", "--nofork", "--nopidfile")
	var d *exec.Cmd
	return firewall{
		begin: func(t *testing.T) {
			d = daemon(t, func() bool { return quietly("firewall-cmd", "--state") }, "firewalld", "--nofork", "--nopid")
		},
		reload: func(*testing.T) { must(sh("firewall-cmd --reload")) },
		end: func(*testing.T) {
			_ = d.Process.Signal(syscall.SIGTERM)
			_ = d.Wait()
		},
		own: closedPort,
	}
}

func ufwProgram(t *testing.T) firewall {
	needs(t, "ufw", "ufw")
	needs(t, "iptables-nft", "iptables")
	ownCopy("/etc/ufw")
	must(os.MkdirAll("/run/lock", 0o755))
	t.Cleanup(func() {
		must(sh("ufw --force disable; for i in iptables-nft ip6tables-nft; do $i -P FORWARD ACCEPT; done"))
	})
	return firewall{
		begin:  func(*testing.T) { must(sh("ufw --force enable")) },
		reload: func(*testing.T) { must(sh("ufw reload")) },
		end:    func(*testing.T) { must(sh("ufw --force disable")) },
		own:    closedPort,
	}
}

// closedPort looks whether the firewall closes what nobody has opened.
func closedPort(t *testing.T) {
	t.Helper()
	server := background(t, in("", agent, "serve", "7001"))
	defer server.kill()
	for _, to := range []string{hostIn4, hostIn6} {
		if _, ok := reaches("client", "tcp", join(to, "7001")); ok {
			t.Errorf("the firewall lets a client reach port 7001 of the host at %s", to)
		}
	}
}

func dockerProgram(t *testing.T) firewall {
	needs(t, "dockerd", "docker.io")
	needs(t, "docker", "docker.io")
	needs(t, "iptables-nft", "iptables")
	dir, err := os.MkdirTemp(work, "docker")
	must(err)
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	must(os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o644))
	socket := "unix://" + filepath.Join(dir, "socket")
	const cgroup = "gcr-network-test"
	t.Cleanup(func() {
		_ = sh("ip link del docker0; find /sys/fs/cgroup -maxdepth 2 -name " + cgroup + " -exec rmdir {} +; for i in iptables-nft ip6tables-nft; do $i -P FORWARD ACCEPT; done")
	})
	var d *exec.Cmd
	f := firewall{
		begin: func(t *testing.T) {
			d = daemon(t, func() bool { return quietly("docker", "-H", socket, "version") }, "dockerd",
				"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "-H", socket,
				"--config-file", filepath.Join(dir, "daemon.json"), "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+cgroup)
		},
		end: func(*testing.T) {
			_ = d.Process.Signal(syscall.SIGTERM)
			_ = d.Wait()
		},
		own: func(t *testing.T) {
			if !quietly("docker", "-H", socket, "image", "inspect", "probe") {
				must(sh("tar -C " + rootfs + " -c . | docker -H " + socket + " import - probe"))
			}
			out, err := exec.Command("docker", "-H", socket, "run", "-d", "-p", "9191:80", "probe", "/agent", "serve", "80").Output()
			if err != nil {
				t.Fatal("docker run:", err, string(err.(*exec.ExitError).Stderr))
			}
			defer quietly("docker", "-H", socket, "rm", "-f", strings.TrimSpace(string(out)))
			if got, err := ask("client", "tcp", join(hostIn4, "9191")); err != nil || got != client4 {
				t.Errorf("Docker's published port from the client: %s, %v", got, err)
			}
			if got, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "dial", "tcp", join(hostIn4, "9191")).CombinedOutput(); err != nil {
				t.Errorf("Docker's published port from a container of gcr: %s", got)
			}
			if got, err := exec.Command("docker", "-H", socket, "run", "--rm", "probe", "/agent", "dial", "tcp", join(hostIn4, "8080")).CombinedOutput(); err != nil {
				t.Errorf("gcr's published port from a container of Docker: %s", got)
			}
		},
	}
	f.reload = func(t *testing.T) { f.end(t); f.begin(t) } // Docker makes its rules anew when it starts
	return f
}

// TestFirewalls runs containers beside the real firewalls, active before and after the first container.
func TestFirewalls(t *testing.T) {
	for name, program := range map[string]func(*testing.T) firewall{"firewalld": firewalldProgram, "ufw": ufwProgram, "docker": dockerProgram} {
		t.Run(name, func(t *testing.T) {
			output(t, "network", "prune")
			must(sh("nft flush ruleset"))
			t.Cleanup(func() { output(t, "network", "prune"); must(sh("nft flush ruleset")) })
			f := program(t)
			f.begin(t)
			before := othersRules(t)
			web := start(t, "--name", "web", "-p", "8080:80", "-p", "8080:80/udp", rootfs, "/agent", "serve", "80")
			must(sh("nft add rule inet gcr admin ip saddr 192.0.2.99 drop"))
			everything(t, "firewall first")
			f.own(t)

			f.reload(t)
			fromOutside(t, "right after a reload")
			everything(t, "after a reload")

			f.end(t)
			nextCommand(t)
			everything(t, "after its end")
			f.begin(t)
			nextCommand(t)
			everything(t, "container first")
			f.own(t)

			if out, err := exec.Command("nft", "list", "chain", "inet", "gcr", "admin").CombinedOutput(); err != nil || !strings.Contains(string(out), "192.0.2.99") {
				t.Errorf("the administrator's rule is gone: %s", out)
			}
			must(sh("nft flush chain inet gcr admin"))
			web.stop()
			output(t, "network", "prune")
			after := othersRules(t)
			for _, l := range before {
				if !slices.Contains(after, l) {
					t.Errorf("the firewall has lost a rule: %s", l)
				}
			}
			for _, l := range after {
				// firewalld keeps the empty chains of a zone, and ufw adds some at a reload.
				if strings.Contains(l, "gcr") {
					t.Errorf("a rule is left: %s", l)
				}
			}
		})
	}
}

// nextCommand is what finds and mends what others have changed.
func nextCommand(t *testing.T) {
	t.Helper()
	output(t, "run", "--quiet", rootfs, "/agent", "lookup", "localhost")
}

// othersRules are the rules of all tables but gcr's, without counters; each says where it stands. A firewall that
// starts again may make its chains in another order.
func othersRules(t *testing.T) []string {
	t.Helper()
	tables, err := exec.Command("nft", "list", "tables").Output()
	must(err)
	var all []string
	for line := range strings.Lines(string(tables)) {
		if line != "table inet gcr\n" {
			out, err := exec.Command("nft", append([]string{"-s", "list"}, strings.Fields(line)...)...).Output()
			must(err)
			chain := ""
			for rule := range strings.Lines(string(out)) {
				if rule = strings.TrimSpace(rule); strings.HasSuffix(rule, "{") {
					chain = rule
				}
				if rule != "" && rule != "}" {
					all = append(all, strings.TrimSpace(line)+", "+chain+" "+rule)
				}
			}
		}
	}
	return all
}

// everything asks the container that publishes 8080 from everywhere, and goes out from another one.
func everything(t *testing.T, when string) {
	t.Helper()
	fromOutside(t, when)
	for _, to := range []string{"127.0.0.1:8080", "[::1]:8080", join(hostIn4, "8080"), join(hostIn6, "8080")} {
		for _, network := range []string{"tcp", "udp"} {
			if got, err := ask("", network, to); err != nil {
				t.Errorf("%s, %s from the host to %s: %s", when, network, to, got)
			}
		}
	}
	server := background(t, in("server", agent, "serve", "99"))
	defer server.kill()
	for to, want := range map[string]string{join(server4, "99"): hostOut4, join(server6, "99"): hostOut6} {
		if got, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "dial", "tcp", to).CombinedOutput(); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s, out to %s: %s", when, to, got)
		}
	}
	if got, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "dial", "tcp", join(hostIn4, "8080")).CombinedOutput(); err != nil {
		t.Errorf("%s, from another container: %s", when, got)
	}
}

// fromOutside asks the published port from another machine.
func fromOutside(t *testing.T, when string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		for to, want := range map[string]string{join(hostIn4, "8080"): client4, join(hostIn6, "8080"): client6} {
			if got, err := ask("client", network, to); err != nil || got != want {
				t.Errorf("%s, %s from the client to %s: %s", when, network, to, got)
			}
		}
	}
}
