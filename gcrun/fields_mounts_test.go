package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func addMount(m specs.Mount) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, m)
		s.Root.Readonly = false
	}
}

var mountTests = map[string]fieldTest{
	"mounts[].destination": {
		edit:  addMount(specs.Mount{Destination: "/new/place", Type: "tmpfs", Source: "x"}),
		check: func(t testing.TB, r *report) { want(t, "type", r.mount("/new/place").Type, "tmpfs") },
	},
	"mounts[].destination, relative": {
		edit:  addMount(specs.Mount{Destination: "relative/dir", Type: "tmpfs", Source: "x"}),
		check: func(t testing.TB, r *report) { want(t, "type", r.mount("/relative/dir").Type, "tmpfs") },
	},
	"mounts[].type": {
		edit:  addMount(specs.Mount{Destination: "/tmp", Type: "mqueue", Source: "x"}),
		check: func(t testing.TB, r *report) { want(t, "type", r.mount("/tmp").Type, "mqueue") },
	},
	"mounts[].source": {
		edit:  addMount(specs.Mount{Destination: "/tmp/null", Source: "/dev/null", Options: []string{"bind"}}),
		check: func(t testing.TB, r *report) { want(t, "source", r.mount("/tmp/null").Root, "/null") },
	},
	"mounts[].options": {
		edit:  addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: []string{"size=64k", "mode=700"}}),
		check: func(t testing.TB, r *report) { wantOptions(t, r.mount("/tmp").Super, "size=64k", "mode=700") },
	},
	"mounts, recursive attributes of the host's /sys": {
		edit: addMount(specs.Mount{Destination: "/tmp/sys", Source: "/sys", Options: []string{"rbind", "rro", "rnosuid"}}),
		check: func(t testing.TB, r *report) {
			n := 0
			for _, m := range r.Mounts {
				if strings.HasPrefix(m.Point, "/tmp/sys") {
					wantOptions(t, m.Options, "ro", "nosuid")
					n++
				}
			}
			if n < 2 {
				t.Errorf("%d mounts below /tmp/sys: the host should have some", n)
			}
		},
	},
	"mounts, tmpcopyup with options": {
		edit: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "strictatime", "mode=700", "uid=7"}})
			s.Process.User.UID = 7
			s.Process.Args = []string{"/probe", "report", "/etc"}
		},
		check: func(t testing.TB, r *report) {
			want(t, "mode and owner", r.Places["/etc"].Stat, "40700 7:0")
			want(t, "contents", strings.Join(r.Places["/etc"].Names, " "), "deep")
		},
	},
	// What is on disk as 5:6 is seen through a map of the mount's own.
	"mounts[].uidMappings[].containerID": mappedOwner([3]uint32{5, 1000, 10}, [3]uint32{0, 0, 100}, "1000:6"),
	"mounts[].uidMappings[].hostID":      mappedOwner([3]uint32{0, 1000, 10}, [3]uint32{0, 0, 100}, "1005:6"),
	"mounts[].uidMappings[].size":        mappedOwner([3]uint32{0, 1000, 3}, [3]uint32{0, 0, 100}, "65534:6"),
	"mounts[].gidMappings[].containerID": mappedOwner([3]uint32{0, 0, 100}, [3]uint32{5, 1000, 10}, "5:1001"),
	"mounts[].gidMappings[].hostID":      mappedOwner([3]uint32{0, 0, 100}, [3]uint32{0, 1000, 10}, "5:1006"),
	"mounts[].gidMappings[].size":        mappedOwner([3]uint32{0, 0, 100}, [3]uint32{0, 1000, 3}, "5:65534"),
}

// source makes a directory with a file of user 5 and group 6, and another directory like it mounted on its below.
func source(b *box, flags uintptr) string {
	src, below := filepath.Join(b.bundle, "src"), filepath.Join(b.bundle, "below")
	for _, dir := range []string{src, below} {
		b.must(os.MkdirAll(filepath.Join(dir, "below"), 0o755))
		b.must(os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
		b.must(os.Chown(filepath.Join(dir, "file"), 5, 6))
	}
	mount := func(from, to string) {
		b.must(unix.Mount(from, to, "", unix.MS_BIND, ""))
		if flags != 0 {
			b.must(unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""))
		}
	}
	mount(src, src)
	mount(below, filepath.Join(src, "below"))
	return src
}

