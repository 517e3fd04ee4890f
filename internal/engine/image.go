package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"gcr/internal/image"
	"gcr/internal/image/progress"
	"gcr/internal/rootfile"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// RootImage: the layers of an image, read-only, below an overlay whose upper directory is removed at exit.
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
	by := r.o.Name
	if by == "" {
		by = fmt.Sprintf("of process %d", os.Getpid())
	}
	hold, err := store.Hold(img, by)
	if err != nil {
		return nil, err
	}
	r.close_ = append(r.close_, func() { hold.Close() })
	r.lowerDir, r.lower = img.ShortLayers()
	r.placeScratch(store, hold)
	files, err := rootfile.OpenLayers(img.Layers()...)
	if err != nil {
		return nil, &Error{Op: "read", Object: "layers of image " + quote(name), Cause: cause(err)}
	}
	conf, err := ParseImageConfig(img.RawConfig())
	if err != nil {
		files.Close()
		return nil, &Error{Op: "read", Object: "configuration of image " + quote(name), Cause: err}
	}
	conf.file = "image " + name
	return &RootFS{Name: name, Kind: RootImage, Path: "/", Image: conf, Files: files}, nil
}

// placeScratch decides where the container's changes go: to the disk of the store, as people expect of an image,
// whose containers may write more than fits into memory. --ephemeral asks for memory.
func (r *run) placeScratch(store *image.Store, hold *image.Hold) {
	if r.o.Ephemeral {
		return
	}
	ok, kind := store.TakesUpper()
	if !ok {
		r.notes = append(r.notes, "what the container writes is kept in memory: the image store "+store.Root()+" is on a file system ("+kind+") that overlayfs cannot write to")
		return
	}
	r.scratch = hold.Scratch(store)
}

// makeScratch makes the directories for the container's changes.
func (r *run) makeScratch() error {
	if r.scratch == nil {
		return nil
	}
	r.undo = append(r.undo, func() {
		if err := r.scratch.Remove(context.Background()); err != nil {
			r.note(err.Error())
		}
	})
	return r.scratch.Make(context.Background())
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
	img, err := store.Resolve(name, want)
	missing := errors.Is(err, image.ErrNotFound) || errors.Is(err, image.ErrIncomplete)
	switch r.o.Pull {
	case "always":
	case "never":
		return img, store, err
	case "newer":
		if err != nil && !missing {
			return nil, nil, err
		}
	default:
		if !missing {
			return img, store, err
		}
	}
	o := image.PullOptions{Platform: want}
	if !r.o.Quiet {
		o.Progress = progress.New(os.Stderr)
	}
	// Ctrl-C ends the transfer in good order; what has come is kept for the next one.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	pulled, perr := store.Pull(ctx, name, o)
	o.Progress.Wait()
	if perr != nil && err == nil && r.o.Pull == "newer" && ctx.Err() == nil {
		r.notes = append(r.notes, "the image that is there is used: "+perr.Error())
		return img, store, nil
	}
	return pulled, store, perr
}
