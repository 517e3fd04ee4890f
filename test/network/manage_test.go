package network

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type member struct {
	Name, Address4, Address6 string
	Ports                    []string
}

func members(t *testing.T, network string) []member {
	t.Helper()
	var out []struct{ Containers []member }
	if err := json.Unmarshal([]byte(output(t, "network", "inspect", network)), &out); err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	return out[0].Containers
}

// TestNames finds containers of a user network by name, id and alias, while they live.
func TestNames(t *testing.T) {
	output(t, "network", "create", "names")
	defer output(t, "network", "rm", "names")
	a := start(t, "--network", "names", "--name", "asker", rootfs, "/agent", "wait")
	var pid string
	eventually(t, "the process id to be written", func() bool {
		b, err := os.ReadFile("/run/gcr/asker/pid")
		pid = strings.TrimSpace(string(b))
		return err == nil && pid != ""
	})
	look := func(name string) (string, error) {
		out, err := exec.Command("nsenter", "-t", pid, "-n", "-m", "--root", "/agent", "lookup", name).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	db := start(t, "--network", "names", "--name", "db", "--hostname", "dbhost", "--network-alias", "postgres", rootfs, "/agent", "wait")
	for _, n := range []string{"db", "dbhost", "postgres", "asker"} {
		got, err := look(n)
		if err != nil || len(strings.Fields(got)) != 2 {
			t.Errorf("%s: %s, %v: want an IPv4 and an IPv6 address", n, got, err)
		}
	}
	db.stop()
	if got, err := look("db"); err == nil {
		t.Errorf("db is gone and still found: %s", got)
	}
	db = start(t, "--network", "names", "--name", "db", rootfs, "/agent", "wait")
	db.kill()
	// The next command finds what the killed one has left.
	eventually(t, "db to be forgotten after gcr was killed", func() bool {
		output(t, "run", "--quiet", "--network", "names", rootfs, "/agent", "lookup", "localhost")
		_, err := look("db")
		return err != nil
	})
	a.stop()
	// On the default network strangers do not learn of each other.
	start(t, "--name", "stranger", rootfs, "/agent", "wait")
	if out, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "lookup", "stranger").CombinedOutput(); err == nil {
		t.Errorf("a container of gcr0 is found by name: %s", out)
	}
}

// TestBetweenNetworks has several networks, an isolated and an internal one.
func TestBetweenNetworks(t *testing.T) {
	for _, c := range [][]string{{"open"}, {"other"}, {"--isolate", "alone"}, {"--internal", "inner"}} {
		output(t, append([]string{"network", "create"}, c...)...)
	}
	// Cleanups run last in, first out: after the containers have been stopped.
	t.Cleanup(func() { output(t, "network", "rm", "open", "other", "alone", "inner") })
	background(t, in("server", agent, "serve", "99"))
	for _, n := range []string{"open", "alone", "inner"} {
		start(t, "--network", n, "--name", "web-"+n, rootfs, "/agent", "serve", "80")
	}
	reach := func(from []string, to string, want bool) bool {
		args := []string{"run", "--quiet"}
		for _, f := range from {
			args = append(args, "--network", f)
		}
		how := "dial"
		if !want {
			how = "try"
		}
		return exec.Command(gcr, append(args, rootfs, "/agent", how, "tcp", to)...).Run() == nil
	}
	at := func(n string) member { return members(t, n)[0] }
	for _, c := range []struct {
		from []string
		to   string
		want bool
	}{
		{[]string{"other"}, join(at("open").Address4, "80"), true},
		{[]string{"other"}, join(at("open").Address6, "80"), true},
		{[]string{"other"}, join(at("alone").Address4, "80"), false},
		{[]string{"other"}, join(at("alone").Address6, "80"), false},
		{[]string{"alone"}, join(at("open").Address4, "80"), false},
		{[]string{"alone"}, join(at("alone").Address4, "80"), true},
		{[]string{"alone"}, join(server4, "99"), true},
		{[]string{"other"}, join(at("inner").Address4, "80"), false},
		{[]string{"inner"}, join(at("inner").Address4, "80"), true},
		{[]string{"inner"}, join(server4, "99"), false},
		{[]string{"inner"}, join(server6, "99"), false},
		{[]string{"other", "inner"}, join(at("inner").Address4, "80"), true},
		{[]string{"other", "inner"}, join(server4, "99"), true},
		{[]string{"inner", "other"}, join(server4, "99"), true},
	} {
		if got := reach(c.from, c.to, c.want); got != c.want {
			t.Errorf("from %v to %s: reached %v, want %v", c.from, c.to, got, c.want)
		}
	}
	if got := output(t, "network", "ls"); !strings.Contains(got, "isolate") || !strings.Contains(got, "internal") {
		t.Errorf("network ls:\n%s", got)
	}
	if got := strings.Fields(output(t, "network", "ls", "--format", "{{.Name}}={{len .Containers}}")); !slices.Contains(got, "open=1") || !slices.Contains(got, "other=0") {
		t.Errorf("network ls --format: %q", got)
	}
	var all []struct {
		Name, Subnet4 string
		Internal      bool
		Containers    []member
	}
	if err := json.Unmarshal([]byte(output(t, "network", "ls", "--json")), &all); err != nil {
		t.Error(err)
	}
	inner := 0
	for _, n := range all {
		if n.Internal {
			inner++
		}
		if n.Internal && (n.Name != "inner" || len(n.Containers) != 1 || n.Containers[0].Name != "web-inner" || n.Subnet4 == "") {
			t.Errorf("network ls --json: %+v", n)
		}
	}
	if inner != 1 {
		t.Errorf("network ls --json shows %d internal networks: %+v", inner, all)
	}
	if got := output(t, "network", "inspect", "--format", "{{.Bridge}} {{.Subnet4}}", "open", "inner"); len(strings.Fields(got)) != 4 {
		t.Errorf("network inspect --format: %q", got)
	}
	// One that is in use stays; those that are named after it go.
	output(t, "network", "create", "--driver", "bridge", "last")
	if out, err := exec.Command(gcr, "network", "rm", "-f", "nowhere", "open", "last").CombinedOutput(); err == nil || !strings.Contains(string(out), "web-open") || !strings.HasPrefix(string(out), "last\n") || strings.Contains(string(out), "nowhere") {
		t.Errorf("a network in use was removed: %s", out)
	}
}

