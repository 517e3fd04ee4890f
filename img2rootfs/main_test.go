package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"img2rootfs": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// Ctrl-C, and kill -9, in the middle of a download.
func TestInterrupted(t *testing.T) {
	inner := ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)))
	reached := make(chan struct{}, 10)
	var slow bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && r.URL.Path[len(r.URL.Path)-1] != 'x' {
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			if b := rec.Body.Bytes(); len(b) > 100_000 {
				w.Header().Set("Content-Length", rec.Header().Get("Content-Length"))
				_, _ = w.Write(b[:50_000])
				w.(http.Flusher).Flush()
				reached <- struct{}{}
				<-r.Context().Done()
				return
			}
			_, _ = w.Write(rec.Body.Bytes())
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	img, err := random.Image(500_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := name.ParseReference(host + "/x")
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	slow = true
	dir := t.TempDir()
	bin := filepath.Join(t.TempDir(), "img2rootfs")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	left := func() []string {
		es, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range es {
			out = append(out, e.Name())
		}
		return out
	}
	start := func(sig syscall.Signal) string {
		var diag bytes.Buffer
		c := exec.Command(bin, "-image", host+"/x", "-output", filepath.Join(dir, "x"))
		c.Stderr = &diag
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		<-reached
		// That may have been a late word of the run before: this one is in the midst when its directory is there.
		for len(left()) == 0 {
			time.Sleep(time.Millisecond)
		}
		_ = c.Process.Signal(sig)
		if err := c.Wait(); err == nil {
			t.Error("it succeeded")
		}
		for len(reached) > 0 {
			<-reached
		}
		return diag.String()
	}
	if out := start(syscall.SIGINT); !strings.Contains(out, "nothing was left behind") {
		t.Errorf("it said %q", out)
	}
	if l := left(); len(l) != 0 {
		t.Errorf("left after Ctrl-C: %v", l)
	}
	start(syscall.SIGKILL)
	if l := left(); len(l) != 1 || !strings.HasPrefix(l[0], ".x.partial-") {
		t.Errorf("left after kill -9: %v", l)
	}
	// The next run clears that away. The image of random content has no platform, which is taken as it is.
	slow = false
	time.Sleep(10 * time.Millisecond)
	if out, err := exec.Command(bin, "-image", host+"/x", "-output", filepath.Join(dir, "x")).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if l := left(); strings.Join(l, " ") != "x x.json" {
		t.Errorf("there is now: %v", l)
	}
}

// A disk that fills up in the middle: it is said, and nothing is left.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small file system")
	}
	srv := httptest.NewServer(ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	for repo, sizes := range map[string]struct{ size, layers int64 }{
		"one": {8 << 20, 1}, // full while downloading and unpacking
		"two": {3 << 20, 2}, // full with the second layer
	} {
		img, err := random.Image(sizes.size, sizes.layers)
		if err != nil {
			t.Fatal(err)
		}
		to, err := name.ParseReference(host + "/" + repo)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(to, img); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(t.TempDir(), "img2rootfs")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, name := range []string{"one", "two"} {
		script := `mount -t tmpfs -o size=7m tmpfs "$1" && { "$2" -quiet -image "$3" -output "$1/x"; echo "status $?"; ls -A "$1"; }`
		out, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", t.TempDir(), bin, host+"/"+name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
		said, rest, _ := strings.Cut(string(out), "\n")
		if !strings.HasPrefix(said, "img2rootfs: make root file system") || !strings.Contains(said, "no space left on device") || rest != "status 1\n" {
			t.Errorf("%s: %q, then %q", name, said, rest)
		}
	}
}
