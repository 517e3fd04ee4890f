package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
)

// files is how an OCI layout is read, from a directory or an archive.
type files interface {
	open(name string) (io.ReadSeekCloser, error)
	close() error
}

type dirFiles struct{ root *os.Root }

func (d dirFiles) open(name string) (io.ReadSeekCloser, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d dirFiles) close() error { return d.root.Close() }

// layout is an OCI image layout (image-spec v1.1, image-layout.md).
type layout struct {
	files files
	desc  v1.Descriptor
	name  string
}

// OpenLayout reads the image with the tag, or the only one, in an OCI layout directory.
func OpenLayout(dir, tag string) (Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout: %w", err)
	}
	s, err := newLayout(dirFiles{root}, tag)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("read OCI layout %s: %w", dir, err)
	}
	return s, nil
}

func newLayout(f files, tag string) (*layout, error) {
	ix, err := layoutIndex(f)
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	var tags []string
	for _, d := range ix.Manifests {
		n := d.Annotations[v1.AnnotationRefName]
		tags = append(tags, n)
		if tag == "" || n == tag || d.Annotations["io.containerd.image.name"] == tag || d.Digest.String() == tag {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no image %q in it; there are: %s", tag, strings.Join(tags, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("it holds %d images (%s); name one after a colon", len(found), strings.Join(tags, ", "))
	}
	return &layout{files: f, desc: found[0], name: layoutName(found[0])}, nil
}

func layoutName(d v1.Descriptor) string {
	for _, n := range []string{d.Annotations["io.containerd.image.name"], d.Annotations[v1.AnnotationRefName]} {
		if strings.ContainsAny(n, "/:") {
			return n
		}
	}
	return ""
}

func layoutIndex(f files) (*v1.Index, error) {
	r, err := f.open("index.json")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, manifest.MaxSize+1))
	if err != nil {
		return nil, err
	}
	var ix v1.Index
	if err := json.Unmarshal(b, &ix); err != nil {
		return nil, fmt.Errorf("index.json is not valid: %w", err)
	}
	if ix.SchemaVersion != 2 || len(b) > manifest.MaxSize {
		return nil, errors.New("index.json is not an OCI index")
	}
	return &ix, nil
}

func (l *layout) Root(ctx context.Context) ([]byte, string, error) {
	b, err := Small(ctx, l, l.desc)
	return b, l.desc.MediaType, err
}

func (l *layout) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	return Small(ctx, l, d)
}

func (l *layout) Blob(_ context.Context, d v1.Descriptor, off int64) (io.ReadCloser, error) {
	dg, err := reference.Digest(string(d.Digest))
	if err != nil {
		return nil, err
	}
	r, err := l.files.open(filepath.Join("blobs", "sha256", dg.Encoded()))
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(off, io.SeekStart); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (l *layout) Retry(error) (bool, time.Duration) { return false, 0 }
func (l *layout) Name() string                      { return l.name }
func (l *layout) Close() error                      { return l.files.close() }
