package image

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/fault"
	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
)

// ErrNotFound is an image that is not in the store.
var ErrNotFound = errors.New("no such image in the store")

// ErrIncomplete is an image of which a part is missing in the store.
var ErrIncomplete = errors.New("image in the store is incomplete; pull it again")

// Image is an image in the store.
type Image struct {
	s    *Store
	desc v1.Descriptor
	man  v1.Manifest
	raw  []byte
	conf v1.Image
	// Names that the image has, in full; none for one that lost its name.
	Names []string
	// Pulled is when it came into the store.
	Pulled time.Time
	// Index is the digest of the multi-platform index it was chosen from, or "".
	Index digest.Digest
}

// ID is the digest of the configuration, which identifies an image whatever registry it came from.
func (i *Image) ID() digest.Digest { return i.man.Config.Digest }

// Digest of the manifest.
func (i *Image) Digest() digest.Digest { return i.desc.Digest }

// Config is the configuration: entrypoint, environment, user, … (OCI image-spec config.md).
func (i *Image) Config() v1.Image { return i.conf }

// RawConfig is the configuration byte for byte, with the fields that the specification does not know.
func (i *Image) RawConfig() []byte { return i.raw }

// Manifest is the image manifest.
func (i *Image) Manifest() v1.Manifest { return i.man }

// Platform that the image is for.
func (i *Image) Platform() v1.Platform { return i.conf.Platform }

// Size is what its layers take in the registry, in bytes.
func (i *Image) Size() int64 {
	n := i.man.Config.Size
	for _, l := range i.man.Layers {
		n += l.Size
	}
	return n
}

// Layers lists the directories of the layers in the order of overlayfs's lowerdir option: topmost first. A layer that
// is there twice is listed once, since overlayfs takes no directory twice, and the upper one has all of it. An image
// without layers gives an empty directory.
func (i *Image) Layers() []string {
	var out []string
	for _, d := range i.diffIDs() {
		out = append(out, filepath.Join(i.s.layerPath(d), "fs"))
	}
	if len(out) == 0 {
		out = []string{i.s.path("empty")}
	}
	return out
}

// ShortLayers is Layers as short names below a directory, for the 4096 bytes of mount options (mount(2)): with base
// as the working directory, or by fsconfig(2), 127 layers fit.
func (i *Image) ShortLayers() (base string, names []string) {
	for _, d := range i.diffIDs() {
		names = append(names, short(d))
	}
	if len(names) == 0 {
		return i.s.root, []string{"empty"}
	}
	return i.s.path("l"), names
}

