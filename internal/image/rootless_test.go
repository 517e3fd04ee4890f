package image_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testUser = 12345

// asUser runs a copy of the test program as an ordinary user, with or without subordinate ids. The files of /etc
// that say so are laid over the real ones in a mount namespace of its own.
func asUser(t *testing.T, subids bool, dir string, env ...string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: becomes an ordinary user with files of its own in /etc")
	}
	for _, tool := range []string{"unshare", "setpriv", "newuidmap"} {
		need(t, tool)
	}
	etc := t.TempDir()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("passwd", string(passwd)+fmt.Sprintf("imagetest:x:%d:%d::/nowhere:/bin/sh\n", testUser, testUser))
	write("subuid", "")
	write("subgid", "")
	if subids {
		write("subuid", "other:1:2\nimagetest:200000:500\nimagetest:400000:65036\n")
		write("subgid", "imagetest:300000:65536\n")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`for f in passwd subuid subgid; do [ -e /etc/$f ] && mount --bind %s/$f /etc/$f || exit 9; done; cd %s; exec setpriv --reuid %d --regid %d --clear-groups ./test`, etc, dir, testUser, testUser)
	c := exec.Command("unshare", "-m", "sh", "-c", script)
	c.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir}, env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// userDir is a directory that an ordinary user owns and can reach; that of testing is closed.
func userDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "image-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, testUser, testUser); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// owned is a layer with owners, a device, a closed directory and a capability.
func owned() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, c string) {
		h.Size, h.ModTime, h.Format = int64(len(c)), time.Unix(1700000000, 7), tar.FormatPAX
		_ = w.WriteHeader(&h)
		_, _ = io.WriteString(w, c)
	}
	add(tar.Header{Name: "shut/", Typeflag: tar.TypeDir, Mode: 0o500, Uid: 33, Gid: 44}, "")
	add(tar.Header{Name: "shut/f", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1000, Gid: 2000}, "secret")
	add(tar.Header{Name: "root", Typeflag: tar.TypeReg, Mode: 0o4755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}}, "r")
	add(tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, "")
	add(tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "root", Uid: 1000, Gid: 2000}, "")
	add(tar.Header{Name: ".wh.gone", Typeflag: tar.TypeReg}, "")
	add(tar.Header{Name: "opq/.wh..wh..opq", Typeflag: tar.TypeReg}, "")
	_ = w.Close()
	return b.Bytes()
}

func layerDir(t *testing.T, store string, l []byte) string {
	t.Helper()
	return filepath.Join(store, "layers", sha(l).Hex, "fs")
}

func owner(t *testing.T, p string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d %04o", st.Uid, st.Gid, st.Mode&0o7777)
}

func attr(p, name string) string {
	b := make([]byte, 256)
	n, err := unix.Lgetxattr(p, name, b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestRootlessWithRange(t *testing.T) {
	srv := newServer(t, false)
	l := owned()
	srv.push(t, "x:v1", img(t, gz, l, tarOf("two=2")))
	dir := userDir(t)
	store := filepath.Join(dir, "store")
	out, err := asUser(t, true, dir, "GCR_TEST_PULL="+srv.host+"/x:v1", "GCR_TEST_STORE="+store)
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	fs := layerDir(t, store, l)
	for p, want := range map[string]string{
		"shut": "200032:300043 0500", "shut/f": "400499:301999 0600", "root": fmt.Sprintf("%d:%d 4755", testUser, testUser),
		"link": "400499:301999 0777", "null": fmt.Sprintf("%d:%d 0666", testUser, testUser),
	} {
		if got := owner(t, filepath.Join(fs, p)); got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
	if attr(filepath.Join(fs, "root"), "security.capability") == "" {
		t.Error("the capability is gone")
	}
	if got := attr(filepath.Join(fs, "null"), "user.containers.override_stat"); got != "0:0:0666:char-1-3" {
		t.Errorf("note of the device is %q", got)
	}
	if attr(filepath.Join(fs, "opq"), "user.overlay.opaque") != "y" {
		t.Error("opaque directory is not marked for userxattr")
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(fs, "gone"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %v", err)
	}
	// Files of subordinate ids can be removed again.
	if out, err := asUser(t, true, dir, "GCR_TEST_PULL=prune", "GCR_TEST_STORE="+store); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, d := range []string{"layers", "partial", "trash"} {
		if es, _ := os.ReadDir(filepath.Join(store, d)); len(es) != 0 {
			t.Errorf("left in %s: %v", d, es)
		}
	}
}

// What the layer says wrong is said by the helper, too, and leaves nothing.
func TestRootlessWithRangeFails(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "bad:v1", img(t, gz, tarOf("ok=1", "../evil=1")))
	big := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Name: "f", Uid: 70000, Gid: 1, Typeflag: tar.TypeReg})
		_ = w.Close()
		return b.Bytes()
	}()
	srv.push(t, "ids:v1", img(t, gz, big))
	dir := userDir(t)
	store := filepath.Join(dir, "store")
	for name, want := range map[string]string{"bad:v1": `".."`, "ids:v1": "subordinate ids"} {
		out, err := asUser(t, true, dir, "GCR_TEST_PULL="+srv.host+"/"+name, "GCR_TEST_STORE="+store)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v %q, want %q", name, err, out, want)
		}
		for _, d := range []string{"layers", "partial", "trash"} {
			if es, _ := os.ReadDir(filepath.Join(store, d)); len(es) != 0 {
				t.Errorf("left in %s: %v", d, es)
			}
		}
	}
}