// sharedMounts runs f in a mount namespace where all mounts are shared. Its mounts end with it.
func sharedMounts(t *testing.T, f func()) {
	t.Helper()
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Error(err)
			return
		}
		for _, how := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
			if err := unix.Mount("", "/", "", unix.MS_REC|how, ""); err != nil {
				t.Error(err)
				return
			}
		}
		f()
	}()
	<-done
}

func mappedOwner(uids, gids [3]uint32, owner string) fieldTest {
	m := func(m [3]uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: m[0], HostID: m[1], Size: m[2]}}
	}
	return fieldTest{
		shared: true,
		prepare: func(b *box) {
			addMount(specs.Mount{Destination: "/tmp", Source: source(b, 0), Options: []string{"bind"}, UIDMappings: m(uids), GIDMappings: m(gids)})(b.spec)
			b.spec.Process.Args = []string{"/probe", "report", "/tmp/file"}
		},
		check: func(t testing.TB, r *report) { want(t, "owner", r.Places["/tmp/file"].Stat, "100644 "+owner) },
	}
}

// optionTest binds a directory with a mount below it and looks at both.
func optionTest(restricted uintptr, check func(t testing.TB, top, below string), options ...string) fieldTest {
	return fieldTest{
		shared: true,
		prepare: func(b *box) {
			addMount(specs.Mount{Destination: "/tmp", Source: source(b, restricted), Options: append([]string{"rbind"}, options...)})(b.spec)
		},
		check: func(t testing.TB, r *report) {
			top, below := r.mount("/tmp"), r.mount("/tmp/below")
			check(t, top.Options+";"+top.Optional, below.Options+";"+below.Optional)
		},
	}
}

func has(options, name string) bool {
	return slices.Contains(strings.FieldsFunc(options, func(r rune) bool { return r == ',' || r == ';' }), name)
}

