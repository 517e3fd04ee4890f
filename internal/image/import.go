package image

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/fault"
	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/image/source"
	"gcr/internal/image/stream"
)

func archiveSources(ctx context.Context, f *os.File) ([]source.Named, error) {
	return source.Archive(ctx, f)
}

// ImportOptions for Import.
type ImportOptions struct {
	Name     string   // "" for none
	Message  string   // for the history
	Changes  []string // Dockerfile instructions: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
	Platform v1.Platform
}

// Import makes an image of one layer from a tar stream of a root file system, plain or compressed.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	img, err := s.importTar(ctx, r, o)
	if err != nil {
		return nil, fault.New("import root file system", o.Name, err)
	}
	return img, nil
}

func (s *Store) importTar(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	name := ""
	if o.Name != "" {
		ref, err := reference.Parse(o.Name)
		if err != nil {
			return nil, err
		}
		name = reference.String(ref)
	}
	if o.Platform.Architecture == "" {
		o.Platform = manifest.Host()
	}
	now := time.Now().UTC()
	conf := v1.Image{Created: &now, Platform: o.Platform, History: []v1.History{{Created: &now, CreatedBy: "gcr import", Comment: o.Message}}}
	for _, c := range o.Changes {
		if err := change(&conf.Config, c); err != nil {
			return nil, err
		}
	}
	layer, diffID, f, err := s.importLayer(ctx, r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	conf.RootFS = v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	rawConf, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(rawConf), Size: int64(len(rawConf))},
		Layers: []v1.Descriptor{layer},
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	src := &memorySource{raw: raw, config: rawConf, layer: f}
	return s.Add(ctx, src, name, PullOptions{Platform: o.Platform})
}

// importLayer brings a tar stream into an unnamed file as a gzip blob, as it is if it is compressed already.
func (s *Store) importLayer(ctx context.Context, r io.Reader) (v1.Descriptor, digest.Digest, *os.File, error) {
	f, err := os.CreateTemp(s.path("partial"), "import-")
	if err != nil {
		return v1.Descriptor{}, "", nil, err
	}
	os.Remove(f.Name())
	d, diffID, err := writeLayer(ctxReader{ctx, r}, f)
	if err != nil {
		f.Close()
		return d, "", nil, err
	}
	return d, diffID, f, nil
}

func writeLayer(r io.Reader, f *os.File) (v1.Descriptor, digest.Digest, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	c, err := stream.Detect(br)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	d := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip}
	if c == stream.Zstd {
		d.MediaType = v1.MediaTypeImageLayerZstd
	}
	blob := digest.SHA256.Digester()
	out := io.MultiWriter(f, blob.Hash())
	var diffID digest.Digest
	if c == stream.None {
		plain := digest.SHA256.Digester()
		z, err := gzip.NewWriterLevel(out, gzip.DefaultCompression)
		if err != nil {
			return d, "", err
		}
		if _, err := io.Copy(io.MultiWriter(z, plain.Hash()), br); err != nil {
			return d, "", err
		}
		if err := z.Close(); err != nil {
			return d, "", err
		}
		diffID = plain.Digest()
	} else {
		l, err := stream.Open(io.TeeReader(br, out))
		if err != nil {
			return d, "", err
		}
		_, err = io.Copy(io.Discard, l)
		l.Close()
		if err != nil {
			return d, "", err
		}
		if _, err := io.Copy(out, br); err != nil { // padding after the last frame
			return d, "", err
		}
		diffID, _ = l.Sum()
	}
	d.Digest = blob.Digest()
	d.Size, err = f.Seek(0, io.SeekCurrent)
	return d, diffID, err
}

// memorySource is an image that was made here.
type memorySource struct {
	raw, config []byte
	layer       *os.File
}

func (m *memorySource) Root(context.Context) ([]byte, string, error) {
	return m.raw, v1.MediaTypeImageManifest, nil
}

func (m *memorySource) Blob(_ context.Context, d v1.Descriptor, off int64) (io.ReadCloser, error) {
	if d.Digest == digest.FromBytes(m.config) {
		return io.NopCloser(strings.NewReader(string(m.config[off:]))), nil
	}
	return io.NopCloser(io.NewSectionReader(m.layer, off, d.Size-off)), nil
}

func (m *memorySource) Manifest(context.Context, v1.Descriptor) ([]byte, error) {
	return nil, errors.New("there is no index")
}
func (m *memorySource) Retry(error) (bool, time.Duration) { return false, 0 }
func (m *memorySource) Name() string                      { return "" }
func (m *memorySource) Close() error                      { return nil }

// change applies one Dockerfile instruction to a configuration.
func change(c *v1.ImageConfig, line string) error {
	verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	arg = strings.TrimSpace(arg)
	if arg == "" {
		return fmt.Errorf("read change %q: it is not of the form INSTRUCTION ARGUMENT", line)
	}
	switch strings.ToUpper(verb) {
	case "CMD":
		c.Cmd = words(arg)
	case "ENTRYPOINT":
		c.Entrypoint = words(arg)
	case "ENV":
		k, v, ok := strings.Cut(arg, "=")
		if !ok {
			k, v, ok = strings.Cut(arg, " ")
		}
		if !ok || k == "" {
			return fmt.Errorf("read change %q: ENV needs NAME=VALUE", line)
		}
		c.Env = append(c.Env, k+"="+strings.Trim(v, `"`))
	case "EXPOSE":
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for _, p := range strings.Fields(arg) {
			if !strings.Contains(p, "/") {
				p += "/tcp"
			}
			c.ExposedPorts[p] = struct{}{}
		}
	case "LABEL":
		k, v, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("read change %q: LABEL needs NAME=VALUE", line)
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[strings.Trim(k, `"`)] = strings.Trim(v, `"`)
	case "STOPSIGNAL":
		c.StopSignal = arg
	case "USER":
		c.User = arg
	case "VOLUME":
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		for _, v := range list(arg) {
			c.Volumes[v] = struct{}{}
		}
	case "WORKDIR":
		c.WorkingDir = arg
	default:
		return fmt.Errorf("read change %q: instruction is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR", line)
	}
	return nil
}

// words reads the exec form, a JSON list, or the shell form.
func words(s string) []string {
	var l []string
	if json.Unmarshal([]byte(s), &l) == nil {
		return l
	}
	return []string{"/bin/sh", "-c", s}
}

func list(s string) []string {
	var l []string
	if json.Unmarshal([]byte(s), &l) == nil {
		return l
	}
	return strings.Fields(s)
}
