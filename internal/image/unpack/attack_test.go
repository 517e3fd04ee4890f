package unpack_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gcr/internal/image/unpack"
)

// Each test is a known way in which an archive has left its target, or steered what reads the result. Both forms of
// unpacking must stand it.

func bothForms(t *testing.T, f func(*testing.T, unpack.Options)) {
	t.Run("overlay", func(t *testing.T) { f(t, unpack.Options{Form: unpack.Overlay, UserXattr: os.Geteuid() != 0}) })
	t.Run("applied", func(t *testing.T) { f(t, unpack.Options{Form: unpack.Applied}) })
}

func refused(t *testing.T, o unpack.Options, because string, layers ...[]byte) {
	t.Helper()
	dir, err := unpackInto(t, o, layers...)
	if err == nil {
		t.Fatalf("the archive was taken; tree:\n%s", tree(t, dir))
	}
	if !strings.Contains(err.Error(), because) {
		t.Errorf("error %q does not say %q", err, because)
	}
	onlyTarget(t, dir)
}

// onlyTarget checks that nothing appeared beside the target.
func onlyTarget(t *testing.T, dir string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(es) != 1 {
		t.Errorf("beside the target: %v", es)
	}
}

// bait makes a directory outside with a file in it and returns a check that both are as they were.
func bait(t *testing.T) (string, func()) {
	t.Helper()
	out := t.TempDir()
	p := filepath.Join(out, "secret")
	if err := os.WriteFile(p, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	var before unix.Stat_t
	if err := unix.Lstat(p, &before); err != nil {
		t.Fatal(err)
	}
	var dirBefore unix.Stat_t
	if err := unix.Lstat(out, &dirBefore); err != nil {
		t.Fatal(err)
	}
	return out, func() {
		t.Helper()
		if b, err := os.ReadFile(p); err != nil || string(b) != "host" {
			t.Errorf("file outside the target is now %q, %v", b, err)
		}
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		st.Atim = before.Atim // reading it above moves it; utimensat would move mtime, too
		if err != nil || st != before {
			t.Errorf("file outside the target changed: %+v, was %+v (%v)", st, before, err)
		}
		if err := unix.Lstat(out, &st); err != nil || st.Mode != dirBefore.Mode || st.Mtim != dirBefore.Mtim || st.Uid != dirBefore.Uid {
			t.Errorf("directory outside the target changed: %+v, was %+v (%v)", st, dirBefore, err)
		}
		if getxattr(p, "user.evil") != "" || getxattr(out, "user.evil") != "" {
			t.Error("a file outside the target was given an attribute")
		}
	}
}

// CVE-2021-29136 (umoci): "." as a symlink replaces the target itself.
func TestRootEntryIsSymlinkCVE202129136(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		out, check := bait(t)
		for _, name := range []string{".", "./", "/", "./.", "//"} {
			refused(t, o, "root of a layer must be a directory", archive(t, link(name, out), "secret=owned"))
		}
		for _, name := range []string{"a/..", "..", "../rootfs"} {
			refused(t, o, `".."`, archive(t, link(name, out), "secret=owned"))
		}
		check()
	})
}

// CVE-2018-15664 and the classic: ".." in names.
func TestDotDotInNames(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		for _, name := range []string{"../evil", "a/../../evil", "/../evil", "a/b/../../../evil", "./../evil"} {
			refused(t, o, `".."`, archive(t, name+"=x"))
			refused(t, o, `".."`, archive(t, dirEntry(name)))
			refused(t, o, `".."`, archive(t, link(name, "x")))
		}
	})
}

// Absolute names mean the container's root.
func TestAbsoluteNamesStayBelow(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		out, check := bait(t)
		dir := must(t, o, archive(t, out+"/secret=image"))
		check()
		if b, _ := os.ReadFile(filepath.Join(dir, out, "secret")); string(b) != "image" {
			t.Errorf("not below the target: %q", b)
		}
	})
}

