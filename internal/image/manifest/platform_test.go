package manifest_test

import (
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/manifest"
)

func index(ps ...string) *v1.Index {
	ix := &v1.Index{}
	for _, p := range ps {
		d := v1.Descriptor{}
		if p != "" {
			pl, err := manifest.ParsePlatform(p)
			if err != nil {
				panic(err)
			}
			d.Platform = &pl
			d.ArtifactType = p
		}
		ix.Manifests = append(ix.Manifests, d)
	}
	return ix
}

func TestSelect(t *testing.T) {
	arm := index("linux/arm/v5", "linux/arm/v7", "linux/arm64", "linux/amd64", "linux/amd64/v3", "windows/amd64")
	for _, c := range []struct {
		ix         *v1.Index
		want, have string
	}{
		{arm, "linux/amd64", "linux/amd64"},
		{arm, "x86_64", "linux/amd64"},
		{arm, "linux/amd64/v2", "linux/amd64"},
		{arm, "linux/amd64/v4", "linux/amd64"},
		{arm, "linux/arm/v6", "linux/arm/v5"},
		{arm, "linux/arm", "linux/arm/v7"},
		{arm, "linux/arm64/v8", "linux/arm64"},
		{arm, "linux/s390x", ""},
		{index("linux/amd64/v3"), "linux/amd64", ""},
		{index(""), "linux/amd64", ""},
		{index("", ""), "linux/amd64", "none"},
		{index(), "linux/amd64", "none"},
	} {
		p, err := manifest.ParsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		d, err := manifest.Select(c.ix, p)
		switch {
		case c.have == "none" || (c.have == "" && len(c.ix.Manifests) > 0 && c.ix.Manifests[0].Platform != nil):
			if err == nil {
				t.Errorf("%s gave %s", c.want, d.ArtifactType)
			}
		case err != nil:
			t.Errorf("%s: %v", c.want, err)
		case d.ArtifactType != c.have:
			t.Errorf("%s gave %s, want %s", c.want, d.ArtifactType, c.have)
		}
	}
	for _, bad := range []string{"a/b/c/d", "/", "linux/", "linux/amd64/", "li nux/amd64", "../x"} {
		if _, err := manifest.ParsePlatform(bad); err == nil {
			t.Errorf("%q was read as a platform", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[]}`), v1.MediaTypeImageManifest)
	f.Fuzz(func(t *testing.T, raw []byte, mt string) {
		m, err := manifest.Parse(raw, mt)
		if err == nil && (m.Image == nil) == (m.Index == nil) {
			t.Error("a manifest must be one of image and index")
		}
	})
}
