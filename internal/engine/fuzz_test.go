package engine

import (
	"encoding/json"
	"net/netip"
	"path"
	"strings"
	"testing"
)

// The fuzz targets look for panics and for values that the parsers promise never to hand on. A short run:
//
//	go test -run xxx -fuzz FuzzMountFlags -fuzztime 60s ./internal/engine

func FuzzMountFlags(f *testing.F) {
	for _, s := range [][3]string{
		{"/srv/data:/data:ro,z", "type=bind,src=/srv/data,dst=/x,readonly", "/tmp:size=64m,mode=1777"},
		{".:/w", "type=tmpfs,dst=/y,tmpfs-size=1k", "/run"},
		{"/proc:/proc", "type=bind,src=sub,dst=/proc/../proc/self", "/dev/shm:size=50%"},
		{"a:b:c:d", "type=,dst=", ":"},
		{"/srv/file:/etc/hosts", "=", "/x/../../..:exec"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	h, root := rootHost(), ubuntu()
	f.Fuzz(func(t *testing.T, volume, mount, tmpfs string) {
		// Each alone, and together: so that one bad flag does not hide the others.
		for mask := 1; mask < 8; mask++ {
			o := Options{Rootfs: "ubuntu", Command: []string{"id"}}
			if mask&1 != 0 {
				o.Volumes = []string{volume}
			}
			if mask&2 != 0 {
				o.Mounts = []string{mount}
			}
			if mask&4 != 0 {
				o.Tmpfs = []string{tmpfs}
			}
			c, err := Build(&o, h, root)
			if err != nil {
				if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
					t.Errorf("%q", err)
				}
				continue
			}
			checkInvariants(t, c)
			for _, m := range c.Spec.Mounts {
				if !path.IsAbs(m.Destination) || path.Clean(m.Destination) != m.Destination || m.Destination == "/" {
					t.Errorf("destination %q", m.Destination)
				}
				if within(m.Destination, "/proc") && m.Destination != "/proc" && !strings.Contains(strings.Join(procFiles[:], " ")+" ", m.Destination+" ") {
					t.Errorf("mount in /proc: %+v", m)
				}
				for _, opt := range m.Options {
					if opt == "" || strings.ContainsAny(opt, ", \n\x00") {
						t.Errorf("option %q", opt)
					}
				}
			}
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"64m", "1.5g", "0", "-1", "9223372036854775807", "8388607.999999999t", "1kib", "ib"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize("--memory", s)
		if err == nil && (n <= 0 || s[0] < '0' || s[0] > '9') {
			t.Errorf("%q: %d", s, n)
		}
	})
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\n# c\nLANG\nB=\"x\"\r\n"))
	f.Add([]byte("\xef\xbb\xbfA=\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := parseEnvFile(data, lookup)
		if err != nil {
			return
		}
		for _, p := range pairs {
			name, _, ok := strings.Cut(p, "=")
			if !ok || name == "" || strings.ContainsAny(name, " \t\n\x00") || strings.ContainsAny(p, "\n\x00") {
				t.Errorf("%q", p)
			}
		}
	})
}

func FuzzImageConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","config":{"User":"1000:adm","Env":["A=b"],"Entrypoint":["/e"],"WorkingDir":"/w","StopSignal":"INT","Labels":{"a":"b"}}}`))
	f.Add([]byte(`{"config":{"Env":["A"],"Cmd":[""]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		image, err := ParseImageConfig(data)
		if err != nil {
			return
		}
		image.file = "/x.json"
		root := ubuntu()
		root.Image = image
		c, err := Build(&Options{Rootfs: "x"}, rootHost(), root)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("%q", err)
			}
			return
		}
		checkInvariants(t, c)
		// An image chooses what runs inside, never anything of the host.
		if len(c.Spec.Linux.Devices) > 0 || len(c.Spec.Mounts) != 10 || c.Spec.Hooks != nil || len(c.Spec.Annotations) > 0 {
			t.Errorf("%+v", c.Spec)
		}
		if _, err := json.Marshal(c.Spec); err != nil {
			t.Error(err)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("db:10.0.0.5", "9.9.9.9", "example.org", "ndots:2", "web", "nameserver 192.0.2.1\n")
	f.Add("six=[::1]", "fe80::1%eth0", ".", "x", "a.b-c", "search a b\noptions x\n;c\n")
	f.Fuzz(func(t *testing.T, host, dns, search, option, name, resolv string) {
		h := rootHost()
		h.ResolvConf = []byte(resolv)
		o := Options{
			Rootfs: "ubuntu", Command: []string{"id"}, AddHosts: []string{host}, DNS: []string{dns}, DNSSearch: []string{search},
			DNSOptions: []string{option}, Hostname: name,
		}
		c, err := Build(&o, h, ubuntu())
		if err != nil {
			return
		}
		for _, file := range c.Files {
			want := 0
			switch file.Name {
			case "hosts":
				want = strings.Count(hostNames, "\n") + 2
			case "hostname":
				want = 1
			case "resolv.conf":
				for line := range strings.Lines(string(file.Content)) {
					if f := strings.Fields(line); f[0] == "nameserver" {
						if _, err := netip.ParseAddr(f[1]); err != nil || len(f) != 2 {
							t.Errorf("%q", line)
						}
					}
				}
				continue
			}
			if got := strings.Count(string(file.Content), "\n"); got != want {
				t.Errorf("%s has %d lines, not %d: %q", file.Name, got, want, file.Content)
			}
		}
	})
}

func FuzzLimits(f *testing.F) {
	f.Add("nofile=1:2", "net.core.somaxconn=1", "1.5", "0-2,5", "net_admin", "/dev/fuse:/dev/x:rw", "SIGTERM", "pid,mnt")
	f.Add("core=-1", "kernel.sem=1 2 3 4", ".1", ",", "ALL,CAP_", "a:b:c", "RTMIN+99999999999", "user,,")
	f.Fuzz(func(t *testing.T, ulimit, sysctl, cpus, set, capability, device, signal, ns string) {
		base := Options{Rootfs: "ubuntu", Command: []string{"id"}}
		for i := range 8 {
			o := base
			switch i {
			case 0:
				o.Ulimits = []string{ulimit}
			case 1:
				o.Sysctls = []string{sysctl}
			case 2:
				o.CPUs = cpus
			case 3:
				o.CPUSetCPUs = set
			case 4:
				o.CapAdd = []string{capability}
			case 5:
				o.Devices = []string{device}
			case 6:
				o.StopSignal = signal
			case 7:
				o.Namespaces = Optional{ns, true}
			}
			c, err := Build(&o, rootHost(), ubuntu())
			if err != nil {
				if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
					t.Errorf("%q", err)
				}
				continue
			}
			checkInvariants(t, c)
			for k, v := range c.Spec.Linux.Sysctl {
				if sysctlNamespace(k) == 0 || strings.Contains(k, "..") || strings.ContainsAny(v, "\n\x00") {
					t.Errorf("sysctl %q=%q", k, v)
				}
			}
			if c.StopSignal < 1 || c.StopSignal > 64 {
				t.Errorf("signal %d", c.StopSignal)
			}
			if r := c.Spec.Linux.Resources; r != nil && r.CPU != nil && r.CPU.Quota != nil && (*r.CPU.Quota < 1000 || *r.CPU.Quota > 400000) {
				t.Errorf("quota %d", *r.CPU.Quota)
			}
		}
	})
}
