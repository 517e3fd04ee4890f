package plan

import (
	"fmt"
	"path"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (b *builder) mounts() error {
	for i, m := range b.spec.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		o, err := parseOptions(m.Options)
		if err != nil {
			return fieldError(field+".options", "plan mount on "+m.Destination, err.Error(), "")
		}
		if m.Destination == "" {
			return fieldError(field+".destination", "plan mount", "it is missing", "")
		}
		// A destination that is not absolute is taken relative to / (config.md, "Mounts").
		dst := path.Clean("/" + m.Destination)
		if dst == "/" {
			return fieldError(field+".destination", "plan mount on /", "a mount on the root itself would hide everything", "use root.path for the root filesystem")
		}
		t := target{dst: dst, field: field}
		switch {
		case o.remount:
			if o.copyUp || o.idmap != "" {
				return fieldError(field+".options", "plan change of the mount on "+dst, "tmpcopyup and id maps belong to a mount that is made", "")
			}
			b.add(remount{target: t, o: o, options: m.Options})
		case o.bind || m.Type == "bind":
			if m.Source == "" {
				return fieldError(field+".source", "plan mount on "+dst, "a bind mount needs a source", "")
			}
			b.add(bindMount{target: t, source: m.Source, o: o, options: m.Options, tree: b.trees[i]})
		case m.Type == "cgroup" || m.Type == "cgroup2":
			if b.in.Cgroup.Version == 0 {
				continue // nothing to show: the process is in no cgroup that it could see
			}
			b.add(cgroupMount{target: t, o: o, cgroup: b.in.Cgroup})
		case m.Type == "":
			return fieldError(field+".type", "plan mount on "+dst, "it is missing", "name a file system, or bind as an option")
		default:
			if label := b.spec.Linux.MountLabel; label != "" && b.in.Host.SELinux && labelled(m.Type) {
				key := b.in.LabelOption
				if key == "" {
					key = "context"
				}
				o.data = append(o.data, dataOption{key: key, value: label})
			}
			s := fsMount{target: t, fstype: m.Type, source: m.Source, o: o, options: m.Options, tree: b.trees[i]}
			if b.first {
				s.postponeReadonly(b)
			}
			b.add(s)
		}
	}
	return nil
}

// labelled reports whether SELinux takes a label for a whole mount of the file system; the kernel's own views of
// processes and devices have labels of their own (mount(8), "context").
func labelled(fstype string) bool {
	switch fstype {
	case "proc", "sysfs", "mqueue", "cgroup", "cgroup2":
		return false
	}
	return true
}

// target is the place of a mount inside the root filesystem.
type target struct {
	dst   string
	field string
}

// strict reports whether the place must be a real directory. A symbolic link in its stead would lead the
// mounts of the kernel's own file systems somewhere else (CVE-2023-27561 and its kin).
func (t target) strict() bool { return t.dst == "/proc" || t.dst == "/sys" || t.dst == "/dev" }

// open opens the place and makes it where it is missing: a directory, or what the label asks for.
func (t target) open(e *emitter, source program.Ref) *program.Call {
	resolve := uint64(unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS)
	flag := unix.O_PATH
	if t.strict() {
		resolve |= unix.RESOLVE_NO_SYMLINKS
		flag |= unix.O_DIRECTORY
	}
	mk, ok := e.NewLabel(), e.NewLabel()
	dst := e.Openat2(e.root, t.dst, flag, resolve).OnError(unix.ENOENT, mk)
	e.Jump(ok)
	e.Bind(mk)
	parent := e.mkdirs(path.Dir(t.dst))
	name := path.Base(t.dst)
	if source == nil {
		e.Mkdirat(parent, name, 0o755).Ignore(unix.EEXIST)
	} else {
		// What is bound on a file must be a file: look at the source.
		file, made := e.NewLabel(), e.NewLabel()
		e.Call(program.SysFaccessat2, source, e.String("."), program.Named(unix.F_OK, "F_OK"), program.Num(0)).OnError(unix.ENOTDIR, file)
		e.Mkdirat(parent, name, 0o755).Ignore(unix.EEXIST)
		e.Jump(made)
		e.Bind(file)
		e.Mknodat(parent, name, unix.S_IFREG|0o644, 0).Ignore(unix.EEXIST)
		e.Bind(made)
	}
	e.Openat2(e.root, t.dst, flag, resolve).Into(dst)
	e.Bind(ok)
	return dst
}