func (i *Image) diffIDs() []digest.Digest {
	var out []digest.Digest
	seen := map[digest.Digest]bool{}
	for n := len(i.conf.RootFS.DiffIDs) - 1; n >= 0; n-- {
		d := i.conf.RootFS.DiffIDs[n]
		if !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}

func short(d digest.Digest) string {
	b, _ := hex.DecodeString(d.Encoded())
	return base64.RawURLEncoding.EncodeToString(b[:18])
}

// load reads the image behind an entry of the index.
func (s *Store) load(d v1.Descriptor) (*Image, error) {
	rawMan, err := s.readBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(rawMan, d.MediaType)
	if err != nil {
		return nil, err
	}
	if m.Image == nil {
		return nil, errors.New("it is an index, which is no image by itself")
	}
	img := &Image{s: s, desc: d, man: *m.Image}
	if img.raw, err = s.readBlob(m.Image.Config.Digest); err != nil {
		return nil, err
	}
	if img.conf, err = manifest.Config(img.raw, m.Image); err != nil {
		return nil, err
	}
	img.Pulled, _ = time.Parse(time.RFC3339, d.Annotations[annPulled])
	img.Index = digest.Digest(d.Annotations[annIndex])
	return img, nil
}

// complete says whether all layers are unpacked.
func (i *Image) complete() error {
	for _, d := range i.conf.RootFS.DiffIDs {
		if _, err := os.Lstat(filepath.Join(i.s.layerPath(d), "fs")); err != nil {
			return fmt.Errorf("%w (layer %s)", ErrIncomplete, d)
		}
	}
	return nil
}

// Resolve finds an image by name, digest, or beginning of its ID. The zero platform means that of this machine, and
// where the image is there for one other platform only, that one.
func (s *Store) Resolve(ref string, want v1.Platform) (*Image, error) {
	img, err := s.find(ref, want)
	if err == nil {
		err = img.complete()
	}
	if err != nil {
		return nil, fault.New("find image", ref, err)
	}
	return img, nil
}

func (s *Store) find(ref string, want v1.Platform) (*Image, error) {
	ix, err := s.index()
	if err != nil {
		return nil, err
	}
	found, err := s.match(ix, ref)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	any := want.Architecture == ""
	if any {
		want = manifest.Host()
	}
	best, score := -1, 0
	var have []string
	for i, d := range found {
		if d.Platform == nil {
			continue
		}
		have = append(have, manifest.PlatformString(*d.Platform))
		if m := manifest.Matches(*d.Platform, want); m > score {
			best, score = i, m
		}
	}
	if best < 0 && any {
		best = 0
	}
	if best < 0 {
		return nil, fmt.Errorf("%w for %s; it is there for %s", ErrNotFound, manifest.PlatformString(want), strings.Join(have, ", "))
	}
	img, err := s.load(found[best])
	if err != nil {
		return nil, err
	}
	for _, e := range ix.Manifests {
		if e.Digest == img.desc.Digest && nameOf(e) != "" {
			img.Names = append(img.Names, nameOf(e))
		}
	}
	return img, nil
}

// match lists the entries that ref means: by name first, then by digest or ID.
func (s *Store) match(ix *index, ref string) ([]v1.Descriptor, error) {
	var out []v1.Descriptor
	full := ""
	if r, err := reference.Parse(ref); err == nil {
		full = reference.String(r)
	}
	for _, e := range ix.Manifests {
		if full != "" && nameOf(e) == full {
			out = append(out, e)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	// NAME@DIGEST: of the manifest or of the index that it came from.
	if i := strings.LastIndexByte(full, '@'); i >= 0 {
		want := full[i+1:]
		for _, e := range ix.Manifests {
			repo, _, _ := cutTag(nameOf(e))
			if (e.Digest.String() == want || e.Annotations[annIndex] == want) && (repo == full[:i] || nameOf(e) == "") {
				return []v1.Descriptor{e}, nil
			}
		}
		return nil, nil
	}
	id := strings.TrimPrefix(ref, "sha256:")
	if len(id) < 2 || len(id) > 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, nil
	}
	ids := map[digest.Digest]v1.Descriptor{}
	for _, e := range ix.Manifests {
		img, err := s.load(e)
		if err != nil {
			continue
		}
		if strings.HasPrefix(img.ID().Encoded(), id) || strings.HasPrefix(e.Digest.Encoded(), id) {
			ids[e.Digest] = e
		}
	}
	if len(ids) > 1 {
		return nil, fmt.Errorf("%q is the beginning of %d images; give more of it", ref, len(ids))
	}
	for _, e := range ids {
		out = append(out, e)
	}
	return out, nil
}

func cutTag(full string) (repo, tag string, ok bool) {
	if i := strings.IndexByte(full, '@'); i >= 0 {
		return full[:i], full[i+1:], true
	}
	if i := strings.LastIndexByte(full, ':'); i > strings.LastIndexByte(full, '/') {
		return full[:i], full[i+1:], true
	}
	return full, "", false
}

// List gives all images, those last pulled first. One that cannot be read is given with an error beside.
func (s *Store) List() ([]*Image, error) {
	ix, err := s.index()
	if err != nil {
		return nil, fault.New("list images", "", err)
	}
	byDigest := map[digest.Digest]*Image{}
	var out []*Image
	var broken []error
	for _, e := range ix.Manifests {
		img := byDigest[e.Digest]
		if img == nil {
			img, err = s.load(e)
			if err != nil {
				broken = append(broken, fault.New("read image", nameOf(e)+" "+e.Digest.String(), err))
				continue
			}
			byDigest[e.Digest] = img
			out = append(out, img)
		}
		if n := nameOf(e); n != "" {
			img.Names = append(img.Names, n)
		}
	}
	sort.SliceStable(out, func(a, b int) bool { return out[a].Pulled.After(out[b].Pulled) })
	return out, errors.Join(broken...)
}
