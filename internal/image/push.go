package image

import (
	"context"
	"io"
	"os"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/fault"
	"gcr/internal/image/progress"
)

// Push sends an image to the registry of dest, or, where dest is "", of its own name. Blobs go byte for byte, so the
// digest there is the digest here. It gives the digest.
func (s *Store) Push(ctx context.Context, ref, dest string, p *progress.Reporter) (digest.Digest, error) {
	d, err := s.push(ctx, ref, dest, p)
	if err != nil {
		return "", fault.New("push", ref, err)
	}
	return d, nil
}

func (s *Store) push(ctx context.Context, ref, dest string, p *progress.Reporter) (digest.Digest, error) {
	lock, err := s.lockShared(ctx)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	img, err := s.find(ref, v1.Platform{})
	if err != nil {
		return "", err
	}
	if dest == "" {
		dest = ref
	}
	rawMan, err := s.readBlob(img.Digest())
	if err != nil {
		return "", err
	}
	out, err := partial.CompressedToImage(&pushed{img, rawMan, p})
	if err != nil {
		return "", err
	}
	return img.Digest(), s.client.Push(ctx, dest, out)
}

// pushed is an image of the store as the registry library wants it.
type pushed struct {
	img *Image
	raw []byte
	p   *progress.Reporter
}

func (p *pushed) RawConfigFile() ([]byte, error) { return p.img.raw, nil }
func (p *pushed) RawManifest() ([]byte, error)   { return p.raw, nil }
func (p *pushed) MediaType() (types.MediaType, error) {
	return types.MediaType(p.img.man.MediaType), nil
}

func (p *pushed) layer(d v1.Descriptor) (*pushedLayer, error) {
	h, err := ggcr.NewHash(d.Digest.String())
	return &pushedLayer{p, d, h}, err
}

func (p *pushed) LayerByDigest(h ggcr.Hash) (partial.CompressedLayer, error) {
	for _, l := range p.img.man.Layers {
		if l.Digest.String() == h.String() {
			return p.layer(l)
		}
	}
	return p.layer(p.img.man.Config)
}

type pushedLayer struct {
	p *pushed
	d v1.Descriptor
	h ggcr.Hash
}

func (l *pushedLayer) Digest() (ggcr.Hash, error) { return l.h, nil }
func (l *pushedLayer) Size() (int64, error)       { return l.d.Size, nil }
func (l *pushedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.d.MediaType), nil
}

func (l *pushedLayer) Compressed() (io.ReadCloser, error) {
	f, err := os.Open(l.p.img.s.blobPath(l.d.Digest))
	if err != nil {
		return nil, err
	}
	bar := l.p.p.Bar(l.d.Digest.Encoded()[:12], l.d.Size)
	return &barReader{f, bar}, nil
}

type barReader struct {
	*os.File
	bar *progress.Bar
}

func (b *barReader) Read(p []byte) (int, error) {
	n, err := b.File.Read(p)
	b.bar.Add(int64(n))
	if err == io.EOF {
		b.bar.Done("sent")
	}
	return n, err
}

// WriteTo is hidden, so that what is sent is counted.
func (b *barReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{b})
}

func (b *barReader) Close() error {
	b.bar.Fail()
	return b.File.Close()
}
