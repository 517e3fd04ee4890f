package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gcr/internal/image/unpack"
)

func TestEveryKindOfEntry(t *testing.T) {
	needRoot(t)
	bothForms(t, func(t *testing.T, o unpack.Options) {
		f, _ := file("d/f", "")
		f.Mode, f.Uid, f.Gid = 0o6755, 1000, 2000
		capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		f.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "hello\x00world", "SCHILY.xattr.security.capability": capability}
		f.Mode = 0o755
		suid, _ := file("d/suid", "")
		suid.Mode, suid.Uid, suid.Gid = 0o6711, 7, 8
		big := entry{Name: "d/big", Typeflag: tar.TypeReg, Mode: 0o600, Size: 3<<20 + 17, ModTime: when, Format: tar.FormatPAX}
		d := dirEntry("d/")
		d.Mode, d.Uid, d.Gid = 0o1777, 5, 6
		d.PAXRecords = map[string]string{"SCHILY.acl.default": "user::rwx,user:1000:r-x,group::r-x,mask::rwx,other::---"}
		acl, _ := file("d/acl", "")
		acl.Mode = 0o664
		acl.PAXRecords = map[string]string{"SCHILY.acl.access": "user::rw-\nuser:lisp:r--:42\ngroup::r--\nmask::rw-\nother::r--\n"}
		long := strings.Repeat("n", 120) + "/" + strings.Repeat("m", 200)
		dir := must(t, o, archive(
			t, d, f, suid, big, acl, "d/empty=", link("d/link", "../nowhere"), hard("hard", "d/f"),
			entry{Name: "d/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666, ModTime: when, Format: tar.FormatPAX},
			entry{Name: "d/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 300, Mode: 0o660, Gid: 6, ModTime: when, Format: tar.FormatPAX},
			entry{Name: "d/fifo", Typeflag: tar.TypeFifo, Mode: 0o620, ModTime: when, Format: tar.FormatPAX}, long+"=long",
		))
		check := func(p string, mode uint32, uid, gid uint32) unix.Stat_t {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, p), &st); err != nil {
				t.Fatal(err)
			}
			if st.Mode&0o7777 != mode || st.Uid != uid || st.Gid != gid {
				t.Errorf("%s is %04o %d:%d, want %04o %d:%d", p, st.Mode&0o7777, st.Uid, st.Gid, mode, uid, gid)
			}
			if st.Mtim.Nano() != when.UnixNano() {
				t.Errorf("%s has mtime %d, want %d", p, st.Mtim.Nano(), when.UnixNano())
			}
			return st
		}
		check("d", 0o1777, 5, 6)
		a, b := check("d/f", 0o755, 1000, 2000), check("hard", 0o755, 1000, 2000)
		if a.Ino != b.Ino || a.Nlink != 2 {
			t.Error("hard link is not one")
		}
		check("d/suid", 0o6711, 7, 8)
		check("d/acl", 0o664, 0, 0)
		if st := check("d/big", 0o600, 0, 0); st.Size != 3<<20+17 {
			t.Errorf("size %d", st.Size)
		}
		check("d/link", 0o777, 0, 0)
		if st := check("d/null", 0o666, 0, 0); st.Rdev != unix.Mkdev(1, 3) || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			t.Error("d/null is not the device 1:3")
		}
		if st := check("d/sda", 0o660, 0, 6); st.Rdev != unix.Mkdev(8, 300) || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			t.Error("d/sda is not the device 8:300")
		}
		check("d/fifo", 0o620, 0, 0)
		check(long, 0o644, 0, 0)
		if v := getxattr(filepath.Join(dir, "d/f"), "user.note"); v != "hello\x00world" {
			t.Errorf("user.note is %q", v)
		}
		if v := getxattr(filepath.Join(dir, "d/f"), "security.capability"); v != capability {
			t.Errorf("security.capability is %x", v)
		}
		const wantDef = "02000000" + "01000700ffffffff" + "02000500e8030000" + "04000500ffffffff" + "10000700ffffffff" + "20000000ffffffff"
		if v := hex.EncodeToString([]byte(getxattr(filepath.Join(dir, "d"), "system.posix_acl_default"))); v != wantDef {
			t.Errorf("default ACL is %s, want %s", v, wantDef)
		}
		if getxattr(filepath.Join(dir, "d/empty"), "system.posix_acl_access") != "" {
			t.Error("a file inherited the default ACL of its directory, which the archive does not say")
		}
		const wantACL = "02000000" + "01000600ffffffff" + "020004002a000000" + "04000400ffffffff" + "10000600ffffffff" + "20000400ffffffff"
		if v := hex.EncodeToString([]byte(getxattr(filepath.Join(dir, "d/acl"), "system.posix_acl_access"))); v != wantACL {
			t.Errorf("ACL is %s, want %s", v, wantACL)
		}
	})
}

