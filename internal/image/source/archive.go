package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/image/stream"
)

// tarFiles finds the members of a tar file by name, without unpacking it anywhere.
type tarFiles struct {
	f     *os.File
	parts map[string]part
}

type part struct {
	off, size int64
	link      string
}

const maxMembers = 100_000

func indexTar(f *os.File) (*tarFiles, error) {
	t := &tarFiles{f: f, parts: map[string]part{}}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	tr := tar.NewReader(f) // seeks over content, as f can seek
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is not a tar archive: %w", err)
		}
		if len(t.parts) >= maxMembers {
			return nil, fmt.Errorf("it has more than %d members", maxMembers)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			off, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.parts[name] = part{off: off, size: h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			to := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				to = path.Join(path.Dir(name), to)
			}
			t.parts[name] = part{link: path.Clean(to)}
		}
	}
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

func (t *tarFiles) open(name string) (io.ReadSeekCloser, error) {
	for range 5 { // links between members, as older versions of docker save write them
		p, ok := t.parts[path.Clean(name)]
		if !ok {
			return nil, fmt.Errorf("it has no member %s: %w", name, os.ErrNotExist)
		}
		if p.link == "" {
			return section{io.NewSectionReader(t.f, p.off, p.size)}, nil
		}
		name = p.link
	}
	return nil, fmt.Errorf("member %s is a link to a link to a link", name)
}

func (t *tarFiles) close() error { return t.f.Close() }

// OpenArchive reads an archive of docker save or of an OCI layout, plain or compressed; which one it is shows in its
// members. ref chooses among several images.
func OpenArchive(ctx context.Context, file, ref string) (Source, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	all, err := Archive(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("read archive %s: %w", file, err)
	}
	var names []string
	for i, s := range all {
		for _, n := range s.Names {
			names = append(names, reference.Familiar(n))
			if ref != "" && (n == ref || normal(n) == normal(ref)) {
				return all[i].Source, nil
			}
		}
	}
	if ref == "" && len(all) == 1 {
		return all[0].Source, nil
	}
	for _, s := range all {
		s.Source.Close()
	}
	if ref != "" {
		return nil, fmt.Errorf("read archive %s: no image %q in it; there are: %s", file, ref, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("read archive %s: it holds %d images (%s); name one after a colon", file, len(all), strings.Join(names, ", "))
}

func normal(s string) string {
	if r, err := reference.Parse(s); err == nil {
		return reference.String(r)
	}
	return s
}

// Named is an image of an archive with the names it has there.
type Named struct {
	Source Source
	Names  []string
}

// Archive lists the images in an archive, which is read from f; f is closed with the sources, or on error. A stream
// or a compressed archive is first brought into an unnamed temporary file.
func Archive(ctx context.Context, f *os.File) ([]Named, error) {
	f, err := seekable(ctx, f)
	if err != nil {
		return nil, err
	}
	t, err := indexTar(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	var out []Named
	if _, ok := t.parts["manifest.json"]; ok {
		out, err = dockerImages(t)
	} else if _, ok := t.parts["index.json"]; ok {
		out, err = layoutImages(t)
	} else {
		err = errors.New("it has neither manifest.json (docker save) nor index.json (OCI layout); a plain root filesystem is for gcr import")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return out, nil
}

func layoutImages(t *tarFiles) ([]Named, error) {
	ix, err := layoutIndex(t)
	if err != nil {
		return nil, err
	}
	var out []Named
	for _, d := range ix.Manifests {
		l := &layout{files: t, desc: d, name: layoutName(d)}
		n := Named{Source: l}
		if l.name != "" {
			n.Names = []string{l.name}
		} else if tag := d.Annotations[v1.AnnotationRefName]; tag != "" {
			n.Names = []string{tag}
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		return nil, errors.New("index.json lists no image")
	}
	return out, nil
}

func seekable(ctx context.Context, f *os.File) (*os.File, error) {
	if st, err := f.Stat(); err != nil {
		f.Close()
		return nil, err
	} else if st.Mode().IsRegular() {
		c, err := stream.Detect(bufio.NewReader(io.NewSectionReader(f, 0, 4)))
		if err != nil {
			f.Close()
			return nil, err
		}
		if c == stream.None {
			return f, nil
		}
	}
	defer f.Close()
	z, err := stream.Decompress(f)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return spill(ctx, z)
}

func spill(ctx context.Context, r io.Reader) (*os.File, error) {
	tmp, err := os.CreateTemp("", "gcr-archive-")
	if err != nil {
		return nil, err
	}
	os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})); err != nil {
		tmp.Close()
		return nil, err
	}
	return tmp, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// dockerImage is one image of a docker save archive, for which a manifest is made up: its layers are addressed by
// what they are in the archive.
type dockerImage struct {
	t      *tarFiles
	raw    []byte
	blobs  map[digest.Digest]string
	config []byte
	conf   digest.Digest
	name   string
}

func dockerImages(t *tarFiles) ([]Named, error) {
	b, err := readPart(t, "manifest.json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("manifest.json is not valid: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("manifest.json lists no image")
	}
	var out []Named
	for i, e := range list {
		d, err := newDockerImage(t, e.Config, e.Layers)
		if err != nil {
			return nil, fmt.Errorf("manifest.json [%d]: %w", i, err)
		}
		if len(e.RepoTags) > 0 {
			d.name = e.RepoTags[0]
		}
		out = append(out, Named{d, e.RepoTags})
	}
	return out, nil
}

func newDockerImage(t *tarFiles, config string, layers []string) (*dockerImage, error) {
	d := &dockerImage{t: t, blobs: map[digest.Digest]string{}}
	var err error
	if d.config, err = readPart(t, config); err != nil {
		return nil, err
	}
	d.conf = digest.FromBytes(d.config)
	var c v1.Image
	if err := json.Unmarshal(d.config, &c); err != nil {
		return nil, fmt.Errorf("image configuration is not valid: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("image configuration has %d layers and the archive %d", len(c.RootFS.DiffIDs), len(layers))
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: d.conf, Size: int64(len(d.config))},
		Layers: []v1.Descriptor{},
	}
	for i, l := range layers {
		desc, err := layerIn(t, l, c.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		d.blobs[desc.Digest] = l
		m.Layers = append(m.Layers, desc)
	}
	d.raw, err = json.Marshal(m)
	return d, err
}

// layerIn describes a layer of the archive. Where it is not compressed its digest is the diff ID, which is verified
// when it is read.
func layerIn(t *tarFiles, name string, diffID digest.Digest) (v1.Descriptor, error) {
	r, err := t.open(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer r.Close()
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return v1.Descriptor{}, err
	}
	br := bufio.NewReader(r)
	c, err := stream.Detect(br)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("layer %s: %w", name, err)
	}
	d := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: diffID, Size: size}
	if c == stream.None {
		return d, nil
	}
	d.MediaType += "+" + c.String()
	d.Digest, err = digest.FromReader(br)
	return d, err
}

func readPart(t *tarFiles, name string) ([]byte, error) {
	r, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, manifest.MaxSize+1))
	if err == nil && len(b) > manifest.MaxSize {
		err = fmt.Errorf("member %s is larger than %d bytes", name, manifest.MaxSize)
	}
	return b, err
}

