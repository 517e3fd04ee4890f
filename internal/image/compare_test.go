package image_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gcr/internal/image"
	"gcr/internal/image/rootfs"
	"gcr/test/lab"
)

// listing describes every file of a tree: type, mode, owner, size, mtime, links, device, symlink, attributes, content.
func listing(t testing.TB, root string, skip func(p, what string) bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("mode=%o uid=%d gid=%d", st.Mode, st.Uid, st.Gid)
		if !skip(rel, "mtime") {
			s += fmt.Sprintf(" mtime=%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" size=%d nlink=%d sha256=%x", st.Size, st.Nlink, sha256.Sum256(b))
			if st.Nlink > 1 {
				if first, ok := inodes[st.Ino]; ok {
					s += " same-as=" + first
				} else {
					inodes[st.Ino] = rel
				}
			}
		case unix.S_IFLNK:
			l, _ := os.Readlink(p)
			s += " -> " + l
		case unix.S_IFCHR, unix.S_IFBLK:
			s += fmt.Sprintf(" dev=%d", st.Rdev)
		}
		b := make([]byte, 64<<10)
		n, _ := unix.Llistxattr(p, b)
		names := strings.FieldsFunc(string(b[:max(n, 0)]), func(r rune) bool { return r == 0 })
		sort.Strings(names)
		for _, x := range names {
			if !skip(rel, x) {
				s += fmt.Sprintf(" %s=%x", x, attr(p, x))
			}
		}
		out[rel] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func differ(t *testing.T, what string, ours, theirs map[string]string) {
	t.Helper()
	n := 0
	for p, a := range ours {
		if b, ok := theirs[p]; !ok || a != b {
			if n++; n <= 10 {
				t.Errorf("%s: %s\n  here:  %s\n  there: %s", what, p, a, b)
			}
		}
	}
	for p, b := range theirs {
		if _, ok := ours[p]; !ok {
			if n++; n <= 10 {
				t.Errorf("%s: %s is missing here: %s", what, p, b)
			}
		}
	}
	t.Logf("%s: %d files compared, %d differ", what, len(ours), n)
}

// debian is a root file system of Debian.
func debian(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(lab.DebianTar(t))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// change is a layer over the Debian one, made by GNU tar from a tree with all that a tree can have.
func change(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	script := `set -e
mkdir -p etc opt/app usr/share/.w var/lib/dpkg
echo changed > etc/hostname
: > etc/.wh.debian_version
: > usr/share/.wh.doc
: > var/lib/dpkg/.wh..wh..opq
echo fresh > var/lib/dpkg/status
cp /bin/true opt/app/cap; setcap cap_net_raw+ep opt/app/cap
ln opt/app/cap opt/app/cap2
setfattr -n user.note -v "a b" opt/app/cap
echo acl > opt/app/acl; setfacl -n -m u:1234:rw,m:rw opt/app/acl
mkdir opt/app/d; setfacl -d -m g:77:rx opt/app/d
mkfifo opt/app/fifo; mknod opt/app/null c 1 3; mknod opt/app/loop b 7 1
truncate -s 50M opt/app/sparse; echo end >> opt/app/sparse
ln -s /nowhere opt/app/link; chown -h 5:6 opt/app/link
install -o 1000 -g 1001 -m 6755 /bin/true opt/app/suid
mkdir -m 1777 opt/app/sticky
n=$(printf 'n%.0s' $(seq 200)); mkdir -p opt/$n/$n; echo long > opt/$n/$n/$n
touch -d '2001-02-03 04:05:06.123456789' opt/app/acl
touch -h -d '2002-02-03 04:05:06.987654321' opt/app/link`
	c := exec.Command("sh", "-c", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	b, err := exec.Command("tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-C", dir, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, diag bytes.Buffer
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = &out, &diag
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, diag.String())
	}
	return strings.TrimSpace(out.String())
}

// What pull + overlay and img2rootfs make of an image equals what umoci and podman make of it, file by file.
func TestSameAsUmociAndPodman(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices, overlay mounts")
	}
	for _, tool := range []string{"skopeo", "umoci", "podman", "setcap", "setfacl", "setfattr"} {
		need(t, tool)
	}
	base, over := debian(t), change(t)
	srv := newServer(t, false)
	srv.push(t, "debian:v1", img(t, gz, base, over))
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "store"), nil, nil)
	ref := srv.host + "/debian:v1"
	i, err := s.Pull(ctx, ref, image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}

	// Ours: the overlay that a container would see, and the root file system directory.
	merged := filepath.Join(dir, "merged")
	_ = os.Mkdir(merged, 0o755)
	run(t, "mount", "-t", "overlay", "-o", "lowerdir="+strings.Join(i.Layers(), ":"), "none", merged)
	defer func() { _ = exec.Command("umount", "-l", merged).Run() }()
	plain := filepath.Join(dir, "plain")
	if _, err := rootfs.Make(ctx, ref, plain, rootfs.Options{Client: s.Client()}); err != nil {
		t.Fatal(err)
	}

	// Theirs.
	layout := filepath.Join(dir, "layout")
	run(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout+":v1")
	run(t, "umoci", "unpack", "--image", layout+":v1", filepath.Join(dir, "bundle"))
	pod := []string{"--root", filepath.Join(dir, "pod"), "--runroot", filepath.Join(dir, "podrun"), "--storage-driver", "overlay"}
	podman := func(args ...string) string { return run(t, "podman", append(append([]string{}, pod...), args...)...) }
	podman("pull", "-q", "--tls-verify=false", ref)
	podMerged := podman("image", "mount", ref)
	defer func() { _ = exec.Command("podman", append(pod, "image", "umount", "-a")...).Run() }()

	none := func(string, string) bool { return false }
	ours := listing(t, plain, none)
	if len(ours) < 3000 {
		t.Errorf("only %d files", len(ours))
	}
	for _, p := range []string{"etc/debian_version", "usr/share/doc", "var/lib/dpkg/info", "opt/app/.wh..wh..opq"} {
		if _, ok := ours[p]; ok {
			t.Errorf("%s should have been removed", p)
		}
	}
	differ(t, "img2rootfs and our overlay", ours, listing(t, merged, none))
	pods := listing(t, podMerged, none)
	// Podman gives every root directory the mode 0555 and a time of its own, whatever the layer says.
	pods["."] = ours["."]
	differ(t, "img2rootfs and podman", ours, pods)
	differ(t, "img2rootfs and umoci", ours, listing(t, filepath.Join(dir, "bundle", "rootfs"), none))
}
