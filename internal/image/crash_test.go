package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gcr/internal/image"
	"gcr/internal/image/registry"
	"gcr/internal/image/rootfs"
	"gcr/internal/image/settings"
)

// Layers shared between images are stored, and fetched, once; two pulls at a time do not disturb each other.
func TestConcurrentPullsShareLayers(t *testing.T) {
	srv := newServer(t, false)
	base := tarOf("base=" + noise(5, 2<<20))
	for n := range 4 {
		srv.push(t, fmt.Sprintf("x%d:v1", n), img(t, gz, base, tarOf(fmt.Sprintf("own=%d", n)), tarOf(), base))
	}
	root := t.TempDir()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			s := openStore(t, root, nil, nil)
			i, err := s.Pull(ctx, fmt.Sprintf("%s/x%d:v1", srv.host, n%4), image.PullOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			if got, want := files(t, i), fmt.Sprintf("0:base=<%d> 2:own=%d", 2<<20, n%4); got != want {
				t.Errorf("layers are %s, want %s", got, want)
			}
		})
	}
	wg.Wait()
	s := openStore(t, root, nil, nil)
	clean(t, s)
	if n := srv.requests("GET /v2/x"); n == 0 {
		t.Error("nothing was asked for")
	}
	fetched := 0
	for n := range 4 {
		fetched += srv.requests(fmt.Sprintf("GET /v2/x%d/blobs/%s", n, sha(gz(base))))
	}
	if fetched != 1 {
		t.Errorf("the shared layer was fetched %d times", fetched)
	}
	all, err := s.List()
	if len(all) != 4 || err != nil {
		t.Errorf("images: %d, %v", len(all), err)
	}
}

// pullInChild pulls in a process of its own, to be killed.
func pullInChild() int {
	set, err := settings.Parse(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := image.Open(os.Getenv("GCR_TEST_STORE"), registry.New(set, registry.Options{Keychain: keys{}, Backoff: time.Millisecond}))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s.NoSync = true
	what := os.Getenv("GCR_TEST_PULL")
	if what == "prune" {
		_, err = s.Prune(ctx, true)
	} else if ref, ok := strings.CutPrefix(what, "export:"); ok {
		err = s.ExportFile(ctx, os.Getenv("GCR_TEST_OUT"), ref, v1.Platform{})
	} else if ref, ok := strings.CutPrefix(what, "rootfs:"); ok {
		_, err = rootfs.Make(ctx, ref, os.Getenv("GCR_TEST_OUT"), rootfs.Options{Client: s.Client(), Force: true})
	} else {
		_, err = s.Pull(ctx, what, image.PullOptions{})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// kill -9 at any moment: the next pull succeeds, takes over what was downloaded, and leaves nothing.
func TestKilledPulls(t *testing.T) {
	srv := newServer(t, false)
	var layers [][]byte
	for n := range 4 {
		items := []string{"d/"}
		for k := range 200 {
			items = append(items, fmt.Sprintf("d/%d-%d=%s", n, k, noise(uint64(n*1000+k), 3000)))
		}
		layers = append(layers, tarOf(items...))
	}
	srv.push(t, "x:v1", img(t, gz, layers...))
	root := t.TempDir()
	killed := 0
	for n := range 25 {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "GCR_TEST_PULL="+srv.host+"/x:v1", "GCR_TEST_STORE="+root)
		// Slow enough that the process is met at work.
		srv.setFault(func(http.ResponseWriter, *http.Request) bool { time.Sleep(2 * time.Millisecond); return false })
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(5+n*4) * time.Millisecond)
		_ = c.Process.Kill()
		if err := c.Wait(); err != nil {
			killed++
		}
		// Whatever is visible is whole.
		s := openStore(t, root, nil, nil)
		if i, err := s.Resolve(srv.host+"/x:v1", v1.Platform{}); err == nil && strings.Count(files(t, i), "=") != 800 {
			t.Fatal("a visible image is not whole")
		}
		ls, _ := os.ReadDir(filepath.Join(root, "layers"))
		for _, l := range ls {
			es, err := os.ReadDir(filepath.Join(root, "layers", l.Name(), "fs", "d"))
			if err != nil || len(es) != 200 {
				t.Fatalf("a visible layer has %d of 200 files (%v)", len(es), err)
			}
		}
		if n%8 == 7 {
			_ = os.RemoveAll(filepath.Join(root, "layers")) // begin again
			_ = os.RemoveAll(filepath.Join(root, "blobs"))
			_ = os.Remove(filepath.Join(root, "index.json"))
		}
	}
	if killed == 0 {
		t.Fatal("no process was killed at work")
	}
	srv.setFault(nil)
	s := openStore(t, root, nil, nil)
	i, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(files(t, i), "=") != 800 {
		t.Error("image is not whole")
	}
	if _, err := s.Prune(ctx, false); err != nil {
		t.Error(err)
	}
	clean(t, s)
}

func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	srv := newServer(t, false)
	srv.push(t, "big:v1", img(t, gz, tarOf("small=1"), tarOf("big="+noise(7, 12<<20))))
	srv.push(t, "small:v1", img(t, gz, tarOf("small=1")))
	for _, mb := range []string{"4m", "14m", "20m"} { // the download does not fit; it fits, but not unpacked; not quite
		dir := t.TempDir()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+mb, "none", dir).CombinedOutput(); err != nil {
			t.Skipf("cannot mount a tmpfs: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
		s := openStore(t, dir, nil, nil)
		_, err := s.Pull(ctx, srv.host+"/big:v1", image.PullOptions{})
		fails(t, err, "no space left on device", "gcr image prune")
		// Others use up what the pull has given back.
		other := filepath.Join(dir, "other")
		if err := os.WriteFile(other, make([]byte, 32<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("fill the disk: %v", err)
		}
		if _, err := s.Prune(ctx, true); err != nil {
			t.Error(err)
		}
		if err := os.Remove(other); err != nil {
			t.Fatal(err)
		}
		clean(t, s)
		if _, err := s.Pull(ctx, srv.host+"/small:v1", image.PullOptions{}); err != nil {
			t.Errorf("after the prune: %v", err)
		}
	}
}

func TestCancelledPullKeepsTheDownload(t *testing.T) {
	layer := tarOf("big=" + noise(8, 2<<20))
	blob := gz(layer)
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, layer))
	stop, cancel := contextWithCancel()
	s := openStore(t, t.TempDir(), nil, nil)
	part := filepath.Join(s.Root(), "partial", "blob-"+sha(blob).Hex)
	srv.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/"+sha(blob).String()) {
			w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
			_, _ = w.Write(blob[:1<<20])
			w.(http.Flusher).Flush()
			for { // until some of it is on the disk
				if st, err := os.Stat(part); err == nil && st.Size() > 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	})
	_, err := s.Pull(stop, srv.host+"/x:v1", image.PullOptions{})
	fails(t, err, "canceled")
	clean(t, s, "blob-")
	st, err := os.Stat(part)
	if err != nil || st.Size() == 0 {
		t.Errorf("the beginning of the download is gone: %v", err)
	}
	srv.setFault(nil)
	if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Error(err)
	}
	clean(t, s)
}
