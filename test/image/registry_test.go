package image

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"gcr/test/lab"
)

// scene is a registry with a caller beside it.
type scene struct {
	t     *testing.T
	srv   *httptest.Server
	host  string
	dir   string // the caller's home and current directory
	store string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir()}
	s.srv = httptest.NewServer(ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.srv.Close)
	s.host = strings.TrimPrefix(s.srv.URL, "http://")
	s.store = filepath.Join(s.dir, "images")
	return s
}

// file is an entry of a layer.
type file struct {
	tar.Header
	content string
}

func dir(name string, uid int) file {
	return file{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: uid, Gid: uid}}
}

func text(name, content string) file {
	return file{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content: content}
}

func link(name, to string) file {
	return file{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}}
}

func layer(t *testing.T, files ...file) ggcr.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return opened(t, b.Bytes())
}

func opened(t *testing.T, b []byte) ggcr.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// busybox is a layer with the programs of busybox and, owned by itself, the home of the user "me".
func busybox(t *testing.T) ggcr.Layer {
	t.Helper()
	root := lab.Busybox(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		to := ""
		if st.Mode()&fs.ModeSymlink != 0 {
			if to, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(st, to)
		if err != nil {
			return err
		}
		h.Name, _ = filepath.Rel(root, p)
		h.Uid, h.Gid = 0, 0
		if h.Name == "home/me" && many() {
			h.Uid, h.Gid = 1000, 1000
		}
		if err := w.WriteHeader(h); err != nil || !st.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return opened(t, b.Bytes())
}

// many says whether the caller's containers have more than one id.
func many() bool { return lab.IsRoot() || lab.HasSubIDs() }

// push makes an image and puts it into the registry; it returns its full name.
func (s *scene) push(ref string, c ggcr.Config, layers ...ggcr.Layer) string {
	s.t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		s.t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config = "linux", runtime.GOARCH, c
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		s.t.Fatal(err)
	}
	full, err := name.ParseReference(s.host + "/" + ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(full, img); err != nil {
		s.t.Fatal(err)
	}
	return full.String()
}

func (s *scene) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "HOME="+s.dir, "GCR_IMAGES="+s.store, "GCR_ROOTFS=", "XDG_CONFIG_HOME="+s.dir)
	return c
}

// gcr runs gcr and returns exit status and output.
func (s *scene) gcr(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	c := s.command(lab.GCR(s.t), args...)
	var out, diag bytes.Buffer
	c.Stdout, c.Stderr = &out, &diag
	err := c.Run()
	return lab.ExitStatus(s.t, err), out.String(), diag.String()
}

// want runs gcr, which must end with the status and print the output. It returns what gcr has said beside it.
func (s *scene) want(status int, output string, args ...string) string {
	s.t.Helper()
	got, out, diag := s.gcr(args...)
	if got != status || strings.TrimSpace(out) != output {
		s.t.Errorf("gcr %s\nexit status %d, want %d\noutput %q, want %q\n%s", strings.Join(args, " "), got, status, out, output, diag)
	}
	return diag
}

// says is want for an error: gcr ends with 125 and one line that has all the words.
func (s *scene) says(words []string, args ...string) {
	s.t.Helper()
	diag := s.want(125, "", args...)
	if strings.Count(diag, "\n") != 1 || !strings.HasPrefix(diag, "gcr: ") {
		s.t.Errorf("gcr %s: not one line of gcr's: %q", strings.Join(args, " "), diag)
	}
	for _, w := range words {
		if !strings.Contains(diag, w) {
			s.t.Errorf("gcr %s: no %q in %q", strings.Join(args, " "), w, diag)
		}
	}
}

// nothing checks that no container's files and no holds are left.
func (s *scene) nothing() {
	s.t.Helper()
	for _, d := range []string{"containers", "holds"} {
		es, err := os.ReadDir(filepath.Join(s.store, d))
		if err != nil {
			s.t.Error(err)
		}
		for _, e := range es {
			s.t.Errorf("left behind: %s/%s", d, e.Name())
		}
	}
}
