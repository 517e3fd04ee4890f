package plan

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMountOptions(t *testing.T) {
	type attr = program.MountAttr
	for _, c := range []struct {
		options string
		want    mountOptions
		shell   string // what mount(8) gets
	}{
		{"", mountOptions{}, ""},
		{"defaults,async,loud,nomand,noiversion,nolazytime", mountOptions{}, "defaults,async,loud,nomand,noiversion,nolazytime"},
		{"ro", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_RDONLY}}, "ro"},
		{"ro,rw", mountOptions{attr: attr{Clear: unix.MOUNT_ATTR_RDONLY}}, "ro,rw"},
		{"rw,ro", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_RDONLY}}, "rw,ro"},
		{"nosuid,nodev,noexec", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}}, "nosuid,nodev,noexec"},
		{"suid,dev,exec", mountOptions{attr: attr{Clear: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}}, "suid,dev,exec"},
		{"nodiratime,nosymfollow", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}}, "nodiratime,nosymfollow"},
		{"diratime,symfollow", mountOptions{attr: attr{Clear: unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}}, "diratime,symfollow"},
		// The three ways to keep access times are one field of the kernel's: it must be cleared to be set.
		{"noatime", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}}, "noatime"},
		{"noatime,strictatime", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_STRICTATIME, Clear: unix.MOUNT_ATTR__ATIME}}, "noatime,strictatime"},
		{"strictatime,noatime", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_NOATIME, Clear: unix.MOUNT_ATTR__ATIME}}, "strictatime,noatime"},
		{"noatime,relatime", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_RELATIME, Clear: unix.MOUNT_ATTR__ATIME}}, "noatime,relatime"},
		{"rro,rnosuid", mountOptions{rec: attr{Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}}, "ro,nosuid"},
		{"rro,rrw,ro", mountOptions{attr: attr{Set: unix.MOUNT_ATTR_RDONLY}, rec: attr{Clear: unix.MOUNT_ATTR_RDONLY}}, "ro,rw,ro"},
		{"bind", mountOptions{bind: true}, ""},
		{"rbind", mountOptions{bind: true, recursive: true}, ""},
		{"private,rslave", mountOptions{propagation: []propagationOption{{unix.MS_PRIVATE, false, "private"}, {unix.MS_SLAVE, true, "rslave"}}}, ""},
		{"rshared,unbindable", mountOptions{propagation: []propagationOption{{unix.MS_SHARED, true, "rshared"}, {unix.MS_UNBINDABLE, false, "unbindable"}}}, ""},
		{"sync,lazytime,mand,iversion,dirsync,async,nolazytime,nomand,noiversion", mountOptions{superblock: []string{"dirsync"}}, "sync,lazytime,mand,iversion,dirsync,async,nolazytime,nomand,noiversion"},
		{"remount,ro", mountOptions{remount: true, attr: attr{Set: unix.MOUNT_ATTR_RDONLY}}, "ro"},
		{"sync,dirsync,lazytime", mountOptions{superblock: []string{"sync", "dirsync", "lazytime"}}, "sync,dirsync,lazytime"},
		{"size=1m,mode=1777,noswap", mountOptions{data: []dataOption{{"size", "1m", false}, {"mode", "1777", false}, {"noswap", "", true}}}, "size=1m,mode=1777,noswap"},
		{"x=a=b,y=", mountOptions{data: []dataOption{{"x", "a=b", false}, {"y", "", false}}}, "x=a=b,y="},
		// What begins with an r and is no recursive option belongs to the file system.
		{"rsize=4096,ratio", mountOptions{data: []dataOption{{"rsize", "4096", false}, {"ratio", "", true}}}, "rsize=4096,ratio"},
	} {
		options := []string(nil)
		if c.options != "" {
			options = strings.Split(c.options, ",")
		}
		got, err := parseOptions(options)
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.options, got, c.want)
		}
		if s := got.shell(options); s != c.shell {
			t.Errorf("%s in shell: %q, want %q", c.options, s, c.shell)
		}
	}
}

// The options that ask for nothing are taken and change nothing.
func TestOptionsWithoutEffect(t *testing.T) {
	plan := func(options ...string) string {
		in := base()
		mount(specs.Mount{Destination: "/x", Type: "tmpfs", Options: options})(&in)
		p, err := New(in)
		if err != nil {
			t.Fatal(err)
		}
		return p.Program.Listing()
	}
	if plan("defaults", "silent", "loud") != plan() {
		t.Error("defaults, silent or loud change the program")
	}
}

