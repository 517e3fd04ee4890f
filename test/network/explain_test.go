package network

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// picture is what gcr network explain --json writes.
type picture struct {
	Container, Network, Mode, About string
	Ways                            []struct {
		Title  string
		Places []struct {
			Name     string
			Stations []struct {
				Name, Counted string
				Addresses     []string
				Count         *count
				Ports         []string
				Rules         []struct {
					Verdict, About string
					Count          *count
				}
			}
		}
	}
	Notes []string
}

type count struct{ Packets, Bytes int }

func pictures(t *testing.T, args ...string) []picture {
	t.Helper()
	var out []picture
	if err := json.Unmarshal([]byte(output(t, append([]string{"network", "explain", "--json"}, args...)...)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// route is the names of the stations of the way whose title begins so.
func (p picture) route(title string) string {
	for _, w := range p.Ways {
		if strings.HasPrefix(w.Title, title) {
			var s []string
			for _, place := range w.Places {
				s = append(s, "["+place.Name+"]")
				for _, st := range place.Stations {
					s = append(s, st.Name)
				}
			}
			return strings.Join(s, " ")
		}
	}
	return ""
}

// rule is what the rule that is about something has counted.
func (p picture) rule(t *testing.T, title, about string) count {
	t.Helper()
	for _, w := range p.Ways {
		for _, place := range w.Places {
			for _, st := range place.Stations {
				for _, r := range st.Rules {
					if strings.HasPrefix(w.Title, title) && strings.HasPrefix(r.About, about) && r.Count != nil {
						return *r.Count
					}
				}
			}
		}
	}
	t.Errorf("no rule about %q with a count in %q", about, title)
	return count{}
}

// counted asks nft(8) for the same.
func counted(t *testing.T, chain, comment string) count {
	t.Helper()
	out, err := exec.Command("nft", "list", "chain", "inet", "gcr", chain).Output()
	must(err)
	m := regexp.MustCompile(`packets (\d+) bytes (\d+) .*comment "` + regexp.QuoteMeta(comment) + `"`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("nft shows no such rule: %q\n%s", comment, out)
	}
	packets, _ := strconv.Atoi(m[1])
	bytes, _ := strconv.Atoi(m[2])
	return count{packets, bytes}
}

// TestExplainBridge draws a container with a published port, and counts what then passes.
func TestExplainBridge(t *testing.T) {
	output(t, "network", "create", "--internal", "inner")
	t.Cleanup(func() { output(t, "network", "rm", "inner") })
	start(t, "--name", "web", "-p", "8080:80", "-p", "8443:443", "--network", "gcr0", "--network", "inner", rootfs, "/agent", "serve", "80")
	start(t, "--name", "db", "--network", "inner", "--network-alias", "postgres", rootfs, "/agent", "wait")
	before := pictures(t, "web")[0]
	for _, to := range []string{hostIn4, hostIn6} {
		if got, err := ask("client", "tcp", join(to, "8080")); err != nil {
			t.Fatal(got)
		}
	}
	if got, err := ask("", "tcp", "127.0.0.1:8080"); err != nil {
		t.Fatal(got)
	}
	background(t, in("server", agent, "serve", "99"))
	if out, err := exec.Command("nsenter", "--net=/proc/"+pidOf(t, "web")+"/ns/net", agent, "dial", "tcp", join(server4, "99")).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	after := pictures(t, "web")[0]
	if after.Container != "web" || after.Mode != "bridge" {
		t.Errorf("container %q, mode %q", after.Container, after.Mode)
	}
	m := members(t, "gcr0")[0]
	link := linkOf(t, "web", 0)
	for title, want := range map[string]string{
		"OUT":                  "[container web] the command eth0 [host] " + link + " bridge gcr0 chain guard routing chain forward chain leaving toro",
		"IN":                   "[host] any interface chain incoming chain publish routing chain forward chain leaving bridge gcr0 " + link + " [container web] eth0 ports of the container",
		"FROM THE HOST":        "[host] a program of the host chain outgoing chain publish chain leaving bridge gcr0 " + link + " [container web] eth0 ports of the container",
		"WITHIN network inner": "[container web] eth1 [host] " + linkOf(t, "web", 1) + " bridge gcr1 [other containers] db",
	} {
		got := strings.Replace(after.route(title), "bridge gcr1 chain forward ", "bridge gcr1 ", 1) // with br_netfilter
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", title, got, want)
		}
	}
	for _, c := range []struct {
		title, chain, about string
		more                int
	}{
		{"IN", "incoming", "new connections to the host", 2},
		{"IN", "forward", "published ports", 2},
		{"OUT", "forward", "from gcr0", 1},
		{"OUT", "leaving", "gcr0 to the world: as the host, IPv4", 1},
		{"FROM THE HOST", "leaving", "the host by 127.0.0.1 to gcr0", 1},
	} {
		a, b := before.rule(t, c.title, c.about), after.rule(t, c.title, c.about)
		if b.Packets < a.Packets+c.more || b.Bytes <= a.Bytes {
			t.Errorf("%s, %s: %v before and %v after", c.chain, c.about, a, b)
		}
		if nft := counted(t, c.chain, c.about); nft.Packets < b.Packets {
			t.Errorf("%s, %s: %v, nft says %v", c.chain, c.about, b, nft)
		}
	}
	text := output(t, "network", "explain", "web")
	for _, w := range []string{
		m.Address4, m.Address6, "| bridge gcr0", "tcp . 8080 -> " + m.Address4 + " . 80",
		"80/tcp  a process has it open", "443/tcp  nobody has it open", "veth pair: what goes in at one end", "(there are none)",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "|  ", "| "), w) {
			t.Errorf("the drawing does not show %q:\n%s", w, text)
		}
	}
	frames(t, text)
	if strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }) {
		t.Errorf("the drawing has more than plain characters where it is piped:\n%q", text)
	}
	// On a terminal, with colours; the same when these are taken away.
	shown, err := exec.Command("script", "-qec", "TERM=xterm NO_COLOR= "+gcr+" network explain web", "/dev/null").Output()
	must(err)
	bare := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(strings.ReplaceAll(string(shown), "\r", ""), "")
	if !strings.Contains(string(shown), "\x1b[1mweb\x1b[0m") {
		t.Errorf("no colours on a terminal: %q", shown)
	}
	frames(t, strings.TrimSpace(bare))
	// What somebody else has taken away is told.
	must(sh("nft flush map inet gcr any4-gcr0"))
	if text := output(t, "network", "explain", "web"); !strings.Contains(text, "is not in the map any4-gcr0") {
		t.Errorf("a port that no longer leads to the container:\n%s", text)
	}
	must(sh("nft add rule inet gcr admin ip saddr 192.0.2.99 counter drop"))
	if text := output(t, "network", "explain", "web"); !strings.Contains(text, "(1: nft list chain inet gcr admin)") {
		t.Errorf("the administrator's rules are not counted:\n%s", text)
	}
	must(sh("nft flush chain inet gcr admin"))
	all := pictures(t)
	if !slices.ContainsFunc(all, func(p picture) bool {
		return p.Network == "gcr0" && strings.Contains(p.route("Network"), "[containers] web [host] bridge gcr0 chain guard")
	}) {
		t.Errorf("without a name the network is not drawn: %+v", all)
	}
}