// TestAdministrator puts a rule of the administrator first, and has gcr rebuild its table around it.
func TestAdministrator(t *testing.T) {
	start(t, "-p", "8080:80", rootfs, "/agent", "serve", "80")
	must(sh("nft add rule inet gcr admin ip saddr " + client4 + " drop"))
	defer func() { must(sh("nft flush chain inet gcr admin")) }()
	output(t, "network", "create", "another") // changes the shape of the table
	output(t, "run", "--quiet", "--network", "another", rootfs, "/agent", "lookup", "localhost")
	output(t, "network", "rm", "another")
	if got, ok := reaches("client", "tcp", join(hostIn4, "8080")); ok {
		t.Errorf("the administrator's rule does not hold: %s", got)
	}
	if got, err := ask("client", "tcp", join(hostIn6, "8080")); err != nil {
		t.Errorf("IPv6, which no rule forbids: %s", got)
	}
}

// TestFlushedTable survives somebody who flushes all rules, as a restart of nftables.service does.
func TestFlushedTable(t *testing.T) {
	start(t, "-p", "8080:80", rootfs, "/agent", "serve", "80")
	must(sh("nft flush ruleset"))
	output(t, "run", "--quiet", rootfs, "/agent", "lookup", "localhost")
	if got, err := ask("client", "tcp", join(hostIn4, "8080")); err != nil || got != client4 {
		t.Errorf("the port of a running container after the table was made anew: %s, %v", got, err)
	}
}

