package plan

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// RootDir is the directory below Input.StateDir at which a root filesystem is put together.
const RootDir = "root"

// ScratchDir is the directory below Input.StateDir for the tmpfs that takes what the container writes.
const ScratchDir = "scratch"

func (b *builder) propagation() error {
	if !b.has(specs.MountNamespace) || b.joinsMounts() {
		return nil
	}
	flag, name := uint64(unix.MS_SLAVE), "rslave"
	switch p := b.spec.Linux.RootfsPropagation; p {
	case "", "slave", "rslave":
	case "private", "rprivate":
		flag, name = unix.MS_PRIVATE, "rprivate"
	case "shared", "rshared", "unbindable", "runbindable":
		// The host's mounts must not follow the container's in any case; the container's root gets the
		// propagation asked for when everything is in place.
	default:
		return fieldError("linux.rootfsPropagation", "plan mounts", fmt.Sprintf("there is no propagation %q", p), "use private, slave, shared or unbindable, with or without a leading r")
	}
	b.add(propagation{flag, name})
	return nil
}

// propagation cuts the tie between the container's copy of the mounts and the host's.
type propagation struct {
	flag uint64
	name string
}

func (s propagation) Info() Info {
	return Info{
		What: "make all mounts " + s.name, Field: "linux.rootfsPropagation",
		Why: "the new mount namespace starts with a copy of the host's mounts, tied to them: without this, what is mounted here could appear there",
		Man: "mount_namespaces(7)",
	}
}

func (s propagation) Emit(e *emitter) {
	e.MountSetattrPath("/", true, program.MountAttr{Propagation: s.flag})
}
func (s propagation) Shell() []string { return []string{"mount --make-" + s.name + " /"} }

// joinsMounts reports whether the mount namespace is another container's. It has its root already, which must stay:
// pivot_root would change it for every process there.
func (b *builder) joinsMounts() bool { return b.ns[specs.MountNamespace].Path != "" }

func (b *builder) rootfs() error {
	if r := b.in.Root; b.joinsMounts() && r.Path != "" && len(r.Lower) == 0 && len(r.Host) == 0 {
		b.add(plainRoot{path: r.Path, joined: true})
		return nil
	}
	if !b.has(specs.MountNamespace) {
		if p := b.in.Root.Path; p != "" && filepath.Clean(p) != "/" {
			b.add(plainRoot{path: p})
		}
		return nil
	}
	switch r := b.in.Root; {
	case b.root != 0:
		b.add(preparedRoot{fd: b.root, root: r, maps: b.plan.UIDMap})
	case len(r.Host) > 0:
		b.add(hostRoot{b.in.StateDir, r.Host, r.Links, b.inUserNamespace()})
	case len(r.Lower) > 0:
		b.add(overlayRoot{b.in.StateDir, r, b.inUserNamespace()})
	case r.Path == "":
		return fieldError("root.path", "plan root filesystem", "it is missing", "")
	case filepath.Clean(r.Path) == "/":
		return fieldError("root.path", "plan root filesystem", "it is the host's own root directory", "use the rootfs named host, which shows the host's files and keeps them as they are")
	default:
		b.add(directoryRoot{r.Path})
	}
	return nil
}

// directoryRoot makes a directory the container's root: it must be a mount of its own before pivot_root takes it.
type directoryRoot struct{ path string }

func (s directoryRoot) Info() Info {
	return Info{
		What: "mount the root filesystem " + s.path, Field: "root.path",
		Why: "pivot_root wants a mount, so the directory is mounted on itself; from here on it is used through this descriptor only",
		Man: "open_tree(2)",
	}
}

