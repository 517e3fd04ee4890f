package engine

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"gcr/internal/account"
)

// TestReadHost compares the facts with what the machine says in other ways.
func TestReadHost(t *testing.T) {
	h, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	id, err := exec.Command("id", "-u").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(id)); want != strconv.Itoa(int(h.UID)) {
		t.Errorf("uid %d, id says %s", h.UID, want)
	}
	name, _ := os.Hostname()
	cwd, _ := os.Getwd()
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	if h.Hostname != name || h.Cwd != cwd || !bytes.Equal(h.ResolvConf, resolv) || h.CPUs != runtime.NumCPU() || h.Release == "" {
		t.Errorf("%+v", h)
	}
	uids, gids := h.OwnIDs()
	if len(uids) == 0 || len(gids) == 0 {
		t.Errorf("own ids %v, %v", uids, gids)
	}
	other, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	if h.Random == other.Random {
		t.Error("the same id twice")
	}
	if data, err := h.Files.ReadFile("/etc/passwd", maxPasswd); err != nil || !bytes.Contains(data, []byte("root:")) {
		t.Errorf("%v", err)
	}
	if _, err := h.Files.Stat("/bin/sh"); err != nil {
		t.Error(err)
	}
}

// TestBuildHere builds for this very machine and its own root.
func TestBuildHere(t *testing.T) {
	h, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	root, err := FindRoot("host", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c, err := build(t, "-v /tmp:/mnt --device /dev/fuse:/dev/f ubuntu", h, root)
	if _, e := os.Stat("/dev/fuse"); e != nil {
		c, err = build(t, "-v /tmp:/mnt ubuntu", h, root)
	}
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, c)
	if c.Spec.Process.Args[0] == "" || c.Root.Kind != RootHost {
		t.Errorf("%+v", c)
	}
	if _, err := json.Marshal(c.Place("/run/x")); err != nil {
		t.Error(err)
	}
}

func TestReadSubIDs(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "newuidmap"), nil, 0o755)
	for _, c := range []struct {
		name   string
		uid    uint32
		files  fakeFiles
		env    map[string]string
		user   string
		uids   []account.Range
		gids   []account.Range
		gidmap bool
	}{
		{
			"by name", 1000,
			fakeFiles{"/etc/passwd": "me:x:1000:1000::/:/bin/sh\n", "/etc/subuid": "me:1:2\nyou:3:4\n", "/etc/subgid": "1000:5:6\n"},
			nil, "me",
			[]account.Range{{Start: 1, Count: 2}},
			[]account.Range{{Start: 5, Count: 6}},
			true,
		},
		{"no files", 1000, fakeFiles{}, nil, "", nil, nil, true},
		{
			"of a directory service", 77000,
			fakeFiles{"/etc/passwd": "me:x:1000:1000::/:/bin/sh\n", "/etc/subuid": "ldap:1:2\n", "/etc/subgid": ""},
			map[string]string{"USER": "ldap"},
			"ldap",
			[]account.Range{{Start: 1, Count: 2}},
			nil, false,
		},
	} {
		os.Remove(filepath.Join(dir, "newgidmap"))
		if c.gidmap {
			os.WriteFile(filepath.Join(dir, "newgidmap"), nil, 0o755)
		}
		h := &Host{UID: c.uid, LookupEnv: func(name string) (string, bool) {
			if name == "PATH" {
				return dir, true
			}
			v, ok := c.env[name]
			return v, ok
		}, ReadFile: c.files.ReadFile}
		h.readSubIDs()
		if h.Username != c.user || !reflect.DeepEqual(h.SubUIDs, c.uids) || !reflect.DeepEqual(h.SubGIDs, c.gids) {
			t.Errorf("%s: %q %v %v", c.name, h.Username, h.SubUIDs, h.SubGIDs)
		}
		// The host's own tools are found as well.
		if want := c.gidmap || onPath("newgidmap", ""); h.HasNewIDMap != want {
			t.Errorf("%s: tools found: %v", c.name, h.HasNewIDMap)
		}
	}
}

func TestOnPath(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "gcr-test-tool"), nil, 0o755)
	os.WriteFile(filepath.Join(dir, "gcr-test-text"), nil, 0o644)
	os.Mkdir(filepath.Join(dir, "gcr-test-dir"), 0o755)
	for name, want := range map[string]bool{"gcr-test-tool": true, "gcr-test-text": false, "gcr-test-dir": false, "gcr-none": false} {
		if got := onPath(name, "/nowhere::"+dir); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOwnIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uid_map")
	os.WriteFile(path, []byte("         0       1000          1\n         1     100000      65536\n"), 0o644)
	if got := ownIDs(path); len(got) != 2 || got[1] != (account.Range{Start: 1, Count: 65536}) {
		t.Errorf("%v", got)
	}
}

func TestThermalPaths(t *testing.T) {
	dir := t.TempDir()
	if got := thermalPaths(dir); got != nil {
		t.Errorf("%v", got)
	}
	for _, d := range []string{"cpu0/thermal_throttle", "cpu1/thermal_throttle", "cpu2", "cpuidle/thermal_throttle", "cpu10/thermal_throttle"} {
		os.MkdirAll(filepath.Join(dir, d), 0o755)
	}
	got := strings.Join(thermalPaths(dir), " ")
	if want := dir + "/cpu0/thermal_throttle " + dir + "/cpu1/thermal_throttle " + dir + "/cpu10/thermal_throttle"; got != want {
		t.Errorf("%s", got)
	}
}

// TestStartUpCost holds that linking this package makes no command start slower: GODEBUG=inittrace=1
// reports every package that did work before main. Those of registries do a little (net/http): see gcrun for a
// binary without them.
func TestStartUpCost(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "link")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/link").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("init runtime")) {
		t.Fatalf("no trace:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line) // init PACKAGE @0.5 ms, 0.01 ms clock, 1234 bytes, 12 allocs
		if len(f) < 2 || f[0] != "init" {
			continue
		}
		nothing := strings.HasSuffix(strings.TrimSpace(line), " 0 bytes, 0 allocs")
		if strings.HasPrefix(f[1], "gcr/") && !nothing {
			t.Errorf("does work at start-up: %s", line)
		}
	}
}