// TestRandomKills starts and stops 200 containers, 8 at a time, a third of them by killing gcr.
func TestRandomKills(t *testing.T) {
	output(t, "network", "create", "busy")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type job struct {
		n, network int
		kill       bool
		wait       time.Duration
	}
	jobs := make(chan job)
	ids := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for j := range jobs {
				args := []string{"run", "--quiet", "--cidfile", filepath.Join(ids, fmt.Sprint(j.n))}
				if j.network > 0 {
					args = append(args, "--network", "busy")
				}
				if j.n%2 == 0 {
					args = append(args, "-p", fmt.Sprintf("%d:80", 20000+j.n))
				}
				c := exec.Command(gcr, append(args, rootfs, "/agent", "wait")...)
				var stderr strings.Builder
				c.Stderr = &stderr
				if err := c.Start(); err != nil {
					t.Error(err)
					continue
				}
				time.Sleep(j.wait)
				if j.kill {
					_ = c.Process.Kill()
				}
				// Process 1 of a PID namespace does not hear a signal that it has no handler for yet: say it again.
				ended := make(chan struct{})
				go func() { _ = c.Wait(); close(ended) }()
				for waiting := true; waiting; {
					select {
					case <-ended:
						waiting = false
					case <-time.After(50 * time.Millisecond):
						_ = c.Process.Signal(syscall.SIGTERM)
					}
				}
				if s := stderr.String(); s != "" && !j.kill && !strings.Contains(s, "SIGTERM") {
					t.Errorf("container %d: %s", j.n, s)
				}
			}
		})
	}
	for n := range 200 {
		jobs <- job{n, r.IntN(2), r.IntN(3) == 0, time.Duration(r.IntN(120)) * time.Millisecond}
	}
	close(jobs)
	wg.Wait()
	nothingLeft(t)
	begun, err := os.ReadDir(ids)
	must(err)
	for _, n := range begun {
		id, err := os.ReadFile(filepath.Join(ids, n.Name()))
		must(err)
		for _, glob := range []string{"/sys/fs/cgroup/gcr-", "/sys/fs/cgroup/*/gcr-", "/sys/fs/cgroup/*/*/gcr-"} {
			if left, _ := filepath.Glob(glob + string(id)); len(id) > 0 && len(left) > 0 {
				t.Errorf("container %s has left %v", n.Name(), left)
			}
		}
	}
	own, err := os.Readlink("/proc/self/ns/net")
	must(err)
	procs, err := filepath.Glob("/proc/[0-9]*")
	must(err)
	for _, p := range procs {
		if ns, err := os.Readlink(p + "/ns/net"); err == nil && ns != own {
			cmdline, _ := os.ReadFile(p + "/cmdline")
			t.Errorf("a process is left in network namespace %s: %s %q", ns, p, cmdline)
		}
	}
	t.Logf("%d containers got as far as an id", len(begun))
}

// nothingLeft checks that a last command leaves the host as it was before the first.
func nothingLeft(t *testing.T) {
	t.Helper()
	left := ""
	eventually(t, "nothing to be left", func() bool {
		_ = exec.Command(gcr, "network", "prune").Run()
		left = leftovers()
		return left == ""
	})
}

func leftovers() string {
	var left []string
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		if strings.HasPrefix(i.Name, "gv") || strings.HasPrefix(i.Name, "gcr") {
			left = append(left, "interface "+i.Name)
		}
	}
	for _, glob := range []string{"/run/gcr-net/leases/*/*", "/run/gcr/*"} {
		m, _ := filepath.Glob(glob)
		m = slices.DeleteFunc(m, func(s string) bool { return filepath.Base(s)[0] == '.' })
		left = append(left, m...)
	}
	if out, _ := exec.Command("nft", "list", "ruleset").Output(); strings.Contains(string(out), "inet gcr") {
		left = append(left, "table inet gcr")
	}
	return strings.Join(left, ", ")
}

