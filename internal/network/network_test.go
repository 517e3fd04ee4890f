package network

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gcr/internal/state"
)

func TestParsePorts(t *testing.T) {
	for in, want := range map[string]string{
		"80":                     "0:80/tcp",
		"80/udp":                 "0:80/udp",
		"8080:80":                "8080:80/tcp",
		"8080:80/SCTP":           "8080:80/sctp",
		"127.0.0.1:8080:80":      "127.0.0.1:8080:80/tcp",
		"127.0.0.1::80":          "127.0.0.1:0:80/tcp",
		":8080:80":               "8080:80/tcp",
		"[::1]:8080:80":          "[::1]:8080:80/tcp",
		"[::1]:80":               "[::1]:0:80/tcp",
		"8000-8002:80-82":        "8000:80/tcp 8001:81/tcp 8002:82/tcp",
		"80-81/udp":              "0:80/udp 0:81/udp",
		"":                       "",
		"0:80":                   "0:80/tcp",
		"127.0.0.1:0:80":         "127.0.0.1:0:80/tcp",
		"80:0":                   "",
		"0-1:80-81":              "",
		"127.0.0.1:80":           "",
		"224.0.0.1:80:80":        "",
		"255.255.255.255:80:80":  "",
		"[ff02::1]:80:80":        "",
		"80:65536":               "",
		"8000-8001:80":           "",
		"81-80":                  "",
		"80/icmp":                "",
		"a:80":                   "",
		"fe80::1:80:80":          "",
		"[fe80::1%eth0]:80:80":   "",
		"[127.0.0.1]:80:80":      "",
		"1.2.3:80:80":            "",
		"1-5000:1-5000":          "",
		"8080:80:":               "",
		"[::1]8080:80":           "",
		"-1:80":                  "",
		"999999999999999999:80":  "",
		"127.0.0.1:80-81:80-82":  "",
		"127.0.0.1:80:80/tcp/ip": "",
	} {
		ports, err := ParsePorts("-p", in)
		var got []string
		for _, p := range ports {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v; want %s", in, s, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "-p")) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "[::1]:1-2:3-4/udp", "1.2.3.4:5:6"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePorts("-p", s)
		if err != nil {
			return
		}
		for _, p := range ports {
			if p.ContainerPort == 0 {
				t.Fatalf("%q: port 0 of the container", s)
			}
			if p.HostPort == 0 {
				continue
			}
			again, err := ParsePorts("-p", p.String())
			if err != nil || len(again) != 1 || again[0].String() != p.String() {
				t.Fatalf("%q gives %s, which gives %v, %v", s, p, again, err)
			}
		}
	})
}

func FuzzNetworkFlag(f *testing.F) {
	for _, s := range []string{"none", "web:ip=10.0.0.5,alias=db", "container:x", "ns:/run/netns/a", "web:mac=02:00:00:00:00:01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRequest(Flags{Networks: []string{s}})
		if err == nil && r.Mode == Bridge && len(r.Attach) != 1 {
			t.Fatalf("%q: %+v", s, r)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: more than a line: %v", s, err)
		}
	})
}

