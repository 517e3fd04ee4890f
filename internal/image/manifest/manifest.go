// Package manifest reads image manifests and indexes (OCI image-spec v1.1, Docker image manifest v2 schema 2) and
// refuses what could be read in two ways.
//
//	m, err := manifest.Parse(raw, "application/vnd.oci.image.index.v1+json")
//	if m.Index != nil {
//		desc, err := manifest.Select(m.Index, manifest.Host())
//	}
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/reference"
)

// Media types of Docker, of which the formats equal the OCI's.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// Accept lists what to ask a registry for.
var Accept = []string{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, DockerList, DockerManifest}

// Limits on what is read into memory: 4 MiB for a manifest (OCI distribution-spec v1.1, "Pushing Manifests"), and for
// a configuration; 1000 layers, eight times what overlayfs mounts in tools of today.
const (
	MaxSize   = 4 << 20
	MaxLayers = 1000
)

// Manifest is one of the two.
type Manifest struct {
	Image *v1.Manifest
	Index *v1.Index
}

// Parse reads a manifest. contentType is what the registry, or the descriptor that led here, says it is; "" if
// nothing does.
func Parse(raw []byte, contentType string) (Manifest, error) {
	if len(raw) > MaxSize {
		return Manifest{}, fmt.Errorf("manifest has %d bytes, more than %d", len(raw), MaxSize)
	}
	fields, err := fieldsOf(raw)
	if err != nil {
		return Manifest{}, err
	}
	said := clean(contentType)
	var body struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return Manifest{}, fmt.Errorf("manifest is not valid: %w", err)
	}
	if body.SchemaVersion == 1 || fields["fslayers"] || strings.HasPrefix(said, "application/vnd.docker.distribution.manifest.v1") {
		return Manifest{}, errors.New("image is in Docker's schema 1, which has no content addresses and was given up in 2019; push it anew with a current tool")
	}
	if body.SchemaVersion != 2 {
		return Manifest{}, fmt.Errorf("manifest has schemaVersion %d; only 2 is known", body.SchemaVersion)
	}
	// CVE-2021-41190: the same bytes must not be an index to one reader and an image to another.
	if fields["manifests"] && (fields["layers"] || fields["config"]) {
		return Manifest{}, errors.New("manifest is ambiguous: it holds both manifests and layers (CVE-2021-41190); it is refused")
	}
	kind := body.MediaType
	if known(said) {
		if kind != "" && kind != said {
			return Manifest{}, fmt.Errorf("manifest is ambiguous: it came as %s and calls itself %s (CVE-2021-41190); it is refused", said, kind)
		}
		kind = said
	}
	if kind == "" {
		kind = v1.MediaTypeImageManifest
		if fields["manifests"] {
			kind = v1.MediaTypeImageIndex
		}
	}
	switch kind {
	case v1.MediaTypeImageIndex, DockerList:
		if !fields["manifests"] {
			return Manifest{}, fmt.Errorf("manifest calls itself an index (%s) and lists no manifests", kind)
		}
		var ix v1.Index
		if err := json.Unmarshal(raw, &ix); err != nil {
			return Manifest{}, fmt.Errorf("index is not valid: %w", err)
		}
		ix.MediaType = kind
		return Manifest{Index: &ix}, checkIndex(&ix)
	case v1.MediaTypeImageManifest, DockerManifest:
		if fields["manifests"] || !fields["layers"] || !fields["config"] {
			return Manifest{}, fmt.Errorf("manifest calls itself an image (%s) and has no config and layers", kind)
		}
		var m v1.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return Manifest{}, fmt.Errorf("manifest is not valid: %w", err)
		}
		m.MediaType = kind
		return Manifest{Image: &m}, checkImage(&m)
	}
	return Manifest{}, fmt.Errorf("%q is no kind of image that can be used", kind)
}

func known(mediaType string) bool {
	for _, a := range Accept {
		if a == mediaType {
			return true
		}
	}
	return false
}

func clean(contentType string) string {
	if m, _, err := mime.ParseMediaType(contentType); err == nil {
		return m
	}
	return contentType
}

// fieldsOf lists the names of the top-level fields in lower case, since encoding/json does not tell cases apart. One
// name twice is refused.
func fieldsOf(raw []byte) (map[string]bool, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return nil, errors.New("manifest is not a JSON object")
	}
	out := map[string]bool{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("manifest is not valid JSON: %w", err)
		}
		s := strings.ToLower(k.(string))
		if out[s] {
			return nil, fmt.Errorf("manifest is ambiguous: field %q is there twice; it is refused", s)
		}
		out[s] = true
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, fmt.Errorf("manifest is not valid JSON: %w", err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("manifest is not valid JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("manifest is ambiguous: something follows the JSON object; it is refused")
	}
	return out, nil
}

func checkIndex(ix *v1.Index) error {
	for i, d := range ix.Manifests {
		if err := checkDescriptor(d); err != nil {
			return fmt.Errorf("index is not valid (manifests[%d]): %w", i, err)
		}
	}
	return nil
}

func checkImage(m *v1.Manifest) error {
	if err := checkDescriptor(m.Config); err != nil {
		return fmt.Errorf("manifest is not valid (config): %w", err)
	}
	if m.Config.Size > MaxSize {
		return fmt.Errorf("manifest is not valid (config): %d bytes, more than %d", m.Config.Size, MaxSize)
	}
	if m.Config.MediaType != v1.MediaTypeImageConfig && m.Config.MediaType != DockerConfig && m.Config.MediaType != "" {
		return fmt.Errorf("artifact of type %q is not a container image", m.Config.MediaType)
	}
	if len(m.Layers) > MaxLayers {
		return fmt.Errorf("manifest has %d layers, more than %d", len(m.Layers), MaxLayers)
	}
	for i, l := range m.Layers {
		if err := checkDescriptor(l); err != nil {
			return fmt.Errorf("manifest is not valid (layers[%d]): %w", i, err)
		}
		if strings.Contains(l.MediaType, "foreign") || strings.Contains(l.MediaType, "nondistributable") {
			return fmt.Errorf("layer %d (%s) is a foreign layer, to be fetched from elsewhere, as Windows images have them; such images cannot be used", i+1, l.MediaType)
		}
		if !strings.Contains(l.MediaType, ".tar") || strings.Contains(l.MediaType, "encrypted") {
			return fmt.Errorf("layer %d is of type %q, which is not a layer of a Linux image", i+1, l.MediaType)
		}
	}
	return nil
}

func checkDescriptor(d v1.Descriptor) error {
	if _, err := reference.Digest(string(d.Digest)); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d is negative", d.Size)
	}
	if len(d.URLs) > 0 {
		return errors.New("content is to be fetched from other addresses (urls), which is refused")
	}
	return nil
}

// Config reads an image configuration and checks it against its manifest.
func Config(raw []byte, m *v1.Manifest) (v1.Image, error) {
	var c v1.Image
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("image configuration is not valid: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return c, fmt.Errorf("image configuration (rootfs.diff_ids) has %d layers and the manifest %d", len(c.RootFS.DiffIDs), len(m.Layers))
	}
	for i, d := range c.RootFS.DiffIDs {
		if _, err := reference.Digest(string(d)); err != nil {
			return c, fmt.Errorf("image configuration (rootfs.diff_ids[%d]): %w", i, err)
		}
	}
	return c, nil
}