// CVE-2021-32760 (containerd), CVE-2025-47290 (containerd), CVE-2026-17106: a symlink of the archive is followed out
// of the target when something is written, or given a mode, owner, time or attribute, through it.
func TestSymlinkParentCVE202132760CVE202547290CVE202617106(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		out, check := bait(t)
		up := strings.Repeat("../", 20) + strings.TrimPrefix(out, "/")
		for _, target := range []string{out, up} {
			evil := entry{
				Name: "l/secret", Typeflag: tar.TypeReg, Mode: 0o4777, Uid: 1, Gid: 1, ModTime: when,
				PAXRecords: map[string]string{"SCHILY.xattr.user.evil": "1"}, Format: tar.FormatPAX,
			}
			dirOver := dirEntry("l/")
			dirOver.Mode = 0o777
			dirOver.PAXRecords = map[string]string{"SCHILY.xattr.user.evil": "1"}
			for _, items := range [][]any{
				{link("l", target), "l/secret=owned"},
				{link("l", target), evil},
				{link("l", target), dirOver, "l/secret=owned"},
				{link("l", target), hard("l/secret", "l")},
				{link("l", target), entry{Name: "l/fifo", Typeflag: tar.TypeFifo, ModTime: when}},
				{link("a", target), link("b", "a"), "b/new=owned"},
				{dirEntry("d/"), link("d", target), "d/secret=owned"},
				{dirEntry("d/"), dirEntry("d/e/"), link("d", target), "d/e/secret=owned"},
				{link("secret", target+"/secret"), "secret=owned"},
				{link("secret", target+"/secret"), entry{Name: "secret", Typeflag: tar.TypeReg, Mode: 0o777, Uid: 3, ModTime: when}},
				{link("l", target), "l/.wh.secret="},
				{link("l", target), "l/.wh..wh..opq="},
				{link("l", target), ".wh.l="},
			} {
				// Whether the entry is refused or lands below the target is the archive's business; outside
				// nothing may change.
				dir, _ := unpackInto(t, o, archive(t, items...))
				check()
				onlyTarget(t, dir)
			}
			// And over several layers, as in CVE-2021-32760.
			if o.Form == unpack.Applied {
				_, _ = unpackInto(t, o, archive(t, link("l", target)), archive(t, "l/secret=owned", evil), archive(t, dirOver, ".wh.l="))
				check()
			}
		}
	})
}

// Hard links must take their source below the target: /etc/shadow of the host would get a second, writable, name.
func TestHardLinkSourceOutside(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		// The bait lies on the same file system, where link(2) would work.
		out, check := bait(t)
		up := strings.Repeat("../", 20) + strings.TrimPrefix(out, "/")
		refused(t, o, "no such file in the image", archive(t, hard("x", out+"/secret")))
		refused(t, o, `".."`, archive(t, hard("x", up+"/secret")))
		refused(t, o, "no such file in the image", archive(t, link("l", out), hard("x", "l/secret")))
		refused(t, o, "no such file in the image", archive(t, link("l", up), hard("x", "l/secret"), entry{Name: "x", Typeflag: tar.TypeReg, Size: 5, ModTime: when}))
		refused(t, o, "is the root of the layer", archive(t, hard("x", "/")))
		refused(t, o, "is a directory", archive(t, dirEntry("d/"), hard("x", "d")))
		check()

		// A link to a symlink is a link to the symlink itself, and writing over it replaces it.
		dir := must(t, o, archive(t, link("l", out+"/secret"), hard("x", "l"), "x=image"))
		check()
		same(t, tree(t, dir), "l -> "+out+"/secret", "x=image")
	})
}

// A file written over a hard link must not change the other name (the file of a lower layer, or of an earlier entry).
func TestOverwriteBreaksHardLink(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		dir := must(t, o, archive(t, "a=one", hard("b", "a"), "b=two"))
		same(t, tree(t, dir), "a=one", "b=two")
	})
}

// Whiteouts that name ".", ".." or nothing would remove the target or its parent.
func TestWhiteoutOfParent(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		for _, name := range []string{".wh.", ".wh..", ".wh...", "d/.wh...", "d/.wh."} {
			refused(t, o, "whiteout names no file", archive(t, dirEntry("d/"), name+"="))
		}
	})
}

// A layer must not forge overlayfs's own attributes: redirect and metacopy would let it name any file of the lower
// layers' file system, opaque and whiteout would remove what the image says is there.
func TestForgedOverlayAttributes(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		d := dirEntry("d/")
		f, _ := file("f", "")
		names := []string{
			"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.whiteout",
			"trusted.overlay.overlay.opaque", "user.overlay.opaque", "user.overlay.redirect", "user.overlay.metacopy",
			"user.containers.override_stat", "security.selinux", "security.ima", "system.data",
		}
		d.PAXRecords, f.PAXRecords = map[string]string{}, map[string]string{}
		for _, n := range names {
			d.PAXRecords["SCHILY.xattr."+n] = "y"
			f.PAXRecords["SCHILY.xattr."+n] = "y"
			f.PAXRecords["LIBARCHIVE.xattr."+n] = "eQ"
		}
		dir := must(t, o, archive(t, d, f))
		for _, n := range names {
			for _, p := range []string{"d", "f"} {
				if v := getxattr(filepath.Join(dir, p), n); v != "" {
					t.Errorf("%s has %s = %q", p, n, v)
				}
			}
		}
	})
}

// A character device 0:0 in the archive would be a whiteout to overlayfs without being one to the image.
func TestForgedWhiteoutDevice(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		refused(t, o, "0:0", archive(t, entry{Name: "etc", Typeflag: tar.TypeChar, ModTime: when}))
	})
}

// CVE-2024-40635 (containerd) and its kind: ids beyond 32 bits wrap to 0.
func TestOwnersBeyond32BitsCVE202440635(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		for _, id := range []int{1 << 32, 1<<32 - 1, -1, 1 << 33} {
			refused(t, o, "is not a valid id", rawOwner(t, id, 0))
			refused(t, o, "is not a valid id", rawOwner(t, 0, id))
		}
	})
}

