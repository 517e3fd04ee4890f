package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image"
)

const goarch = runtime.GOARCH

func TestPullEveryCompression(t *testing.T) {
	srv := newServer(t, false)
	for _, c := range []struct {
		name string
		f    func([]byte) []byte
	}{{"gzip", gz}, {"zstd", zst}, {"none", nil}} {
		srv.push(t, c.name+":v1", img(t, c.f, tarOf("etc/", "etc/a=1", "etc/b=1"), tarOf("etc/", "etc/.wh.b=", "c=2")))
		s := openStore(t, t.TempDir(), nil, nil)
		i, err := s.Pull(ctx, srv.host+"/"+c.name+":v1", image.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := files(t, i), "0:c=2 0:etc/ 0:etc/b Dc--------- 1:etc/ 1:etc/a=1 1:etc/b=1"; strings.ReplaceAll(got, "Dc---------", "Dc---------") != want {
			t.Errorf("%s: layers are %s", c.name, got)
		}
		if cf := i.Config(); cf.Config.Entrypoint[0] != "/bin/busybox" || cf.Config.Cmd[0] != "sh" || cf.Config.Env[0] != "PATH=/bin" {
			t.Errorf("configuration is %+v", cf.Config)
		}
		clean(t, s)
	}
}

func TestResolve(t *testing.T) {
	srv := newServer(t, false)
	one := img(t, gz, tarOf("a=1"))
	srv.push(t, "one:v1", one)
	s := openStore(t, t.TempDir(), nil, nil)
	i, err := s.Pull(ctx, srv.host+"/one:v1", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := one.Digest()
	for _, ref := range []string{srv.host + "/one:v1", srv.host + "/one@" + d.String(), i.ID().String(), i.ID().Encoded()[:12], d.Hex[:8]} {
		if got, err := s.Resolve(ref, v1.Platform{}); err != nil || got.ID() != i.ID() {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"one:v1", srv.host + "/one:v2", srv.host + "/two@" + d.String(), "ffffffffffff", "../../etc/passwd"} {
		if _, err := s.Resolve(ref, v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	// By digest, pulled anew; what is there is not fetched again.
	before := srv.requests("/blobs/")
	if _, err := s.Pull(ctx, srv.host+"/one@"+d.String(), image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := srv.requests("/blobs/") - before; n > 1 {
		t.Errorf("%d blobs fetched again; only the configuration may be", n)
	}
	// A layer that went missing is noticed, and pulling again repairs.
	if err := os.RemoveAll(filepath.Dir(i.Layers()[0])); err != nil {
		t.Fatal(err)
	}
	_, err = s.Resolve(srv.host+"/one:v1", v1.Platform{})
	if !errors.Is(err, image.ErrIncomplete) {
		t.Errorf("error is %v", err)
	}
	if _, err = s.Pull(ctx, srv.host+"/one:v1", image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Resolve(srv.host+"/one:v1", v1.Platform{}); err != nil {
		t.Error(err)
	}
}

func TestPlatforms(t *testing.T) {
	srv := newServer(t, false)
	var ix ggcr.ImageIndex = empty.Index
	for _, p := range []ggcr.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}, {OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "windows", Architecture: "amd64"}} {
		i := img(t, gz, tarOf("arch="+p.String()))
		cf, _ := i.ConfigFile()
		cf = cf.DeepCopy()
		cf.OS, cf.Architecture, cf.Variant = p.OS, p.Architecture, p.Variant
		i, err := mutate.ConfigFile(i, cf)
		if err != nil {
			t.Fatal(err)
		}
		ix = mutate.AppendManifests(ix, mutate.IndexAddendum{Add: i, Descriptor: ggcr.Descriptor{Platform: &p}})
	}
	srv.pushIndex(t, "multi:latest", ix)
	s := openStore(t, t.TempDir(), nil, nil)
	ref := srv.host + "/multi"
	for p, want := range map[string]string{"": goarch, "linux/arm64": "arm64", "arm64/v8": "", "linux/arm/v7": "arm", "aarch64": "arm64", "linux/arm/v5": "!", "linux/s390x": "!", "windows/amd64": "!"} {
		pl, err := image.PlatformOf(p)
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.Pull(ctx, ref, image.PullOptions{Platform: pl})
		switch {
		case want == "!" || want == "":
			if want == "!" && err == nil {
				t.Errorf("%s: no error", p)
			}
		case err != nil:
			t.Errorf("%q: %v", p, err)
		case i.Platform().Architecture != want:
			t.Errorf("%q gave %v", p, i.Platform())
		}
	}
	// Several platforms live under one name.
	for _, a := range []string{"amd64", "arm64"} {
		i, err := s.Resolve(ref, v1.Platform{OS: "linux", Architecture: a})
		if err != nil || i.Platform().Architecture != a {
			t.Errorf("%s: %v", a, err)
		}
	}
	d, _ := ix.Digest()
	if _, err := s.Resolve(ref+"@"+d.String(), v1.Platform{}); err != nil {
		t.Errorf("by digest of the index: %v", err)
	}
}

// blobFault makes the first n downloads of layer blobs go wrong in a way.
func blobFault(times int, f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("X-Inner") != "" {
			return false
		}
		if n.Add(1) > int64(times) {
			return false
		}
		f(w, r)
		return true
	}
}

func hijackClose(w http.ResponseWriter, b []byte, length int) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", length)
	_, _ = c.Write(b)
	c.Close()
}

func TestFaultsThatPass(t *testing.T) {
	layer := tarOf("big=" + noise(1, 3<<20))
	blob := gz(layer)
	for name, f := range map[string]func(w http.ResponseWriter, r *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"429": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(429)
		},
		"closed before an answer": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		},
		"closed in the middle": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, sha(blob).Hex) {
				hijackClose(w, blob[:1<<20], len(blob))
				return
			}
			hijackClose(w, nil, 100)
		},
		"ended early without saying so": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			if strings.Contains(r.URL.Path, sha(blob).Hex) {
				_, _ = w.Write(blob[:2<<20])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, false)
			srv.push(t, "x:v1", img(t, gz, layer))
			srv.setFault(blobFault(3, f))
			s := openStore(t, t.TempDir(), nil, nil)
			i, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := files(t, i); got != fmt.Sprintf("0:big=<%d>", 3<<20) {
				t.Error(got)
			}
			clean(t, s)
		})
	}
}