func TestWhiteoutsOverlay(t *testing.T) {
	o := unpack.Options{Form: unpack.Overlay, UserXattr: os.Geteuid() != 0}
	dir := must(t, o, archive(t, dirEntry("etc/"), "etc/.wh.gone=", "opq/.wh..wh..opq=", "opq/new=x", "etc/.wh..wh.plnk="))
	same(t, tree(t, dir), "etc/", "etc/gone c0:0", "opq/ opaque", "opq/new=x")

	// A whiteout and an entry of the same name in one layer: the entry stays, whichever comes first, and a directory
	// does not show what lies below.
	dir = must(t, o, archive(t, ".wh.d=", dirEntry("d/"), "d/f=1", ".wh.f=", "f=2"))
	same(t, tree(t, dir), "d/ opaque", "d/f=1", "f=2")
	dir = must(t, o, archive(t, dirEntry("d/"), "d/f=1", ".wh.d=", "f=2", ".wh.f="))
	same(t, tree(t, dir), "d/ opaque", "d/f=1", "f=2")
	dir = must(t, o, archive(t, ".wh.d=", "d/e/f=1"))
	same(t, tree(t, dir), "d/ opaque", "d/e/", "d/e/f=1")
}

func TestWhiteoutsApplied(t *testing.T) {
	o := unpack.Options{Form: unpack.Applied}
	base := archive(t, dirEntry("a/"), "a/keep=1", "a/gone=1", dirEntry("a/sub/"), "a/sub/x=1", dirEntry("b/"), "b/old=1", dirEntry("b/deep/"), "b/deep/old=1", "c=1")
	dir := must(t, o, base, archive(t, "a/.wh.gone=", ".wh.c=", "nowhere/.wh.f=", "b/new=2", "b/deep/new=2", "b/.wh..wh..opq=", "a/.wh.sub="))
	same(t, tree(t, dir), "a/", "a/keep=1", "b/", "b/deep/", "b/deep/new=2", "b/new=2")

	// Whiteouts are for lower layers only, wherever they stand.
	for _, l := range [][]byte{
		archive(t, ".wh.a=", "a/new=2", ".wh.c=", "c=2"),
		archive(t, dirEntry("a/"), "a/new=2", ".wh.a=", "c=2", ".wh.c="),
		archive(t, dirEntry("a/"), "a/new=2", "a/.wh..wh..opq=", "c=2", ".wh.c="),
	} {
		same(t, tree(t, must(t, o, base, l)), "a/", "a/new=2", "b/", "b/deep/", "b/deep/old=1", "b/old=1", "c=2")
	}
	// What was removed and made again has nothing of before.
	closed := dirEntry("a/")
	closed.Mode = 0o700
	dir = must(t, o, archive(t, closed, "a/f=1"), archive(t, ".wh.a="), archive(t, "a/g=3"))
	if st, _ := os.Stat(filepath.Join(dir, "a")); st.Mode().Perm() != 0o755 {
		t.Errorf("mode of a directory made again is %v", st.Mode())
	}
}

func TestLastEntryWins(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		var items []any
		for i := range 200 {
			items = append(items, fmt.Sprintf("f=%d", i), link("l", fmt.Sprint(i)), fmt.Sprintf("g/%d=%d", i%10, i))
		}
		items = append(items, dirEntry("was-file/"), "was-file/in=1", "was-file=file", "was-dir=file", dirEntry("was-dir/"), link("was-link", "g"), dirEntry("was-link/"), "was-link/x=1",
			dirEntry("to-link/"), "to-link/lost=1", link("to-link", "g"), "to-link/seen=1")
		dir := must(t, o, archive(t, items...))
		want := []string{"f=199", "l -> 199", "g/", "was-file=file", "was-dir/", "was-link/", "was-link/x=1", "to-link -> g", "g/seen=1"}
		for i := range 10 {
			want = append(want, fmt.Sprintf("g/%d=%d", i, 190+i))
		}
		same(t, tree(t, dir), want...)
	})
}

// A directory that is in no layer of its own keeps its times when a file is written, or removed, below it.
func TestDirectoryTimesOfLowerLayers(t *testing.T) {
	dir := must(t, unpack.Options{Form: unpack.Applied}, archive(t, dirEntry("a/"), "a/x=1", dirEntry("b/"), "b/x=1"), archive(t, "a/new=1", "b/.wh.x="))
	for _, p := range []string{"a", "b"} {
		st, err := os.Stat(filepath.Join(dir, p))
		if err != nil || !st.ModTime().Equal(when) {
			t.Errorf("%s: %v, %v", p, st.ModTime(), err)
		}
	}
}

