package userns

import (
	"context"
	"io"
	"os"

	"gcr/internal/image/pack"
	"gcr/internal/image/unpack"
)

// Worker unpacks and removes trees in the way that this process has: as root, as an ordinary user with subordinate
// ids, or with its one id only.
type Worker struct {
	kind kind
	m    Map
}

type kind int

const (
	root      kind = iota // in this process, with the real owners
	nsRoot                // the same, inside a user namespace
	withRange             // in a copy of the program inside a new user namespace
	oneID                 // in this process, owners noted
)

// New finds out what this process may do.
func New() Worker {
	switch initial := Initial(); {
	case os.Geteuid() == 0 && initial:
		return Worker{kind: root}
	case os.Geteuid() == 0:
		return Worker{kind: nsRoot}
	}
	if m, ok := Range(); ok {
		return Worker{kind: withRange, m: m}
	}
	return Worker{kind: oneID}
}

// KeepsOwners says whether owners are set, and not only noted.
func (w Worker) KeepsOwners() bool { return w.kind != oneID }

// Rootless says whether overlay attributes are under "user." (mount option userxattr).
func (w Worker) Rootless() bool { return w.kind != root }

// String says it in words.
func (w Worker) String() string {
	switch w.kind {
	case root:
		return "root"
	case nsRoot:
		return "root of a user namespace"
	case withRange:
		return "ordinary user with subordinate ids"
	}
	return "ordinary user with one id"
}

// Tree is unpack.Tree, or its like in another process.
type Tree interface {
	Layer(ctx context.Context, r io.Reader) (unpack.Stats, error)
	Close() error
	Abandon()
}

// Tree prepares to unpack into the open directory; form and limits are the caller's, the rest is filled in.
func (w Worker) Tree(dir *os.File, o unpack.Options) (Tree, error) {
	switch w.kind {
	case withRange:
		return &remote{w.m, dir, o}, nil
	case oneID:
		o.Owners, o.PlaceDevices, o.UserXattr = unpack.Record, true, true
	case nsRoot:
		o.PlaceDevices, o.UserXattr = true, true
	}
	return unpack.New(dir, o)
}

// Remove removes a tree that a Tree of this Worker has made.
func (w Worker) Remove(ctx context.Context, parent *os.File, name string) error {
	if w.kind == withRange {
		return Remove(ctx, w.m, parent, name)
	}
	return unpack.RemoveAt(parent, name)
}

// Pack writes a tree that a Tree of this Worker has made to w as a tar stream.
func (w Worker) Pack(ctx context.Context, dir *os.File, out io.Writer) error {
	if w.kind == withRange {
		return Pack(ctx, w.m, dir, out)
	}
	return pack.Tree(ctx, dir, out, pack.Options{Noted: w.kind == oneID})
}

type remote struct {
	m   Map
	dir *os.File
	o   unpack.Options
}

func (r *remote) Layer(ctx context.Context, in io.Reader) (unpack.Stats, error) {
	return Unpack(ctx, r.m, in, r.dir, r.o)
}
func (r *remote) Close() error { return nil }
func (r *remote) Abandon()     {}