// optionTests has one test for each option of the specification's table.
func optionTests() map[string]fieldTest {
	out := map[string]fieldTest{}
	add := func(option string, f fieldTest) { out["mounts[].options, "+option] = f }
	// wantBoth says whether an attribute is there on the mount and on the one below it.
	wantBoth := func(name string, onTop, onBelow bool) func(t testing.TB, top, below string) {
		return func(t testing.TB, top, below string) {
			if has(top, name) != onTop || has(below, name) != onBelow {
				t.Errorf("%s is on the mount: %v, on the one below: %v; want %v and %v (%s and %s)", name, has(top, name), has(below, name), onTop, onBelow, top, below)
			}
		}
	}
	const all = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NODIRATIME | unix.MS_NOATIME | unix.MS_NOSYMFOLLOW
	for no, yes := range map[string]string{"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "nodiratime": "diratime", "nosymfollow": "symfollow", "noatime": "atime"} {
		add(no, optionTest(0, wantBoth(no, true, false), no))
		add("r"+no, optionTest(0, wantBoth(no, true, true), "r"+no))
		add(yes, optionTest(all, wantBoth(no, false, true), yes))
		add("r"+yes, optionTest(all, wantBoth(no, false, false), "r"+yes))
	}
	for _, o := range []string{"relatime", "norelatime", "nostrictatime"} {
		add(o, optionTest(all, wantBoth("relatime", true, false), o))
		add("r"+o, optionTest(all, wantBoth("relatime", true, true), "r"+o))
	}
	add("strictatime", optionTest(0, wantBoth("relatime", false, true), "strictatime"))
	add("rstrictatime", optionTest(0, wantBoth("relatime", false, false), "rstrictatime"))

	// The host's mounts are shared, so the container's are slaves of them, if nothing else is said.
	add("private", optionTest(0, wantBoth("master", false, true), "private"))
	add("rprivate", optionTest(0, wantBoth("master", false, false), "rprivate"))
	add("shared", optionTest(0, wantBoth("shared", true, false), "shared"))
	add("rshared", optionTest(0, wantBoth("shared", true, true), "rshared"))
	add("slave", optionTest(0, wantBoth("shared", false, true), "rshared", "slave"))
	add("rslave", optionTest(0, wantBoth("shared", false, false), "rshared", "rslave"))
	add("unbindable", optionTest(0, wantBoth("unbindable", true, false), "unbindable"))
	add("runbindable", optionTest(0, wantBoth("unbindable", true, true), "runbindable"))

	for _, o := range []string{"sync", "dirsync", "lazytime", "mand"} {
		add(o, fieldTest{
			edit:  addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: []string{o}}),
			check: func(t testing.TB, r *report) { wantOptions(t, r.mount("/tmp").Super, o) },
		})
	}
	for no, yes := range map[string]string{"async": "sync", "nolazytime": "lazytime", "nomand": "mand"} {
		add(no, fieldTest{
			edit:  addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: []string{yes, no}}),
			check: func(t testing.TB, r *report) { want(t, yes, has(r.mount("/tmp").Super, yes), false) },
		})
	}
	for o, why := range map[string]string{
		"defaults": "it asks for nothing", "silent": "it asks for nothing", "loud": "it asks for nothing",
		"iversion": "nothing that a process can ask for shows it", "noiversion": "nothing that a process can ask for shows it",
	} {
		add(o, fieldTest{
			edit:    addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: []string{o}}),
			check:   func(t testing.TB, r *report) { want(t, "type", r.mount("/tmp").Type, "tmpfs") },
			missing: why,
		})
	}

	add("bind", fieldTest{
		edit:  addMount(specs.Mount{Destination: "/tmp/null", Source: "/dev/null", Options: []string{"bind"}}),
		check: func(t testing.TB, r *report) { want(t, "source", r.mount("/tmp/null").Root, "/null") },
	})
	add("rbind", fieldTest{
		shared: true,
		prepare: func(b *box) {
			addMount(specs.Mount{Destination: "/tmp", Type: "bind", Source: source(b, 0), Options: []string{"rbind"}})(b.spec)
		},
		check: func(t testing.TB, r *report) { want(t, "the mount below", r.mount("/tmp/below").Point, "/tmp/below") },
	})
	for o, below := range map[string]string{"idmap": "65534:65534", "ridmap": "5:6"} {
		add(o, fieldTest{
			shared: true,
			prepare: func(b *box) {
				userNS(b.spec)
				b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
				addMount(specs.Mount{Destination: "/tmp", Source: source(b, 0), Options: []string{"rbind", o}})(b.spec)
				b.spec.Process.Args = []string{"/probe", "report", "/tmp/file", "/tmp/below/file"}
			},
			check: func(t testing.TB, r *report) {
				want(t, "owner", r.Places["/tmp/file"].Stat, "100644 5:6")
				want(t, "owner of the mount below", r.Places["/tmp/below/file"].Stat, "100644 "+below)
			},
		})
	}
	add("tmpcopyup", fieldTest{
		edit: func(s *specs.Spec) {
			addMount(specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "x", Options: []string{"tmpcopyup"}})(s)
			s.Process.Args = []string{"/probe", "report", "/etc/deep/file"}
		},
		check: func(t testing.TB, r *report) { want(t, "contents", r.Places["/etc/deep/file"].Text, "copied up") },
	})
	twice := func(options ...string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: []string{"nosuid", "size=1m", "mode=700"}})(s)
			addMount(specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "x", Options: options})(s)
		}
	}
	add("remount", fieldTest{edit: twice("remount", "ro", "size=64k", "sync"), check: func(t testing.TB, r *report) {
		m := r.mount("/tmp")
		wantOptions(t, m.Options, "ro", "nosuid")
		wantOptions(t, m.Super, "size=64k", "mode=700", "sync")
	}})
	// With bind the file system is left alone.
	add("remount with bind", fieldTest{edit: twice("bind", "remount", "ro", "size=64k"), check: func(t testing.TB, r *report) {
		m := r.mount("/tmp")
		wantOptions(t, m.Options, "ro", "nosuid")
		wantOptions(t, m.Super, "size=1024k")
	}})
	return out
}

// propagationTests are about the mount / as the container has it, where the host's is shared.
func propagationTests() map[string]fieldTest {
	out := map[string]fieldTest{}
	for value, optional := range map[string]string{
		"shared": "shared,master", "rshared": "shared,master", "slave": "master", "rslave": "master", "private": "", "rprivate": "", "unbindable": "unbindable", "runbindable": "unbindable",
	} {
		f := fieldTest{
			shared: true,
			edit:   func(s *specs.Spec) { s.Linux.RootfsPropagation = value },
			check:  func(t testing.TB, r *report) { want(t, "propagation of /", r.mount("/").Optional, optional) },
		}
		if optional == "master" {
			f.missing = "rslave is what is done without the field"
		}
		out["linux.rootfsPropagation, "+value] = f
	}
	out["linux.rootfsPropagation"] = out["linux.rootfsPropagation, shared"]
	return out
}

// Each option that features lists has a test; test/schema compares features with the table of the specification.
func TestEveryMountOption(t *testing.T) {
	tests := optionTests()
	for _, o := range plan.MountOptions() {
		if _, ok := tests["mounts[].options, "+o]; !ok {
			t.Errorf("there is no test for the option %s", o)
		}
	}
}