// dirOf makes a living container with a record.
func dirOf(t *testing.T, root, id string) (*state.Dir, owner) {
	t.Helper()
	d, err := state.Create(root, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &Record{ID: id, Dir: d.Path}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	return d, r.owner()
}

func TestLeases(t *testing.T) {
	s := &Store{Config: t.TempDir(), Run: t.TempDir()}
	d := &Definition{Name: "net", Subnet4: netip.MustParsePrefix("10.0.0.0/28")}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "state")
	take := func(o owner, want string) (netip.Addr, error) {
		var a netip.Addr
		if want != "" {
			a = netip.MustParseAddr(want)
		}
		return s.allocate(d, d.Subnet4, d.Gateway4, a, o, func(owner) {})
	}
	// Thirteen containers at once fill the subnet: sixteen addresses without network, gateway and broadcast.
	got := map[netip.Addr]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	dirs := make([]*state.Dir, 13)
	for i := range 13 {
		dir, o := dirOf(t, root, "c"+string(rune('a'+i)))
		dirs[i] = dir
		wg.Go(func() {
			a, err := take(o, "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil || got[a] {
				t.Errorf("%s, %v: taken twice or not at all", a, err)
			}
			got[a] = true
		})
	}
	wg.Wait()
	_, late := dirOf(t, root, "late")
	if a, err := take(late, ""); err == nil || !strings.Contains(err.Error(), "are in use") {
		t.Errorf("a full network gives %s, %v", a, err)
	}
	for addr, why := range map[string]string{"10.0.0.5": "has it", "10.0.0.1": "no free address", "10.0.0.15": "no free address", "10.0.1.1": "no free address"} {
		if _, err := take(late, addr); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	// A container that is dead without having let go.
	if err := dirs[7].Remove(); err != nil {
		t.Fatal(err)
	}
	a, err := take(late, "")
	if err != nil {
		t.Fatal(err)
	}
	if o := s.owners("net")[a]; o != late {
		t.Errorf("%s belongs to %v", a, o)
	}
	removeLease(filepath.Join(s.leases("net"), a.String()), owner{"somebody", "else"})
	if o := s.owners("net")[a]; o != late {
		t.Errorf("somebody else has taken the lease away: %v", o)
	}
}

func TestDefinitionSurvivesItsFile(t *testing.T) {
	d := Definition{Name: "web", Bridge: "gcr1", Subnet4: netip.MustParsePrefix("10.1.0.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64"), MTU: 1400, Isolate: true}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Definition
	if err := json.Unmarshal(b, &back); err != nil || back.Gateway6 != d.Gateway6 || back.String() != d.String() {
		t.Errorf("%s: %+v, %v", b, back, err)
	}
}

func TestFreeSubnets(t *testing.T) {
	have := []taken{{prefix: netip.MustParsePrefix("10.92.0.0/23")}, {prefix: netip.MustParsePrefix("10.92.3.0/24")}}
	p, err := freeSubnet4(24, have)
	if err != nil || p.String() != "10.92.2.0/24" {
		t.Errorf("%s, %v", p, err)
	}
	if p, err = freeSubnet4(24, []taken{{prefix: netip.MustParsePrefix("0.0.0.0/0")}}); err == nil {
		t.Errorf("all is taken, and yet %s", p)
	}
	ula := newULA()
	p, err = freeSubnet6(ula, []taken{{prefix: netip.PrefixFrom(ula.Addr(), 64)}})
	if err != nil || !ula.Overlaps(p) || p.Addr() == ula.Addr() {
		t.Errorf("%s, %v", p, err)
	}
}

func TestReplaceBlockKeepsWhatIsNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if b, _ := os.ReadFile(path); string(b) != want {
			t.Errorf("got %q, want %q", b, want)
		}
	}
	write("127.0.0.1 localhost\nmine")
	if err := replaceBlock(path, "10.0.0.2\tdb\n"); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1 localhost\nmine\n" + hostsBegin + "10.0.0.2\tdb\n" + hostsEnd)
	f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	_, _ = f.WriteString("later\n")
	f.Close()
	if err := replaceBlock(path, ""); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1 localhost\nmine\nlater\n")
}

// TestWordsOfTheTable has nft read what --explain=shell prints.
func TestWordsOfTheTable(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and nft (Debian package nftables)")
	}
	a := &Definition{Name: "a", Bridge: "gcr1", Subnet4: netip.MustParsePrefix("10.1.0.0/24"), Subnet6: netip.MustParsePrefix("fd00:1::/64"), Isolate: true}
	b := &Definition{Name: "b", Bridge: "gcr2", Subnet6: netip.MustParsePrefix("fd00:2::/64"), Internal: true}
	for _, d := range []*Definition{a, b} {
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
	}
	r := &Record{ID: "x", Endpoints: []Endpoint{{Network: "a", Address4: netip.MustParseAddr("10.1.0.2"), Address6: netip.MustParseAddr("fd00:1::2")}}}
	for _, p := range []string{"8080:80", "127.0.0.1:81:81/udp", "[::1]:82:82"} {
		ports, err := ParsePorts("-p", p)
		if err != nil {
			t.Fatal(err)
		}
		r.Ports = append(r.Ports, ports...)
	}
	text := wanted([]*Definition{a, b}, []*Record{r}, true).String()
	c := exec.Command("unshare", "-n", "nft", "-c", "-f", "-")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
}

// TestFirstContainersAgree has several first containers choose the default network at once.
func TestFirstContainersAgree(t *testing.T) {
	s := &Store{Config: t.TempDir(), Run: t.TempDir()}
	var wg sync.WaitGroup
	plans := make([]*Plan, 8)
	for i := range plans {
		wg.Go(func() {
			p, err := s.NewPlan(Caller{}, &Request{})
			if err == nil {
				err = p.settle()
			}
			if err != nil {
				t.Error(err)
				return
			}
			plans[i] = p
		})
	}
	wg.Wait()
	for _, p := range plans {
		if p == nil || p.Defs[0].String() != plans[0].Defs[0].String() {
			t.Fatalf("%v and %v", p, plans[0])
		}
	}
}