// TestWrongInput has one line for every mistake, and nothing is left by any.
func TestWrongInput(t *testing.T) {
	output(t, "network", "prune")
	l, err := net.Listen("tcp", ":7777")
	must(err)
	defer l.Close()
	must(sh("ip route add 10.99.0.0/16 via 198.51.100.254"))
	defer func() { must(sh("ip route del 10.99.0.0/16")) }()
	run := func(args ...string) []string {
		return append(append([]string{"run", "--quiet"}, args...), rootfs, "/agent", "wait")
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"network", "inspect", "gcr0"}, []string{"the first container makes it"}},
		{run("-p", "7777:80"), []string{"port 7777 of the host is in use", "ss -lnp"}},
		{run("-p", "192.0.2.200:80:80"), []string{"the host has no address 192.0.2.200"}},
		{run("-p", "8080:80", "-p", "8080:81"), []string{"has the same port"}},
		{run("-p", "70000:80"), []string{"not between 1 and 65535"}},
		{run("-p", "8000-8001:80"), []string{"2 ports of the host do not fit 1"}},
		{run("-p", "80/icmp"), []string{"use tcp, udp or sctp"}},
		{run("-p", "::1:80:80"), []string{"too many colons", "brackets"}},
		{run("-p", "127.0.0.1:8080"), []string{"names an address and one port", "127.0.0.1::8080"}},
		{run("-p", "255.255.255.255:80:80"), []string{"no address of one host"}},
		{run("-p", "[ff02::1]:80:80"), []string{"no address of one host"}},
		{run("-P", "--expose", "8080:80"), []string{"--expose", "-p 8080:80"}},
		{run("--expose", "http"), []string{`parse "http" (--expose)`, "not a port"}},
		{run("--network", "gcr0:ip=10.1"), []string{`"10.1" is no value of ip`}},
		{run("--network", "gcr0", "--net", "host"), []string{"--network gcr0 with host"}},
		{run("--network", "container:nobody", "--dns", "192.0.2.53"), []string{"container:nobody", "those of that container"}},
		{run("--network", "container:nobody", "--add-host", "a:192.0.2.53"), []string{"container:nobody", "those of that container"}},
		{run("-p", "80:80", "--network", "none"), []string{"no way to the container"}},
		{run("-p", "80:80", "--network", "host"), []string{"host's ports already"}},
		{run("--network", "nowhere"), []string{"there is no network of that name", "gcr network create nowhere"}},
		{run("--network", "container:nobody"), []string{"no container of that name"}},
		{run("--network", "ns:/run/netns/nowhere"), []string{"no such file"}},
		{run("--network", "ns:here"), []string{"not absolute"}},
		{run("--network", "host", "--network", "none"), []string{"keep one of them"}},
		{run("--network", "pasta"), []string{"for callers without root"}},
		{run("--ip", "10.1.2.3"), []string{"no free address of a host in"}},
		{run("--ip", "fd00::1"), []string{"not an IPv4 address"}},
		{run("--mac-address", "01:00:00:00:00:01"), []string{"multicast"}},
		{run("--network-alias", "db"), []string{"strangers share it"}},
		{[]string{"network", "create", "--subnet", "10.99.1.0/24", "a"}, []string{"overlaps 10.99.0.0/16", "toro"}},
		{[]string{"network", "create", "--subnet", "10.50.0.1/24", "a"}, []string{"you may mean 10.50.0.0/24"}},
		{[]string{"network", "create", "--subnet", "10.50.0.0/31", "a"}, []string{"/30 is the smallest"}},
		{[]string{"network", "create", "--subnet", "127.1.0.0/24", "a"}, []string{"cannot be given to containers"}},
		{[]string{"network", "create", "--subnet", "x", "a"}, []string{"not an address with a prefix length"}},
		{[]string{"network", "create", "--subnet", "10.50.0.0/24", "--gateway", "10.51.0.1", "a"}, []string{"no address of a host in"}},
		{[]string{"network", "create", "--ipv4=false", "--ipv6=false", "a"}, []string{"neither an IPv4 nor an IPv6 subnet"}},
		{[]string{"network", "create", "--ipv4=false", "--subnet", "10.50.0.0/24", "a"}, []string{"--ipv4=false", "is IPv4"}},
		{[]string{"network", "create", "--ipv6=false", "--subnet", "fd00:5::/64", "a"}, []string{"--ipv6=false", "is IPv6"}},
		{[]string{"network", "create", "--mtu", "10", "a"}, []string{"not between 68"}},
		{[]string{"network", "create", "host"}, []string{"has a meaning"}},
		{[]string{"network", "create", "-d", "macvlan", "a"}, []string{"bridges only"}},
		{[]string{"network", "create", "../x"}, []string{"a character that cannot stand there"}},
		{[]string{"network", "rm", "nowhere"}, []string{"there is no network"}},
		{[]string{"network", "inspect", "nowhere"}, []string{"there is no network"}},
		{[]string{"network", "explain", "nobody"}, []string{"no running container"}},
	} {
		out, err := exec.Command(gcr, c.args...).CombinedOutput()
		text := strings.TrimSpace(string(out))
		if err == nil {
			t.Errorf("gcr %s: taken", strings.Join(c.args, " "))
		}
		if strings.Contains(text, "\n") {
			t.Errorf("gcr %s: more than a line:\n%s", strings.Join(c.args, " "), text)
		}
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("gcr %s:\n  %s\n  does not say %q", strings.Join(c.args, " "), text, w)
			}
		}
	}
	nothingLeft(t)
}

