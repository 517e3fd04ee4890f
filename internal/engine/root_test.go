package engine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// rootTree makes ./rootfs with some root filesystems and changes into its parent.
func rootTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, d := range []string{"rootfs/ubuntu/etc", "rootfs/debian/bin", "rootfs/empty", "rootfs/.hidden/x", "more/alpine/bin", "more/ubuntu/other"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("rootfs/ubuntu/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	write("rootfs/README.md", "text")
	write("rootfs/debian.json", `{"architecture":"amd64","os":"linux","config":{"User":"1000","Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"/w","StopSignal":"SIGQUIT","Labels":{"k":"v"},"ExposedPorts":{"80/tcp":{}}},"rootfs":{"type":"layers","diff_ids":[]}}`)
	return dir
}

func TestFindRoot(t *testing.T) {
	dir := rootTree(t)
	dirs := RootDirs("more::" + dir + "/none")
	if want := []string{"rootfs", "more", dir + "/none"}; !reflect.DeepEqual(dirs, want) {
		t.Fatalf("%q", dirs)
	}
	if err := os.Symlink("ubuntu", "rootfs/latest"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		kind RootKind
		path string
	}{
		"host":              {RootHost, "/"},
		"ubuntu":            {RootDirectory, dir + "/rootfs/ubuntu"},
		"alpine":            {RootDirectory, dir + "/more/alpine"},
		"latest":            {RootDirectory, dir + "/rootfs/latest"},
		"rootfs/debian":     {RootDirectory, dir + "/rootfs/debian"},
		"./more/ubuntu/":    {RootDirectory, dir + "/more/ubuntu"},
		dir + "/rootfs/../": {RootDirectory, dir},
		".":                 {RootDirectory, dir},
		"/":                 {RootHost, "/"},
	} {
		r, err := FindRoot(name, dirs)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Kind != want.kind || r.Path != want.path || r.Name != name {
			t.Errorf("%s: %+v", name, r)
		}
		r.Close()
	}
	r, err := FindRoot("ubuntu", dirs)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := r.Files.ReadFile("/etc/passwd", 100); err != nil || !strings.HasPrefix(string(data), "root:") || r.Image != nil {
		t.Errorf("%q %v %v", data, r.Image, err)
	}
}

func TestFindRootReadsTheImageConfiguration(t *testing.T) {
	dir := rootTree(t)
	r, err := FindRoot("debian", []string{"rootfs"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := &ImageConfig{
		User: "1000", Env: []string{"A=b"}, Entrypoint: []string{"/e"}, Cmd: []string{"c"}, WorkingDir: "/w",
		StopSignal: "SIGQUIT", Labels: map[string]string{"k": "v"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, file: dir + "/rootfs/debian.json",
	}
	if !reflect.DeepEqual(r.Image, want) {
		t.Errorf("%+v", r.Image)
	}
	for text, say := range map[string]string{
		`{`:                           "unexpected end of JSON",
		`{"os":"windows"}`:            `os is "windows", gcr runs linux`,
		`{"config":{"Cmd":` + `"x"}}`: "cannot unmarshal string",
	} {
		os.WriteFile("rootfs/debian.json", []byte(text), 0o644)
		if _, err := FindRoot("debian", []string{"rootfs"}); err == nil || !strings.Contains(err.Error(), say) || !strings.Contains(err.Error(), "rootfs/debian.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Neither a FIFO nor a link that leads elsewhere may hold gcr up or read another file.
	os.Remove("rootfs/debian.json")
	if err := syscall.Mkfifo("rootfs/debian.json", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FindRoot("debian", []string{"rootfs"}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v", err)
	}
}

func TestFindRootRefuses(t *testing.T) {
	dir := rootTree(t)
	dirs := []string{"rootfs", "more"}
	for name, say := range map[string][]string{
		"ubunto":                   {`find root filesystem "ubunto": no directory of that name in rootfs, more`, "did you mean ubuntu?", "there are: host, debian, empty, ubuntu, alpine"},
		"zzz":                      {`"zzz"`, "there are: host"},
		"":                         {"the name is empty"},
		"README.md":                {dir + "/rootfs/README.md is a file, not a directory"},
		"rootfs/ubuntu/etc/passwd": {"is a file, not a directory"},
		"empty":                    {`use root filesystem "empty": ` + dir + "/rootfs/empty is empty", "debootstrap"},
		"./nowhere":                {`find root filesystem "./nowhere": no such directory`},
		"rootfs/README.md/x":       {"not a directory"},
	} {
		_, err := FindRoot(name, dirs)
		if err == nil {
			t.Errorf("%s was found", name)
			continue
		}
		for _, s := range say {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v\n  does not say %q", name, err, s)
			}
		}
		var e *Error
		if !errors.As(err, &e) || e.ExitStatus() != 125 {
			t.Errorf("%s: %T", name, err)
		}
	}
	if _, err := FindRoot("zzz", dirs); strings.Contains(err.Error(), ".hidden") || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("%v", err)
	}
}

// TestFindRootWithoutPermission runs itself as an ordinary user, since root may read anything.
func TestFindRootWithoutPermission(t *testing.T) {
	if dir := os.Getenv("GCR_TEST_CLOSED_ROOT"); dir != "" {
		_, err := FindRoot(dir, nil)
		if err == nil || !strings.Contains(err.Error(), "permission denied; its owner can let you: chmod o+rx "+dir) {
			t.Errorf("%v", err)
		}
		return
	}
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(closed+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o311); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(closed, 0o755)
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if st, err := os.Stat(d); err == nil && st.Mode()&0o001 == 0 {
			os.Chmod(d, st.Mode()|0o011)
		}
	}
	// The test binary is copied, since the directory of the build may be closed to others.
	self := filepath.Join(dir, "self.test")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestFindRootWithoutPermission$", "-test.v")
	cmd.Env = append(os.Environ(), "GCR_TEST_CLOSED_ROOT="+closed)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ubuntu", "ubunto", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%s %s: %d", c.a, c.b, got)
		}
	}
}
