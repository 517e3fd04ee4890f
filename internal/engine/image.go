package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gcr/internal/image"
	"gcr/internal/image/progress"
	"gcr/internal/rootfile"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// RootImage: the layers of an image, read-only, below an overlay in memory.
const RootImage RootKind = "image"

// errNoRoot is the cause when no directory of a name is there; an image may be.
const errNoRoot = text("no such root filesystem")

// findRoot finds what to run: a root filesystem directory, else an image of the store, else one that is pulled.
func (r *run) findRoot() (*RootFS, error) {
	name := r.o.Rootfs
	var missing error
	if r.o.Pull != "always" {
		root, err := FindRoot(name, RootDirs(os.Getenv("GCR_ROOTFS")))
		if err == nil || !errors.Is(err, errNoRoot) || strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".") || name == "" {
			return root, err
		}
		missing = err
	}
	img, store, err := r.findImage(name)
	if err != nil {
		var e *Error
		if errors.As(missing, &e) {
			// One line that says both: what is there, and why the image could not be had.
			return nil, &Error{Op: "find", Object: e.Object, Cause: fmt.Errorf("%w, and no image either: %w", e.Cause, err), Hint: e.Hint}
		}
		return nil, err
	}
	hold, err := store.Hold(img, name)
	if err != nil {
		return nil, err
	}
	r.close_ = append(r.close_, func() { hold.Close() })
	r.lowerDir, r.lower = img.ShortLayers()
	files, err := openLayers(img.Layers())
	if err != nil {
		return nil, err
	}
	conf, err := ParseImageConfig(img.RawConfig())
	if err != nil {
		files.Close()
		return nil, &Error{Op: "read", Object: "configuration of image " + quote(name), Cause: err}
	}
	return &RootFS{Name: name, Kind: RootImage, Path: "/", Image: conf, Files: files}, nil
}

func (r *run) findImage(name string) (*image.Image, *image.Store, error) {
	root := os.Getenv("GCR_IMAGES")
	if root == "" {
		root = image.DefaultRoot()
	}
	store, err := image.Open(root, nil)
	if err != nil {
		return nil, nil, err
	}
	var want v1.Platform
	if r.o.Platform != "" {
		if want, err = image.PlatformOf(r.o.Platform); err != nil {
			return nil, nil, err
		}
	}
	if r.o.Pull != "always" {
		img, err := store.Resolve(name, want)
		missing := errors.Is(err, image.ErrNotFound) || errors.Is(err, image.ErrIncomplete)
		if err == nil || !missing || r.o.Pull == "never" {
			return img, store, err
		}
	}
	o := image.PullOptions{Platform: want}
	if !r.o.Quiet {
		o.Progress = progress.New(os.Stderr)
	}
	img, err := store.Pull(context.Background(), name, o)
	return img, store, err
}

// layerFiles reads files of an image from its layers, topmost first, before they are laid over each other.
type layerFiles []*rootfile.Root

func openLayers(dirs []string) (layerFiles, error) {
	var out layerFiles
	for _, d := range dirs {
		root, err := rootfile.Open(d)
		if err != nil {
			out.Close()
			return nil, &Error{Op: "open", Object: "layer " + filepath.Base(filepath.Dir(d)), Cause: cause(err)}
		}
		out = append(out, root)
	}
	return out, nil
}

// Close gives up the directories.
func (l layerFiles) Close() error {
	for _, r := range l {
		r.Close()
	}
	return nil
}

// ReadFile reads the file of the topmost layer that has it. A whiteout, which is a device node, hides what lies
// below it (overlayfs.rst, "whiteouts and opaque directories").
func (l layerFiles) ReadFile(path string, max int64) ([]byte, error) {
	for _, r := range l {
		b, err := r.ReadFile(path, max)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, rootfile.ErrNotRegular):
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return b, err
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// Stat looks at the file of the topmost layer that has it.
func (l layerFiles) Stat(path string) (rootfile.Info, error) {
	for _, r := range l {
		st, err := r.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return st, err
	}
	return rootfile.Info{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
}