// frames checks that the borders of each place are closed: its lines are of one width.
func frames(t *testing.T, text string) {
	t.Helper()
	width := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "  +"):
			if width == 0 {
				width = len(line)
			} else if width != len(line) {
				t.Errorf("a border is broken: %q", line)
			}
		case strings.HasPrefix(line, "  |"):
			if len(line) != width || !strings.HasSuffix(line, "|") {
				t.Errorf("a line does not end at the border: %q\n%s", line, text)
				return
			}
		default:
			if !strings.Contains(line, "   |   ") {
				width = 0
			}
		}
	}
}

// linkOf is the host's end of a container's veth pair.
func linkOf(t *testing.T, name string, n int) string {
	t.Helper()
	return record(t, "/run/gcr/"+name).Endpoints[n].HostLink
}

// TestExplainOthers draws containers that are on no bridge.
func TestExplainOthers(t *testing.T) {
	start(t, "--name", "web", "-p", "8080:80", rootfs, "/agent", "serve", "80")
	start(t, "--name", "alone", "--network", "none", rootfs, "/agent", "wait")
	start(t, "--name", "bare", "--network", "host", rootfs, "/agent", "wait")
	start(t, "--name", "guest", "--network", "container:web", rootfs, "/agent", "wait")
	start(t, "--name", "elsewhere", "--network", "ns:/run/netns/client", rootfs, "/agent", "wait")
	for name, want := range map[string][]string{
		"alone":     {"none", "no network but loopback", "NO WAY", "[container alone] the command lo"},
		"bare":      {"host", "host's network", "OUT and IN", "[host, and container bare on its network] the command routing and rules toro"},
		"guest":     {"container", "container web, on network gcr0", "OUT", "[container web] the command eth0 [host] " + linkOf(t, "web", 0) + " bridge gcr0 chain guard routing chain forward chain leaving toro"},
		"elsewhere": {"ns", "gcr has not made", "OUT and IN", "[container elsewhere] the command e1"},
	} {
		eventually(t, name+" to be known", func() bool { return exec.Command(gcr, "network", "explain", name).Run() == nil })
		p := pictures(t, name)[0]
		if p.Container != name || p.Mode != want[0] || !strings.Contains(p.About, want[1]) || p.route(want[2]) != want[3] {
			t.Errorf("%s: mode %s, %s, way %q", name, p.Mode, p.About, p.route(want[2]))
		}
		frames(t, output(t, "network", "explain", name))
	}
	var on []string
	for _, p := range pictures(t) {
		on = append(on, p.Container+p.Network)
	}
	slices.Sort(on)
	if got := fmt.Sprint(on); got != "[alone bare elsewhere gcr0 guest]" {
		t.Errorf("without a name: %s", got)
	}
}