func rawOwner(t *testing.T, uid, gid int) []byte {
	h, _ := file("f", "")
	h.Uid, h.Gid, h.Format = uid, gid, tar.FormatGNU
	return archive(t, h)
}

// Device numbers beyond the kernel's 12+20 bits wrap to another device.
func TestDeviceNumbersBeyondKernel(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		refused(t, o, "device number", archive(t, entry{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 1 << 12, Devminor: 0, ModTime: when}))
		refused(t, o, "device number", archive(t, entry{Name: "d", Typeflag: tar.TypeChar, Devmajor: 0, Devminor: 1 << 20, ModTime: when}))
	})
}

// Archive bombs: a few bytes that say they are exabytes, endless entries, endless attributes, names beyond reason.
func TestBombs(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		sparse := gnuSparse("hole", 1<<60)
		refused(t, o, "archive bombs", sparse)

		small := o
		small.Limits = unpack.Limits{Bytes: 10_000, Entries: 10}
		refused(t, small, "larger than 10000 bytes", archive(t, entry{Name: "a", Typeflag: tar.TypeReg, Size: 6000, ModTime: when}, entry{Name: "b", Typeflag: tar.TypeReg, Size: 6000, ModTime: when}))
		var many []any
		for range 11 {
			many = append(many, "same=")
		}
		refused(t, small, "more than 10 entries", archive(t, many...))

		refused(t, o, "longer than Linux allows", archive(t, strings.Repeat("d/", 3000)+"f="))
		refused(t, o, "longer than Linux allows", archive(t, strings.Repeat("n", 256)+"="))
		refused(t, o, "longer than Linux allows", archive(t, link("l", strings.Repeat("t", 4096))))

		f, _ := file("f", "")
		f.PAXRecords = map[string]string{"SCHILY.xattr.user.big": strings.Repeat("v", 64<<10+1)}
		refused(t, o, "larger than Linux allows", archive(t, f))
		f.PAXRecords = map[string]string{}
		for i := range 300 {
			f.PAXRecords["SCHILY.xattr.user.n"+strings.Repeat("i", i%100+1)+string(rune('a'+i/100))] = "v"
		}
		refused(t, o, "extended attributes", archive(t, f))
	})
}

// gnuSparse is an old GNU sparse header (tar(5), "Sparse files") for a file that is one hole.
func gnuSparse(name string, size int64) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], "00000000000\x00")
	copy(b[136:], "00000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	b[483] = 0x80 // realsize, base 256
	for i := range 8 {
		b[494-i] = byte(size >> (8 * i))
	}
	// One fragment of length 0 at the end of the file.
	b[386] = 0x80
	for i := range 8 {
		b[397-i] = byte(size >> (8 * i))
	}
	copy(b[398:], "00000000000\x00")
	sum := 0
	copy(b[148:], "        ")
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], []byte{
		'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' ',
	})
	return append(b, make([]byte, 1024)...)
}

// What is not an entry of an image: unknown types, truncated or broken archives.
func TestBrokenArchives(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		refused(t, o, "not part of an image layer", archive(t, entry{Name: "x", Typeflag: 'V', ModTime: when}))
		whole := archive(t, "f="+strings.Repeat("c", 5000))
		refused(t, o, "unexpected EOF", whole[:3000])
		bad := bytes.Clone(whole)
		bad[0] ^= 0xff
		refused(t, o, "not a valid tar header", bad)
		refused(t, o, "symlink has no target", archive(t, link("l", "")))
	})
}

// Directories nested deeper than a path can be long, by way of a symlink to the deepest so far: they must unpack, or
// be refused, without running out of descriptors, and be removable.
func TestDeepNesting(t *testing.T) {
	var items []any
	// l0 -> a chain of 1500 directories; 2000 more below it, through the link.
	chain := strings.TrimSuffix(strings.Repeat("a/", 1500), "/")
	items = append(items, dirEntry(chain), link("l", chain), dirEntry("l/"+strings.Repeat("b/", 1900)))
	dir, err := unpackInto(t, unpack.Options{Form: unpack.Applied}, archive(t, items...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.Open(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := unpack.RemoveAt(p, filepath.Base(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

// Removal must not follow a symlink that stands where a directory was, nor leave its tree.
func TestRemoveFollowsNoSymlink(t *testing.T) {
	out, check := bait(t)
	dir := must(t, unpack.Options{Form: unpack.Applied}, archive(t, link("l", out), dirEntry("d/"), link("d/l", out)))
	p, err := os.Open(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := unpack.RemoveAt(p, "rootfs"); err != nil {
		t.Fatal(err)
	}
	check()
}

// A FIFO in the place of a regular file (CVE-2024-9676's kind) must not make the unpacker wait for a reader.
func TestFIFOInTheWay(t *testing.T) {
	bothForms(t, func(t *testing.T, o unpack.Options) {
		dir := must(t, o, archive(t, entry{Name: "f", Typeflag: tar.TypeFifo, Mode: 0o644, ModTime: when}, "f=content"))
		same(t, tree(t, dir), "f=content")
	})
}