func (d *dockerImage) Root(context.Context) ([]byte, string, error) {
	return d.raw, v1.MediaTypeImageManifest, nil
}

func (d *dockerImage) Manifest(context.Context, v1.Descriptor) ([]byte, error) {
	return nil, errors.New("an archive of docker save has no index")
}

func (d *dockerImage) Blob(_ context.Context, desc v1.Descriptor, off int64) (io.ReadCloser, error) {
	if desc.Digest == d.conf {
		return io.NopCloser(bytes.NewReader(d.config[min(off, int64(len(d.config))):])), nil
	}
	name, ok := d.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("archive has no content %s", desc.Digest)
	}
	r, err := d.t.open(name)
	if err != nil {
		return nil, err
	}
	_, err = r.Seek(off, io.SeekStart)
	return r, err
}

func (d *dockerImage) Retry(error) (bool, time.Duration) { return false, 0 }
func (d *dockerImage) Name() string                      { return d.name }
func (d *dockerImage) Close() error                      { return d.t.close() }

// openDaemon asks a Docker daemon for an image (Docker Engine API, GET /images/{name}/get) at DOCKER_HOST or at the
// usual socket.
func openDaemon(ctx context.Context, ref string) (Source, error) {
	if _, err := reference.Parse(ref); err != nil {
		return nil, err
	}
	sock := "/var/run/docker.sock"
	if h := os.Getenv("DOCKER_HOST"); h != "" {
		s, ok := strings.CutPrefix(h, "unix://")
		if !ok {
			return nil, fmt.Errorf("ask Docker daemon (DOCKER_HOST=%s): only unix:// sockets are known", h)
		}
		sock = s
	}
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sock)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/images/"+url.PathEscape(ref)+"/get", nil)
	if err != nil {
		return nil, err
	}
	resp, err := hc.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("ask Docker daemon at %s: %w", sock, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Docker daemon for %s: it answered %s", ref, resp.Status)
	}
	f, err := spill(ctx, resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read image from Docker daemon: %w", err)
	}
	all, err := Archive(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("read image from Docker daemon: %w", err)
	}
	return all[0].Source, nil
}
