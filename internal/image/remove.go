package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gcr/internal/image/fault"
	"gcr/internal/image/flock"
	"gcr/internal/image/reference"
)

// Removed says what Remove or Prune did.
type Removed struct {
	Untagged []string        `json:"untagged"`
	Deleted  []digest.Digest `json:"deleted"` // IDs of images
	Freed    int64           `json:"freed"`   // bytes of blobs; unpacked layers come on top
	Later    bool            `json:"later"`   // something is being added: what is no longer used stays until the next prune
}

// Remove takes a name from an image, or, by ID or digest, all its names; what no image uses then is removed. An image
// in use by a container, and one that has several names and was given by ID, needs force.
func (s *Store) Remove(ctx context.Context, ref string, force bool) (*Removed, error) {
	r, err := s.removeImage(ctx, ref, force)
	if err != nil {
		return nil, fault.New("remove image", ref, err)
	}
	return r, nil
}

func (s *Store) removeImage(ctx context.Context, ref string, force bool) (*Removed, error) {
	out := &Removed{}
	hs, err := s.holds()
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, func(ix *index) error {
		found, err := s.match(ix, ref)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound
		}
		full := ""
		if r, err := reference.Parse(ref); err == nil {
			full = reference.String(r)
		}
		for _, f := range found {
			byName := full != "" && nameOf(f) == full
			others := 0
			for _, e := range ix.Manifests {
				if e.Digest == f.Digest && nameOf(e) != nameOf(f) {
					others++
				}
			}
			if byName && others > 0 {
				continue // only the name goes
			}
			if others > 0 && !force {
				return fmt.Errorf("it has %d names; remove them one by one, or use --force", others+1)
			}
			for _, h := range hs {
				if h.Manifest == f.Digest && !force {
					return fmt.Errorf("it is in use by container %s; stop that first, or use --force to take the name away now", orUnknown(h.For))
				}
			}
		}
		for _, f := range found {
			byName := full != "" && nameOf(f) == full
			ix.drop(func(e v1.Descriptor) bool {
				if e.Digest != f.Digest || (byName && nameOf(e) != full) {
					return false
				}
				if nameOf(e) != "" {
					out.Untagged = append(out.Untagged, nameOf(e))
				}
				return true
			})
			if !ix.has(f.Digest) {
				if img, err := s.load(f); err == nil {
					out.Deleted = append(out.Deleted, img.ID())
				} else {
					out.Deleted = append(out.Deleted, f.Digest)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.collect(ctx, out)
}

func orUnknown(s string) string {
	if s == "" {
		return "(unnamed)"
	}
	return s
}

// Prune removes images without a name, and with all also those that no container uses; and whatever killed commands
// left behind.
func (s *Store) Prune(ctx context.Context, all bool) (*Removed, error) {
	out := &Removed{}
	hs, err := s.holds()
	if err != nil {
		return nil, fault.New("prune images", "", err)
	}
	inUse := map[digest.Digest]bool{}
	for _, h := range hs {
		inUse[h.Manifest] = true
	}
	forget := func(ix *index) error {
		out.Untagged, out.Deleted = nil, nil
		gone := map[digest.Digest]v1.Descriptor{}
		ix.drop(func(e v1.Descriptor) bool {
			if inUse[e.Digest] || (nameOf(e) != "" && !all) {
				return false
			}
			if n := nameOf(e); n != "" {
				out.Untagged = append(out.Untagged, n)
			}
			gone[e.Digest] = e
			return true
		})
		for d, e := range gone {
			if img, err := s.load(e); err == nil {
				d = img.ID()
			}
			out.Deleted = append(out.Deleted, d)
		}
		return nil
	}
	err = s.update(ctx, forget)
	if errors.Is(err, unix.ENOSPC) {
		// Not even the new index fits on the disk: what no image needs makes room for it.
		if err = s.collect(ctx, out); err == nil {
			err = s.update(ctx, forget)
		}
	}
	if err == nil {
		err = s.collect(ctx, out)
	}
	if err != nil {
		return nil, fault.New("prune images", "", err)
	}
	return out, nil
}

// collect removes what no image in the index, and no container, needs. It needs the store to itself; while something
// is being added it leaves everything for a later time.
func (s *Store) collect(ctx context.Context, out *Removed) error {
	l, err := flock.TryExclusive(s.path("locks", "store"))
	if errors.Is(err, flock.ErrBusy) {
		out.Later = true
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	blobs, layers, err := s.needed()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range s.names("blobs/sha256") {
		if blobs[e.Name()] {
			continue
		}
		if st, err := e.Info(); err == nil {
			out.Freed += st.Size()
		}
		errs = append(errs, os.Remove(s.path("blobs", "sha256", e.Name())))
	}
	for _, e := range s.names("layers") {
		if !layers[e.Name()] {
			errs = append(errs, s.remove(ctx, "layers/"+e.Name()))
		}
	}
	for _, e := range s.names("l") {
		if _, err := os.Stat(s.path("l", e.Name())); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, os.Remove(s.path("l", e.Name())))
		}
	}
	errs = append(errs, s.sweepScratch(ctx))
	for _, e := range s.names("partial") {
		errs = append(errs, s.remove(ctx, "partial/"+e.Name()))
	}
	for _, e := range s.names("trash") {
		errs = append(errs, s.removeIn(ctx, "trash", e.Name()))
	}
	// Nobody holds one of these now: they are only taken under the lock that we have alone.
	for _, e := range s.names("locks") {
		if strings.HasPrefix(e.Name(), "layer-") || strings.HasPrefix(e.Name(), "blob-") {
			errs = append(errs, os.Remove(s.path("locks", e.Name())))
		}
	}
	for _, dir := range []string{"", "blobs/sha256", "holds"} {
		for _, e := range s.names(dir) {
			if strings.HasPrefix(e.Name(), ".new-") || (dir == "holds" && strings.HasPrefix(e.Name(), "new-")) {
				_ = os.Remove(s.path(dir, e.Name()))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Store) names(dir string) []os.DirEntry {
	es, _ := os.ReadDir(s.path(dir))
	return es
}

// needed lists blobs and layers, by the hexadecimal part of their digests, that must stay.
func (s *Store) needed() (blobs, layers map[string]bool, err error) {
	blobs, layers = map[string]bool{}, map[string]bool{}
	ix, err := s.index()
	if err != nil {
		return nil, nil, err
	}
	hs, err := s.holds()
	if err != nil {
		return nil, nil, err
	}
	for _, h := range hs {
		blobs[h.Manifest.Encoded()], blobs[h.Config.Encoded()] = true, true
		for _, d := range h.Layers {
			layers[d.Encoded()] = true
		}
	}
	for _, e := range ix.Manifests {
		blobs[e.Digest.Encoded()] = true
		if d := digest.Digest(e.Annotations[annIndex]); d.Validate() == nil {
			blobs[d.Encoded()] = true
		}
		img, err := s.load(e)
		if err != nil {
			// What a damaged image needs is unknown: nothing may be removed for it but itself, so keep all.
			return nil, nil, fmt.Errorf("image %s %s is damaged and stops the clean-up; remove it or pull it again: %w", nameOf(e), e.Digest, err)
		}
		blobs[img.ID().Encoded()] = true
		for _, l := range img.man.Layers {
			blobs[l.Digest.Encoded()] = true
		}
		for _, d := range img.conf.RootFS.DiffIDs {
			layers[d.Encoded()] = true
		}
	}
	return blobs, layers, nil
}

// Tag gives an image another name.
func (s *Store) Tag(ctx context.Context, ref, name string) error {
	to, err := reference.Parse(name)
	if err != nil {
		return fault.New("tag image", ref, err)
	}
	if strings.Contains(name, "@") {
		return fault.New("tag image", ref, errors.New("the new name must not have a digest"))
	}
	img, err := s.find(ref, v1.Platform{})
	if err != nil {
		return fault.New("tag image", ref, err)
	}
	err = s.update(ctx, func(ix *index) error {
		if !ix.has(img.Digest()) {
			return ErrNotFound // removed in the meantime
		}
		ix.set(reference.String(to), img.desc, img.Index)
		return nil
	})
	if err != nil {
		return fault.New("tag image", ref, err)
	}
	return nil
}
