package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"gcr/internal/image/stream"
)

// oneFile decompresses a blob and writes what comes out into one file.
func oneFile(blob, out string) error {
	return decompressed(blob, func(r io.Reader) error {
		w, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer w.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
		return err
	})
}

func decompressed(blob string, f func(io.Reader) error) error {
	b, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer b.Close()
	l, err := stream.Decompress(b)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
}

// sameFiles decompresses a blob and writes the files in it, with three calls for each and one more for every further
// block: no digest, no copy of the blob, no owners, modes, times or attributes, and nothing is checked.
func sameFiles(blob, dir string) error {
	return decompressed(blob, func(r io.Reader) error {
		buf := make([]byte, 128<<10)
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			err = sameFile(dir, h, tr, buf)
			if errors.Is(err, unix.ENOENT) { // a layer need not have entries for all directories
				if err = os.MkdirAll(filepath.Dir(filepath.Join(dir, h.Name)), 0o755); err == nil {
					err = sameFile(dir, h, tr, buf)
				}
			}
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("write %s: %w", h.Name, err)
			}
		}
	})
}

func sameFile(dir string, h *tar.Header, r io.Reader, buf []byte) error {
	p := strings.TrimSuffix(dir+"/"+h.Name, "/")
	switch h.Typeflag {
	case tar.TypeDir:
		return unix.Mkdir(p, 0o755)
	case tar.TypeSymlink:
		return unix.Symlink(h.Linkname, p)
	case tar.TypeLink:
		return unix.Link(dir+"/"+h.Linkname, p)
	case tar.TypeReg:
	default:
		return nil
	}
	fd, err := unix.Open(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for left := h.Size; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

type madeImage struct {
	name   string
	zstd   bool
	blobs  []string
	diffs  []string
	files  int
	bytes  int64
	packed int64
}

func makeImages(o options) ([]madeImage, error) {
	kinds := []struct {
		name string
		make func(dir string) ([]string, error)
	}{
		{"big", func(dir string) ([]string, error) { return bigLayer(o, dir) }},
		{"small", smallFiles},
		{"ten", tenLayers},
	}
	var out []madeImage
	for _, k := range kinds {
		var tars []string
		for _, z := range []string{"gzip", "zstd"} {
			name := k.name + "-" + z
			if !strings.Contains(name, o.only) {
				continue
			}
			dir := filepath.Join(o.dir, "images", k.name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			if tars == nil {
				fmt.Fprintln(os.Stderr, "make", k.name)
				var err error
				if tars, err = k.make(dir); err != nil {
					return nil, err
				}
			}
			im, err := compress(name, z, tars)
			if err != nil {
				return nil, err
			}
			out = append(out, im)
		}
	}
	return out, nil
}

func compress(name, z string, tars []string) (madeImage, error) {
	im := madeImage{name: name, zstd: z == "zstd"}
	for _, t := range tars {
		blob := t + "." + z
		if _, err := os.Stat(blob); err != nil {
			c := exec.Command(z, "-c", t)
			f, err := os.Create(blob + ".new")
			if err != nil {
				return im, err
			}
			c.Stdout = f
			err = c.Run()
			f.Close()
			if err != nil {
				return im, err
			}
			if err := os.Rename(blob+".new", blob); err != nil {
				return im, err
			}
		}
		f, err := os.Open(t)
		if err != nil {
			return im, err
		}
		d, err := digest.FromReader(f)
		if err != nil {
			return im, err
		}
		_, _ = f.Seek(0, io.SeekStart)
		for tr := tar.NewReader(f); ; im.files++ {
			h, err := tr.Next()
			if err != nil {
				break
			}
			im.bytes += h.Size
		}
		f.Close()
		st, err := os.Stat(blob)
		if err != nil {
			return im, err
		}
		im.packed += st.Size()
		im.blobs, im.diffs = append(im.blobs, blob), append(im.diffs, d.String())
	}
	return im, nil
}

func bigLayer(o options, dir string) ([]string, error) {
	p := filepath.Join(dir, "layer.tar")
	if _, err := os.Stat(p); err == nil {
		return []string{p}, nil
	}
	if o.big != "" {
		return []string{p}, os.Link(o.big, p)
	}
	c := exec.Command("mmdebstrap", "--variant=minbase", "--include=build-essential,clang-14,gdb", "bookworm", p+".new.tar")
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("make Debian with mmdebstrap: %w", err)
	}
	return []string{p}, os.Rename(p+".new.tar", p)
}

// words gives text that compresses about as well as sources do.
func words(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, fmt.Sprintf("%x %d\n", r.Uint32N(5000), r.Uint32N(100))...)
	}
	return b[:n]
}

