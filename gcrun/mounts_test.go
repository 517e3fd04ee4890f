package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mountsFile writes what the command mounts reads.
func (b *box) mountsFile(text string) string {
	b.t.Helper()
	path := filepath.Join(b.bundle, fmt.Sprintf("mounts%d.json", count.Add(1)))
	b.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// Mounts come and go while the container runs, with and without a user namespace of its own.
func TestMountsOfARunningContainer(t *testing.T) {
	for name, edit := range map[string]func(*specs.Spec){"plain": func(*specs.Spec) {}, "user namespace": userNS, "no pivot": nil} {
		t.Run(name, func(t *testing.T) {
			b, flags := newBox(t, func(s *specs.Spec) {
				s.Root.Readonly = false
				if edit != nil {
					edit(s)
				}
			}, "sleep"), []string{"run", "-d"}
			if name == "no pivot" {
				flags = append(flags, "--no-pivot")
			}
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
			if name == "user namespace" {
				// The container's root makes the places of the mounts.
				b.must(os.Chown(filepath.Join(b.bundle, "rootfs"), 100000, 100000))
			}
			b.must(os.MkdirAll(filepath.Join(b.bundle, "src/below"), 0o755))
			b.must(os.WriteFile(filepath.Join(b.bundle, "src/file"), []byte("of the host"), 0o644))
			b.ok(append(flags, b.id)...)
			before := len(b.parse(b.ok("exec", b.id, "/probe", "report")).Mounts)
			file := b.mountsFile(`{"mounts": [
				{"destination": "/added/dir", "source": "src", "type": "bind", "options": ["rbind", "ro", "nosuid"]},
				{"destination": "/added/file", "source": "src/file", "options": ["bind"]},
				{"destination": "/added/tmp", "source": "x", "type": "tmpfs", "options": ["size=64k", "noexec"]},
				{"destination": "/added/tmp/in/it", "source": "src", "options": ["bind"]}
			]}`)
			b.ok("mounts", "add", b.id, file)
			want(t, "file", b.ok("exec", b.id, "/probe", "cat", "/added/file"), "of the host")
			want(t, "file in directory", b.ok("exec", b.id, "/probe", "cat", "/added/tmp/in/it/file"), "of the host")
			r := b.parse(b.ok("exec", b.id, "/probe", "report"))
			wantOptions(t, r.mount("/added/dir").Options, "ro", "nosuid")
			wantOptions(t, r.mount("/added/tmp").Options, "noexec")
			want(t, "type", r.mount("/added/tmp").Type, "tmpfs")
			want(t, "mounts", len(r.Mounts), before+4)
			host, err := os.ReadFile("/proc/self/mountinfo")
			b.must(err)
			if strings.Contains(string(host), "/added/") {
				t.Error("a mount has come to the host")
			}
			b.ok("mounts", "remove", b.id, b.mountsFile(`[{"destination": "added/tmp/in/it"}, {"destination": "/added/tmp"}, {"destination": "/added/file"}, {"destination": "/added/dir"}]`))
			want(t, "mounts", len(b.parse(b.ok("exec", b.id, "/probe", "report")).Mounts), before)
			b.fails(1, "unmount /added/dir (mounts[0]): invalid argument; nothing is mounted there", "mounts", "remove", b.id, b.mountsFile(`[{"destination": "/added/dir"}]`))

			// All or nothing.
			b.fails(1, "(mounts[1])", "mounts", "add", b.id, b.mountsFile(`[{"destination": "/half", "type": "tmpfs"}, {"destination": "/whole", "type": "nofs"}]`))
			b.fails(1, "no such file or directory", "mounts", "add", b.id, b.mountsFile(`[{"destination": "/half", "type": "tmpfs"}, {"destination": "/whole", "source": "nowhere", "options": ["bind"]}]`))
			want(t, "mounts", len(b.parse(b.ok("exec", b.id, "/probe", "report")).Mounts), before)

			// A link does not lead to another mount.
			b.must(os.Symlink("/proc", filepath.Join(b.bundle, "rootfs/link")))
			b.fails(1, "unmount /link (mounts[0]): too many levels of symbolic links", "mounts", "remove", b.id, b.mountsFile(`[{"destination": "/link"}]`))
			for text, list := range map[string]string{
				"mounts: there are none":                             `{}`,
				"mounts[0].destination: it is missing":               `[{"type": "tmpfs"}]`,
				"mount on the root itself":                           `[{"destination": "/..", "type": "tmpfs"}]`,
				"the cgroup hierarchy is mounted when the container": `[{"destination": "/c", "type": "cgroup"}]`,
				"tmpcopyup is for mounts that":                       `[{"destination": "/c", "type": "tmpfs", "options": ["tmpcopyup"]}]`,
			} {
				b.fails(1, text, "mounts", "add", b.id, b.mountsFile(list))
			}
			if out := b.ok("--explain", "mounts", "add", b.id, file); !strings.Contains(out, "mount tmpfs on /added/tmp") {
				t.Errorf("--explain prints %.300q", out)
			}
			want(t, "mounts", len(b.parse(b.ok("exec", b.id, "/probe", "report")).Mounts), before)
			b.ok("kill", b.id, "KILL")
			b.reapAll()
			waitFor(t, "the end", func() bool { st, _ := b.state(); return st == "stopped" })
			b.fails(1, "container not running", "mounts", "add", b.id, file)
			b.ok("delete", b.id)
		})
	}
}

// A container that waits for start gets mounts as well, and one without a mount namespace none.
func TestMountsOfOtherContainers(t *testing.T) {
	b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "cat", "/late/config.json")
	b.ok("create", b.id)
	b.ok("mounts", "add", b.id, b.mountsFile(`[{"destination": "/late", "source": ".", "options": ["bind"]}]`))
	pid := b.wantStatus("created")
	b.ok("start", b.id)
	want(t, "status", b.reap(pid), 0)
	b.ok("delete", b.id)

	b, _ = running(t, func(s *specs.Spec) {
		s.Linux.Namespaces, s.Mounts, s.Root.Readonly = without(s.Linux.Namespaces, specs.MountNamespace), nil, false
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	})
	b.fails(1, "the container has no mount namespace of its own", "mounts", "add", b.id, b.mountsFile(`[{"destination": "/late", "type": "tmpfs"}]`))
	b.fails(1, `there is no command "mounts list"`, "mounts", "list", b.id, "x")
	b.fails(1, "no such file or directory", "mounts", "add", b.id, "nofile")
}