func TestManifestRetries(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, tarOf("a=1")))
	var n atomic.Int64
	srv.setFault(func(w http.ResponseWriter, _ *http.Request) bool {
		// The ping, the manifest, everything: each second request fails.
		if n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	s := openStore(t, t.TempDir(), nil, nil)
	if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A broken transfer goes on where it ended.
func TestResumeWithRange(t *testing.T) {
	layer := tarOf("big=" + noise(2, 4<<20))
	blob := gz(layer)
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, layer))
	var ranges []string
	var mu sync.Mutex
	var n atomic.Int64
	srv.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/"+sha(blob).String()) {
			return false
		}
		mu.Lock()
		ranges = append(ranges, r.Header.Get("Range"))
		mu.Unlock()
		if n.Add(1) == 1 {
			hijackClose(w, blob[:1<<20], len(blob))
			return true
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(blob)))
		return true
	})
	s := openStore(t, t.TempDir(), nil, nil)
	if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] != fmt.Sprintf("bytes=%d-%d", 1<<20, len(blob)-1) {
		t.Errorf("ranges asked for: %q", ranges)
	}
}

func TestFaultsThatStay(t *testing.T) {
	layer := tarOf("big=" + noise(3, 1<<20))
	blob := gz(layer)
	isLayer := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/"+sha(blob).String()) }
	other := append([]byte{}, blob...)
	other[len(other)/2] ^= 1
	for _, c := range []struct {
		name string
		f    func(w http.ResponseWriter, r *http.Request)
		want []string
		keep bool // the beginning of the download may stay for the next try
	}{
		{"wrong content of the right size", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, []string{"does not match its digest", "layer 1 of 1"}, false},
		{"other content", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(gz(tarOf("evil=" + noise(9, 1<<20)))[:len(blob)])
		}, []string{"does not match its digest"}, false},
		{"too large, and it says so", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(blob, "more"...)) }, []string{"the manifest says"}, true},
		{"too large, without saying so", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(append(blob, "more"...))
		}, []string{"larger than"}, true},
		{"always 500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, []string{"500 Internal Server Error", "given up after 5 tries"}, true},
		{"always 429", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, []string{"429 Too Many Requests", "given up"}, true},
		{"always ends early", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
		}, []string{"0 of", "given up"}, true},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, []string{"404 Not Found"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t, false)
			srv.push(t, "x:v1", img(t, gz, layer))
			srv.setFault(func(w http.ResponseWriter, r *http.Request) bool {
				if isLayer(r) {
					c.f(w, r)
					return true
				}
				return false
			})
			s := openStore(t, t.TempDir(), nil, nil)
			_, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
			fails(t, err, c.want...)
			if c.keep {
				clean(t, s, "blob-")
			} else {
				clean(t, s)
			}
			if all, err := s.List(); len(all) != 0 || err != nil {
				t.Errorf("images: %v, %v", all, err)
			}
			// And the same store takes the image as soon as the registry is well.
			srv.setFault(nil)
			if _, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{}); err != nil {
				t.Error(err)
			}
			clean(t, s)
		})
	}
}

// The layer is what its digest says, but not what the configuration says.
func TestWrongDiffID(t *testing.T) {
	srv := newServer(t, false)
	i := img(t, gz, tarOf("a=1"))
	cf, _ := i.ConfigFile()
	cf = cf.DeepCopy()
	cf.RootFS.DiffIDs[0] = sha([]byte("something else"))
	i, err := mutate.ConfigFile(i, cf)
	if err != nil {
		t.Fatal(err)
	}
	srv.push(t, "x:v1", i)
	s := openStore(t, t.TempDir(), nil, nil)
	_, err = s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
	if !errors.Is(err, image.ErrDiffID) {
		t.Errorf("error is %v", err)
	}
	clean(t, s)
	if es, _ := os.ReadDir(filepath.Join(s.Root(), "layers")); len(es) != 0 {
		t.Errorf("layers: %v", es)
	}
}