// TestExplainPasta draws a container of an ordinary user, for that user.
func TestExplainPasta(t *testing.T) {
	needs(t, "pasta", "passt")
	background(t, asUser(t, "--name", "shop", "-p", "8090:8000", userRoot(t), "/agent", "serve", "8000"))
	explain := func(args ...string) string {
		out, err := exec.Command("setpriv", append(append(user(t), gcr, "network", "explain"), args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if got, err := ask("client", "tcp", join(hostIn4, "8090")); err != nil {
		t.Fatal(got)
	}
	var pics []picture
	if err := json.Unmarshal([]byte(explain("--json", "shop")), &pics); err != nil || len(pics) != 1 {
		t.Fatal(err, pics)
	}
	p := pics[0]
	if want := "[container shop] the command toro [host] pasta the host's sockets, routing and rules toro"; p.Mode != "pasta" || p.route("OUT") != want {
		t.Errorf("mode %s, %q", p.Mode, p.route("OUT"))
	}
	if want := "[host] ports of the host pasta [container shop] toro ports of the container"; p.route("IN") != want {
		t.Errorf("%q", p.route("IN"))
	}
	in := p.Ways[1].Places[1].Stations[0]
	if in.Count == nil || in.Count.Packets == 0 || !slices.Contains(in.Addresses, hostOut4) || !slices.Contains(in.Addresses, hostOut6) {
		t.Errorf("the interface of the container: %+v", in)
	}
	text := explain()
	frames(t, text)
	for _, want := range []string{"8090/tcp  of every address", "8000/tcp  a process has it open", "the source stays the client's"} {
		if !strings.Contains(text, want) {
			t.Errorf("the drawing does not show %q:\n%s", want, text)
		}
	}
}

// TestExplainOfRun has --explain tell the steps of the network, and looks whether a container then has what it told.
func TestExplainOfRun(t *testing.T) {
	args := []string{"--network", "gcr0", "--mac-address", "02:00:00:00:00:77", "-p", "8086:80", "host"}
	output(t, append(append([]string{"run"}, args...), "true")...) // the first container makes the network
	told := output(t, append(append([]string{"run", "--explain"}, args...), "true")...)
	has := output(t, append(append([]string{"run"}, args...), "sh", "-c", "ip -o link; ip -o addr; ip route; ip -6 route")...)
	found := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(has)
		if m == nil {
			t.Fatalf("the container has nothing like %s:\n%s", pattern, has)
		}
		return m[1]
	}
	four, six := found(`inet (10[0-9.]+)/`), found(`inet6 (fd[0-9a-f:]+)/`)
	for _, want := range []string{
		"connect the container with network gcr0",
		"address " + found(`link/ether (\S+)`),
		"eth0 up, addresses " + four + ", " + six,
		"default routes via " + found(`default via (10\S+)`) + ", " + found(`default via (fd\S+)`),
		"element of map any4-gcr0: tcp . 8086 : " + four + " . 80",
		"element of map any6-gcr0: tcp . 8086 : " + six + " . 80",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("--explain does not tell %q:\n%s", want, told)
		}
	}
}