func (s directoryRoot) Emit(e *emitter) {
	tree := e.OpenTree(program.CWD, s.path, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
	e.MoveMountTo(tree, s.path)
	e.root = tree
}

func (s directoryRoot) Shell() []string {
	return []string{"ROOT=" + shellQuote(s.path), `mount --rbind "$ROOT" "$ROOT"`, `cd "$ROOT"`}
}

// overlayRoot lays a writable layer over directories that stay as they are.
type overlayRoot struct {
	state  string
	root   Root
	userNS bool
}

func (s overlayRoot) Info() Info {
	why := "the lower directories stay as they are, what the container writes goes to the upper one"
	if s.root.Upper == "" {
		why = "the directory below stays as it is; what the container writes goes to a tmpfs and is gone with the container"
	}
	if s.root.Volatile {
		why = "the layers stay as they are; what the container writes goes to a directory that is removed with it, and so need not wait for the disk"
	}
	what := "mount an overlay over " + s.root.Lower[0]
	if s.root.LowerDir != "" {
		what = fmt.Sprintf("mount an overlay over %d layers in %s", len(s.root.Lower), s.root.LowerDir)
	}
	return Info{What: what, Field: "root.path", Why: why, Man: "overlayfs, Documentation/filesystems/overlayfs.rst"}
}

func (s overlayRoot) paths() (scratch, upper, work, target string) {
	scratch, target = filepath.Join(s.state, ScratchDir), filepath.Join(s.state, RootDir)
	upper, work = s.root.Upper, s.root.Work
	if upper == "" {
		upper, work = filepath.Join(scratch, "upper"), filepath.Join(scratch, "workdir")
	}
	return scratch, upper, work, target
}

func (s overlayRoot) data(upper, work string) string {
	lower := make([]string, len(s.root.Lower))
	for i, l := range s.root.Lower {
		lower[i] = escapeOverlay(l, true)
	}
	volatile := ""
	if s.root.Volatile {
		volatile = ",volatile"
	}
	return "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + escapeOverlay(upper, false) + ",workdir=" + escapeOverlay(work, false) + volatile + overlayXattr(s.userNS)
}

func (s overlayRoot) Emit(e *emitter) {
	scratch, upper, work, target := s.paths()
	if s.root.Upper == "" {
		e.Mount("tmpfs", scratch, "tmpfs", 0, "mode=755")
		e.Mkdirat(program.CWD, upper, 0o755)
		e.Mkdirat(program.CWD, work, 0o755)
	}
	if s.root.LowerDir != "" {
		e.Chdir(s.root.LowerDir)
	}
	e.Mount("overlay", target, "overlay", 0, s.data(upper, work))
	e.root = e.Open(target, unix.O_PATH|unix.O_DIRECTORY)
}

func (s overlayRoot) Shell() []string {
	scratch, upper, work, target := s.paths()
	lines := []string{"mkdir -p " + shellQuote(target)}
	if s.root.Upper != "" {
		lines = append(lines, "mkdir -p "+shellQuote(upper)+" "+shellQuote(work))
	} else {
		lines = append(lines, "mkdir -p "+shellQuote(scratch), "mount -t tmpfs -o mode=755 tmpfs "+shellQuote(scratch), "mkdir "+shellQuote(upper)+" "+shellQuote(work))
	}
	if s.root.LowerDir != "" {
		lines = append(lines, "cd "+shellQuote(s.root.LowerDir))
	}
	return append(lines, "mount -t overlay -o "+shellQuote(s.data(upper, work))+" overlay "+shellQuote(target), "ROOT="+shellQuote(target), `cd "$ROOT"`)
}

// overlayXattr lets overlayfs keep its marks in user.overlay.* attributes where trusted.* is out of reach: in a
// user namespace.
func overlayXattr(userNS bool) string {
	if userNS {
		return ",userxattr"
	}
	return ""
}

// escapeOverlay protects the characters that separate the options of overlayfs and, in a list of lower
// directories, its members.
func escapeOverlay(path string, list bool) string {
	r := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	if list {
		r = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)
	}
	return r.Replace(path)
}

// hostRoot shows the host's own files, each directory below / with an overlay of its own.
type hostRoot struct {
	state  string
	dirs   []HostDir
	links  map[string]string
	userNS bool
}

func (s hostRoot) Info() Info {
	return Info{
		What: "put the root filesystem together from the host's directories",
		Why:  "the host's files are shown read-only with a writable tmpfs over them, so whatever the container writes is gone with it; proc, sys, dev, run and tmp are its own",
		Man:  "overlayfs, Documentation/filesystems/overlayfs.rst",
	}
}

// emptyDirs are directories of the host that the container gets empty: they hold what belongs to the host's
// running system.
var emptyDirs = []HostDir{{Name: "proc"}, {Name: "sys"}, {Name: "dev"}, {Name: "run"}, {Name: "tmp"}}

func (s hostRoot) data(name string) string {
	scratch := filepath.Join(s.state, ScratchDir)
	return "lowerdir=" + escapeOverlay("/"+name, true) + ",upperdir=" + escapeOverlay(filepath.Join(scratch, "upper", name), false) +
		",workdir=" + escapeOverlay(filepath.Join(scratch, "workdir", name), false) + overlayXattr(s.userNS)
}