// What a killed process left of a download may be damaged; then it is fetched anew.
func TestDamagedLeftovers(t *testing.T) {
	layer := tarOf("big=" + noise(4, 1<<20))
	blob := gz(layer)
	srv := newServer(t, false)
	srv.push(t, "x:v1", img(t, gz, layer))
	bad := append([]byte{}, blob...)
	bad[5000] ^= 1
	for name, left := range map[string][]byte{"beginning": blob[:300_000], "damaged beginning": bad[:300_000], "whole": blob, "damaged whole": bad, "longer than whole": append(bad, "x"...), "zeros": make([]byte, 1000)} {
		s := openStore(t, t.TempDir(), nil, nil)
		p := filepath.Join(s.Root(), "partial")
		if err := os.WriteFile(filepath.Join(p, "blob-"+sha(blob).Hex), left, 0o600); err != nil {
			t.Fatal(err)
		}
		// And a half-unpacked layer, with a directory closed to its owner.
		fs := filepath.Join(p, "layer-"+sha(layer).Hex, "fs", "etc")
		if err := os.MkdirAll(fs, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(filepath.Join(fs, "old"), nil, 0o600)
		_ = os.Chmod(fs, 0)
		i, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := files(t, i); got != fmt.Sprintf("0:big=<%d>", 1<<20) {
			t.Errorf("%s: %s", name, got)
		}
		clean(t, s)
	}
}

func TestRefusedManifests(t *testing.T) {
	srv := newServer(t, false)
	d := "sha256:" + strings.Repeat("a", 64)
	conf := `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + d + `","size":2}`
	layers := `"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + d + `","size":2}]`
	manifests := `"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + d + `","size":2}]`
	const oci, index, schema1 = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws"
	for _, c := range []struct{ name, mt, body, want string }{
		{"both manifests and layers (CVE-2021-41190)", oci, `{"schemaVersion":2,` + conf + `,` + layers + `,` + manifests + `}`, "ambiguous"},
		{"both, as an index", index, `{"schemaVersion":2,` + layers + `,` + manifests + `}`, "ambiguous"},
		{"both, in other cases", oci, `{"schemaVersion":2,` + conf + `,"Layers":[],"MANIFESTS":[]}`, "ambiguous"},
		{"one field twice", oci, `{"schemaVersion":2,` + conf + `,` + layers + `,` + layers + `}`, "ambiguous"},
		{"header and body differ", oci, `{"schemaVersion":2,"mediaType":"` + index + `",` + manifests + `}`, "ambiguous"},
		{"body and header differ", index, `{"schemaVersion":2,"mediaType":"` + oci + `",` + conf + `,` + layers + `}`, "ambiguous"},
		{"something follows", oci, `{"schemaVersion":2,` + conf + `,` + layers + `}{"schemaVersion":2}`, "ambiguous"},
		{"schema 1", schema1, `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"schema 1 in disguise", oci, `{"schemaVersion":1,` + conf + `,` + layers + `}`, "schema 1"},
		{"foreign layer", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"` + d + `","size":2}]}`, "foreign layer"},
		{"nondistributable layer", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"` + d + `","size":2}]}`, "foreign layer"},
		{"layer with urls", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + d + `","size":2,"urls":["http://169.254.169.254/"]}]}`, "other addresses"},
		{"digest as a path (CVE-2024-3727)", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:../../../../etc/passwd","size":2}]}`, "is not a digest"},
		{"digest of another algorithm", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"md5:` + strings.Repeat("a", 32) + `","size":2}]}`, "is not a digest"},
		{"negative size", oci, `{"schemaVersion":2,` + conf + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + d + `","size":-2}]}`, "negative"},
		{"artifact", oci, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"` + d + `","size":2},` + layers + `}`, "not a container image"},
		{"no JSON", oci, `<html>`, "not a JSON object"},
		{"huge", oci, `{"schemaVersion":2,"x":"` + strings.Repeat("y", 5<<20) + `"}`, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv.raw(t, "x", "v1", c.mt, c.body)
			s := openStore(t, t.TempDir(), nil, nil)
			_, err := s.Pull(ctx, srv.host+"/x:v1", image.PullOptions{})
			fails(t, err, c.want, "pull "+srv.host+"/x:v1")
			clean(t, s)
		})
	}
}

func TestManifestOfOtherDigest(t *testing.T) {
	srv := newServer(t, false)
	i := img(t, gz, tarOf("a=1"))
	srv.push(t, "x:v1", i)
	d, _ := i.Digest()
	srv.raw(t, "x", d.String(), "application/vnd.oci.image.manifest.v1+json", `{"schemaVersion":2}`)
	s := openStore(t, t.TempDir(), nil, nil)
	_, err := s.Pull(ctx, srv.host+"/x@"+d.String(), image.PullOptions{})
	fails(t, err, "has digest")
}