// mkdirs makes a directory and those above it inside the root, each through the descriptor of its parent, and
// returns a descriptor of it.
func (e *emitter) mkdirs(dir string) program.Ref {
	parent := e.root
	at := ""
	for _, name := range strings.Split(strings.Trim(dir, "/"), "/") {
		if name == "" {
			continue
		}
		at += "/" + name
		e.Mkdirat(parent, name, 0o755).Ignore(unix.EEXIST)
		parent = e.OpenInRoot(e.root, at, unix.O_PATH|unix.O_DIRECTORY)
	}
	return parent
}

// attach puts a detached mount into its place.
func (e *emitter) attach(mnt, dst program.Ref, o mountOptions) {
	e.place(mnt, dst, o)
	e.Close(mnt)
}

// place does the same and leaves the mount's descriptor open.
func (e *emitter) place(mnt, dst program.Ref, o mountOptions) {
	e.MoveMount(mnt, dst)
	for _, p := range o.propagation {
		e.MountSetattr(mnt, p.recursive, program.MountAttr{Propagation: p.flag})
	}
	e.Close(dst)
}

// fsMount mounts a file system of the kernel, such as proc or tmpfs.
type fsMount struct {
	target
	fstype, source string
	o              mountOptions
	options        []string
	tree           int  // descriptor of the mount when the host side has made it, 0 if not
	late           bool // it becomes read-only by a step of its own
}

// fsWhy says what a file system of the kernel is good for.
func fsWhy(fstype string) string {
	switch fstype {
	case "proc":
		return "programs read about processes here; mounted inside the new PID namespace it shows only the container's own"
	case "sysfs":
		return "programs read about devices and the kernel here"
	case "tmpfs":
		return "a file system in memory that lives as long as the container"
	case "devpts":
		return "an instance of its own: the container sees no terminals of the host"
	case "mqueue":
		return "POSIX message queues of the new IPC namespace"
	}
	return "the configuration asks for it"
}

func (s fsMount) Info() Info {
	return Info{What: "mount " + s.fstype + " on " + s.dst, Field: s.field, Why: fsWhy(s.fstype), Man: "fsopen(2)"}
}

func (s fsMount) Emit(e *emitter) {
	if s.tree != 0 {
		mnt := program.FD(s.tree)
		if attr := s.o.attr.Set | s.o.rec.Set; attr != 0 {
			// A time of access is one of several values: the old one must be cleared (mount_setattr(2)).
			e.MountSetattr(mnt, false, program.MountAttr{Set: attr, Clear: (s.o.attr.Clear | s.o.rec.Clear) & unix.MOUNT_ATTR__ATIME})
		}
		s.put(e, mnt, s.open(e, nil))
		return
	}
	fs := e.Fsopen(s.fstype)
	if s.source != "" {
		e.FsconfigString(fs, "source", s.source)
	}
	s.o.configure(e, fs)
	e.FsconfigCreate(fs)
	mnt := e.Fsmount(fs, s.o.attr.Set|s.o.rec.Set)
	e.Close(fs)
	dst := s.open(e, nil)
	if s.fstype == "proc" && s.dst == "/proc" {
		// The descriptor of this mount stays: sysctls are written through it, whatever is mounted on /proc.
		e.MoveMount(mnt, dst)
		e.Close(dst)
		e.proc = mnt
		return
	}
	s.put(e, mnt, dst)
}

func (s fsMount) put(e *emitter, mnt, dst program.Ref) {
	e.place(mnt, dst, s.o)
	if s.late {
		e.late[s.field] = mnt
		return
	}
	e.Close(mnt)
}

// configure tells a file system its options.
func (o mountOptions) configure(e *emitter, fs program.Ref) {
	for _, d := range o.data {
		if d.flag {
			e.FsconfigFlag(fs, d.key)
		} else {
			e.FsconfigString(fs, d.key, d.value)
		}
	}
	for _, f := range o.superblock {
		call := e.FsconfigFlag(fs, f)
		if f == "iversion" {
			// Many file systems count versions, or do not, whatever they are told, and do not know the word.
			call.Ignore(unix.EINVAL)
		}
	}
}

func (s fsMount) Shell() []string {
	src := s.source
	if src == "" {
		src = s.fstype
	}
	opts := s.o.shell(s.options)
	if opts != "" {
		opts = " -o " + shellQuote(opts)
	}
	return []string{
		`mkdir -p "$ROOT"` + shellQuote(s.dst),
		"mount -t " + shellQuote(s.fstype) + opts + " " + shellQuote(src) + ` "$ROOT"` + shellQuote(s.dst),
	}
}

// bindMount shows a file or directory of the host at another place.
type bindMount struct {
	target
	source  string
	o       mountOptions
	options []string
	tree    int // descriptor of the mount when the host side has made it, 0 if not
}