// Whatever the options are: no panic, no bit both set and cleared (but for the field of access times), every
// value short enough for fsconfig(2).
func FuzzMountOptions(f *testing.F) {
	for _, s := range []string{"ro,nosuid", "rbind,rprivate,rro", "size=64m,mode=755", "=,\x00,r,rr,rrro", "noatime,relatime,ratime", "idmap=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parseOptions(strings.Split(s, ","))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\n") && !strings.ContainsAny(s, "\x00\n") {
				t.Errorf("message %q", err)
			}
			return
		}
		for _, a := range []program.MountAttr{o.attr, o.rec} {
			if both := a.Set & a.Clear &^ unix.MOUNT_ATTR__ATIME; both != 0 {
				t.Errorf("%q sets and clears %#x", s, both)
			}
			// mount_setattr(2): a change of the access time must clear the whole field.
			if a.Set&unix.MOUNT_ATTR__ATIME != 0 && a.Clear&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Errorf("%q sets an access time with clear=%#x", s, a.Clear)
			}
		}
		for _, d := range o.data {
			if d.key == "" || len(d.value) > 255 || strings.ContainsRune(d.key+d.value, 0) {
				t.Errorf("%q gives option %q=%q", s, d.key, d.value)
			}
		}
	})
}

// A sysctl that is let through stays below /proc/sys and belongs to a namespace.
func FuzzSysctl(f *testing.F) {
	for _, s := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/x", "kernel.shmmax", "kernel.msg/../panic", "fs.mqueue.x", "net.../x", "kernel/shm.x", ".", "net/"} {
		f.Add(s, "1")
	}
	in := base()
	f.Fuzz(func(t *testing.T, key, value string) {
		b := &builder{in: &in, plan: &Plan{in: in}, spec: in.Spec}
		if err := b.prepare(); err != nil {
			t.Fatal(err)
		}
		if b.checkSysctl("f", key, value) != nil {
			return
		}
		path := sysctlPath(key)
		for _, part := range strings.Split(path, "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%q becomes the path %q", key, path)
			}
		}
		if strings.HasPrefix(path, "/") || strings.ContainsAny(value, "\n\x00") || strings.ContainsRune(path, 0) {
			t.Errorf("%q=%q is let through", key, value)
		}
		ok := false
		for _, prefix := range []string{"net/", "fs/mqueue/", "kernel/msg", "kernel/shm", "kernel/sem", "kernel/domainname", "kernel/hostname"} {
			ok = ok || strings.HasPrefix(path, prefix)
		}
		if !ok {
			t.Errorf("%q is let through", key)
		}
	})
}

var awkward = []string{"", "a", "a b", "it's", `"`, "$HOME", "`id`", "a\nb", "-n", "*", `\`, "~", "!", "GCR", "x\nGCR\n)\"\nid", "ä", "a;b", "#", "{a,b}", "a=b", "[x]", "\t"}

// What shellQuote makes, every shell reads back as the same word.
func TestShellQuote(t *testing.T) {
	for _, sh := range []string{"sh", "bash"} {
		path, err := exec.LookPath(sh)
		if err != nil {
			t.Errorf("%s is missing", sh)
			continue
		}
		for _, s := range awkward {
			out, err := exec.Command(path, "-c", "printf %s "+shellQuote(s)).Output()
			if err != nil || string(out) != s {
				t.Errorf("%s: %q is quoted as %s and read as %q (%v)", sh, s, shellQuote(s), out, err)
			}
		}
	}
}

func FuzzShellQuote(f *testing.F) {
	for _, s := range awkward {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := shellQuote(s)
		if strings.ContainsRune(s, 0) {
			return
		}
		// Outside of single quotes there is nothing but harmless characters and \'.
		rest := strings.ReplaceAll(q, `'\''`, "")
		if strings.HasPrefix(rest, "'") {
			if !strings.HasSuffix(rest, "'") || strings.Contains(rest[1:len(rest)-1], "'") {
				t.Errorf("%q becomes %s", s, q)
			}
		} else if q != s || s == "" || strings.ContainsAny(s, " \t\n'\"$`\\*?[]{}()<>|&;#~!^") {
			t.Errorf("%q becomes %s", s, q)
		}
	})
}

// The script of a container is text inside of a text: what the configuration says must not end it early.
func TestScriptHoldsAnyCommand(t *testing.T) {
	in := bare()
	in.Root = Root{}
	in.Spec.Process.Args = append([]string{"printf", "<%s>"}, awkward...)
	in.Spec.Process.Env = []string{"PATH=/usr/bin:/bin", "A=x\nGCR\n)\"\necho out"}
	p, err := New(in)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.ExplainShell(&b); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bash", "-c", b.String()).CombinedOutput()
	if want := "<" + strings.Join(awkward, "><") + ">"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}