func TestSparseFilesStaySparse(t *testing.T) {
	src := t.TempDir()
	p := filepath.Join(src, "disk")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{0, 5 << 20, 64 << 20} {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(p)
	for _, format := range []string{"gnu", "pax"} {
		b, err := exec.Command("tar", "--sparse", "--format="+format, "-C", src, "-cf", "-", "disk").Output()
		if err != nil {
			t.Fatalf("GNU tar: %v", err)
		}
		if len(b) > 1<<20 {
			t.Fatalf("tar made no sparse archive: %d bytes", len(b))
		}
		dir := must(t, unpack.Options{}, b)
		got, _ := os.ReadFile(filepath.Join(dir, "disk"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: content differs", format)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "disk"), &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: takes %d bytes on disk (%v)", format, st.Blocks*512, err)
		}
	}
}

// The formats of every tar in use, with names longer than a ustar header holds.
func TestTarFormats(t *testing.T) {
	src := t.TempDir()
	long := strings.Repeat("d", 90) + "/" + strings.Repeat("e", 90) + "/" + strings.Repeat("f", 90)
	if err := os.MkdirAll(filepath.Join(src, filepath.Dir(long)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, long), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(long, filepath.Join(src, "l")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "oldgnu", "pax"} {
		b, err := exec.Command("tar", "--format="+format, "-C", src, "-cf", "-", ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := tree(t, must(t, unpack.Options{}, b)); got != tree(t, src) {
			t.Errorf("%s:\n%s", format, got)
		}
	}
}

// Rootless with one id: owners and devices are noted, closed directories do not stop the way in.
func TestRecordedOwners(t *testing.T) {
	o := unpack.Options{Form: unpack.Applied, Owners: unpack.Record, PlaceDevices: true, UserXattr: true}
	f, _ := file("shut/f", "hello")
	f.Uid, f.Gid, f.Mode = 33, 44, 0o4555
	shut := dirEntry("shut/")
	shut.Mode, shut.Uid = 0o555, 9
	mine, _ := file("mine", "")
	layers := [][]byte{
		archive(t, shut, "shut/a=1", mine),
		archive(t, "shut/b=2", "shut/.wh.a=", f, entry{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666, ModTime: when}),
	}
	dir := ordinaryUser(t, o, layers)
	want := map[string]string{"shut/f": "33:44:04555", "shut": "9:0:0555", "dev": "0:0:0666:char-1-3", "mine": ""}
	for p, w := range want {
		if got := getxattr(filepath.Join(dir, p), unpack.OverrideStat); got != w {
			t.Errorf("%s: noted %q, want %q", p, got, w)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "shut")); err != nil || st.Mode().Perm() != 0o555 {
		t.Errorf("shut: %v %v", st, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "shut/a")); !os.IsNotExist(err) {
		t.Error("whiteout in a closed directory was not carried out")
	}
}

// ordinaryUser unpacks as the user 12345, in a copy of the test program, where the test runs as root.
func ordinaryUser(t *testing.T, o unpack.Options, layers [][]byte) string {
	if os.Geteuid() != 0 {
		return must(t, o, layers...)
	}
	parent, err := os.MkdirTemp("", "unpack-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(parent, "rootfs")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(target, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(parent, "test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{}
	for i, l := range layers {
		p := filepath.Join(parent, fmt.Sprint("layer", i))
		if err := os.WriteFile(p, l, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, p)
	}
	c := exec.Command(bin, args...)
	c.Dir = parent
	c.Env = []string{"UNPACK_TARGET=" + target}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("unpack as 12345: %v\n%s", err, out)
	}
	return target
}

func TestMain(m *testing.M) {
	if target := os.Getenv("UNPACK_TARGET"); target != "" {
		os.Exit(unpackAsUser(target))
	}
	os.Exit(m.Run())
}

func unpackAsUser(target string) int {
	d, err := os.Open(target)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	tree, err := unpack.New(d, unpack.Options{Form: unpack.Applied, Owners: unpack.Record, PlaceDevices: true, UserXattr: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for _, p := range os.Args[1:] {
		b, err := os.ReadFile(p)
		if err == nil {
			_, err = tree.Layer(context.Background(), bytes.NewReader(b))
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	if err := tree.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func FuzzLayer(f *testing.F) {
	f.Add(archive(f, dirEntry("a/"), "a/x=1", link("l", "/etc"), "l/passwd=x", ".wh.a="))
	f.Add(gnuSparse("s", 1<<20))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		target := filepath.Join(parent, "rootfs")
		if err := os.Mkdir(target, 0o755); err != nil {
			t.Fatal(err)
		}
		d, _ := os.Open(target)
		defer d.Close()
		tr, err := unpack.New(d, unpack.Options{Form: unpack.Applied, Limits: unpack.Limits{Bytes: 1 << 20, Entries: 1000}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = tr.Layer(context.Background(), bytes.NewReader(b))
		_ = tr.Close()
		es, _ := os.ReadDir(parent)
		if len(es) != 1 {
			t.Fatalf("beside the target: %v", es)
		}
	})
}