func (s hostRoot) Emit(e *emitter) {
	scratch, target := filepath.Join(s.state, ScratchDir), filepath.Join(s.state, RootDir)
	e.Mount("tmpfs", scratch, "tmpfs", 0, "mode=755")
	e.Mkdirat(program.CWD, filepath.Join(scratch, "upper"), 0o755)
	e.Mkdirat(program.CWD, filepath.Join(scratch, "workdir"), 0o755)
	e.Mount("tmpfs", target, "tmpfs", 0, "mode=755")
	root := e.Open(target, unix.O_PATH|unix.O_DIRECTORY)
	e.root = root
	for _, d := range emptyDirs {
		mode := uint32(0o755)
		if d.Name == "tmp" {
			mode = 0o1777
		}
		e.Mkdirat(root, d.Name, mode)
	}
	if s.userNS {
		e.Mkdirat(root, "root", 0o700)
	}
	for _, d := range s.dirs {
		e.Mkdirat(root, d.Name, 0o755)
		if d.Overlay {
			e.Mkdirat(program.CWD, filepath.Join(scratch, "upper", d.Name), 0o755)
			e.Mkdirat(program.CWD, filepath.Join(scratch, "workdir", d.Name), 0o755)
			e.Mount("overlay", filepath.Join(target, d.Name), "overlay", 0, s.data(d.Name))
			continue
		}
		tree := e.OpenTree(program.CWD, "/"+d.Name, unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
		e.MountSetattr(tree, true, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
		e.MoveMountTo(tree, filepath.Join(target, d.Name))
		e.Close(tree)
	}
	for _, name := range sortedKeys(s.links) {
		e.Symlinkat(s.links[name], root, name)
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (s hostRoot) Shell() []string {
	scratch, target := filepath.Join(s.state, ScratchDir), filepath.Join(s.state, RootDir)
	lines := []string{
		"mkdir -p " + shellQuote(scratch) + " " + shellQuote(target),
		"mount -t tmpfs -o mode=755 tmpfs " + shellQuote(scratch),
		"mount -t tmpfs -o mode=755 tmpfs " + shellQuote(target),
		"ROOT=" + shellQuote(target),
		`mkdir "$ROOT"/proc "$ROOT"/sys "$ROOT"/dev "$ROOT"/run`,
		`mkdir -m 1777 "$ROOT"/tmp`,
	}
	if s.userNS {
		lines = append(lines, `mkdir -m 700 "$ROOT"/root`)
	}
	for _, d := range s.dirs {
		n := shellQuote(d.Name)
		lines = append(lines, `mkdir "$ROOT"/`+n)
		if d.Overlay {
			lines = append(lines,
				"mkdir -p "+shellQuote(filepath.Join(scratch, "upper", d.Name))+" "+shellQuote(filepath.Join(scratch, "workdir", d.Name)),
				"mount -t overlay -o "+shellQuote(s.data(d.Name))+` overlay "$ROOT"/`+n)
		} else {
			lines = append(lines, `mount --rbind /`+n+` "$ROOT"/`+n, `mount -o remount,bind,ro "$ROOT"/`+n)
		}
	}
	for _, name := range sortedKeys(s.links) {
		lines = append(lines, "ln -s "+shellQuote(s.links[name])+` "$ROOT"/`+shellQuote(name))
	}
	return append(lines, `cd "$ROOT"`)
}

func (b *builder) readonlyRoot() error {
	if !b.has(specs.MountNamespace) {
		return nil
	}
	if b.spec.Root != nil && b.spec.Root.Readonly {
		if b.joinsMounts() {
			return fieldError("root.readonly", "plan root filesystem", "the mount namespace is another container's, whose root would become read-only with it", "leave it out")
		}
		b.add(readonlyRoot{})
	}
	return nil
}

type rootPropagation struct {
	flag uint64
	name string
}

func (s rootPropagation) Info() Info {
	return Info{What: "make the root filesystem " + s.name, Field: "linux.rootfsPropagation", Why: "the configuration asks for it", Man: "mount_namespaces(7)"}
}

func (s rootPropagation) Emit(e *emitter) {
	e.MountSetattr(e.root, strings.HasPrefix(s.name, "r"), program.MountAttr{Propagation: s.flag})
}
func (s rootPropagation) Shell() []string { return []string{"mount --make-" + s.name + ` "$ROOT"`} }

type readonlyRoot struct{}

func (s readonlyRoot) Info() Info {
	return Info{What: "make the root filesystem read-only", Field: "root.readonly", Why: "the configuration asks for it; mounts on top of it keep their own flags", Man: "mount_setattr(2)"}
}

func (s readonlyRoot) Emit(e *emitter) {
	e.MountSetattr(e.root, false, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
}
func (s readonlyRoot) Shell() []string { return []string{`mount -o remount,bind,ro "$ROOT"`} }

func (b *builder) pivot() error {
	switch {
	case !b.has(specs.MountNamespace), b.joinsMounts():
		if p := b.in.Root.Path; p != "" && filepath.Clean(p) != "/" {
			b.add(enterRoot{})
		}
	case b.in.NoPivot:
		b.add(enterRoot{move: true})
	default:
		b.add(pivot{})
	}
	return nil
}

// rootPropagation sets what the container's root passes on. It comes after the change of the root, for pivot_root
// takes no shared mount.
func (b *builder) rootPropagation() error {
	if !b.has(specs.MountNamespace) || b.joinsMounts() {
		return nil
	}
	switch p := b.spec.Linux.RootfsPropagation; strings.TrimPrefix(p, "r") {
	case "shared":
		b.add(rootPropagation{unix.MS_SHARED, p})
	case "unbindable":
		b.add(rootPropagation{unix.MS_UNBINDABLE, p})
	}
	return nil
}

// plainRoot uses a directory as the root filesystem without a mount of it: there is no mount namespace.
type plainRoot struct {
	path   string
	joined bool // in the mount namespace of another container
}

func (s plainRoot) Info() Info {
	if s.joined {
		return Info{What: "open the root filesystem " + s.path, Field: "root.path", Why: "the mount namespace that was joined has its mounts, and its root stays as it is; the path is one in there", Man: "mount_namespaces(7)"}
	}
	return Info{What: "open the root filesystem " + s.path, Field: "root.path", Why: "without a mount namespace nothing can be mounted; the directory is used as it is", Man: "open(2)"}
}
func (s plainRoot) Emit(e *emitter) { e.root = e.Open(s.path, unix.O_PATH|unix.O_DIRECTORY) }
func (s plainRoot) Shell() []string { return []string{"ROOT=" + shellQuote(s.path), `cd "$ROOT"`} }

// enterRoot makes the root filesystem the root of the process by chroot, for lack of a mount namespace or where
// pivot_root is not possible.
type enterRoot struct{ move bool }

func (s enterRoot) Info() Info {
	if s.move {
		return Info{What: "move the root filesystem over / and enter it", Why: "asked for by --no-pivot: on an initial ramfs pivot_root is impossible", Man: "chroot(2)"}
	}
	return Info{What: "enter the root filesystem", Why: "without a mount namespace only the root directory of the process can be changed; a process with CAP_SYS_CHROOT can leave it again", Man: "chroot(2)"}
}

func (s enterRoot) Emit(e *emitter) {
	e.Fchdir(e.root)
	if s.move {
		e.Call(program.SysMount, e.String("."), e.String("/"), program.Named(0, "NULL"), program.Named(unix.MS_MOVE, "MS_MOVE"), program.Named(0, "NULL"))
	}
	e.Chroot(".")
	e.Chdir("/")
}
func (s enterRoot) Shell() []string { return []string{`cd "$ROOT"`, "chroot ."} }

// pivot makes the root filesystem the root of the mount namespace and lets go of the old one.
type pivot struct{}

func (s pivot) Info() Info {
	return Info{
		What: "pivot into the root filesystem",
		Why:  "pivot_root exchanges the root of the whole mount namespace; then the old root is unmounted, so no path leads to the host any more (chroot alone could be left again)",
		Man:  "pivot_root(2)",
	}
}

func (s pivot) Emit(e *emitter) {
	e.Fchdir(e.root)
	e.PivotRoot()
	e.Umount(".", unix.MNT_DETACH)
	// The root directory may itself be the stacked mount's: looked up again, "/" is the new root.
	e.Chdir("/")
}

func (s pivot) Shell() []string {
	return []string{`cd "$ROOT"`, "pivot_root . .", "umount -l .", "cd /"}
}
