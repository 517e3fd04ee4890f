package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gcr/test/fields"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func ptr[T any](v T) *T { return &v }

// A fieldTest gives a field of the configuration a value, and says what a process inside then sees.
//
// Its name is that of the field as test/fields has it, and, after a comma, what is special. TestFields runs each twice: with
// the field, and without it; then the check has to find something wrong, or the container must not run. So
// no entry can pass with a runtime that does not know the field.
type fieldTest struct {
	edit  func(*specs.Spec)
	check func(t testing.TB, r *report)
	// prepare puts files into the bundle.
	prepare func(b *box)
	// output is what is printed, by a command that prints no report.
	output string
	// missing says why the field makes no difference: its value is what is done without it as well.
	missing string
	// skip says what this machine lacks, if it does.
	skip func() string
	// shared runs gcrun where all mounts of the host are shared, as systemd makes them.
	shared bool
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func wantOptions(t testing.TB, got string, want ...string) {
	t.Helper()
	have := strings.Split(got, ",")
	for _, w := range want {
		if !slices.Contains(have, w) {
			t.Errorf("options are %s, without %s", got, w)
		}
	}
}

// quiet takes the place of a test for a check that ought to fail.
type quiet struct {
	testing.TB
	failed bool
}

func (q *quiet) Helper()               {}
func (q *quiet) Error(...any)          { q.failed = true }
func (q *quiet) Errorf(string, ...any) { q.failed = true }

func allFieldTests() map[string]fieldTest {
	all := map[string]fieldTest{}
	for _, m := range []map[string]fieldTest{processTests, capabilityTests, scheduleTests(), rlimitTests(), mountTests, optionTests(), linuxTests, memoryPolicyTests(), seccompTests(), propagationTests()} {
		maps.Copy(all, m)
	}
	return all
}

func TestFields(t *testing.T) {
	known := fields.All()
	for name, f := range allFieldTests() {
		t.Run(name, func(t *testing.T) {
			if f.skip != nil {
				if why := f.skip(); why != "" {
					t.Skip(why)
				}
			}
			run := func() { f.run(t, name, slices.Contains(known, fieldOf(name))) }
			if f.shared {
				sharedMounts(t, run)
			} else {
				run()
			}
		})
	}
}

// fieldOf is the field that a test is about.
func fieldOf(name string) string {
	field, _, _ := strings.Cut(name, ",")
	return field
}

func (f fieldTest) run(t *testing.T, name string, known bool) {
	b := newBox(t, f.edit, "report")
	b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs/etc/deep"), 0o755))
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/etc/deep/file"), []byte("copied up"), 0o644))
	if b.spec.Linux.UIDMappings != nil {
		b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
	}
	if f.prepare != nil {
		f.prepare(b)
		b.write()
	}
	out := b.ok("run", b.id)
	f.look(t, b, out)
	if f.output == "" {
		want(t, "descriptors", strings.Join(b.parse(out).FDs, " "), "0 1 2")
	}
	// That the check would find the field missing is proven once, by the host: emulated machines are slow.
	if !known || f.missing != "" || os.Getenv("GCR_VM_PLACE") != "" {
		return
	}
	b.spec = f.without(t, name, b.spec)
	b.id += "x"
	b.write()
	r := b.run("run", b.id)
	if r.code != 0 {
		return
	}
	q := &quiet{TB: t}
	if f.look(q, b, r.stdout); !q.failed {
		t.Errorf("the test passes without %s too", name)
	}
}

func (f fieldTest) look(t testing.TB, b *box, out string) {
	if f.output != "" {
		if !strings.Contains(out, f.output) {
			t.Errorf("output is %.200q, want %q", out, f.output)
		}
		return
	}
	f.check(t, b.parse(out))
}

// without is the configuration without the field. Of the options of mounts it is one option that goes.
func (f fieldTest) without(t *testing.T, name string, s *specs.Spec) *specs.Spec {
	if option, ok := strings.CutPrefix(name, "mounts[].options, "); ok {
		option, _, _ = strings.Cut(option, " ")
		for i := range s.Mounts {
			s.Mounts[i].Options = slices.DeleteFunc(slices.Clone(s.Mounts[i].Options), func(o string) bool { return o == option })
		}
		return s
	}
	out, err := fields.Ignore(s, &specs.Spec{}, fieldOf(name))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A bind mount shows the owners of its files through an id map of its own, or through that of the container.
func TestIDMappedMounts(t *testing.T) {
	owner := func(edit func(*specs.Spec, *specs.Mount)) string {
		b := newBox(t, func(s *specs.Spec) { s.Root.Readonly = false }, "owner", "/tmp/x/file")
		src := filepath.Join(b.bundle, "src")
		b.must(os.Mkdir(src, 0o755))
		b.must(os.WriteFile(filepath.Join(src, "file"), nil, 0o644))
		b.must(os.Chown(filepath.Join(src, "file"), 5, 6))
		b.must(os.Mkdir(filepath.Join(b.bundle, "rootfs/tmp/x"), 0o755))
		m := specs.Mount{Destination: "/tmp/x", Source: src, Options: []string{"bind"}}
		edit(b.spec, &m)
		b.spec.Mounts = append(b.spec.Mounts, m)
		b.write()
		if b.spec.Linux.UIDMappings != nil {
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
		}
		return strings.TrimSpace(b.ok("run", b.id))
	}
	maps := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 1000}}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(t.TempDir(), &fs); err == nil {
		t.Logf("the file system is %#x", fs.Type)
	}
	if got := owner(func(_ *specs.Spec, m *specs.Mount) { m.UIDMappings, m.GIDMappings = maps(1000), maps(2000) }); got != "1005:2006" {
		t.Errorf("with a map of its own the owner is %s", got)
	}
	user := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = maps(100000), maps(100000)
	}
	if got := owner(func(s *specs.Spec, m *specs.Mount) { user(s); m.Options = append(m.Options, "idmap") }); got != "5:6" {
		t.Errorf("with the map of the container the owner is %s", got)
	}
	if got := owner(func(s *specs.Spec, _ *specs.Mount) { user(s) }); got != "65534:65534" {
		t.Errorf("without a map the owner is %s", got)
	}
}

