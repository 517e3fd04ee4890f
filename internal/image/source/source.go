// Package source reads images from where they may be: a registry, an OCI layout directory or archive, an archive of
// docker save, a Docker daemon.
//
//	src, err := source.Open(ctx, "oci-archive:image.tar", source.Options{Client: client})
//	defer src.Close()
//	img, err := source.Image(ctx, src, manifest.Host())
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/image/registry"
)

// Source is a place that holds one image, perhaps for several platforms.
type Source interface {
	// Root is the manifest or index that stands for the image, with its media type.
	Root(ctx context.Context) (raw []byte, mediaType string, err error)
	// Blob opens content by its digest, from an offset in bytes. What is read is not verified.
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	// Manifest is like Blob for manifests, which registries keep apart.
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Retry says whether an error may go away.
	Retry(err error) (bool, time.Duration)
	// Name is the reference that the image has there, or "".
	Name() string
	Close() error
}

// Resolved is one image for one platform.
type Resolved struct {
	Index    []byte        // the index it was chosen from, or nil
	Desc     v1.Descriptor // of the manifest
	Raw      []byte        // the manifest
	Manifest v1.Manifest
	RawConf  []byte
	Config   v1.Image
}

// Options for Open.
type Options struct {
	Client *registry.Client
}

// Open reads what a person wrote: "docker-archive:FILE[:REF]", "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]",
// "docker-daemon:REF", "docker://REF", or the name of an image in a registry.
func Open(ctx context.Context, s string, o Options) (Source, error) {
	kind, rest, ok := strings.Cut(s, ":")
	if ok {
		switch kind {
		case "docker-archive":
			file, ref := splitTag(rest)
			return OpenArchive(ctx, file, ref)
		case "oci-archive":
			file, ref := splitTag(rest)
			return OpenArchive(ctx, file, ref)
		case "oci":
			dir, tag := splitTag(rest)
			return OpenLayout(dir, tag)
		case "docker-daemon":
			return openDaemon(ctx, rest)
		case "docker":
			if r, ok := strings.CutPrefix(rest, "//"); ok {
				return OpenRegistry(ctx, r, o.Client)
			}
		case "dir", "containers-storage", "ostree", "http", "https":
			if strings.HasPrefix(rest, "/") || kind == "containers-storage" {
				return nil, fmt.Errorf("read image %q: %s: is not a kind of source; there are docker-archive:FILE, oci:DIR[:TAG], oci-archive:FILE, docker-daemon:REF, and names in a registry", s, kind)
			}
		}
	}
	return OpenRegistry(ctx, s, o.Client)
}

// splitTag parts FILE:TAG where FILE alone is not there. A tag has no slash only where the colon is the last part.
func splitTag(s string) (file, tag string) {
	if _, err := os.Lstat(s); err == nil {
		return s, ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] == ':' {
			if _, err := os.Lstat(s[:i]); err == nil {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

// Image chooses the image for a platform and reads its manifest and configuration.
func Image(ctx context.Context, src Source, want v1.Platform) (*Resolved, error) {
	raw, mt, err := src.Root(ctx)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw, mt)
	if err != nil {
		return nil, err
	}
	out := &Resolved{Raw: raw}
	for depth := 0; m.Index != nil; depth++ {
		if depth == 3 {
			return nil, errors.New("index leads to an index, which leads to an index; that is refused")
		}
		if out.Index == nil {
			out.Index = raw
		}
		d, err := manifest.Select(m.Index, want)
		if err != nil {
			return nil, err
		}
		out.Raw, err = src.Manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		if int64(len(out.Raw)) != d.Size {
			return nil, fmt.Errorf("manifest %s has %d bytes where the index says %d", d.Digest, len(out.Raw), d.Size)
		}
		if m, err = manifest.Parse(out.Raw, d.MediaType); err != nil {
			return nil, err
		}
	}
	out.Manifest = *m.Image
	out.Desc = v1.Descriptor{MediaType: m.Image.MediaType, Digest: digest.FromBytes(out.Raw), Size: int64(len(out.Raw))}
	if out.RawConf, err = Small(ctx, src, m.Image.Config); err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	if out.Config, err = manifest.Config(out.RawConf, m.Image); err != nil {
		return nil, err
	}
	p := out.Config.Platform
	out.Desc.Platform = &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	return out, nil
}

// Small reads and verifies content that is kept in memory. Transient errors are tried again by the source's own rule.
func Small(ctx context.Context, src Source, d v1.Descriptor) ([]byte, error) {
	if d.Size > manifest.MaxSize {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", d.Digest, d.Size, manifest.MaxSize)
	}
	if _, err := reference.Digest(string(d.Digest)); err != nil {
		return nil, err
	}
	var last error
	for try := range 5 {
		b, err := small(ctx, src, d)
		if err == nil {
			if got := digest.FromBytes(b); got != d.Digest {
				return nil, fmt.Errorf("content has digest %s in place of %s", got, d.Digest)
			}
			return b, nil
		}
		last = err
		again, wait := src.Retry(err)
		if !again || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(max(wait, time.Duration(100<<try)*time.Millisecond)):
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, last
}

func small(ctx context.Context, src Source, d v1.Descriptor) ([]byte, error) {
	r, err := src.Blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > d.Size {
		return nil, fmt.Errorf("content is larger than the %d bytes that the manifest says", d.Size)
	}
	if int64(len(b)) < d.Size {
		return nil, io.ErrUnexpectedEOF
	}
	return b, nil
}

type registrySource struct {
	repo *registry.Repository
	raw  []byte
	mt   string
	name string
}

// OpenRegistry asks the registry, or a mirror, for the image of that name.
func OpenRegistry(ctx context.Context, s string, c *registry.Client) (Source, error) {
	ref, err := reference.Parse(s)
	if err != nil {
		return nil, err
	}
	repo, raw, mt, err := c.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &registrySource{repo, raw, mt, reference.String(ref)}, nil
}

func (s *registrySource) Root(context.Context) ([]byte, string, error) { return s.raw, s.mt, nil }
func (s *registrySource) Close() error                                 { return nil }
func (s *registrySource) Name() string                                 { return s.name }
func (s *registrySource) Retry(err error) (bool, time.Duration)        { return registry.Retryable(err) }

func (s *registrySource) Blob(ctx context.Context, d v1.Descriptor, off int64) (io.ReadCloser, error) {
	return s.repo.Blob(ctx, d, off)
}

func (s *registrySource) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, _, err := s.repo.Manifest(ctx, d.Digest.String())
	return raw, err
}
