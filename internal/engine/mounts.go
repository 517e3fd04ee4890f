package engine

import (
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ttyGroup is the id of the group tty in every distribution; pseudo-terminals belong to it.
const ttyGroup = 5

// defaultMounts are those of Docker and Podman, for the namespaces that the container has. A user namespace
// may mount a kernel file system only where it owns the namespace that the file system shows
// (user_namespaces(7)); for the others the host's is bound, which the kernel allows.
func (b *builder) defaultMounts() ([]specs.Mount, error) {
	own := b.ids.own
	shm := "size=65536k"
	if b.o.ShmSize != "" {
		n, err := parseSize("--shm-size", b.o.ShmSize)
		if err != nil {
			return nil, err
		}
		if !b.set.has(nsIPC) {
			return nil, conflict("--shm-size", "the host's IPC namespace", "/dev/shm is the host's then", "leave one of them out")
		}
		shm = "size=" + strconv.FormatInt(n, 10)
	}
	bind := func(dst string, options ...string) specs.Mount {
		return specs.Mount{Destination: dst, Type: "bind", Source: dst, Options: append([]string{"rbind"}, options...)}
	}
	sysOptions := []string{"nosuid", "noexec", "nodev", "ro"}
	sysBind := []string{"rprivate", "nosuid", "noexec", "nodev", "rro"}
	if b.o.Privileged {
		sysOptions, sysBind = sysOptions[:3], sysBind[:4]
	}

	var out []specs.Mount
	if own && !b.set.has(nsPID) {
		out = append(out, bind("/proc", "rprivate", "nosuid", "noexec", "nodev"))
	} else {
		out = append(out, specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}})
	}
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if b.ids.hasGID(ttyGroup) && b.h.hasGID(ttyGroup) {
		pts = append(pts, "gid="+strconv.Itoa(ttyGroup))
	}
	out = append(out,
		specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
	)
	if own && !b.set.has(nsNet) {
		out = append(out, bind("/sys", sysBind...))
	} else {
		out = append(out, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sysOptions})
	}
	if own && !b.set.has(nsCgroup) {
		out = append(out, bind("/sys/fs/cgroup", sysBind...))
	} else {
		out = append(out, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: slices.Clone(sysOptions)})
	}
	if b.set.has(nsIPC) {
		out = append(out,
			specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", shm}},
		)
	} else {
		// With the host's IPC namespace come its POSIX queues and shared memory, which live there.
		for _, dir := range [...]string{"/dev/mqueue", "/dev/shm"} {
			if _, err := b.h.Stat(dir); err == nil {
				out = append(out, bind(dir, "rprivate", "nosuid", "noexec", "nodev"))
			}
		}
	}
	return out, nil
}

// buildMounts puts the mounts together: a mount of the user takes the place of a default one on the same
// destination and of those below it; all are sorted so that what contains another comes first.
func (b *builder) buildMounts() error {
	if !b.set.has(nsMount) {
		return b.refuseMounts()
	}
	user, err := b.userMounts()
	if err != nil {
		return err
	}
	defaults, err := b.defaultMounts()
	if err != nil {
		return err
	}
	files, err := b.etcFiles()
	if err != nil {
		return err
	}
	replaced := func(dst string) bool {
		return slices.ContainsFunc(user, func(m userMount) bool { return within(dst, m.Destination) })
	}
	var mounts []specs.Mount
	for _, m := range defaults {
		if !replaced(m.Destination) {
			mounts = append(mounts, m)
		} else if b.o.ShmSize != "" && m.Destination == "/dev/shm" {
			return conflict("--shm-size", "a mount on /dev/shm", "the size is that of gcr's own /dev/shm", "give the size to the mount, as in --tmpfs /dev/shm:size=1g")
		}
	}
	for _, f := range files {
		if replaced(f.Destination) {
			b.note("%s is not provided: a mount of yours is there", f.Destination)
			continue
		}
		b.config.Files = append(b.config.Files, f)
		options := append([]string{"rbind", "rprivate"}, b.idmapOption()...)
		if b.o.ReadOnly {
			options = append(options, "ro")
		}
		mounts = append(mounts, specs.Mount{Destination: f.Destination, Type: "bind", Source: string(f.Source()), Options: options})
	}
	for _, m := range user {
		if m.Type == "bind" {
			m.Options = append(m.Options, b.idmapOption()...)
		}
		mounts = append(mounts, m.Mount)
		if m.relabel != 0 {
			b.config.Relabel = append(b.config.Relabel, Relabel{Path: m.Source, Shared: m.relabel == 'z'})
		}
	}
	slices.SortStableFunc(mounts, func(x, y specs.Mount) int {
		return strings.Count(x.Destination, "/") - strings.Count(y.Destination, "/")
	})
	b.spec.Mounts = mounts
	return b.imageVolumes(replaced)
}

// imageVolumes takes over the volumes that the image declares, but for those where something else is mounted.
func (b *builder) imageVolumes(replaced func(dst string) bool) error {
	if b.image == nil {
		return nil
	}
	for v := range b.image.Volumes {
		dst := path.Clean("/" + v)
		if dst == "/" {
			return &Error{
				Op: "mount", Object: quote(v), Flag: "Volumes of " + b.image.file,
				Cause: text("a volume on / would be the whole root filesystem"), Hint: "the image is broken; its maker can take the volume out",
			}
		}
		if replaced(dst) || within(dst, "/proc") || within(dst, "/sys") || within(dst, "/dev") {
			continue
		}
		b.config.ImageVolumes = append(b.config.ImageVolumes, dst)
	}
	slices.Sort(b.config.ImageVolumes)
	b.config.ImageVolumes = slices.Compact(b.config.ImageVolumes)
	return nil
}

// idmapOption shows the owners of a bind mount through the container's id map where that is another than the host's.
func (b *builder) idmapOption() []string {
	if b.ids.shifted {
		return []string{"idmap"}
	}
	return nil
}

// refuseMounts names the first flag that needs the mount namespace which the container does not have.
func (b *builder) refuseMounts() error {
	o := b.o
	for _, f := range [...]struct {
		given bool
		flag  string
	}{
		{len(o.Volumes) > 0, "--volume"},
		{len(o.Mounts) > 0, "--mount"},
		{len(o.Tmpfs) > 0, "--tmpfs"},
		{o.ReadOnly, "--read-only"},
		{o.Ephemeral, "--ephemeral"},
		{o.ShmSize != "", "--shm-size"},
		{len(o.Devices) > 0, "--device"},
		{len(o.AddHosts) > 0, "--add-host"},
		{len(o.DNS) > 0, "--dns"},
		{len(o.DNSSearch) > 0, "--dns-search"},
		{len(o.DNSOptions) > 0, "--dns-option"},
	} {
		if f.given {
			return conflict(f.flag, "no mount namespace", "the container sees the host's files, where nothing may be mounted", "add mnt to --ns, or take it out of --without")
		}
	}
	return nil
}

// maskedPaths show a container what concerns the host or its neighbours: the list of Docker, and two of
// Podman's (/sys/fs/selinux, /sys/dev/block). thermal_throttle comes with the host's facts.
func maskedPaths(thermal []string) []string {
	return append([]string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
	}, thermal...)
}

// readonlyPaths change the host when written.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