func writeTar(p string, first, count int, sz func(*rand.Rand) int) error {
	f, err := os.Create(p + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	r := rand.New(rand.NewPCG(uint64(first), 1))
	when := time.Unix(1700000000, 0)
	for i := first; i < first+count; i++ {
		if i%100 == 0 || i == first {
			d := fmt.Sprintf("usr/lib/node_modules/pkg%d/", i/100)
			if err := w.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when}); err != nil {
				return err
			}
		}
		b := words(r, sz(r))
		h := &tar.Header{Name: fmt.Sprintf("usr/lib/node_modules/pkg%d/file%d.js", i/100, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(b)), ModTime: when}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.Rename(p+".new", p)
}

func smallFiles(dir string) ([]string, error) {
	p := filepath.Join(dir, "layer.tar")
	if _, err := os.Stat(p); err == nil {
		return []string{p}, nil
	}
	return []string{p}, writeTar(p, 0, 100_000, func(r *rand.Rand) int { return int(r.ExpFloat64() * 2000) })
}

func tenLayers(dir string) ([]string, error) {
	var out []string
	for n := range 10 {
		p := filepath.Join(dir, fmt.Sprintf("layer%d.tar", n))
		out = append(out, p)
		if _, err := os.Stat(p); err == nil {
			continue
		}
		if err := writeTar(p, n*2000, 2000, func(r *rand.Rand) int { return int(r.ExpFloat64() * 25_000) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fileLayer is a layer that lies in a file.
type fileLayer struct {
	path string
	hash ggcr.Hash
	diff ggcr.Hash
	size int64
	mt   types.MediaType
}

func (l fileLayer) Digest() (ggcr.Hash, error)          { return l.hash, nil }
func (l fileLayer) DiffID() (ggcr.Hash, error)          { return l.diff, nil }
func (l fileLayer) Size() (int64, error)                { return l.size, nil }
func (l fileLayer) MediaType() (types.MediaType, error) { return l.mt, nil }
func (l fileLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.path) }

var _ partial.CompressedLayer = fileLayer{}

func (im madeImage) push(host string) error {
	i := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for n, b := range im.blobs {
		f, err := os.Open(b)
		if err != nil {
			return err
		}
		d, err := digest.FromReader(f)
		st, _ := f.Stat()
		f.Close()
		if err != nil {
			return err
		}
		l := fileLayer{path: b, size: st.Size(), mt: types.OCILayer}
		if im.zstd {
			l.mt = types.OCILayerZStd
		}
		if l.hash, err = ggcr.NewHash(d.String()); err != nil {
			return err
		}
		if l.diff, err = ggcr.NewHash(im.diffs[n]); err != nil {
			return err
		}
		full, err := partial.CompressedToLayer(l)
		if err != nil {
			return err
		}
		if i, err = mutate.AppendLayers(i, full); err != nil {
			return err
		}
	}
	cf, err := i.ConfigFile()
	if err != nil {
		return err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	if i, err = mutate.ConfigFile(i, cf); err != nil {
		return err
	}
	ref, err := name.ParseReference(host + "/" + im.name + ":v1")
	if err != nil {
		return err
	}
	return remote.Write(ref, i)
}
