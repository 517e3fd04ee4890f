package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gcr/internal/image/fetch"
	"gcr/internal/image/progress"
	"gcr/internal/image/source"
	"gcr/internal/image/stream"
	"gcr/internal/image/unpack"
)

// ErrDiffID is a layer whose uncompressed content is not what the image configuration says.
var ErrDiffID = errors.New("uncompressed content does not match the diff ID in the image configuration")

// addLayer makes sure that a layer is there both as a blob and unpacked. The lock on the layer is held throughout:
// whoever else wants the same layer waits and finds it.
func (s *Store) addLayer(ctx context.Context, src source.Source, d v1.Descriptor, diffID digest.Digest, p *progress.Reporter) error {
	bar := p.Bar(d.Digest.Encoded()[:12], d.Size)
	defer bar.Fail()
	l, err := s.lockFor(ctx, "layer", diffID)
	if err != nil {
		return err
	}
	defer l.Close()
	lb, err := s.lockFor(ctx, "blob", d.Digest)
	if err != nil {
		return err
	}
	defer lb.Close()
	_, err = os.Lstat(filepath.Join(s.layerPath(diffID), "fs"))
	unpacked := err == nil
	if unpacked && s.hasBlob(d) {
		bar.Done("already there")
		return s.linkLayer(diffID)
	}
	err = s.bringLayer(ctx, src, d, diffID, unpacked, bar)
	var stale *staleError
	if errors.As(err, &stale) && ctx.Err() == nil {
		// What an earlier process left behind was not good; once more from nothing.
		err = s.bringLayer(ctx, src, d, diffID, unpacked, bar)
	}
	if err != nil {
		if errors.As(err, &stale) {
			err = stale.err
		}
		return err
	}
	bar.Done("done")
	return s.linkLayer(diffID)
}

// patience is how many bytes are still fetched of a blob that could not be unpacked, to tell from its digest whose fault
// that is.
const patience = 32 << 20

// staleError is a failure that may come from bytes that were on the disk before.
type staleError struct{ err error }

func (e *staleError) Error() string { return e.err.Error() }
func (e *staleError) Unwrap() error { return e.err }

func (s *Store) bringLayer(ctx context.Context, src source.Source, d v1.Descriptor, diffID digest.Digest, unpacked bool, bar *progress.Bar) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	whole := s.hasBlob(d)
	part := s.path("partial", "blob-"+d.Digest.Encoded())
	name := part
	if whole {
		name = s.blobPath(d.Digest)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	pause, tries := s.client.Backoff()
	sp := fetch.Start(ctx, f, d, fetch.Source{
		Open:    func(ctx context.Context, off int64) (io.ReadCloser, error) { return src.Blob(ctx, d, off) },
		Retry:   src.Retry,
		Backoff: pause, Tries: tries, Progress: bar.Add,
	})
	var own error // of the unpacking, and not of the transfer that it reads from
	if !unpacked {
		own = s.unpackLayer(ctx, sp.Reader(), diffID)
	}
	if own != nil && sp.Remaining() > patience {
		cancel()
	}
	// The transfer has the better words when both failed: what cannot be unpacked may be other bytes than were asked for.
	err = sp.Wait()
	if own != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = own
	} else {
		own = nil
	}
	if err != nil {
		wrong := errors.Is(err, fetch.ErrDigest) || errors.Is(err, ErrDiffID)
		// The beginning of a download is kept for the next try; content that is no good is not.
		if wrong || (own != nil && !whole && !errors.Is(own, context.Canceled)) {
			_ = os.Remove(name)
			if sp.Resumed() && !errors.Is(err, unix.ENOSPC) {
				err = &staleError{err}
			}
		}
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	if !whole {
		if err := os.Rename(part, s.blobPath(d.Digest)); err != nil {
			return err
		}
	}
	if !unpacked {
		return os.Rename(s.partialLayer(diffID), s.layerPath(diffID))
	}
	return nil
}

func (s *Store) partialLayer(diffID digest.Digest) string {
	return s.path("partial", "layer-"+diffID.Encoded())
}

// unpackLayer unpacks a compressed stream into partial/ and verifies the diff ID. The caller holds the layer's lock,
// so what is there of it already was left by a process that is gone.
func (s *Store) unpackLayer(ctx context.Context, r io.Reader, diffID digest.Digest) (err error) {
	rel := filepath.Join("partial", filepath.Base(s.partialLayer(diffID)))
	if err := s.remove(ctx, rel); err != nil {
		return fmt.Errorf("remove what an earlier pull left: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.remove(context.WithoutCancel(ctx), rel)
		}
	}()
	if err := freshRoot(s.path(rel)); err != nil {
		return err
	}
	dir, err := os.Open(s.path(rel, "fs"))
	if err != nil {
		return err
	}
	defer dir.Close()
	layer, err := stream.Open(r)
	if err != nil {
		return err
	}
	defer layer.Close()
	tree, err := s.worker.Tree(dir, unpack.Options{Form: unpack.Overlay, Limits: s.limits()})
	if err != nil {
		return err
	}
	if _, err := tree.Layer(ctx, layer); err != nil {
		tree.Abandon()
		return err
	}
	if err := tree.Close(); err != nil {
		return err
	}
	// The last bytes may not have been asked for by a reader in another process.
	if _, err := io.Copy(io.Discard, layer); err != nil {
		return err
	}
	got, size := layer.Sum()
	if got != diffID {
		return fmt.Errorf("%w: want %s, got %s", ErrDiffID, diffID, got)
	}
	return os.WriteFile(s.path(rel, "size"), strconv.AppendInt(nil, size, 10), 0o600)
}

// plainSize is the size of a layer's uncompressed stream in bytes, noted when it was unpacked; false if it was not.
func (s *Store) plainSize(diffID digest.Digest) (int64, bool) {
	b, err := os.ReadFile(filepath.Join(s.layerPath(diffID), "size"))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil && n >= 0
}

// freshRoot makes the directory "fs" in a directory of its own. A root that the layer does not mention must let every
// user of the container in.
func freshRoot(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "fs"), 0o700); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(dir, "fs"), 0o755)
}

func (s *Store) limits() unpack.Limits {
	return unpack.Limits{Bytes: s.set.Limits.LayerBytes, Entries: s.set.Limits.LayerEntries}
}

// linkLayer gives a layer its short name.
func (s *Store) linkLayer(diffID digest.Digest) error {
	p := s.path("l", short(diffID))
	to := filepath.Join("..", "layers", diffID.Encoded(), "fs")
	if have, err := os.Readlink(p); err == nil && have == to {
		return nil
	}
	err := os.Symlink(to, p)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}