// Namespaces of another container are joined, in every mix that makes sense.
func TestJoinNamespaces(t *testing.T) {
	other := newBox(t, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}, "sleep")
	other.must(os.Chmod(filepath.Dir(other.bundle), 0o755))
	other.ok("run", "-d", other.id)
	pid := other.wantStatus("running")
	files := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.CgroupNamespace: "cgroup",
		specs.TimeNamespace: "time", specs.UserNamespace: "user",
	}
	for _, mix := range [][]specs.LinuxNamespaceType{
		{specs.PIDNamespace},
		{specs.NetworkNamespace},
		{specs.IPCNamespace, specs.UTSNamespace},
		{specs.CgroupNamespace},
		{specs.TimeNamespace},
		{specs.UserNamespace},
		{specs.UserNamespace, specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace},
		{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.TimeNamespace},
	} {
		t.Run(fmt.Sprint(mix), func(t *testing.T) {
			b := newBox(t, func(s *specs.Spec) {
				for _, ns := range mix {
					s.Linux.Namespaces = append(without(s.Linux.Namespaces, ns), specs.LinuxNamespace{Type: ns, Path: fmt.Sprintf("/proc/%d/ns/%s", pid, files[ns])})
				}
				// A name is set in a UTS namespace of one's own only.
				if slices.Contains(mix, specs.UTSNamespace) {
					s.Hostname = ""
				}
			}, "report")
			b.must(os.Chmod(filepath.Dir(b.bundle), 0o755))
			r := b.report()
			for ns, file := range files {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, file))
				b.must(err)
				if joined := slices.Contains(mix, ns); joined != (r.Namespaces[file] == link) {
					t.Errorf("%s is %s, that of the other container %s", ns, r.Namespaces[file], link)
				}
			}
			if !slices.Contains(mix, specs.PIDNamespace) {
				want(t, "pid", r.PID, 1)
			}
		})
	}
	other.ok("delete", "--force", other.id)
	other.reap(pid)
}