func (s bindMount) Info() Info {
	return Info{
		What: fmt.Sprintf("mount %s on %s", s.source, s.dst), Field: s.field,
		Why: "a file or directory of the host is shown in the container; its source is opened while the host's files can still be seen",
		Man: "open_tree(2)",
	}
}

func (s bindMount) Emit(e *emitter) {
	flag := uint(unix.OPEN_TREE_CLONE)
	if s.o.recursive {
		flag |= unix.AT_RECURSIVE
	}
	tree := program.Ref(program.FD(s.tree))
	if s.tree == 0 {
		tree = e.OpenTree(program.CWD, s.source, flag)
	}
	if s.o.attr.Set|s.o.attr.Clear != 0 {
		e.MountSetattr(tree, false, s.o.attr)
	}
	if s.o.rec.Set|s.o.rec.Clear != 0 {
		e.MountSetattr(tree, true, s.o.rec)
	}
	e.attach(tree, s.open(e, tree), s.o)
}

func (s bindMount) Shell() []string {
	bind := "--bind"
	if s.o.recursive {
		bind = "--rbind"
	}
	dst := `"$ROOT"` + shellQuote(s.dst)
	lines := []string{
		fmt.Sprintf(`if [ -d %s ]; then mkdir -p %s; else mkdir -p "$(dirname %s)"; [ -e %s ] || : >%s; fi`, shellQuote(s.source), dst, dst, dst, dst),
		"mount " + bind + " " + shellQuote(s.source) + " " + dst,
	}
	if opts := s.o.shell(s.options); opts != "" {
		lines = append(lines, "mount -o remount,bind,"+shellQuote(opts)+" "+dst)
	}
	return lines
}

// cgroupMount shows the container its own cgroup.
type cgroupMount struct {
	target
	o      mountOptions
	cgroup Cgroup
}

func (s cgroupMount) Info() Info {
	return Info{
		What: "mount the cgroup hierarchy on " + s.dst, Field: s.field,
		Why: "programs find their own limits here; the container sees its own cgroup as the root and cannot raise what stands above it",
		Man: "cgroups(7)",
	}
}

func (s cgroupMount) Emit(e *emitter) {
	attr := s.o.attr
	if s.cgroup.Version == 2 {
		tree := e.OpenTree(program.CWD, s.cgroup.Mounts[0].Path, unix.OPEN_TREE_CLONE)
		if attr.Set|attr.Clear != 0 {
			e.MountSetattr(tree, false, attr)
		}
		e.attach(tree, s.open(e, nil), s.o)
		return
	}
	fs := e.Fsopen("tmpfs")
	e.FsconfigString(fs, "mode", "755")
	e.FsconfigCreate(fs)
	top := e.Fsmount(fs, attr.Set&^unix.MOUNT_ATTR_RDONLY)
	e.Close(fs)
	dst := s.open(e, nil)
	e.MoveMount(top, dst)
	for _, m := range s.cgroup.Mounts {
		tree := e.OpenTree(program.CWD, m.Path, unix.OPEN_TREE_CLONE)
		if attr.Set|attr.Clear != 0 {
			e.MountSetattr(tree, false, attr)
		}
		e.Mkdirat(top, m.Name, 0o755)
		place := e.OpenInRoot(top, m.Name, unix.O_PATH|unix.O_DIRECTORY)
		e.MoveMount(tree, place)
		e.Close(place)
		e.Close(tree)
		// The controllers of a hierarchy are found under their own names as well.
		if names := strings.Split(m.Name, ","); len(names) > 1 {
			for _, n := range names {
				e.Symlinkat(m.Name, top, n)
			}
		}
	}
	if attr.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		e.MountSetattr(top, false, program.MountAttr{Set: unix.MOUNT_ATTR_RDONLY})
	}
	e.Close(dst)
	e.Close(top)
}

func (s cgroupMount) Shell() []string {
	dst := `"$ROOT"` + shellQuote(s.dst)
	lines := []string{"mkdir -p " + dst}
	if s.cgroup.Version == 2 {
		return append(lines, "mount --bind "+shellQuote(s.cgroup.Mounts[0].Path)+" "+dst)
	}
	lines = append(lines, "mount -t tmpfs -o mode=755 tmpfs "+dst)
	for _, m := range s.cgroup.Mounts {
		lines = append(lines, "mkdir "+dst+"/"+m.Name, "mount --bind "+shellQuote(m.Path)+" "+dst+"/"+m.Name)
	}
	return lines
}

// hasMount reports whether the configuration mounts something on dst, and what.
func (b *builder) hasMount(dst string) *specs.Mount {
	var found *specs.Mount
	for i := range b.spec.Mounts {
		if path.Clean("/"+b.spec.Mounts[i].Destination) == dst {
			found = &b.spec.Mounts[i]
		}
	}
	return found
}
