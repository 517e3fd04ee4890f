package agree

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (g *generator) mounts() {
	// The order of the usual ones is fixed by what lies below what.
	g.kernelMounts()
	for range g.IntN(5) {
		if g.chance(2) {
			g.tmpfs()
		} else {
			g.bind()
		}
	}
}

func (g *generator) mount(m specs.Mount) {
	g.s.Mounts = append(g.s.Mounts, m)
	g.watch = append(g.watch, filepath.Clean("/"+m.Destination))
}

func (g *generator) kernelMounts() {
	safe := []string{"nosuid", "noexec", "nodev"}
	g.mount(specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: pick(g, nil, safe)})
	if g.has(specs.UserNamespace) || !g.chance(10) {
		g.mount(specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: pick(g, []string{"nosuid", "strictatime", "mode=755", "size=65536k"}, []string{"nosuid", "mode=0755"}, nil)})
	}
	if !g.chance(8) {
		gid := pick(g, "gid=5", "gid=0")
		g.mount(specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", gid}})
	}
	if !g.chance(4) {
		g.mount(specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append([]string{"mode=1777", "size=65536k"}, some(g, safe...)...)})
	}
	if !g.chance(4) && g.has(specs.IPCNamespace) {
		g.mount(specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: some(g, safe...)})
	}
	if !g.chance(5) && g.has(specs.NetworkNamespace) {
		g.mount(specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append([]string{"nosuid", "noexec", "nodev"}, some(g, "ro")...)})
		if !g.chance(3) {
			g.mount(specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: append([]string{"nosuid", "noexec", "nodev", "relatime"}, some(g, "ro")...)})
		}
	}
}

// place is somewhere to mount a directory: one that is there, is made, is reached through a symbolic link, lies in
// another mount, or is not absolute.
func (g *generator) place() string {
	places := []string{"/mnt", "/var", "/run", "/tmp", "/mnt/below", "/link/inside", "etc/relative/../relative", "/data/new/deep", "/dev/dir", "/var//twice/", "/link/made"}
	return pick(g, places...)
}

// options of a mount itself.
func (g *generator) options() []string {
	out := some(g, "nosuid", "nodev", "noexec", pick(g, "noatime", "relatime", "strictatime"), "nodiratime", pick(g, "ro", "rw"))
	switch {
	case g.chance(12) && !g.has(specs.UserNamespace):
		out = append(out, pick(g, "shared", "rshared"))
	case g.chance(3):
		out = append(out, pick(g, "private", "rprivate", "slave", "rslave"))
	}
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (g *generator) tmpfs() {
	m := specs.Mount{Destination: g.place(), Type: "tmpfs", Source: pick(g, "tmpfs", "none", "name")}
	m.Options = append(g.options(), some(g, pick(g, "mode=700", "mode=1777", "mode=0755"), fmt.Sprintf("size=%dk", 64+g.IntN(1000)), "nr_inodes=1000")...)
	if g.chance(4) {
		m.Options = append(m.Options, "uid=7", "gid=8")
	}
	if g.chance(6) {
		m.Destination = "/copy"
		m.Options = append(m.Options, "tmpcopyup")
	}
	g.mount(m)
}

func (g *generator) bind() {
	kind := pick(g, "bind", "rbind")
	m := specs.Mount{Destination: g.place(), Type: pick(g, "bind", "none", ""), Source: g.b.source, Options: append([]string{kind}, g.options()...)}
	switch g.IntN(4) {
	case 0: // a file, on one that is there or is made
		m.Source = filepath.Join(g.b.source, "file")
		m.Destination = pick(g, "/etc/hosts", "/etc/made", "/data/shared/file", "/mnt/x/made")
	case 1:
		m.Source = "relative" // to the bundle
	case 2:
		m.Source = filepath.Join(g.b.source, "below") // a mount itself
	}
	if info, err := os.Stat(m.Source); kind == "rbind" && g.chance(4) && err == nil && info.IsDir() {
		m.Options = append(m.Options, pick(g, "rro", "rnosuid", "rnodev", "rnoexec"))
	}
	g.mount(m)
	g.watch = append(g.watch, filepath.Join("/", m.Destination, "below"))
}
