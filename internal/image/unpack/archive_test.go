package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gcr/internal/image/unpack"
)

var when = time.Date(2024, 2, 3, 4, 5, 6, 789012345, time.UTC)

type entry = tar.Header

func file(name, content string) (entry, string) {
	return entry{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: when, Format: tar.FormatPAX}, content
}

func dirEntry(name string) entry {
	return entry{Name: name, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when, Format: tar.FormatPAX}
}

func link(name, target string) entry {
	return entry{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: when, Format: tar.FormatPAX}
}

func hard(name, target string) entry {
	return entry{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644, ModTime: when, Format: tar.FormatPAX}
}

// archive writes entries; a regular file named "x" may be given as "x=content".
func archive(t testing.TB, items ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range items {
		var h entry
		content := ""
		switch v := it.(type) {
		case string:
			name, c, _ := strings.Cut(v, "=")
			h, content = file(name, c)
		case entry:
			h = v
			if h.Typeflag == tar.TypeReg && h.Size > 0 {
				content = strings.Repeat("x", int(h.Size))
			}
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("write header of %q: %v", h.Name, err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackInto unpacks layers into a fresh directory inside a fresh parent, so that an escape would be seen beside it.
func unpackInto(t testing.TB, o unpack.Options, layers ...[]byte) (string, error) {
	t.Helper()
	parent := t.TempDir()
	target := filepath.Join(parent, "rootfs")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	return target, unpackOver(t, target, o, layers...)
}

func unpackOver(t testing.TB, target string, o unpack.Options, layers ...[]byte) error {
	t.Helper()
	d, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tree, err := unpack.New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if _, err := tree.Layer(context.Background(), bytes.NewReader(l)); err != nil {
			tree.Abandon()
			return err
		}
	}
	return tree.Close()
}

func must(t testing.TB, o unpack.Options, layers ...[]byte) string {
	t.Helper()
	dir, err := unpackInto(t, o, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree lists what is below dir, one "type path" a line.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == dir {
			return nil
		}
		rel, _ := filepath.Rel(dir, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			rel += "/"
			for _, n := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
				if v := getxattr(p, n); v == "y" {
					rel += " opaque"
				}
			}
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel += "=" + string(b)
		case unix.S_IFLNK:
			l, _ := os.Readlink(p)
			rel += " -> " + l
		case unix.S_IFCHR:
			rel += fmt.Sprintf(" c%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFBLK:
			rel += fmt.Sprintf(" b%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFIFO:
			rel += " fifo"
		}
		out = append(out, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func getxattr(p, name string) string {
	b := make([]byte, 4096)
	n, err := unix.Lgetxattr(p, name, b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func same(t testing.TB, got string, want ...string) {
	t.Helper()
	sort.Strings(want)
	if w := strings.Join(want, "\n"); got != w {
		t.Errorf("tree is\n%s\nwant\n%s", got, w)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes devices, other owners and trusted attributes")
	}
}
