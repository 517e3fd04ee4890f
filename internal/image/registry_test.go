package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gcr/internal/image"
	"gcr/internal/image/registry"
	"gcr/internal/image/settings"
	"gcr/internal/image/userns"
)

func TestMain(m *testing.M) {
	userns.Hook()
	if os.Getenv("GCR_TEST_PULL") != "" {
		os.Exit(pullInChild())
	}
	os.Exit(m.Run())
}

// server is go-containerregistry's registry on loopback, with faults to be set in its way.
type server struct {
	*httptest.Server
	host string
	mu   sync.Mutex
	// fault may answer a request itself and then says true.
	fault func(w http.ResponseWriter, r *http.Request) bool
	seen  []string // method, path and range of all requests
	auth  []string // Authorization headers that came
}

func newServer(t testing.TB, useTLS bool) *server {
	t.Helper()
	s := &server{}
	inner := ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		f := s.fault
		s.seen = append(s.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
		if a := r.Header.Get("Authorization"); a != "" {
			s.auth = append(s.auth, a)
		}
		s.mu.Unlock()
		if f != nil && f(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	})
	s.Server = httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if useTLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	s.host = s.Listener.Addr().String()
	return s
}

func (s *server) setFault(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func (s *server) requests(sub string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.seen {
		if strings.Contains(r, sub) {
			n++
		}
	}
	return n
}

// push puts an image into the registry, past the faults.
func (s *server) push(t testing.TB, repo string, img ggcr.Image) {
	t.Helper()
	s.mu.Lock()
	f := s.fault
	s.fault = nil
	s.mu.Unlock()
	defer s.setFault(f)
	ref, err := name.ParseReference(s.host+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithTransport(s.Client().Transport)); err != nil {
		t.Fatal(err)
	}
}

func (s *server) pushIndex(t testing.TB, repo string, ix ggcr.ImageIndex) {
	t.Helper()
	ref, err := name.ParseReference(s.host+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, ix, remote.WithTransport(s.Client().Transport)); err != nil {
		t.Fatal(err)
	}
}

// raw puts any bytes in the place of a manifest.
func (s *server) raw(t testing.TB, repo, tag, mediaType, body string) {
	t.Helper()
	s.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/"+repo+"/manifests/"+tag {
			return false
		}
		w.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(w, body)
		return true
	})
}

type keys map[string]authn.AuthConfig

func (k keys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if c, ok := k[r.RegistryStr()]; ok {
		return authn.FromConfig(c), nil
	}
	return authn.Anonymous, nil
}

func openStore(t testing.TB, dir string, set *settings.Settings, k authn.Keychain) *image.Store {
	t.Helper()
	if set == nil {
		set = &settings.Settings{Parallel: 3}
	}
	if k == nil {
		k = keys{}
	}
	s, err := image.Open(dir, registry.New(set, registry.Options{Keychain: k, Backoff: time.Millisecond, Stall: 5 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	s.NoSync = true
	return s
}

func caFile(t testing.TB, s *server) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

var ctx = context.Background()

// tarOf makes a layer: "path=content", "dir/", ".wh.x=".
func tarOf(items ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		n, c, _ := strings.Cut(it, "=")
		h := &tar.Header{Name: n, Mode: 0o644, Size: int64(len(c)), Typeflag: tar.TypeReg, ModTime: time.Unix(1700000000, 5), Format: tar.FormatPAX}
		if strings.HasSuffix(n, "/") {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		_ = w.WriteHeader(h)
		_, _ = io.WriteString(w, c)
	}
	_ = w.Close()
	return b.Bytes()
}

// noise is content that does not compress, the same for the same seed.
func noise(seed uint64, n int) string {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return string(b)
}

func gz(b []byte) []byte {
	var o bytes.Buffer
	z := gzip.NewWriter(&o)
	_, _ = z.Write(b)
	_ = z.Close()
	return o.Bytes()
}

func zst(b []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(b, nil)
}

func sha(b []byte) ggcr.Hash {
	h := sha256.Sum256(b)
	return ggcr.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h[:])}
}

type blobLayer struct {
	ggcr.Layer
	diff ggcr.Hash
}

func (l blobLayer) DiffID() (ggcr.Hash, error) { return l.diff, nil }

// img makes an image of tar layers, compressed in one way or another.
func img(t testing.TB, compress func([]byte) []byte, layers ...[]byte) ggcr.Image {
	t.Helper()
	mt := types.OCILayer
	switch {
	case compress == nil:
		mt, compress = types.OCIUncompressedLayer, func(b []byte) []byte { return b }
	case bytes.HasPrefix(compress(nil), []byte{0x28}), len(compress([]byte("x"))) > 0 && compress([]byte("x"))[0] == 0x28:
		mt = types.OCILayerZStd
	}
	i := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	i = mutate.ConfigMediaType(i, types.OCIConfigJSON)
	var adds []mutate.Addendum
	for n, l := range layers {
		adds = append(adds, mutate.Addendum{
			Layer:   blobLayer{static.NewLayer(compress(l), mt), sha(l)},
			History: ggcr.History{CreatedBy: fmt.Sprint("step ", n), Created: ggcr.Time{Time: time.Unix(1700000000, 0)}},
		})
	}
	i, err := mutate.Append(i, adds...)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", goarch
	cf.Config.Entrypoint, cf.Config.Cmd = []string{"/bin/busybox"}, []string{"sh"}
	cf.Config.Env = []string{"PATH=/bin"}
	if i, err = mutate.ConfigFile(i, cf); err != nil {
		t.Fatal(err)
	}
	return i
}

// files lists the content of all layers of an image, topmost first, as "layer:path=content".
func files(t testing.TB, i *image.Image) string {
	t.Helper()
	var out []string
	for n, dir := range i.Layers() {
		err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err != nil || p == dir {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			s := fmt.Sprintf("%d:%s", n, rel)
			switch {
			case d.Type().IsRegular():
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				if len(b) > 40 {
					b = []byte(fmt.Sprintf("<%d>", len(b)))
				}
				s += "=" + string(b)
			case d.IsDir():
				s += "/"
			default:
				s += " " + d.Type().String()
			}
			out = append(out, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(out, " ")
}

// clean checks that nothing half-done is left in a store.
func clean(t testing.TB, s *image.Store, except ...string) {
	t.Helper()
	for _, d := range []string{"partial", "trash", "holds"} {
		es, err := os.ReadDir(filepath.Join(s.Root(), d))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			ok := false
			for _, x := range except {
				ok = ok || strings.HasPrefix(e.Name(), x)
			}
			if !ok {
				t.Errorf("left behind: %s/%s", d, e.Name())
			}
		}
	}
}

func fails(t testing.TB, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error is %q; want %q in it", err, w)
		}
	}
}
