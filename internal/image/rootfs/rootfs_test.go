package rootfs_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/registry"
	"gcr/internal/image/rootfs"
	"gcr/internal/image/settings"
	"gcr/internal/image/userns"
)

func TestMain(m *testing.M) {
	userns.Hook()
	os.Exit(m.Run())
}

// A Docker daemon gives an image as docker save writes it, here made by skopeo.
func TestDockerDaemon(t *testing.T) {
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Skip("umoci is not installed")
	}
	dir := t.TempDir()
	script := `set -e
umoci init --layout l; umoci new --image l:v1; umoci unpack --rootless --image l:v1 b; echo world > b/rootfs/hello; umoci repack --image l:v1 b
skopeo copy -q oci:l:v1 docker-archive:a.tar:some/image:v1`
	c := exec.Command("sh", "-c", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("umoci and skopeo make no image: %v: %s", err, out)
	}
	sock := filepath.Join(dir, "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/images/some/image:v1/get" {
				w.WriteHeader(404)
				return
			}
			f, err := os.Open(filepath.Join(dir, "a.tar"))
			if err != nil {
				return
			}
			defer f.Close()
			_, _ = io.Copy(w, f)
		}))
	}()
	t.Setenv("DOCKER_HOST", "unix://"+sock)
	set, _ := settings.Parse(nil)
	o := rootfs.Options{Client: registry.New(set, registry.Options{})}
	out := filepath.Join(dir, "rootfs", "x")
	if _, err := rootfs.Make(context.Background(), "docker-daemon:some/image:v1", out, o); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, "hello")); string(b) != "world\n" {
		t.Errorf("%q %v", b, err)
	}
	var config v1.Image
	if b, err := os.ReadFile(rootfs.ConfigPath(out)); err != nil || json.Unmarshal(b, &config) != nil || config.OS != "linux" {
		t.Errorf("%s %v", b, err)
	}
	_, err = rootfs.Make(context.Background(), "docker-daemon:none:v1", filepath.Join(dir, "y"), o)
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}
