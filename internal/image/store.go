// Package image keeps container images: it pulls them from registries, stores each blob and each unpacked layer
// once, and hands the layers of an image to whoever runs a container from it.
//
//	s, err := image.Open(image.DefaultRoot(), nil)
//	img, err := s.Pull(ctx, "ubuntu", image.PullOptions{})
//	hold, err := s.Hold(img)      // while a container runs; rmi and prune keep away from its layers
//	defer hold.Close()
//	lower := img.Layers()         // directories for overlayfs, topmost first
//	config := img.Config()        // entrypoint, environment, user, …
//
// # Layout
//
// The store is an OCI image layout (image-spec v1.1, image-layout.md) with unpacked layers beside it:
//
//	oci-layout, index.json   names and what they stand for
//	blobs/sha256/HEX         manifests, configurations, layers as they came
//	layers/HEX/fs            the layer with this diff ID, unpacked, as an overlayfs lowerdir
//	l/SHORT                  a symlink to each layers/HEX/fs, so that 127 of them fit into mount options
//	partial/                 downloads and layers that are not complete
//	trash/                   what is being removed
//	holds/                   one locked file for each image in use
//	locks/                   files that are only locked
//	containers/              what running containers write
//
// # Crash safety
//
// Whatever is visible is complete: files and layers are made in partial/ and renamed when they are verified. Locks
// are flock(2) and die with their holder. A process may be killed at any instant; the next one that needs the same
// thing takes over the beginning of a download and clears away a half-unpacked layer.
package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gcr/internal/image/fault"
	"gcr/internal/image/flock"
	"gcr/internal/image/registry"
	"gcr/internal/image/settings"
	"gcr/internal/image/userns"
)

// Store is an image store in a directory. It may be used by several goroutines, and the directory by several
// processes.
type Store struct {
	root   string
	set    *settings.Settings
	client *registry.Client
	worker userns.Worker
	// NoSync leaves out the flush to disk before a layer becomes visible. A power failure may then leave a broken
	// layer behind; a killed process does not.
	NoSync bool
}

// DefaultRoot is /var/lib/gcr/images for root and $XDG_DATA_HOME/gcr/images (~/.local/share/gcr/images) for others.
func DefaultRoot() string {
	if os.Geteuid() == 0 && userns.Initial() {
		return "/var/lib/gcr/images"
	}
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "gcr", "images")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return filepath.Join(home, ".local", "share", "gcr", "images")
}

var storeDirs = []string{"blobs/sha256", "layers", "l", "partial", "trash", "holds", "locks", "empty", "containers"}

// Open opens the store at root and makes it where it is missing. client may be nil: then it is made from the
// settings file.
func Open(root string, client *registry.Client) (*Store, error) {
	if client == nil {
		set, err := settings.Load()
		if err != nil {
			return nil, err
		}
		client = registry.New(set, registry.Options{})
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, set: client.Settings(), client: client, worker: userns.New()}
	// 0700: set-user-id programs of images, and files that an image makes writable for all, are nobody else's
	// business (CVE-2021-41091, CVE-2021-41103).
	for _, d := range storeDirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			return nil, fault.New("open image store", root, err)
		}
	}
	if err := s.init(); err != nil {
		return nil, fault.New("open image store", root, err)
	}
	return s, nil
}

func (s *Store) init() error {
	p := s.path("oci-layout")
	if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(p, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return s.update(context.Background(), func(*index) error { return nil })
}

// Root is the directory of the store.
func (s *Store) Root() string { return s.root }

// Client is what the store pulls with.
func (s *Store) Client() *registry.Client { return s.client }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

func (s *Store) blobPath(d digest.Digest) string { return s.path("blobs", "sha256", d.Encoded()) }
func (s *Store) layerPath(d digest.Digest) string {
	return s.path("layers", d.Encoded())
}

// lockShared keeps the collector of garbage away while something is added.
func (s *Store) lockShared(ctx context.Context) (*flock.Lock, error) {
	return flock.Shared(ctx, s.path("locks", "store"))
}

func (s *Store) lockFor(ctx context.Context, kind string, d digest.Digest) (*flock.Lock, error) {
	return flock.Exclusive(ctx, s.path("locks", kind+"-"+d.Encoded()))
}

// writeFile writes a file whole, on the disk and then under its name.
func writeFile(p string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(p), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), p)
	}
	return err
}

// putBlob stores content that is in memory.
func (s *Store) putBlob(b []byte) (digest.Digest, error) {
	d := digest.FromBytes(b)
	p := s.blobPath(d)
	if st, err := os.Lstat(p); err == nil && st.Size() == int64(len(b)) {
		return d, nil
	}
	return d, writeFile(p, b)
}

// readBlob reads and verifies a manifest or configuration.
func (s *Store) readBlob(d digest.Digest) ([]byte, error) {
	b, err := os.ReadFile(s.blobPath(d))
	if err != nil {
		return nil, err
	}
	if digest.FromBytes(b) != d {
		return nil, fmt.Errorf("%s in the store is damaged; pull the image again", d)
	}
	return b, nil
}

// blobDescriptor says whether a blob is there, whole.
func (s *Store) hasBlob(d v1.Descriptor) bool {
	st, err := os.Lstat(s.blobPath(d.Digest))
	return err == nil && st.Mode().IsRegular() && st.Size() == d.Size
}

// sync brings everything written so far to the disk: one syncfs(2) in place of an fsync for each file.
func (s *Store) sync() error {
	if s.NoSync {
		return nil
	}
	d, err := os.Open(s.path("partial"))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("write layers to the disk: %w", err)
	}
	return nil
}

// remove takes what is at rel out of sight by one rename and then removes it, however it is owned.
func (s *Store) remove(ctx context.Context, rel string) error {
	name := filepath.Base(rel)
	to := s.path("trash", name)
	for i := 0; ; i++ {
		err := unix.Renameat2(unix.AT_FDCWD, s.path(rel), unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if err == nil {
			break
		}
		if err == unix.ENOENT {
			return nil
		}
		if err != unix.EEXIST || i > 1000 {
			return err
		}
		to = s.path("trash", fmt.Sprintf("%s.%d", name, i))
	}
	return s.removeIn(ctx, "trash", filepath.Base(to))
}

func (s *Store) removeIn(ctx context.Context, dir, name string) error {
	d, err := os.Open(s.path(dir))
	if err != nil {
		return err
	}
	defer d.Close()
	return s.worker.Remove(ctx, d, name)
}
