package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/flock"
)

// Annotations of the store in its index.json, beside org.opencontainers.image.ref.name with the full name.
const (
	annIndex  = "gcr.index"  // digest of the index that the image was chosen from
	annPulled = "gcr.pulled" // when it came, RFC 3339
)

// index is index.json: one entry for each name and platform, and entries without name for images that lost theirs.
type index struct{ v1.Index }

func (s *Store) index() (*index, error) {
	b, err := os.ReadFile(s.path("index.json"))
	if os.IsNotExist(err) {
		return &index{v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}}, nil
	}
	if err != nil {
		return nil, err
	}
	ix := &index{}
	if err := json.Unmarshal(b, &ix.Index); err != nil {
		return nil, fmt.Errorf("read index.json of the image store: %w", err)
	}
	for i, d := range ix.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("read index.json of the image store (manifests[%d]): %w", i, err)
		}
	}
	return ix, nil
}

// update changes index.json under its lock.
func (s *Store) update(ctx context.Context, f func(*index) error) error {
	l, err := flock.Exclusive(ctx, s.path("locks", "index"))
	if err != nil {
		return err
	}
	defer l.Close()
	ix, err := s.index()
	if err != nil {
		return err
	}
	if err := f(ix); err != nil {
		return err
	}
	b, err := json.MarshalIndent(ix.Index, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path("index.json"), append(b, '\n'))
}

func nameOf(d v1.Descriptor) string { return d.Annotations[v1.AnnotationRefName] }

func samePlatform(a, b *v1.Platform) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.OS == b.OS && a.Architecture == b.Architecture && a.Variant == b.Variant
}

// set gives a name to an image, per platform. An image that loses its last name by this stays, without one.
func (ix *index) set(name string, d v1.Descriptor, from digest.Digest) {
	d.Annotations = map[string]string{annPulled: time.Now().UTC().Format(time.RFC3339)}
	if from != "" {
		d.Annotations[annIndex] = from.String()
	}
	if name != "" {
		d.Annotations[v1.AnnotationRefName] = name
	}
	var out []v1.Descriptor
	var lost *v1.Descriptor
	for _, e := range ix.Manifests {
		switch {
		case name != "" && nameOf(e) == name && samePlatform(e.Platform, d.Platform):
			if e.Digest != d.Digest {
				lost = &e
			}
			continue
		case nameOf(e) == "" && e.Digest == d.Digest:
			continue // it has a name again, or is listed below
		}
		out = append(out, e)
	}
	if name != "" || !(&index{v1.Index{Manifests: out}}).has(d.Digest) {
		out = append(out, d)
	}
	ix.Manifests = out
	if lost != nil {
		ix.orphan(*lost)
	}
}

// orphan keeps an image that has no name any more.
func (ix *index) orphan(d v1.Descriptor) {
	if ix.has(d.Digest) {
		return
	}
	a := map[string]string{}
	for k, v := range d.Annotations {
		if k != v1.AnnotationRefName {
			a[k] = v
		}
	}
	d.Annotations = a
	ix.Manifests = append(ix.Manifests, d)
}

func (ix *index) has(d digest.Digest) bool {
	for _, e := range ix.Manifests {
		if e.Digest == d {
			return true
		}
	}
	return false
}

// drop removes the entries that f names and says how many.
func (ix *index) drop(f func(v1.Descriptor) bool) int {
	out := []v1.Descriptor{}
	for _, e := range ix.Manifests {
		if !f(e) {
			out = append(out, e)
		}
	}
	n := len(ix.Manifests) - len(out)
	ix.Manifests = out
	return n
}
