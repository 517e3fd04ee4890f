package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/fault"
	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/image/stream"
)

// Format of an archive that Save writes.
type Format string

// What Save can write.
const (
	DockerArchive Format = "docker-archive" // as docker save; layers uncompressed
	OCIArchive    Format = "oci-archive"    // an OCI layout in a tar file; blobs byte for byte
)

// Save writes images into one archive.
func (s *Store) Save(ctx context.Context, w io.Writer, format Format, refs []string, want v1.Platform) error {
	// Nothing is collected while blobs are read.
	lock, err := s.lockShared(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	var imgs []*saving
	for _, ref := range refs {
		img, err := s.find(ref, want)
		if err != nil {
			return fault.New("save image", ref, err)
		}
		imgs = append(imgs, &saving{img, saveName(ref, img)})
	}
	a := &archive{s: s, ctx: ctx, w: tar.NewWriter(w), done: map[string]bool{}}
	switch format {
	case DockerArchive:
		err = a.docker(imgs)
	case OCIArchive:
		err = a.oci(imgs)
	default:
		return fmt.Errorf("save image: format %q is not known; there are %s and %s", format, DockerArchive, OCIArchive)
	}
	if err == nil {
		err = a.w.Close()
	}
	if err != nil {
		return fault.New("save image", strings.Join(refs, " "), err)
	}
	return nil
}

type saving struct {
	img  *Image
	name string
}

// saveName is the name to write: the one that was asked for, and none for an ID.
func saveName(ref string, img *Image) string {
	if r, err := reference.Parse(ref); err == nil {
		for _, n := range img.Names {
			if n == reference.String(r) {
				return n
			}
		}
	}
	return ""
}

// archive writes members with a fixed time, so that saving twice gives the same bytes.
type archive struct {
	s    *Store
	ctx  context.Context
	w    *tar.Writer
	done map[string]bool
}

func (a *archive) file(name string, size int64, r io.Reader) error {
	if a.done[name] {
		return nil
	}
	a.done[name] = true
	if err := a.w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := io.Copy(a.w, ctxReader{a.ctx, r})
	return err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func (a *archive) bytes(name string, b []byte) error {
	return a.file(name, int64(len(b)), strings.NewReader(string(b)))
}

func (a *archive) blob(d v1.Descriptor) error {
	f, err := os.Open(a.s.blobPath(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != d.Size {
		return fmt.Errorf("blob %s in the store is damaged; pull the image again", d.Digest)
	}
	return a.file("blobs/sha256/"+d.Digest.Encoded(), d.Size, f)
}

func (a *archive) oci(imgs []*saving) error {
	ix := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	if err := a.bytes("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	for _, i := range imgs {
		d := i.img.desc
		d.Annotations = nil
		if i.name != "" {
			d.Annotations = map[string]string{v1.AnnotationRefName: i.name}
		}
		ix.Manifests = append(ix.Manifests, d)
		for _, b := range append([]v1.Descriptor{i.img.desc, i.img.man.Config}, i.img.man.Layers...) {
			if err := a.blob(b); err != nil {
				return err
			}
		}
	}
	b, err := json.Marshal(ix)
	if err != nil {
		return err
	}
	return a.bytes("index.json", b)
}

func (a *archive) docker(imgs []*saving) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var list []entry
	for _, i := range imgs {
		e := entry{Config: i.img.ID().Encoded() + ".json", Layers: []string{}, RepoTags: []string{}}
		if i.name != "" {
			e.RepoTags = append(e.RepoTags, reference.Familiar(i.name))
		}
		if err := a.bytes(e.Config, i.img.raw); err != nil {
			return err
		}
		for n, l := range i.img.man.Layers {
			name := i.img.conf.RootFS.DiffIDs[n].Encoded() + ".tar"
			e.Layers = append(e.Layers, name)
			if err := a.plainLayer(name, l, i.img.conf.RootFS.DiffIDs[n]); err != nil {
				return err
			}
		}
		list = append(list, e)
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return a.bytes("manifest.json", b)
}

// plainLayer writes a layer uncompressed and verifies it on the way.
func (a *archive) plainLayer(name string, d v1.Descriptor, diffID digest.Digest) error {
	if a.done[name] {
		return nil
	}
	f, err := os.Open(a.s.blobPath(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	// A tar header has the size first. Where nobody has noted it, the blob is decompressed once more.
	size, known := a.s.plainSize(diffID)
	if !known {
		if size, err = a.measure(f); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	l, err := stream.Open(f)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := a.file(name, size, l); err != nil {
		return err
	}
	if got, n := l.Sum(); got != diffID || n != size {
		return fmt.Errorf("blob %s in the store is damaged; pull the image again", d.Digest)
	}
	return nil
}

func (a *archive) measure(f *os.File) (int64, error) {
	z, err := stream.Decompress(f)
	if err != nil {
		return 0, err
	}
	defer z.Close()
	return io.Copy(io.Discard, ctxReader{a.ctx, z})
}

// SaveFile is Save into a file, which appears whole or not at all.
func (s *Store) SaveFile(ctx context.Context, p string, format Format, refs []string, want v1.Platform) error {
	return wholeFile(p, func(w io.Writer) error { return s.Save(ctx, w, format, refs, want) })
}

func wholeFile(p string, f func(io.Writer) error) error {
	// A device or pipe is written as it is.
	if st, err := os.Stat(p); err == nil && !st.Mode().IsRegular() {
		if st.IsDir() {
			return fault.New("write", p, errors.New("it is a directory"))
		}
		d, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer d.Close()
		return f(d)
	}
	tmp, err := os.CreateTemp(filepath.Dir(p), "."+filepath.Base(p)+"-")
	if err != nil {
		return fault.New("write", p, err)
	}
	defer os.Remove(tmp.Name())
	err = f(tmp)
	if e := tmp.Chmod(0o644); err == nil {
		err = e
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), p)
	}
	return err
}

// Load brings all images of an archive of docker save, or of an OCI layout, into the store under the names that they
// have there. f is closed.
func (s *Store) Load(ctx context.Context, f *os.File, o PullOptions) ([]*Image, error) {
	name := f.Name()
	out, err := s.loadArchive(ctx, f, o)
	if err != nil {
		return out, fault.New("load archive", name, err)
	}
	return out, nil
}

func (s *Store) loadArchive(ctx context.Context, f *os.File, o PullOptions) ([]*Image, error) {
	all, err := archiveSources(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, a := range all {
			a.Source.Close()
		}
	}()
	var out []*Image
	for _, a := range all {
		names := []string{}
		for _, n := range a.Names {
			r, err := reference.Parse(n)
			if err != nil {
				return out, err
			}
			names = append(names, reference.String(r))
		}
		if len(names) == 0 {
			names = []string{""}
		}
		for _, n := range names {
			img, err := s.Add(ctx, a.Source, n, o)
			if err != nil {
				return out, err
			}
			if len(out) > 0 && out[len(out)-1].Digest() == img.Digest() {
				out[len(out)-1].Names = append(out[len(out)-1].Names, img.Names...)
				continue
			}
			out = append(out, img)
		}
	}
	return out, nil
}

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case DockerArchive, OCIArchive:
		return f, nil
	}
	return "", fmt.Errorf("format %q is not known; there are %s and %s", s, DockerArchive, OCIArchive)
}

// PlatformOf reads a platform, where "" stays the zero value that means "this machine's, or what is there".
func PlatformOf(s string) (v1.Platform, error) {
	if s == "" {
		return v1.Platform{}, nil
	}
	return manifest.ParsePlatform(s)
}
