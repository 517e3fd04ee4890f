package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"gcr/internal/image"
)

// stored makes a store with images "one" and "two", which share a layer.
func stored(t *testing.T) (*image.Store, *server) {
	t.Helper()
	srv := newServer(t, false)
	base := tarOf("bin/", "bin/busybox=B", "etc/", "etc/passwd=root")
	srv.push(t, "one:v1", img(t, gz, base, tarOf("one=1", "etc/.wh.passwd=")))
	srv.push(t, "two:v1", img(t, zst, base, tarOf("two=2")))
	s := openStore(t, t.TempDir(), nil, nil)
	for _, n := range []string{"one:v1", "two:v1"} {
		if _, err := s.Pull(ctx, srv.host+"/"+n, image.PullOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s, srv
}

func count(t *testing.T, s *image.Store, dir string) int {
	t.Helper()
	es, err := os.ReadDir(filepath.Join(s.Root(), dir))
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

func TestRemoveAndPrune(t *testing.T) {
	s, srv := stored(t)
	if n := count(t, s, "layers"); n != 3 {
		t.Errorf("%d layers; the shared one must be there once", n)
	}
	r, err := s.Remove(ctx, srv.host+"/one:v1", false)
	if err != nil || len(r.Deleted) != 1 || len(r.Untagged) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := count(t, s, "layers"); n != 2 {
		t.Errorf("%d layers after one image went", n)
	}
	two, err := s.Resolve(srv.host+"/two:v1", v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	if files(t, two) == "" {
		t.Error("the other image lost its layers")
	}
	if _, err := s.Remove(ctx, srv.host+"/one:v1", false); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
	// A second name: taking one away keeps the image; by ID it takes force.
	if err := s.Tag(ctx, srv.host+"/two:v1", "other/name"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Remove(ctx, two.ID().Encoded()[:12], false)
	fails(t, err, "2 names")
	if r, err := s.Remove(ctx, "other/name", false); err != nil || len(r.Deleted) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// A name that moves to another image leaves the first without one, for prune.
	srv.push(t, "two:v1", img(t, gz, tarOf("new=1")))
	if _, err := s.Pull(ctx, srv.host+"/two:v1", image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	all, _ := s.List()
	if len(all) != 2 {
		t.Errorf("%d images", len(all))
	}
	r, err = s.Prune(ctx, false)
	if err != nil || len(r.Deleted) != 1 || r.Deleted[0] != two.ID() || r.Freed == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = s.Prune(ctx, true)
	if err != nil || len(r.Deleted) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, d := range []string{"layers", "l", "blobs/sha256", "partial", "trash", "holds"} {
		if n := count(t, s, d); n != 0 {
			t.Errorf("%d entries left in %s", n, d)
		}
	}
}

func TestHolds(t *testing.T) {
	s, srv := stored(t)
	one, err := s.Resolve(srv.host+"/one:v1", v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Hold(one, "web")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Remove(ctx, srv.host+"/one:v1", false)
	fails(t, err, "in use by container web")
	if r, err := s.Prune(ctx, true); err != nil || len(r.Deleted) != 1 {
		t.Errorf("prune of all: %+v, %v", r, err)
	}
	if _, err := s.Resolve(srv.host+"/one:v1", v1.Platform{}); err != nil {
		t.Errorf("prune took an image in use: %v", err)
	}
	// By force the name goes, the layers stay.
	if _, err := s.Remove(ctx, srv.host+"/one:v1", true); err != nil {
		t.Fatal(err)
	}
	if got := files(t, one); !strings.Contains(got, "one=1") {
		t.Error("layers went from under a container")
	}
	// A process that inherited the hold keeps it, without being asked.
	c := exec.Command("sleep", "60")
	c.ExtraFiles = []*os.File{h.File()}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(ctx, true); err != nil {
		t.Fatal(err)
	}
	if got := files(t, one); !strings.Contains(got, "one=1") {
		t.Error("layers went from under a process that inherited the hold")
	}
	// Killed, it holds nothing.
	_ = c.Process.Kill()
	_ = c.Wait()
	if _, err := s.Prune(ctx, true); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "layers") + count(t, s, "holds"); n != 0 {
		t.Errorf("%d layers and holds left", n)
	}
}

func TestShortLayers(t *testing.T) {
	s, srv := stored(t)
	one, err := s.Resolve(srv.host+"/one:v1", v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	base, names := one.ShortLayers()
	for n, l := range one.Layers() {
		a, err1 := os.Stat(l)
		b, err2 := os.Stat(filepath.Join(base, names[n]))
		if err1 != nil || err2 != nil || !os.SameFile(a, b) {
			t.Errorf("%s and %s: %v %v", l, names[n], err1, err2)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root: mounts an overlay")
	}
	dir := t.TempDir()
	opt := "lowerdir=" + strings.Join(names, ":")
	c := exec.Command("mount", "-t", "overlay", "-o", opt, "none", dir)
	c.Dir = base
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("mount overlay: %v %s", err, out)
	}
	defer func() { _ = exec.Command("umount", dir).Run() }()
	if _, err := os.Stat(filepath.Join(dir, "etc/passwd")); !os.IsNotExist(err) {
		t.Error("the whiteout does not hide the file")
	}
	for _, p := range []string{"one", "bin/busybox"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
			t.Error(err)
		}
	}
}

func TestStoreIsNobodyElses(t *testing.T) {
	s, _ := stored(t)
	for _, d := range []string{"layers", "blobs", "partial", "l", "locks"} {
		if st, err := os.Stat(filepath.Join(s.Root(), d)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", d, st.Mode(), err)
		}
	}
}

// skopeo reads the store as what it is, an OCI layout.
func TestStoreIsOCILayout(t *testing.T) {
	need(t, "skopeo")
	s, srv := stored(t)
	one, _ := s.Resolve(srv.host+"/one:v1", v1.Platform{})
	for _, n := range one.Names {
		out, err := exec.Command("skopeo", "inspect", "--raw", "--config", "oci:"+s.Root()+":"+n).CombinedOutput()
		if err != nil || !bytes.Equal(bytes.TrimSpace(out), bytes.TrimSpace(one.RawConfig())) {
			t.Errorf("skopeo: %v %s", err, out)
		}
	}
}

func need(t testing.TB, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not installed", tool)
	}
}

func TestSaveAndLoad(t *testing.T) {
	s, srv := stored(t)
	refs := []string{srv.host + "/one:v1", srv.host + "/two:v1"}
	for _, f := range []image.Format{image.DockerArchive, image.OCIArchive} {
		p := filepath.Join(t.TempDir(), "a.tar")
		if err := s.SaveFile(ctx, p, f, refs, v1.Platform{}); err != nil {
			t.Fatal(err)
		}
		plain, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p+".gz", gz(plain), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{p, p + ".gz"} {
			to := openStore(t, t.TempDir(), nil, nil)
			in, err := os.Open(q)
			if err != nil {
				t.Fatal(err)
			}
			imgs, err := to.Load(ctx, in, image.PullOptions{})
			if err != nil || len(imgs) != 2 {
				t.Fatalf("%s: %v, %v", q, imgs, err)
			}
			for _, r := range refs {
				a, _ := s.Resolve(r, v1.Platform{})
				b, err := to.Resolve(r, v1.Platform{})
				if err != nil || a.ID() != b.ID() || files(t, a) != files(t, b) {
					t.Errorf("%s %s: %v", f, r, err)
				}
				if f == image.OCIArchive && a.Digest() != b.Digest() {
					t.Error("the digest changed on the way")
				}
			}
			clean(t, to)
		}
		// One of several, by the name that sources use.
		to := openStore(t, t.TempDir(), nil, nil)
		if _, err := to.Pull(ctx, string(f)+":"+p+":"+refs[1], image.PullOptions{}); err != nil {
			t.Error(err)
		}
		_, err = to.Pull(ctx, string(f)+":"+p, image.PullOptions{})
		fails(t, err, "holds 2 images")
		_, err = to.Pull(ctx, string(f)+":"+p+":none", image.PullOptions{})
		fails(t, err, "no image")
		// And skopeo understands it.
		if _, err := exec.LookPath("skopeo"); err == nil {
			if out, err := exec.Command("skopeo", "inspect", "--config", string(f)+":"+p+":"+refs[0]).CombinedOutput(); err != nil {
				t.Errorf("skopeo: %s", out)
			}
		}
	}
	to := openStore(t, t.TempDir(), nil, nil)
	for name, content := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "rootfs": tarOf("etc/", "etc/x=1"), "bad": tarOf("manifest.json=[{}]"), "none": tarOf("manifest.json=[]"),
		"escape": tarOf(`manifest.json=[{"Config":"../../../etc/passwd","Layers":[]}]`),
	} {
		p := filepath.Join(t.TempDir(), name)
		_ = os.WriteFile(p, content, 0o600)
		f, _ := os.Open(p)
		if _, err := to.Load(ctx, f, image.PullOptions{}); err == nil {
			t.Errorf("%s was loaded", name)
		}
		clean(t, to)
	}
}

// The size of a layer is noted when it is unpacked; a store without the note gives the same archive, and what is damaged
// is not saved.
func TestSaveWithoutNotes(t *testing.T) {
	s, srv := stored(t)
	ref := []string{srv.host + "/one:v1"}
	save := func() ([]byte, error) {
		var b bytes.Buffer
		err := s.Save(ctx, &b, image.DockerArchive, ref, v1.Platform{})
		return b.Bytes(), err
	}
	want, err := save()
	if err != nil {
		t.Fatal(err)
	}
	notes, _ := filepath.Glob(filepath.Join(s.Root(), "layers", "*", "size"))
	if len(notes) == 0 {
		t.Fatal("no size is noted")
	}
	for _, n := range notes {
		if err := os.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := save(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes in place of %d, %v", len(got), len(want), err)
	}
	for _, text := range []string{"1", "99999999"} {
		for _, n := range notes {
			if err := os.WriteFile(n, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := save(); err == nil {
			t.Errorf("saved with layers of size %s", text)
		}
	}
	for _, n := range notes {
		_ = os.Remove(n)
	}
	i, _ := s.Resolve(ref[0], v1.Platform{})
	l := i.Manifest().Layers[0]
	if err := os.WriteFile(filepath.Join(s.Root(), "blobs/sha256", l.Digest.Encoded()), gz(tarOf("other=1")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = save()
	fails(t, err, "damaged")
}

func TestImportAndExport(t *testing.T) {
	s := openStore(t, t.TempDir(), nil, nil)
	for _, c := range []func([]byte) []byte{gz, zst, func(b []byte) []byte { return b }} {
		i, err := s.Import(ctx, bytes.NewReader(c(tarOf("bin/", "bin/sh=x"))), image.ImportOptions{Name: "mine:1", Message: "hi", Changes: []string{
			`CMD ["/bin/sh","-l"]`, "ENV A=b c", "WORKDIR /root", "USER 1000:1000", "LABEL x=y", "EXPOSE 80", `VOLUME ["/data"]`, "STOPSIGNAL SIGINT", "ENTRYPOINT run it",
		}})
		if err != nil {
			t.Fatal(err)
		}
		cf := i.Config().Config
		got := fmt.Sprintln(cf.Cmd, cf.Env, cf.WorkingDir, cf.User, cf.Labels, cf.ExposedPorts, cf.Volumes, cf.StopSignal, cf.Entrypoint)
		if got != "[/bin/sh -l] [A=b c] /root 1000:1000 map[x:y] map[80/tcp:{}] map[/data:{}] SIGINT [/bin/sh -c run it]\n" {
			t.Error(got)
		}
		if files(t, i) != "0:bin/ 0:bin/sh=x" {
			t.Error(files(t, i))
		}
	}
	clean(t, s)
	for _, bad := range []string{"RUN x", "CMD", "ENV x", "LABEL x"} {
		_, err := s.Import(ctx, bytes.NewReader(tarOf()), image.ImportOptions{Changes: []string{bad}})
		fails(t, err, "read change")
	}
	_, err := s.Import(ctx, strings.NewReader(strings.Repeat("no tar", 200)), image.ImportOptions{})
	fails(t, err, "tar header")
	_, err = s.Import(ctx, bytes.NewReader([]byte("BZh91AY")), image.ImportOptions{})
	fails(t, err, "bzip2")
	clean(t, s)

	two, srv := stored(t)
	var out bytes.Buffer
	if err := two.Export(ctx, &out, srv.host+"/one:v1", v1.Platform{}); err != nil {
		t.Fatal(err)
	}
	list := exec.Command("tar", "-tf", "-")
	list.Stdin = bytes.NewReader(out.Bytes())
	b, err := list.CombinedOutput()
	if err != nil || string(b) != "./\nbin/\nbin/busybox\netc/\none\n" {
		t.Errorf("%v\n%s", err, b)
	}
	clean(t, two)
}

func TestPush(t *testing.T) {
	s, srv := stored(t)
	to := newServer(t, true)
	to.setFault(basicAuth("me", "secret"))
	set := settingsFor(t, to)
	s2 := openStore(t, s.Root(), set, keys{to.host: {Username: "me", Password: "secret"}})
	for _, n := range []string{"one:v1", "two:v1"} {
		d, err := s2.Push(ctx, srv.host+"/"+n, to.host+"/copy/"+n, nil)
		if err != nil {
			t.Fatal(err)
		}
		back := openStore(t, t.TempDir(), set, keys{to.host: {Username: "me", Password: "secret"}})
		i, err := back.Pull(ctx, to.host+"/copy/"+strings.TrimSuffix(n, ":v1")+"@"+d.String(), image.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.Resolve(srv.host+"/"+n, v1.Platform{})
		if a.ID() != i.ID() || a.Digest() != i.Digest() || files(t, a) != files(t, i) {
			t.Error("what came back is something else")
		}
	}
	_, err := openStore(t, s.Root(), set, nil).Push(ctx, srv.host+"/one:v1", to.host+"/x", nil)
	fails(t, err, "401", "gcr login")
	_, err = s2.Push(ctx, "nothing", to.host+"/x", nil)
	fails(t, err, "no such image")
}
