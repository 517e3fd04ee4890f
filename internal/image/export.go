package image

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/fault"
	"gcr/internal/image/stream"
	"gcr/internal/image/unpack"
)

// Export writes the root file system of an image as one tar stream, its layers laid over each other.
func (s *Store) Export(ctx context.Context, w io.Writer, ref string, want v1.Platform) error {
	if err := s.export(ctx, w, ref, want); err != nil {
		return fault.New("export image", ref, err)
	}
	return nil
}

// ExportFile is Export into a file, which appears whole or not at all.
func (s *Store) ExportFile(ctx context.Context, p, ref string, want v1.Platform) error {
	return wholeFile(p, func(w io.Writer) error { return s.Export(ctx, w, ref, want) })
}

// export unpacks the layers over each other into partial/ and packs the result: which entry of which layer counts,
// hard links included, is then decided by the same code that everything else uses.
func (s *Store) export(ctx context.Context, w io.Writer, ref string, want v1.Platform) (err error) {
	lock, err := s.lockShared(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	img, err := s.find(ref, want)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.path("partial"), "export-")
	if err != nil {
		return err
	}
	name := tmp[len(s.path("partial"))+1:]
	defer func() {
		if e := s.remove(context.WithoutCancel(ctx), "partial/"+name); err == nil {
			err = e
		}
	}()
	if err := freshRoot(tmp); err != nil {
		return err
	}
	dir, err := os.Open(tmp + "/fs")
	if err != nil {
		return err
	}
	defer dir.Close()
	tree, err := s.worker.Tree(dir, unpack.Options{Form: unpack.Applied, Limits: s.limits()})
	if err != nil {
		return err
	}
	for i, l := range img.man.Layers {
		if err := s.applyLayer(ctx, tree.Layer, l, img.conf.RootFS.DiffIDs[i].String()); err != nil {
			tree.Abandon()
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	if err := tree.Close(); err != nil {
		return err
	}
	return s.worker.Pack(ctx, dir, w)
}

func (s *Store) applyLayer(ctx context.Context, apply func(context.Context, io.Reader) (unpack.Stats, error), d v1.Descriptor, diffID string) error {
	f, err := os.Open(s.blobPath(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := stream.Open(f)
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := apply(ctx, l); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, l); err != nil {
		return err
	}
	if got, _ := l.Sum(); got.String() != diffID {
		return fmt.Errorf("blob %s in the store is damaged; pull the image again", d.Digest)
	}
	return nil
}
