package engine

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"gcr/internal/account"
	"gcr/internal/hostfacts"
	"gcr/internal/rootfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fakeFiles is a root directory made of text; a name ending in "*" is executable.
type fakeFiles map[string]string

func (f fakeFiles) ReadFile(path string, max int64) ([]byte, error) {
	if data, ok := f[path]; ok {
		return []byte(data), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (f fakeFiles) Stat(path string) (rootfile.Info, error) {
	if _, ok := f[path+"*"]; ok {
		return rootfile.Info{Kind: rootfile.Regular, Executable: true}, nil
	}
	if _, ok := f[path]; ok {
		return rootfile.Info{Kind: rootfile.Regular}, nil
	}
	return rootfile.Info{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func bounding(set uint64) func(int) bool { return func(n int) bool { return set>>n&1 != 0 } }

func ownRange(count uint32) func() (uids, gids []account.Range) {
	r := []account.Range{{Start: 0, Count: count}}
	return func() (uids, gids []account.Range) { return r, r }
}

// rootHost is a machine on which root runs gcr.
func rootHost() *Host {
	host := map[string]hostfacts.File{
		"/srv/data": {Type: 'd'}, "/srv/file": {Type: 'f'}, "/home/me/src": {Type: 'd'}, "/home/me/src/sub": {Type: 'd'},
		"/proc": {Type: 'd'}, "/sys": {Type: 'd'}, "/dev/shm": {Type: 'd'}, "/dev/mqueue": {Type: 'd'}, "/home/me/src/profile.json": {Type: 'f'},
	}
	devices := []hostfacts.Device{
		{Path: "/dev/fuse", File: hostfacts.File{Type: 'c', Major: 10, Minor: 229, Mode: 0o666}},
		{Path: "/dev/null", File: hostfacts.File{Type: 'c', Major: 1, Minor: 3, Mode: 0o666}},
		{Path: "/dev/sda", File: hostfacts.File{Type: 'b', Major: 8, Minor: 0, Mode: 0o660, GID: 6}},
		{Path: "/dev/snd/controlC0", File: hostfacts.File{Type: 'c', Major: 116, Minor: 2, Mode: 0o660, GID: 29}},
		{Path: "/dev/snd/pcmC0D0p", File: hostfacts.File{Type: 'c', Major: 116, Minor: 3, Mode: 0o660, GID: 29}},
	}
	env := map[string]string{"LANG": "C.UTF-8", "EMPTY": ""}
	h := &Host{
		Username: "root", Effective: allCapabilities, InBounding: bounding(allCapabilities),
		Cwd: "/home/me/src",
		LookupEnv: func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		},
		Rlimit: func(resource int) (uint64, uint64, error) {
			if resource == hostfacts.RlimitStack {
				return 8 << 20, hostfacts.Unlimited, nil
			}
			return 1024, 4096, nil
		},
		OwnIDs:   ownRange(4294967295),
		AppArmor: func() string { return "attr/apparmor/exec" }, SELinux: func() string { return "system_u:system_r:init_t:s0" },
		Hostname: "laptop", Release: "6.8.0", CPUs: 4,
		ResolvConf:     []byte("# by NetworkManager\ndomain example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\noptions edns0 trust-ad\n"),
		Files:          fakeFiles{"/etc/passwd": "root:x:0:0::/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/zsh\n", "/bin/bash*": "", "/bin/sh*": ""},
		CgroupWritable: true, SwapLimit: true,
	}
	h.Stat = func(path string) (hostfacts.File, error) {
		if f, ok := host[path]; ok {
			return f, nil
		}
		return hostfacts.File{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	h.Devices = func(path string) ([]hostfacts.Device, error) {
		var out []hostfacts.Device
		for _, d := range devices {
			if within(d.Path, path) {
				out = append(out, d)
			}
		}
		if f, ok := host[path]; ok && f.Type != 'd' {
			return []hostfacts.Device{{Path: path, File: f}}, nil
		}
		if _, ok := host[path]; len(out) == 0 && !ok {
			return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
		}
		return out, nil
	}
	h.ReadFile = func(path string, _ int64) ([]byte, error) {
		switch path {
		case "/etc/hosts":
			return []byte("127.0.0.1 localhost\n127.0.1.1 laptop"), nil
		case "/home/me/src/env.list":
			return []byte("# settings\nFROM_FILE=a b\nLANG\nNOT_SET_ANYWHERE\nBOTH=file\n"), nil
		case "/home/me/src/bad.list":
			return []byte("GOOD=1\nexport BAD=2\n"), nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for i := range h.Random {
		h.Random[i] = byte(i * 7)
	}
	return h
}

// userHost is the same machine for an ordinary user with subordinate ids.
func userHost() *Host {
	h := rootHost()
	h.UID, h.GID, h.Username = 1000, 1000, "me"
	h.Effective = 0
	h.SubUIDs = []account.Range{{Start: 100000, Count: 65536}}
	h.SubGIDs = []account.Range{{Start: 100000, Count: 65536}}
	h.HasNewIDMap = true
	h.CgroupWritable, h.CgroupReason = false, "no cgroup is delegated to you"
	return h
}

func onTerminal(h *Host) *Host {
	h.StdinTerminal, h.StdoutTerminal, h.Rows, h.Columns = true, true, 40, 120
	return h
}

// ubuntu is a root filesystem without an image configuration.
func ubuntu() *RootFS {
	return &RootFS{
		Name: "ubuntu", Kind: RootDirectory, Path: "/srv/rootfs/ubuntu",
		Files: fakeFiles{
			"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nalice:x:1000:1000::/home/alice:/bin/bash\nfar:x:200000:200000::/far:/bin/sh\n",
			"/etc/group":  "root:x:0:\ntty:x:5:\nadm:x:4:alice\nwww-data:x:33:\nalice:x:1000:\nfar:x:300000:alice\n",
			"/bin/bash*":  "", "/bin/sh*": "",
		},
	}
}

// redis is one with an image configuration.
func redis() *RootFS {
	r := ubuntu()
	r.Name, r.Path = "redis", "/srv/rootfs/redis"
	r.Image = &ImageConfig{
		User: "www-data", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "REDIS_VERSION=7.2"},
		Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"redis-server"}, WorkingDir: "/data",
		StopSignal: "SIGINT", Labels: map[string]string{"maintainer": "someone", "a": "image"},
		file: "/srv/rootfs/redis.json",
	}
	return r
}

func hostRootfs() *RootFS {
	r := ubuntu()
	r.Name, r.Kind, r.Path = "host", RootHost, "/"
	return r
}

// build parses a command line, words separated by blanks ("_" stands for a blank inside a word when it
// follows a backslash), and builds it.
func build(t *testing.T, line string, h *Host, root *RootFS) (*Config, error) {
	t.Helper()
	var words []string
	for w := range strings.FieldsSeq(line) {
		words = append(words, strings.ReplaceAll(w, `\_`, " "))
	}
	return buildWords(words, h, root)
}

func buildWords(words []string, h *Host, root *RootFS) (*Config, error) {
	var o Options
	fl := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.Register(fl)
	if err := fl.Parse(words); err != nil {
		return nil, err
	}
	if err := o.SetArgs(fl.Args()); err != nil {
		return nil, err
	}
	return Build(&o, h, root)
}

var goldenCases = []struct {
	name string
	line string
	host *Host
	root *RootFS
}{
	{"root-default", "ubuntu bash", rootHost(), ubuntu()},
	{"root-terminal", "ubuntu bash", onTerminal(rootHost()), ubuntu()},
	{"root-no-command", "ubuntu", rootHost(), ubuntu()},
	{"root-host-rootfs", "host sh -c id", rootHost(), hostRootfs()},
	{"root-ephemeral", "--ephemeral --read-only ubuntu id", rootHost(), ubuntu()},
	{"user-default", "ubuntu bash", userHost(), ubuntu()},
	{"user-terminal-it", "-it ubuntu bash -l", onTerminal(userHost()), ubuntu()},
	{"user-single-id", "ubuntu bash", func() *Host { h := userHost(); h.HasNewIDMap = false; return h }(), ubuntu()},
	{"user-no-subids", "ubuntu bash", func() *Host { h := userHost(); h.SubGIDs = nil; return h }(), ubuntu()},
	{"user-two-ranges", "-u alice ubuntu id", func() *Host {
		h := userHost()
		h.SubUIDs = []account.Range{{Start: 100000, Count: 500}, {Start: 1000, Count: 1}, {Start: 200000, Count: 65536}}
		return h
	}(), ubuntu()},
	{"user-host-network", "--network host ubuntu id", userHost(), ubuntu()},
	{"user-host-pid-ipc-uts", "--pid host --ipc=host --uts host --cgroupns host ubuntu ps", userHost(), ubuntu()},
	{"user-privileged", "--privileged ubuntu id", userHost(), ubuntu()},
	{"user-new-privileges", "--security-opt no-new-privileges=false ubuntu sudo id", userHost(), ubuntu()},
	{"nested-root", "ubuntu id", func() *Host {
		h := rootHost()
		h.InBounding, h.Effective = bounding(defaultCapabilities), defaultCapabilities
		h.OwnIDs = ownRange(65536)
		h.CgroupWritable, h.CgroupReason = false, "read-only"
		return h
	}(), ubuntu()},
	{"root-userns", "--userns private ubuntu id", rootHost(), ubuntu()},
	{"root-limited-bounding", "ubuntu id", func() *Host {
		h := rootHost()
		h.InBounding = bounding(allCapabilities &^ (1<<capSysAdmin | 1 | 1<<27))
		return h
	}(), ubuntu()},
	{"ns-none", "--ns= ubuntu bash", rootHost(), ubuntu()},
	{"ns-pid", "--ns pid ubuntu", rootHost(), ubuntu()},
	{"ns-pid-user", "--ns pid ubuntu sh", userHost(), ubuntu()},
	{"ns-pid-mnt", "--ns pid,mnt ubuntu bash", rootHost(), ubuntu()},
	{"ns-pid-mnt-uts", "--ns pid,mnt,uts --hostname box ubuntu bash", rootHost(), ubuntu()},
	{"ns-mnt-net-user", "--ns mnt,net ubuntu bash", userHost(), ubuntu()},
	{"ns-all", "--ns pid,mnt,user,uts,ipc,net,cgroup,time ubuntu bash", rootHost(), ubuntu()},
	{"without-uts-ipc", "--without=uts,ipc ubuntu bash", rootHost(), ubuntu()},
	{"without-mnt", "--without mnt -w /tmp host bash", rootHost(), hostRootfs()},
	{"image-defaults", "redis", rootHost(), redis()},
	{"image-command", "redis bash -c ls", rootHost(), redis()},
	{"image-overrides", "-u 0 -w / --entrypoint /bin/sh -e REDIS_VERSION=8 --stop-signal QUIT --label a=mine redis -c env", rootHost(), redis()},
	{"image-entrypoint-cleared", "--entrypoint= redis id", rootHost(), redis()},
	{"user-by-name", "-u alice ubuntu id", rootHost(), ubuntu()},
	{"user-by-id-and-group", "-u 1000:adm --group-add tty --group-add 77 ubuntu id", rootHost(), ubuntu()},
	{"user-unknown-id", "-u 4294967294 --umask 077 ubuntu id", rootHost(), ubuntu()},
	{"env", "-e A=1 -e LANG -e NOT_SET_ANYWHERE -e EMPTY -e A=2 -e TERM=vt100 -e BOTH=flag --env-file env.list -e HOME=/h ubuntu env", onTerminal(rootHost()), ubuntu()},
	{"volumes", "-v /srv/data:/data -v ./sub:/data/sub:ro,z -v /srv/file:/etc/app.conf:ro,bind,Z -v .:/w:rslave,nosuid,nodev,noexec ubuntu id", rootHost(), ubuntu()},
	{"mounts", "--mount type=bind,src=sub,dst=/a,readonly --mount type=bind,source=/srv/data,target=/b,bind-propagation=rshared,bind-nonrecursive,noexec --mount type=tmpfs,destination=/c,tmpfs-size=10m,tmpfs-mode=700 ubuntu id", rootHost(), ubuntu()},
	{"tmpfs", "--tmpfs /run --tmpfs /tmp:size=64m,mode=1777,exec --tmpfs /half:size=50%,ro,uid=5 ubuntu id", rootHost(), ubuntu()},
	{"mount-replaces-defaults", "-v /srv/data:/dev -v /srv/data:/etc -v /proc:/proc ubuntu id", rootHost(), ubuntu()},
	{"mount-replaces-hosts", "-v /srv/file:/etc/hosts:ro --tmpfs /dev/shm:size=1g ubuntu id", rootHost(), ubuntu()},
	{"names", "--hostname web.example.org --name web-1 --add-host db:10.0.0.5 --add-host six=[2001:db8::5] --dns 9.9.9.9 --dns-search example.net --dns-option ndots:2 ubuntu id", rootHost(), ubuntu()},
	{"no-hosts", "--no-hosts --dns-search . ubuntu id", rootHost(), ubuntu()},
	{"host-network-names", "--network=host --add-host db:10.0.0.5 ubuntu id", rootHost(), ubuntu()},
	{"caps", "--cap-add net_admin,CAP_SYS_PTRACE --cap-drop mknod --cap-drop CAP_NET_RAW ubuntu id", rootHost(), ubuntu()},
	{"caps-drop-all", "--cap-drop ALL --cap-add chown ubuntu id", rootHost(), ubuntu()},
	{"caps-add-all-user", "-u alice --cap-add all --cap-drop SYS_ADMIN ubuntu id", rootHost(), ubuntu()},
	{"privileged", "--privileged ubuntu id", rootHost(), ubuntu()},
	{"security", "--security-opt no-new-privileges --security-opt seccomp=profile.json --security-opt apparmor=mine --security-opt label=type:svirt_t --security-opt label=level:s0:c1,c2 ubuntu id", rootHost(), ubuntu()},
	{"systempaths", "--security-opt systempaths=unconfined --security-opt seccomp=unconfined ubuntu id", rootHost(), ubuntu()},
	{"thermal", "ubuntu id", func() *Host {
		h := rootHost()
		h.Thermal = []string{"/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu1/thermal_throttle"}
		return h
	}(), ubuntu()},
	{"devices", "--device /dev/fuse --device /dev/sda:/dev/xvda:r --device /dev/snd ubuntu id", rootHost(), ubuntu()},
	{"user-device", "--device /dev/fuse:rw ubuntu id", userHost(), ubuntu()},
	{"limits", "--pids-limit 100 -m 64m --cpus 1.5 --cpu-shares 512 --cpuset-cpus 0-2,3 --memory-reservation 32m --shm-size 1g --oom-score-adj -500 ubuntu id", rootHost(), ubuntu()},
	{"limits-swap", "-m 1g --memory-swap -1 --pids-limit 0 ubuntu id", rootHost(), ubuntu()},
	{"ulimits", "--ulimit nofile=512:1024 --ulimit core=0 --ulimit memlock=-1 --ulimit stack=unlimited:unlimited ubuntu id", rootHost(), ubuntu()},
	{"sysctls", "--sysctl net.core.somaxconn=1024 --sysctl kernel.shmmax=68719476736 --sysctl fs.mqueue.msg_max=20 --sysctl kernel.sem=250\\_32000\\_100\\_128 ubuntu id", rootHost(), ubuntu()},
	{"metadata", "--label a --label b=1=2 --annotation org.example.x=y --init --rm --cidfile /tmp/cid --platform linux/arm64/v8 --pull missing --trace ubuntu id", rootHost(), ubuntu()},
	{"flags-after-rootfs", "ubuntu ls --tty -v --privileged", rootHost(), ubuntu()},
}

// TestGolden compares whole configurations with testdata/golden; -update rewrites them.
func TestGolden(t *testing.T) {
	if len(goldenCases) < 30 {
		t.Fatalf("%d cases", len(goldenCases))
	}
	seen := map[string]bool{}
	for _, c := range goldenCases {
		if seen[c.name] {
			t.Fatalf("two cases named %s", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			config, err := build(t, c.line, c.host, c.root)
			if err != nil {
				t.Fatal(err)
			}
			checkInvariants(t, config)
			type file struct{ Destination, Name, Content string }
			view := struct {
				CommandLine string
				*Config
				Files []file
			}{"gcr run " + c.line, config, nil}
			for _, f := range config.Files {
				view.Files = append(view.Files, file{f.Destination, f.Name, string(f.Content)})
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(view); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "golden", c.name+".json")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs from %s (go test -update rewrites it):\n%s", path, firstDifference(want, got.Bytes()))
			}
		})
	}
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[strings.TrimSuffix(filepath.Base(f), ".json")] {
			t.Errorf("%s belongs to no case", f)
		}
	}
}

func firstDifference(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			have := "(end)"
			if i < len(g) {
				have = g[i]
			}
			return "want " + w[i] + "\n got " + have
		}
	}
	return "got has more lines"
}

// checkInvariants holds what must be true of every configuration.
func checkInvariants(t *testing.T, c *Config) {
	t.Helper()
	s := c.Spec
	if len(c.ID) != 64 || len(c.ShortID()) != 12 || s.Version != "1.3.0" {
		t.Errorf("id %q, version %q", c.ID, s.Version)
	}
	caps := s.Process.Capabilities
	if len(caps.Inheritable)+len(caps.Ambient) > 0 {
		t.Errorf("inheritable %v, ambient %v", caps.Inheritable, caps.Ambient)
	}
	if s.Process.User.UID != 0 && len(caps.Effective)+len(caps.Permitted) > 0 {
		t.Errorf("user %d starts with %v", s.Process.User.UID, caps.Effective)
	}
	if len(s.Process.Args) == 0 || !filepath.IsAbs(s.Process.Cwd) || !filepath.IsAbs(s.Root.Path) {
		t.Errorf("args %q, cwd %q, root %q", s.Process.Args, s.Process.Cwd, s.Root.Path)
	}
	if c.DenySetgroups && len(s.Process.User.AdditionalGids) > 0 {
		t.Errorf("groups %v where setgroups is denied", s.Process.User.AdditionalGids)
	}
	mnt := false
	for _, n := range s.Linux.Namespaces {
		mnt = mnt || n.Type == "mount"
	}
	if !mnt && (len(s.Mounts)+len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths)+len(s.Linux.Devices)+len(c.Files) > 0 || s.Root.Path != "/" || c.Root.Kind != RootNone) {
		t.Errorf("without a mount namespace: %+v", s)
	}
	seen := map[string]bool{}
	for _, m := range s.Mounts {
		if seen[m.Destination] {
			t.Errorf("two mounts on %s", m.Destination)
		}
		for dst := range seen {
			if within(dst, m.Destination) {
				t.Errorf("%s hides %s, mounted earlier", m.Destination, dst)
			}
		}
		seen[m.Destination] = true
	}
	for _, m := range c.Place("/run/gcr/x").Mounts {
		if strings.HasPrefix(m.Source, statePrefix) || m.Type == "bind" && !filepath.IsAbs(m.Source) {
			t.Errorf("source %q", m.Source)
		}
	}
	for i, p := range s.Process.Env {
		name, _, ok := strings.Cut(p, "=")
		for _, q := range s.Process.Env[:i] {
			if ok && strings.HasPrefix(q, name+"=") {
				t.Errorf("%s is set twice", name)
			}
		}
	}
}