func TestRootlessWithOneID(t *testing.T) {
	srv := newServer(t, false)
	l := owned()
	srv.push(t, "x:v1", img(t, zst, l))
	dir := userDir(t)
	store := filepath.Join(dir, "store")
	if out, err := asUser(t, false, dir, "GCR_TEST_PULL="+srv.host+"/x:v1", "GCR_TEST_STORE="+store); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	fs := layerDir(t, store, l)
	own := fmt.Sprintf("%d:%d ", testUser, testUser)
	for p, want := range map[string][2]string{
		"shut": {own + "0500", "33:44:0500"}, "shut/f": {own + "0600", "1000:2000:0600"}, "root": {own + "4755", ""}, "null": {own + "0666", "0:0:0666:char-1-3"},
	} {
		if got := owner(t, filepath.Join(fs, p)); got != want[0] {
			t.Errorf("%s is %s, want %s", p, got, want[0])
		}
		if got := attr(filepath.Join(fs, p), "user.containers.override_stat"); got != want[1] {
			t.Errorf("note on %s is %q, want %q", p, got, want[1])
		}
	}
	if attr(filepath.Join(fs, "opq"), "user.overlay.opaque") != "y" {
		t.Error("opaque directory is not marked for userxattr")
	}
	// Exported, it is what it was.
	tarball := filepath.Join(dir, "out.tar")
	if out, err := asUser(t, false, dir, "GCR_TEST_PULL=export:"+srv.host+"/x:v1", "GCR_TEST_STORE="+store, "GCR_TEST_OUT="+tarball); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	b, err := exec.Command("tar", "--numeric-owner", "-tvf", tarball).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dr-x------ 33/44 ", "-rw------- 1000/2000 ", "crw-rw-rw- 0/0 ", "-rwsr-xr-x 0/0 "} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	if out, err := asUser(t, false, dir, "GCR_TEST_PULL=prune", "GCR_TEST_STORE="+store); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if es, _ := os.ReadDir(filepath.Join(store, "layers")); len(es) != 0 {
		t.Errorf("left: %v", es)
	}
}

// img2rootfs as an ordinary user, twice over the same directory, with a root that its owner may not write to.
func TestRootlessRootfs(t *testing.T) {
	srv := newServer(t, false)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o555})
	_ = w.WriteHeader(&tar.Header{Name: "gone", Typeflag: tar.TypeReg})
	_ = w.Close()
	srv.push(t, "x:v1", img(t, gz, b.Bytes(), owned()))
	for _, c := range []struct {
		subids  bool
		f, shut string
	}{
		{true, "400499:301999 0600", "200032:300043 0500"},
		{false, fmt.Sprintf("%d:%d 0600", testUser, testUser), fmt.Sprintf("%d:%d 0500", testUser, testUser)},
	} {
		dir := userDir(t)
		out := filepath.Join(dir, "rootfs", "x")
		for range 2 {
			if text, err := asUser(t, c.subids, dir, "GCR_TEST_PULL=rootfs:"+srv.host+"/x:v1", "GCR_TEST_STORE="+filepath.Join(dir, "store"), "GCR_TEST_OUT="+out); err != nil {
				t.Fatalf("%v %s", err, text)
			}
		}
		for p, want := range map[string]string{"shut/f": c.f, "shut": c.shut, ".": fmt.Sprintf("%d:%d 0555", testUser, testUser)} {
			if got := owner(t, filepath.Join(out, p)); got != want {
				t.Errorf("%s is %s, want %s", p, got, want)
			}
		}
		if _, err := os.Lstat(filepath.Join(out, "gone")); !os.IsNotExist(err) {
			t.Error("the whiteout was not carried out")
		}
		es, _ := os.ReadDir(filepath.Dir(out))
		if len(es) != 2 || es[0].Name() != "x" || es[1].Name() != "x.json" {
			t.Errorf("there is %v", es)
		}
	}
}
