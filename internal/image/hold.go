package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"gcr/internal/image/fault"
	"gcr/internal/image/flock"
)

// Hold keeps the layers of an image in the store while a container uses them. It ends with Close, or when the last
// process that has File open is gone: a killed container holds nothing.
type Hold struct {
	l    *flock.Lock
	path string
}

// held is the content of a hold file.
type held struct {
	For      string          `json:"for,omitempty"` // who uses it, for messages
	Manifest digest.Digest   `json:"manifest"`
	Config   digest.Digest   `json:"config"`
	Layers   []digest.Digest `json:"layers"` // diff IDs
}

// Hold marks an image as in use, by a container whose name or ID may be given for messages.
func (s *Store) Hold(img *Image, by string) (*Hold, error) {
	h, err := s.hold(img, by)
	if err != nil {
		return nil, fault.New("hold image", img.ID().String(), err)
	}
	return h, nil
}

func (s *Store) hold(img *Image, by string) (*Hold, error) {
	// Not while garbage is collected: between finding the image and holding it, its layers could go.
	lock, err := s.lockShared(context.Background())
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := img.complete(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(held{by, img.Digest(), img.ID(), img.conf.RootFS.DiffIDs})
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.path("holds"), "new-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if _, err := f.Write(b); err != nil {
		return nil, err
	}
	l, err := flock.TryShared(f.Name())
	if err != nil {
		return nil, err
	}
	p := s.path("holds", "hold-"+strings.TrimPrefix(filepath.Base(f.Name()), "new-"))
	if err := os.Rename(f.Name(), p); err != nil {
		l.Close()
		return nil, err
	}
	return &Hold{l, p}, nil
}

// File is the open file behind the hold. A child process that inherits it keeps the image held.
func (h *Hold) File() *os.File { return h.l.File() }

// Close ends the hold, unless another process has inherited it.
func (h *Hold) Close() error {
	err := h.l.Close()
	// Only whoever finds it free may remove it.
	if l, e := flock.TryExclusive(h.path); e == nil {
		_ = os.Remove(h.path)
		l.Close()
	}
	return err
}

// holds lists the images in use and clears away what killed processes left.
func (s *Store) holds() ([]held, error) {
	es, err := os.ReadDir(s.path("holds"))
	if err != nil {
		return nil, err
	}
	var out []held
	for _, e := range es {
		if !strings.HasPrefix(e.Name(), "hold-") {
			continue // being made
		}
		p := s.path("holds", e.Name())
		if l, err := flock.TryExclusive(p); err == nil {
			_ = os.Remove(p)
			l.Close()
			continue
		}
		b, err := os.ReadFile(p)
		if err != nil {
			continue // ended a moment ago
		}
		var h held
		if err := json.Unmarshal(b, &h); err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		out = append(out, h)
	}
	return out, nil
}
