package plan

import (
	"fmt"
	"path"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultDevices are there in every container (config-linux.md, "Default Devices").
var defaultDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// deviceLinks are there in every container (runtime-linux.md, "Dev symbolic links").
var deviceLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

func (b *builder) devices() error {
	if !b.has(specs.MountNamespace) {
		return nil
	}
	if b.joinsMounts() && len(b.spec.Linux.Devices) == 0 && b.hasMount("/dev") == nil && !b.spec.Process.Terminal {
		return nil // /dev is the other container's
	}
	// A /dev that is bound from somewhere else comes with its nodes.
	if m := b.hasMount("/dev"); m != nil {
		if o, err := parseOptions(m.Options); err == nil && (o.bind || m.Type == "bind") {
			return nil
		}
	}
	named := map[string]bool{}
	list := []specs.LinuxDevice{}
	fields := []string{}
	for i, d := range b.spec.Linux.Devices {
		field := fmt.Sprintf("linux.devices[%d]", i)
		if !strings.HasPrefix(d.Path, "/") || path.Clean(d.Path) != d.Path || d.Path == "/" {
			return fieldError(field+".path", "plan device "+d.Path, "it is not an absolute, clean path", "")
		}
		switch d.Type {
		case "c", "u", "b", "p":
		default:
			return fieldError(field+".type", "plan device "+d.Path, fmt.Sprintf("there is no device type %q", d.Type), "use c, u, b or p")
		}
		named[d.Path] = true
		list, fields = append(list, d), append(fields, field)
	}
	var defaults []specs.LinuxDevice
	for _, d := range defaultDevices {
		if !named[d.Path] {
			defaults = append(defaults, d)
		}
	}
	b.add(defaultDev{devices: defaults, bind: b.inUserNamespace()})
	for i, d := range list {
		b.add(device{d: d, field: fields[i], bind: b.inUserNamespace()})
	}
	return nil
}

// defaultDev fills /dev with what every program expects.
type defaultDev struct {
	devices []specs.LinuxDevice
	bind    bool
}

func (s defaultDev) Info() Info {
	why := "every program expects null, zero, full, random, urandom and tty"
	if s.bind {
		why += "; a user namespace may not make device nodes, so the host's are mounted on empty files"
	}
	return Info{What: "fill /dev with the default devices", Why: why, Man: "mknod(2)"}
}

func (s defaultDev) Emit(e *emitter) {
	mk, ok := e.NewLabel(), e.NewLabel()
	dev := e.Openat2(e.root, "/dev", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS).OnError(unix.ENOENT, mk)
	e.Jump(ok)
	e.Bind(mk)
	e.Mkdirat(e.root, "dev", 0o755)
	e.Openat2(e.root, "/dev", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS).Into(dev)
	e.Bind(ok)
	e.dev = dev
	for _, d := range s.devices {
		makeDevice(e, dev, path.Base(d.Path), d, s.bind)
	}
	for _, l := range deviceLinks {
		e.Symlinkat(l[0], dev, l[1]).Ignore(unix.EEXIST)
	}
}

func (s defaultDev) Shell() []string {
	lines := []string{`mkdir -p "$ROOT"/dev`}
	for _, d := range s.devices {
		lines = append(lines, deviceShell(d, s.bind)...)
	}
	for _, l := range deviceLinks {
		lines = append(lines, "ln -sf "+l[0]+` "$ROOT"/dev/`+l[1])
	}
	return lines
}

func deviceShell(d specs.LinuxDevice, bind bool) []string {
	p := `"$ROOT"` + shellQuote(d.Path)
	if bind {
		return []string{": >" + p, "mount --bind " + shellQuote(d.Path) + " " + p}
	}
	if d.Type == "p" {
		return []string{"mkfifo -m " + fmt.Sprintf("%o", deviceMode(d)) + " " + p}
	}
	return []string{fmt.Sprintf("[ -e %s ] || mknod -m %o %s %s %d %d", p, deviceMode(d), p, d.Type, d.Major, d.Minor)}
}

func deviceMode(d specs.LinuxDevice) uint32 {
	if d.FileMode != nil {
		return uint32(*d.FileMode) & 0o7777
	}
	return 0o666
}

// makeDevice makes one node in the directory, or mounts the host's node on an empty file.
func makeDevice(e *emitter, dir program.Ref, name string, d specs.LinuxDevice, bind bool) {
	if bind && d.Type != "p" {
		node := e.OpenTree(program.CWD, d.Path, unix.OPEN_TREE_CLONE)
		e.Mknodat(dir, name, unix.S_IFREG|0o644, 0).Ignore(unix.EEXIST)
		place := e.Openat2(dir, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		e.MoveMount(node, place)
		e.Close(place)
		e.Close(node)
		return
	}
	kind := map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}[d.Type]
	dev := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	if d.Type == "p" {
		dev = 0
	}
	e.Mknodat(dir, name, kind|deviceMode(d), dev).Ignore(unix.EEXIST)
	if d.UID != nil || d.GID != nil {
		uid, gid := int64(0), int64(0)
		if d.UID != nil {
			uid = int64(*d.UID)
		}
		if d.GID != nil {
			gid = int64(*d.GID)
		}
		e.Fchownat(dir, name, uid, gid)
	}
}

// device is a node that the configuration names.
type device struct {
	d     specs.LinuxDevice
	field string
	bind  bool
}

func (s device) Info() Info {
	return Info{What: "make device " + s.d.Path, Field: s.field, Why: "the configuration asks for it", Man: "mknod(2)"}
}

func (s device) Emit(e *emitter) {
	dir := e.dev
	if d := path.Dir(s.d.Path); d != "/dev" {
		dir = e.mkdirs(d)
	}
	makeDevice(e, dir, path.Base(s.d.Path), s.d, s.bind)
}
func (s device) Shell() []string { return deviceShell(s.d, s.bind) }
