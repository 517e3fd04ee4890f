package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// userMount is a mount that the user asked for.
type userMount struct {
	specs.Mount
	flag    string
	relabel byte
}

// parseVolume reads SRC:DST[:OPTIONS].
func (b *builder) parseVolume(value string) (userMount, error) {
	const flag = "--volume"
	parts := strings.Split(value, ":")
	switch {
	case len(parts) == 1:
		return userMount{}, badValue(flag, value, "has no destination", "write SRC:DST; volumes without a source are not there yet, use --tmpfs "+value+" for scratch space")
	case len(parts) > 3:
		return userMount{}, badValue(flag, value, "has more than two colons", "write SRC:DST[:OPTIONS]; for a path with a colon use --mount type=bind,src=…,dst=…")
	}
	src := parts[0]
	if src != "" && !strings.Contains(src, "/") && src != "." && src != ".." {
		return userMount{}, badValue(flag, value, "named volumes are not there yet", "for a directory of that name write ./"+value)
	}
	set := newOptionSet(flag, value)
	if len(parts) == 3 {
		for opt := range strings.SplitSeq(parts[2], ",") {
			if err := set.addBind(opt); err != nil {
				return userMount{}, err
			}
		}
	}
	return b.bindMount(flag, value, src, parts[1], set)
}

// bindMount checks a source on the host and a destination in the container.
func (b *builder) bindMount(flag, value, src, dst string, set *optionSet) (userMount, error) {
	if src == "" {
		return userMount{}, badValue(flag, value, "has no source", "name a file or directory of the host")
	}
	if !filepath.IsAbs(src) && b.h.Cwd == "" {
		return userMount{}, badValue(flag, value, "the source is relative and the current directory no longer exists", "write an absolute path")
	}
	dst, err := destination(flag, value, dst)
	if err != nil {
		return userMount{}, err
	}
	src = b.abs(src)
	if _, err := b.h.Stat(src); err != nil {
		e := &Error{Op: "mount", Object: quote(src) + " on " + quote(dst), Flag: flag, Cause: cause(err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.Cause, e.Hint = text("the source does not exist on the host"), "make it first: mkdir -p "+shellWord(src)
		case errors.Is(err, fs.ErrPermission):
			e.Hint = "you may not look into a directory on the way to it"
		}
		return userMount{}, e
	}
	m := userMount{flag: flag, relabel: set.relabel}
	m.Mount = specs.Mount{Destination: dst, Type: "bind", Source: src, Options: set.bind()}
	return m, nil
}

// abs makes a path of the host absolute.
func (b *builder) abs(p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(b.h.Cwd, p)
	}
	return filepath.Clean(p)
}

// destination checks a path in the container.
func destination(flag, value, dst string) (string, error) {
	if dst == "" {
		return "", badValue(flag, value, "has no destination", "name an absolute path in the container")
	}
	if !strings.HasPrefix(dst, "/") {
		return "", badValue(flag, value, "the destination "+quote(dst)+" is not an absolute path", "write /"+dst)
	}
	clean := path.Clean(dst)
	if clean == "/" {
		return "", badValue(flag, value, "a mount on / would hide the whole root filesystem", "use the directory as the root filesystem: gcr run /path/to/dir")
	}
	return clean, nil
}

// parseTmpfs reads DST[:OPTIONS].
func (b *builder) parseTmpfs(value string) (userMount, error) {
	const flag = "--tmpfs"
	dst, opts, has := strings.Cut(value, ":")
	set := newOptionSet(flag, value)
	if has {
		for opt := range strings.SplitSeq(opts, ",") {
			if err := set.addTmpfs(opt); err != nil {
				return userMount{}, err
			}
		}
	}
	dst, err := destination(flag, value, dst)
	if err != nil {
		return userMount{}, err
	}
	return tmpfsMount(flag, dst, set), nil
}

func tmpfsMount(flag, dst string, set *optionSet) userMount {
	return userMount{
		flag:  flag,
		Mount: specs.Mount{Destination: dst, Type: "tmpfs", Source: "tmpfs", Options: set.tmpfs()},
	}
}

