package plan

import (
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This file holds directories of the root filesystem that the configuration takes for granted.

func (b *builder) volumes() error {
	if len(b.in.Volumes) == 0 || !b.has(specs.MountNamespace) {
		return nil
	}
	for _, v := range b.in.Volumes {
		dst := path.Clean("/" + v)
		if dst == "/" {
			return fieldError("volumes", "plan volume on /", "a volume on the root itself would be the whole root filesystem", "")
		}
		b.add(volume{target{dst: dst, field: "volumes"}})
	}
	return nil
}

// volume mounts a directory of the root filesystem on itself: a mount of its own keeps its own flags.
type volume struct{ target }

func (s volume) Info() Info {
	return Info{
		What: "mount " + s.dst + " on itself", Field: s.field,
		Why: "the image declares it a volume, to be written to: a mount of its own stays writable where the root filesystem becomes read-only",
		Man: "open_tree(2)",
	}
}

func (s volume) Emit(e *emitter) {
	dst := s.open(e, nil)
	tree := e.OpenTree(dst, "", unix.OPEN_TREE_CLONE|unix.AT_EMPTY_PATH)
	e.MoveMount(tree, dst)
	e.Close(dst)
	e.Close(tree)
}

func (s volume) Shell() []string {
	dst := `"$ROOT"` + shellQuote(s.dst)
	return []string{"mkdir -p " + dst, "mount --bind " + dst + " " + dst}
}

func (b *builder) makeCwd() error {
	cwd := path.Clean("/" + b.spec.Process.Cwd)
	if !b.in.CreateCwd || cwd == "/" {
		return nil
	}
	if root := path.Clean("/" + b.in.Root.Path); root == "/" && !b.has(specs.MountNamespace) {
		return nil // it would be a directory of the host
	}
	b.add(makeCwd{cwd})
	return nil
}

// makeCwd makes the working directory before the container's user, who may not be allowed to, takes over, and
// before the root filesystem becomes read-only.
type makeCwd struct{ path string }

func (s makeCwd) Info() Info {
	return Info{
		What: "make directory " + s.path + " where it is missing", Field: "process.cwd", Man: "mkdirat(2)",
		Why: "an image may name a working directory that none of its layers has",
	}
}

func (s makeCwd) Emit(e *emitter) {
	mk, ok := e.NewLabel(), e.NewLabel()
	// Trouble other than a missing directory is for the change of directory to tell, with the rights of the user.
	there := e.Openat2(e.root, s.path, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS).OnError(unix.ENOENT, mk).OnError(0, ok)
	e.Close(there)
	e.Jump(ok)
	e.Bind(mk)
	parent := e.mkdirs(path.Dir(s.path))
	e.Mkdirat(parent, path.Base(s.path), 0o755).Ignore(unix.EEXIST)
	e.Bind(ok)
}

func (s makeCwd) Shell() []string { return []string{`mkdir -p "$ROOT"` + shellQuote(s.path)} }
