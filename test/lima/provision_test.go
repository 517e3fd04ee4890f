package lima_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gcr/test/lab"
	"gcr/test/vm/debian"
)

// A downloads is a server with the interface of https://go.dev/dl. Its Go is the one that runs this test, packed as
// go.dev packs it but for the compiler and the standard library, which "go version" does not need.
type downloads struct {
	*httptest.Server
	archive []byte
	sum     string

	mu      sync.Mutex
	fetched int
}

func startDownloads(t *testing.T) *downloads {
	t.Helper()
	d := &downloads{archive: packGo(t)}
	sum := sha256.Sum256(d.archive)
	d.sum = hex.EncodeToString(sum[:])
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *downloads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := runtime.Version() + ".linux-" + runtime.GOARCH + ".tar.gz"
	type file struct {
		Filename string `json:"filename"`
		OS       string `json:"os"`
		Arch     string `json:"arch"`
		SHA256   string `json:"sha256"`
		Kind     string `json:"kind"`
	}
	type release struct {
		Version string `json:"version"`
		Stable  bool   `json:"stable"`
		Files   []file `json:"files"`
	}
	switch {
	case r.URL.Path == "/" && r.URL.Query().Get("mode") == "json":
		_ = json.NewEncoder(w).Encode([]release{
			{"go9.9rc1", false, []file{{"go9.9rc1.linux-" + runtime.GOARCH + ".tar.gz", "linux", runtime.GOARCH, "", "archive"}}},
			{runtime.Version(), true, []file{
				{runtime.Version() + ".src.tar.gz", "", "", "", "source"},
				{runtime.Version() + ".darwin-" + runtime.GOARCH + ".tar.gz", "darwin", runtime.GOARCH, "", "archive"},
				{runtime.Version() + ".linux-riscv64.tar.gz", "linux", "riscv64", "", "archive"},
				{name, "linux", runtime.GOARCH, d.sum, "archive"},
			}},
		})
	case r.URL.Path == "/"+name:
		d.fetched++
		_, _ = w.Write(d.archive)
	default:
		http.NotFound(w, r)
	}
}

func (d *downloads) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fetched
}

func packGo(t *testing.T) []byte {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	goroot := strings.TrimSpace(string(out))
	var buf bytes.Buffer
	zip, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(zip)
	// The go command knows its root by this directory.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "go/pkg/tool/", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"VERSION", "go.env", "bin/go", "bin/gofmt"} {
		text, err := os.ReadFile(filepath.Join(goroot, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: "go/" + name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newSystem unpacks a minimal Debian, as on a fresh machine.
func newSystem(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a system to provision")
	}
	mirror := debian.Mirror("/etc/apt")
	client := http.Client{Timeout: time.Minute}
	res, err := client.Get(mirror + "/dists/bookworm/InRelease")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Skipf("Debian's archive %s cannot be reached: %v", mirror, err)
	}
	res.Body.Close()
	dir := filepath.Join(t.TempDir(), "root")
	archive := lab.DebianTar(t)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "--numeric-owner", "-xpf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", archive, err, out)
	}
	sources := "deb " + mirror + " bookworm main\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/apt/sources.list"), []byte(sources), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "etc/apt/sources.list.d")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if text, err := os.ReadFile(name); err == nil {
			if err := os.WriteFile(dir+name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	script := []byte(read(t, "provision.sh"))
	if err := os.WriteFile(filepath.Join(dir, "provision.sh"), script, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inside runs a command in the system at dir.
func inside(dir string, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	// In namespaces of its own, where /proc can be mounted, and which nothing outlives.
	const script = `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, dir}, args...)...)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, env...)
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestProvision provisions a fresh Debian 12: the packages come from Debian's archive, Go from this test.
func TestProvision(t *testing.T) {
	dir := newSystem(t)
	server := startDownloads(t)
	env := []string{"GO_DOWNLOADS=" + server.URL}

	// A download that is not what the list says is refused, and nothing of it stays.
	good := server.sum
	server.sum = strings.Repeat("0", 64)
	out, err := inside(dir, env, "/provision.sh")
	if err == nil || !strings.Contains(out, "does not have the checksum") {
		t.Fatalf("a wrong checksum: %v\n%s", err, out)
	}
	if left, _ := filepath.Glob(dir + "/usr/local/go*"); len(left) > 0 {
		t.Errorf("after a wrong checksum there is %v", left)
	}
	server.sum = good

	out, err = inside(dir, env, "/provision.sh")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "ready: go version " + runtime.Version(); !strings.Contains(out, want) {
		t.Errorf("the last word is %q, want %q", out, want)
	}
	if out, err := inside(dir, nil, "go", "version"); err != nil || !strings.Contains(out, runtime.Version()) {
		t.Errorf("go version: %v, %s", err, out)
	}
	for _, tool := range []string{"git", "make", "curl", "jq", "newuidmap", "ip", "nft", "ps", "unshare", "ipcmk", "mmdebstrap", "debootstrap", "busybox", "shellcheck"} {
		if out, err := inside(dir, nil, "sh", "-c", "command -v "+tool); err != nil {
			t.Errorf("%s is not there: %v %s", tool, err, out)
		}
	}
	if text, err := os.ReadFile(dir + "/etc/systemd/system/user@.service.d/gcr-delegate.conf"); err != nil || !bytes.Contains(text, []byte("Delegate=cpu")) {
		t.Errorf("controllers are not delegated to users: %v %s", err, text)
	}

	// Again: nothing to do, so nothing is fetched.
	before := server.count()
	out, err = inside(dir, env, "/provision.sh")
	if err != nil || strings.Contains(out, "installing") {
		t.Errorf("the second run: %v\n%s", err, out)
	}
	if n := server.count() - before; n != 0 {
		t.Errorf("the second run fetched Go %d times", n)
	}

	// A Go that is too old is replaced; the stand-in answers as Ubuntu 22.04's does.
	old := "#!/bin/sh\necho go1.18.1\n"
	if err := os.WriteFile(dir+"/usr/local/go/bin/go", []byte(old), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := inside(dir, env, "/provision.sh"); err != nil || !strings.Contains(out, "ready: go version "+runtime.Version()) {
		t.Errorf("with an old Go: %v\n%s", err, out)
	}
}

func TestProvisionAsOrdinaryUser(t *testing.T) {
	cmd := exec.Command("bash", "-s")
	cmd.Stdin = strings.NewReader(read(t, "provision.sh"))
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run: sudo") {
		t.Errorf("%v, %q; want a refusal that says what to do", err, out)
	}
}
