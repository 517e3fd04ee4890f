package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"gcr/internal/image/fault"
	"gcr/internal/image/manifest"
	"gcr/internal/image/progress"
	"gcr/internal/image/reference"
	"gcr/internal/image/source"
)

// PullOptions for Pull and Add.
type PullOptions struct {
	Platform v1.Platform        // zero: that of this machine
	Progress *progress.Reporter // nil: silent
}

// Pull brings an image from a registry, or from another source that source.Open knows, into the store and gives it
// the name that was asked for.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	img, err := s.pull(ctx, ref, o)
	if err != nil {
		return nil, fault.New("pull", ref, err)
	}
	return img, nil
}

func (s *Store) pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	src, err := source.Open(ctx, ref, source.Options{Client: s.client})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	name := ""
	if n := src.Name(); n != "" {
		r, err := reference.Parse(n)
		if err != nil {
			return nil, err
		}
		name = reference.String(r)
	}
	return s.Add(ctx, src, name, o)
}

// Add brings the image of a source into the store under a full name, or without one.
func (s *Store) Add(ctx context.Context, src source.Source, name string, o PullOptions) (*Image, error) {
	explicit := o.Platform.Architecture != ""
	if !explicit {
		o.Platform = manifest.Host()
	}
	lock, err := s.lockShared(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	r, err := source.Image(ctx, src, o.Platform)
	if err != nil {
		return nil, err
	}
	if r.Config.OS != "" && r.Config.OS != "linux" {
		return nil, fmt.Errorf("image is for %s; only Linux images can be used", r.Config.OS)
	}
	if manifest.Matches(r.Config.Platform, o.Platform) == 0 && r.Config.Architecture != "" {
		if explicit {
			return nil, fmt.Errorf("image is for %s and not for %s", manifest.PlatformString(r.Config.Platform), manifest.PlatformString(o.Platform))
		}
		o.Progress.Line("warning: image is for %s, this machine is %s", manifest.PlatformString(r.Config.Platform), manifest.PlatformString(o.Platform))
	}
	if err := s.addLayers(ctx, src, r, o.Progress); err != nil {
		return nil, err
	}
	var from digest.Digest
	for _, b := range [][]byte{r.Index, r.RawConf, r.Raw} {
		if b == nil {
			continue
		}
		d, err := s.putBlob(b)
		if err != nil {
			return nil, fmt.Errorf("write image to the store: %w", err)
		}
		if from == "" && r.Index != nil {
			from = d
		}
	}
	if err := s.update(ctx, func(ix *index) error { ix.set(name, r.Desc, from); return nil }); err != nil {
		return nil, fmt.Errorf("write image to the store: %w", err)
	}
	r.Desc.Annotations = map[string]string{annIndex: from.String()}
	img, err := s.load(r.Desc)
	if err == nil && name != "" {
		img.Names = []string{name}
	}
	return img, err
}

// addLayers fetches and unpacks all layers, some at a time. The first error stops the others, which leave what they
// have downloaded for the next try.
func (s *Store) addLayers(ctx context.Context, src source.Source, r *source.Resolved, p *progress.Reporter) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.set.Parallel)
	for i, l := range r.Manifest.Layers {
		diffID := r.Config.RootFS.DiffIDs[i]
		g.Go(func() error {
			if err := s.addLayer(ctx, src, l, diffID, p); err != nil {
				if ctx.Err() != nil && errors.Is(err, context.Canceled) {
					return err
				}
				return fault.New("add layer", fmt.Sprintf("%d of %d (%s)", i+1, len(r.Manifest.Layers), l.Digest), err)
			}
			return nil
		})
	}
	return g.Wait()
}