// parseMount reads type=bind,src=…,dst=…[,OPTION…] and type=tmpfs,dst=…[,OPTION…].
func (b *builder) parseMount(value string) (userMount, error) {
	const flag = "--mount"
	seen := map[string]string{}
	var options []string
	for field := range strings.SplitSeq(value, ",") {
		key, v, hasValue := strings.Cut(field, "=")
		switch key {
		case "source":
			key = "src"
		case "destination", "target":
			key = "dst"
		case "readonly", "ro":
			key = "ro"
			if !hasValue {
				v, hasValue = "true", true
			}
		case "bind-nonrecursive":
			if !hasValue {
				v, hasValue = "true", true
			}
		}
		switch key {
		case "type", "src", "dst", "bind-propagation", "tmpfs-size", "tmpfs-mode", "bind-nonrecursive", "bind-recursive", "ro":
			if !hasValue || v == "" {
				return userMount{}, badValue(flag, value, key+" has no value", "write "+key+"=…")
			}
			if _, dup := seen[key]; dup {
				return userMount{}, badValue(flag, value, "says "+key+" twice", "")
			}
			seen[key] = v
		case "":
			return userMount{}, badValue(flag, value, "has an empty field", "write type=bind,src=/host/path,dst=/container/path")
		default:
			options = append(options, field)
		}
	}
	kind := seen["type"]
	set := newOptionSet(flag, value)
	add := set.addBind
	switch kind {
	case "bind":
	case "tmpfs":
		add = set.addTmpfs
	case "":
		return userMount{}, badValue(flag, value, "has no type", "write type=bind or type=tmpfs")
	case "volume", "image":
		return userMount{}, badValue(flag, value, kind+" mounts are not there yet", "use type=bind with a directory of the host, or type=tmpfs")
	default:
		return userMount{}, badValue(flag, value, "type "+quote(kind)+" cannot be mounted by hand", "use type=bind or type=tmpfs")
	}
	for key := range seen {
		if strings.HasPrefix(key, "bind-") && kind != "bind" || strings.HasPrefix(key, "tmpfs-") && kind != "tmpfs" {
			return userMount{}, badValue(flag, value, key+" does not go with type="+kind, "")
		}
	}
	switch v := seen["ro"]; v {
	case "", "false", "0":
	case "true", "1":
		options = append(options, "ro")
	default:
		return userMount{}, badValue(flag, value, "readonly="+v+" is neither true nor false", "")
	}
	if p := seen["bind-propagation"]; p != "" {
		if findOption(p).group != "propagation" {
			return userMount{}, badValue(flag, value, "bind-propagation="+p+" is not one", "use rprivate, private, rshared, shared, rslave or slave")
		}
		options = append(options, p)
	}
	switch {
	case seen["bind-nonrecursive"] == "true" || seen["bind-nonrecursive"] == "1" || seen["bind-recursive"] == "disabled":
		options = append(options, "bind")
	case seen["bind-nonrecursive"] != "" && seen["bind-nonrecursive"] != "false" && seen["bind-nonrecursive"] != "0":
		return userMount{}, badValue(flag, value, "bind-nonrecursive="+seen["bind-nonrecursive"]+" is neither true nor false", "")
	case seen["bind-recursive"] != "" && seen["bind-recursive"] != "enabled":
		return userMount{}, badValue(flag, value, "bind-recursive="+seen["bind-recursive"]+" is not one", "use enabled or disabled")
	}
	if s := seen["tmpfs-size"]; s != "" {
		options = append(options, "size="+s)
	}
	if m := seen["tmpfs-mode"]; m != "" {
		options = append(options, "mode="+m)
	}
	for _, o := range options {
		if err := add(o); err != nil {
			return userMount{}, err
		}
	}
	if kind == "bind" {
		return b.bindMount(flag, value, seen["src"], seen["dst"], set)
	}
	if seen["src"] != "" {
		return userMount{}, badValue(flag, value, "a tmpfs has no source", "leave src out")
	}
	dst, err := destination(flag, value, seen["dst"])
	if err != nil {
		return userMount{}, err
	}
	return tmpfsMount(flag, dst, set), nil
}

// userMounts reads --volume, --mount and --tmpfs, and refuses two mounts on one place.
func (b *builder) userMounts() ([]userMount, error) {
	var out []userMount
	where := map[string]string{}
	collect := func(values []string, parse func(string) (userMount, error)) error {
		for _, v := range values {
			m, err := parse(v)
			if err != nil {
				return err
			}
			if err := checkKernelPath(m); err != nil {
				return err
			}
			if other, dup := where[m.Destination]; dup {
				return &Error{
					Op: "mount", Object: quote(v), Flag: m.flag,
					Cause: fmt.Errorf("%s is already the destination of %s; the later mount would hide the earlier one", m.Destination, other),
					Hint:  "give each mount a destination of its own",
				}
			}
			where[m.Destination] = m.flag + " " + quote(v)
			out = append(out, m)
		}
		return nil
	}
	if err := collect(b.o.Volumes, b.parseVolume); err != nil {
		return nil, err
	}
	if err := collect(b.o.Mounts, b.parseMount); err != nil {
		return nil, err
	}
	return out, collect(b.o.Tmpfs, b.parseTmpfs)
}

// procFiles are the files of /proc that lxcfs and its like replace, so that a container sees its own share;
// nothing that decides on security is among them.
var procFiles = [...]string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/swaps",
	"/proc/uptime", "/proc/slabinfo", "/proc/net/dev",
}

// checkKernelPath refuses mounts over the kernel's own file systems. gcr and everybody in the container
// trust what /proc says; the attacks of CVE-2019-16884 and CVE-2025-52881 began with a mount over it.
func checkKernelPath(m userMount) error {
	for _, top := range [...]string{"/proc", "/sys"} {
		if !within(m.Destination, top) {
			continue
		}
		if m.Destination == top {
			if m.Type == "bind" && m.Source == top {
				return nil
			}
			return &Error{
				Op: "mount", Object: quote(m.Destination), Flag: m.flag,
				Cause: fmt.Errorf("it would replace the kernel's %s by something else", top),
				Hint:  "only the host's own can stand there: -v " + top + ":" + top,
			}
		}
		if top == "/sys" {
			return nil
		}
		for _, f := range procFiles {
			if m.Destination == f {
				return nil
			}
		}
		return &Error{
			Op: "mount", Object: quote(m.Destination), Flag: m.flag,
			Cause: text("inside of /proc, which programs trust to be the kernel's"),
			Hint:  "only " + strings.Join(procFiles[:], ", ") + " can be replaced",
		}
	}
	return nil
}

// within tells whether p is dir or lies below it; both are clean.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir) && (dir == "/" || p[len(dir)] == '/')
}