// TestLaterOverlap has a route of the host that comes after the network was made: one line tells, and nothing is set up.
func TestLaterOverlap(t *testing.T) {
	output(t, "network", "prune")
	output(t, "network", "create", "--subnet", "10.98.0.0/24", "--subnet", "fd00:98::/64", "late")
	for prefix, via := range map[string]string{"10.98.0.0/16": "198.51.100.254", "fd00:98::/48": "2001:db8:2::fe"} {
		must(sh("ip route add " + prefix + " via " + via))
		out, err := exec.Command(gcr, "run", "--quiet", "--network", "late", rootfs, "/agent", "wait").CombinedOutput()
		must(sh("ip route del " + prefix))
		text := strings.TrimSpace(string(out))
		if err == nil || strings.Contains(text, "\n") || !strings.Contains(text, "overlaps "+prefix) || !strings.Contains(text, "toro") || !strings.Contains(text, "gcr network rm late") {
			t.Errorf("not one clear line: %v: %s", err, text)
		}
		if left := leftovers(); left != "" {
			t.Errorf("left: %s", left)
		}
	}
	output(t, "run", "--quiet", "--network", "late", rootfs, "/agent", "lookup", "localhost")
	nothingLeft(t)
}

// TestPublishAll publishes what the configuration beside a root filesystem names, as that of an image does.
func TestPublishAll(t *testing.T) {
	dir := t.TempDir()
	must(os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755))
	must(exec.Command("cp", "-a", rootfs, filepath.Join(dir, "rootfs", "shop")).Run())
	must(os.WriteFile(filepath.Join(dir, "rootfs", "shop.json"), []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
		"config":{"Entrypoint":["/agent"],"Cmd":["serve","80"],"ExposedPorts":{"80/tcp":{},"80/udp":{},"81":{}}}}`), 0o644))
	p := &proc{t: t, cmd: exec.Command(gcr, "run", "--quiet", "--name", "shop", "-P", "shop")}
	p.cmd.Dir = dir
	p.begin()
	published := map[string]string{}
	for _, m := range members(t, "gcr0") {
		for _, port := range m.Ports {
			// 32768:80/tcp
			host, inside, _ := strings.Cut(port, ":")
			published[inside] = host
		}
	}
	if len(published) != 3 || published["81/tcp"] == "" {
		t.Fatalf("published: %v", published)
	}
	for _, to := range []string{hostIn4, hostIn6} {
		for _, network := range []string{"tcp", "udp"} {
			if got, err := ask("client", network, join(to, published["80/"+network])); err != nil {
				t.Errorf("from the client to %s, %s: %s", to, network, got)
			}
		}
	}
}

// TestResolvers has systemd-resolved's files on the host: containers get the servers that it asks itself, since it
// listens on the host's loopback only.
func TestResolvers(t *testing.T) {
	stub := filepath.Join(t.TempDir(), "stub")
	must(os.WriteFile(stub, []byte("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n"), 0o644))
	must(os.MkdirAll("/run/systemd/resolve", 0o755)) // on the test's own /run
	upstream := "/run/systemd/resolve/resolv.conf"
	must(os.WriteFile(upstream, []byte("# upstreams\nnameserver 203.0.113.53\nnameserver 2001:db8:3::53\nsearch lan\n"), 0o644))
	defer os.Remove(upstream)
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	must(err)
	must(unix.Mount(stub, target, "", unix.MS_BIND, ""))
	defer func() { must(unix.Unmount(target, 0)) }()
	read := func(args ...string) string {
		return output(t, slices.Concat([]string{"run", "--quiet"}, args, []string{"host", "cat", "/etc/resolv.conf"})...)
	}
	if got, want := read(), "nameserver 203.0.113.53\nnameserver 2001:db8:3::53\nsearch lan"; got != want {
		t.Errorf("/etc/resolv.conf:\n%s\nwant\n%s", got, want)
	}
	if got, want := read("--dns", "192.0.2.53", "--dns-search", "example.org"), "search example.org\nnameserver 192.0.2.53"; got != want {
		t.Errorf("/etc/resolv.conf with --dns:\n%s\nwant\n%s", got, want)
	}
	if got := read("--network", "host"); !strings.Contains(got, "127.0.0.53") {
		t.Errorf("/etc/resolv.conf on the host's network:\n%s", got)
	}
}

// TestScriptOfExplain runs what --explain=shell prints: the learner's container reaches the world as gcr's does, and is
// reached by its published port. The script leaves nothing, whether its command ends well or not.
func TestScriptOfExplain(t *testing.T) {
	background(t, in("server", agent, "serve", "99"))
	script := func(args ...string) (*exec.Cmd, string) {
		text := output(t, append([]string{"run", "--explain=shell", "-p", "8085:80", "-p", "8085:80/udp", "--network", "gcr0", "--security-opt", "seccomp=unconfined"}, args...)...)
		c := exec.Command("bash")
		c.Stdin = strings.NewReader(text)
		return c, text
	}
	left := func(text string) {
		t.Helper()
		if out, err := exec.Command("nft", "list", "table", "inet", "gcr").CombinedOutput(); err != nil || strings.Contains(string(out), "8085") {
			t.Errorf("the script has left its published port: %v\n%s", err, out)
		}
		if out, _ := exec.Command("ip", "netns", "list").Output(); strings.Contains(string(out), "gcr-shell") {
			t.Errorf("the script has left its network namespace: %s", out)
		}
		if dirs, _ := filepath.Glob("/run/gcr/[^.]*"); len(dirs) > 0 {
			t.Errorf("the script has left state directories: %v", dirs)
		}
		id := regexp.MustCompile("/gcr-[0-9a-f]{64}").FindString(text)
		for _, glob := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			if dirs, _ := filepath.Glob(glob + id); id == "" || len(dirs) > 0 {
				t.Errorf("the script has left cgroups: %q, %v", id, dirs)
			}
		}
	}
	for _, to := range []struct{ server, want string }{{server4, hostOut4}, {server6, hostOut6}} {
		c, text := script("host", "timeout", "20", "bash", "-c", "exec 3<>/dev/tcp/"+to.server+"/99; echo >&3; read -r a <&3; echo $a; exit 7")
		out, err := c.CombinedOutput()
		if c.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), to.want) {
			t.Errorf("%v: %s\n%s", err, out, text)
		}
		left(text)
	}
	c, text := script("-v", filepath.Dir(agent)+":/mnt:ro", "host", "/mnt/agent", "serve", "80")
	p := background(t, c)
	for to, want := range map[string]string{hostIn4: client4, hostIn6: client6} {
		for _, network := range []string{"tcp", "udp"} {
			if got, err := ask("client", network, join(to, "8085")); err != nil || got != want {
				t.Errorf("%s from the client to %s: %s, %v", network, to, got, err)
			}
		}
	}
	must(sh("kill -9 $(ip netns pids gcr-shell)"))
	p.once.Do(func() { _ = p.cmd.Wait() })
	left(text)
}

// TestBesideDroppingTables has a FORWARD chain that drops what nobody makes an exception for, as those of Docker
// and ufw do.
func TestBesideDroppingTables(t *testing.T) {
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		t.Skip("iptables-nft is not installed (Debian package iptables)")
	}
	for name, script := range map[string]string{
		"ufw":    "for i in iptables-nft ip6tables-nft; do $i -P FORWARD DROP; done",
		"docker": "for i in iptables-nft ip6tables-nft; do $i -P FORWARD DROP; $i -N DOCKER-USER; $i -A FORWARD -j DOCKER-USER; $i -A DOCKER-USER -j RETURN; done",
	} {
		t.Run(name, func(t *testing.T) {
			must(sh(script))
			defer func() { must(sh("nft flush ruleset")) }()
			background(t, in("server", agent, "serve", "99"))
			for _, to := range []string{server4, server6} {
				output(t, "run", "--quiet", rootfs, "/agent", "dial", "tcp", join(to, "99"))
			}
			start(t, "-p", "8080:80", rootfs, "/agent", "serve", "80")
			for _, to := range []string{hostIn4, hostIn6} {
				if got, err := ask("client", "tcp", join(to, "8080")); err != nil {
					t.Errorf("from the client to %s: %s", to, got)
				}
			}
			must(sh("iptables-nft -S >/dev/null && ip6tables-nft -S >/dev/null && iptables-nft -C " + map[string]string{"ufw": "FORWARD", "docker": "DOCKER-USER"}[name] + " -i gcr0 -j ACCEPT"))
		})
	}
	output(t, "network", "prune")
	if out, _ := exec.Command("iptables-nft", "-S").Output(); strings.Contains(string(out), "gcr0") {
		t.Errorf("exceptions are left: %s", out)
	}
}
