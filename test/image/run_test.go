package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"

	"gcr/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestImages(t *testing.T) {
	buildTools(t) // before the roles, of which only one may have a compiler at hand
	lab.Each(t, func(t *testing.T) {
		box := busybox(t)
		for _, c := range []struct {
			name string
			f    func(*scene, ggcr.Layer)
		}{
			{"config", testConfig},
			{"user", testUser},
			{"pull", testPull},
			{"volumes", testVolumes},
			{"writes", testWrites},
			{"hold", testHold},
			{"killed", testKilled},
			{"layers", testLayers},
			{"across layers", testAcrossLayers},
			{"status", testStatus},
			{"stop signal", testStopSignal},
			{"explain", testExplain},
			{"bad config", testBadConfig},
			{"img2rootfs", testImg2rootfs},
			{"terminal", testTerminal},
		} {
			t.Run(c.name, func(t *testing.T) { c.f(newScene(t), box) })
		}
	})
}

func testConfig(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{
		Entrypoint: []string{"/bin/sh", "-c", `echo $GREETING $0 "$@"; pwd`}, Cmd: []string{"a", "b c"},
		Env: []string{"GREETING=hello", "PATH=/bin"}, WorkingDir: "/srv/app/deep",
	}, box)
	s.want(0, "hello a b c\n/srv/app/deep", "run", "-q", ref)
	s.want(0, "hello x\n/srv/app/deep", "run", "-q", ref, "x")
	s.want(0, "bye a b c\n/tmp", "run", "-q", "-e", "GREETING=bye", "-w", "/tmp", ref)
	s.want(0, "a b c", "run", "-q", "--entrypoint", "echo", ref, "a", "b c")
	s.want(0, "/new/dir", "run", "-q", "--entrypoint", "pwd", "-w", "/new/dir", ref)
	// Without any command the user's shell.
	none := s.push("none:v1", ggcr.Config{}, box)
	s.want(0, "/bin/sh", "run", "-q", none, "sh", "-c", `echo $SHELL/bin/sh`)
	s.nothing()
}

func testUser(s *scene, box ggcr.Layer) {
	ref := s.push("user:v1", ggcr.Config{User: "me", WorkingDir: "/made/for/me", Cmd: []string{"sh", "-c", "id -un; id -Gn; pwd; echo $HOME"}}, box)
	if !many() {
		s.says([]string{"become user", "me", "User of image", "1000", "subordinate"}, "run", "-q", ref)
		s.want(0, "root\n/made/for/me", "run", "-q", "-u", "0", ref, "sh", "-c", "id -un; pwd")
		return
	}
	s.want(0, "me\nme wheel\n/made/for/me\n/home/me", "run", "-q", ref)
	// The home directory is that user's, so that it can be written to.
	s.want(0, "me me", "run", "-q", ref, "sh", "-c", "touch ~/f && stat -c '%U %G' ~/f")
	s.want(0, "root", "run", "-q", "-u", "root", ref, "id", "-un")
	s.says([]string{"nobodyhere", "User of image"}, "run", "-q", s.push("user:bad", ggcr.Config{User: "nobodyhere"}, box), "true")
	s.nothing()
}

func testPull(s *scene, box ggcr.Layer) {
	one := layer(s.t, text("version", "one"))
	two := layer(s.t, text("version", "two"))
	ref := s.push("app:v1", ggcr.Config{Cmd: []string{"cat", "/version"}}, box, one)
	s.says([]string{"no such image in the store"}, "run", "--pull", "never", ref)
	s.want(0, "one", "run", ref) // missing is the default
	s.push("app:v1", ggcr.Config{Cmd: []string{"cat", "/version"}}, box, two)
	s.want(0, "one", "run", "--pull", "missing", ref)
	s.want(0, "one", "run", "--pull", "never", ref)
	s.want(0, "two", "run", "--pull", "newer", ref)
	s.push("app:v1", ggcr.Config{Cmd: []string{"cat", "/version"}}, box, one)
	s.want(0, "one", "run", "--pull", "always", ref)
	s.srv.Close()
	s.want(0, "one", "run", ref)
	s.want(0, "one", "run", "--pull", "newer", ref)
	s.says([]string{"pull", "connection refused"}, "run", "--pull", "always", ref)
	s.says([]string{"app:v2", "connection refused"}, "run", s.host+"/app:v2")

	// A root filesystem directory of that name comes first.
	short := "box"
	if err := os.MkdirAll(filepath.Join(s.dir, "rootfs"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := lab.MakeBusybox(filepath.Join(s.dir, "rootfs", short)); err != nil {
		s.t.Fatal(err)
	}
	s.want(0, "", "tag", ref, short)
	s.want(0, "this is the root filesystem of the test", "run", "-q", short, "cat", "/etc/motd")
	s.want(0, "one", "run", "-q", "--pull", "never", "docker.io/library/box:latest")
	s.nothing()
}

func testVolumes(s *scene, box ggcr.Layer) {
	ref := s.push("vol:v1", ggcr.Config{Volumes: map[string]struct{}{"/data": {}, "/var/lib/new": {}, "/link/sub": {}, "/proc/x": {}}}, box,
		layer(s.t, dir("data", 0), text("data/seed", "from the image"), link("link", "/etc")))
	script := "cat /data/seed; echo; echo more >/data/f && cat /data/f; touch /var/lib/new/f /etc/sub/f && echo made; touch /f 2>/dev/null || echo refused"
	s.want(0, "from the image\nmore\nmade\nrefused", "run", "-q", "--read-only", ref, "sh", "-c", script)
	s.want(0, "from the image\nmore\nmade", "run", "-q", ref, "sh", "-c", script)
	// The host's /etc, to which the link would lead outside, is left alone.
	if _, err := os.Lstat("/etc/sub"); err == nil {
		s.t.Error("a volume has reached the host's /etc")
	}
	// A mount of the caller takes the place of a volume.
	if err := os.WriteFile(filepath.Join(s.dir, "seed"), []byte("mine"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.want(0, "mine", "run", "-q", "--read-only", "-v", s.dir+":/data", ref, "cat", "/data/seed")
	s.says([]string{"volume on /"}, "run", "-q", s.push("vol:bad", ggcr.Config{Volumes: map[string]struct{}{"/": {}}}, box), "true")
	s.nothing()
}

// What a container writes is on the disk of the store while it runs, and gone afterwards, whoever owns it.
func testWrites(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{Cmd: []string{"sh"}}, box)
	script := "mkdir -m 0 /shut; mkdir -p /a/b; touch /a/b/c; rm -r /home; echo x >/etc/motd; chmod 700 /a; "
	if many() {
		script += "chown -R 1000:1000 /a; "
	}
	r := s.start("run", "-q", "-i", ref, "sh", "-c", script+"echo ready; read x; true")
	r.line("ready")
	uppers, _ := filepath.Glob(filepath.Join(s.store, "containers", "*", "upper", "etc", "motd"))
	if len(uppers) != 1 {
		s.t.Errorf("on the disk: %v", uppers)
	}
	r.end(0)
	s.nothing()
	s.want(0, "this is the root filesystem of the test", "run", "-q", ref, "cat", "/etc/motd")

	r = s.start("run", "-q", "-i", "--ephemeral", ref, "sh", "-c", "touch /f; echo ready; read x; true")
	r.line("ready")
	if es, _ := os.ReadDir(filepath.Join(s.store, "containers")); len(es) != 0 {
		s.t.Errorf("--ephemeral writes to the disk: %v", es)
	}
	r.end(0)
	s.nothing()
}

func testHold(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{}, box)
	r := s.start("run", "-q", "-i", "--name", "holder", ref, "sh", "-c", "echo ready; read x; cat /etc/motd")
	r.line("ready")
	status, _, diag := s.gcr("rmi", ref)
	if status == 0 || !strings.Contains(diag, "in use by container holder") {
		s.t.Errorf("rmi: %d %s", status, diag)
	}
	if status, out, diag := s.gcr("image", "prune", "-a", "-f"); status != 0 || strings.Contains(out, "deleted") {
		s.t.Errorf("prune: %d %s %s", status, out, diag)
	}
	// Forced, the name goes, and the files stay for as long as they are needed.
	if status, _, diag := s.gcr("rmi", "-f", ref); status != 0 {
		s.t.Errorf("rmi -f: %d %s", status, diag)
	}
	r.enter()
	r.line("this is the root filesystem of the test")
	r.end(0)
	if status, _, diag := s.gcr("image", "prune", "-f"); status != 0 {
		s.t.Errorf("prune: %d %s", status, diag)
	}
	if es, _ := os.ReadDir(filepath.Join(s.store, "layers")); len(es) != 0 {
		s.t.Errorf("layers left: %v", es)
	}
	s.nothing()
}

// After kill -9 of gcr the next command clears away what the container has written.
func testKilled(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{}, box)
	script := "echo x >/f; mkdir -m 0 /shut; echo ready; sleep 1000"
	if many() {
		script = "mkdir -m 700 /a; touch /a/f; chown -R 1000:1000 /a; " + script
	}
	for _, next := range [][]string{{"run", "-q", ref, "true"}, {"image", "prune", "-f"}} {
		r := s.start("run", "-q", "-i", ref, "sh", "-c", script)
		r.line("ready")
		if err := r.cmd.Process.Kill(); err != nil {
			s.t.Fatal(err)
		}
		r.end(128 + int(syscall.SIGKILL))
		if es, _ := os.ReadDir(filepath.Join(s.store, "containers")); len(es) != 1 {
			s.t.Errorf("left after kill -9: %v, want one directory", es)
		}
		if status, _, diag := s.gcr(next...); status != 0 || diag != "" {
			s.t.Errorf("gcr %v: %d %s", next, status, diag)
		}
		s.nothing()
	}
}

// More layers than mount options have room for by their full names.
func testLayers(s *scene, box ggcr.Layer) {
	layers := []ggcr.Layer{box}
	const n = 100
	for i := range n {
		fs := []file{text(fmt.Sprintf("n/%d", i), ""), text("last", fmt.Sprint(i))}
		if i > 0 && i%2 == 0 {
			fs = append(fs, text(fmt.Sprintf("n/.wh.%d", i-1), ""))
		}
		layers = append(layers, layer(s.t, fs...))
	}
	ref := s.push("deep:v1", ggcr.Config{}, layers...)
	if status, _, diag := s.gcr("pull", "-q", ref); status != 0 {
		s.t.Fatalf("pull: %d %s", status, diag)
	}
	s.want(0, "51\n99", "run", "-q", ref, "sh", "-c", "ls /n | wc -l; cat /last; echo; rm -r /n")
	s.nothing()
}

// User names are looked up in files that several layers make together.
func testAcrossLayers(s *scene, box ggcr.Layer) {
	if !many() {
		s.t.Skip("needs a second id, which an ordinary user without subordinate ids has not")
	}
	passwd := "root:x:0:0::/root:/bin/sh\nlow:x:77:77::/:/bin/sh\n"
	for name, c := range map[string]struct {
		layers []ggcr.Layer
		uid    string
	}{
		"link":    {[]ggcr.Layer{layer(s.t, text("usr/passwd", passwd)), layer(s.t, link("etc/passwd", "../usr/passwd"))}, "77"},
		"dirlink": {[]ggcr.Layer{layer(s.t, text(".wh.etc", "")), layer(s.t, text("real/passwd", passwd), link("etc", "/real"))}, "77"},
		"opaque":  {[]ggcr.Layer{layer(s.t, text("etc/.wh..wh..opq", ""))}, ""},
		"gone":    {[]ggcr.Layer{layer(s.t, text(".wh.etc", ""))}, ""},
		"back":    {[]ggcr.Layer{layer(s.t, text(".wh.etc", "")), layer(s.t, dir("etc", 0), text("etc/passwd", passwd))}, "77"},
	} {
		ref := s.push(name+":v1", ggcr.Config{User: "low"}, append([]ggcr.Layer{box}, c.layers...)...)
		if c.uid == "" {
			s.says([]string{"low", "User of image"}, "run", "-q", ref, "true")
			s.want(0, "0", "run", "-q", "-u", "0", ref, "id", "-u")
			continue
		}
		s.want(0, c.uid, "run", "-q", ref, "id", "-u")
	}
}

func testStatus(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{}, box, layer(s.t, text("plain", "no program")))
	s.want(0, "", "run", "-q", ref, "true")
	s.want(3, "", "run", "-q", ref, "sh", "-c", "exit 3")
	s.want(128+9, "", "run", "-q", "--init", ref, "sh", "-c", "kill -9 $$")
	s.want(126, "", "run", "-q", ref, "/plain")
	s.want(127, "", "run", "-q", ref, "nosuchprogram")
	s.says([]string{"NoSuch"}, "run", "-q", s.host+"/NoSuch")
	s.says([]string{"linux/s390x"}, "run", "-q", "--platform", "linux/s390x", ref)
	s.nothing()
}

func testStopSignal(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{StopSignal: "SIGUSR1"}, box)
	script := "trap 'exit 11' USR1; trap 'exit 12' TERM; echo ready; while :; do sleep 0.1; done"
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"run", "-q", "-i", ref}, 11},
		{[]string{"run", "-q", "-i", "--stop-signal", "TERM", ref}, 12},
	} {
		r := s.start(append(c.args, "sh", "-c", script)...)
		r.line("ready")
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			s.t.Fatal(err)
		}
		r.end(c.want)
	}
	s.says([]string{"StopSignal of image", "SIGNONE"}, "run", "-q", s.push("app:bad", ggcr.Config{StopSignal: "SIGNONE"}, box), "true")
	s.nothing()
}

// --explain shows the layers and makes nothing.
func testExplain(s *scene, box ggcr.Layer) {
	ref := s.push("app:v1", ggcr.Config{Volumes: map[string]struct{}{"/data": {}}}, box, layer(s.t, text("f", "")))
	status, out, diag := s.gcr("run", "-q", "--explain", ref, "true")
	if status != 0 || !strings.Contains(out, "an overlay over 2 layers") || !strings.Contains(out, "/data on itself") {
		s.t.Errorf("%d %s %s", status, out, diag)
	}
	s.nothing()
}

func testBadConfig(s *scene, box ggcr.Layer) {
	s.says([]string{"WorkingDir of image", "not an absolute path"}, "run", "-q", s.push("a:v1", ggcr.Config{WorkingDir: "rel"}, box), "true")
	s.says([]string{"no /bin/sh"}, "run", "-q", s.push("b:v1", ggcr.Config{}, layer(s.t, text("f", ""))))
	// No layers at all: an empty root filesystem.
	s.want(127, "", "run", "-q", s.push("c:v1", ggcr.Config{}), "true")
	s.nothing()
}

// img2rootfs writes the configuration beside the directory, and gcr run goes by it.
func testImg2rootfs(s *scene, box ggcr.Layer) {
	tool := img2rootfs(s.t)
	user, uid, f := "0", "0", "/f"
	if many() {
		user, uid, f = "me:0", "1000", "/home/me/f"
	}
	ref := s.push("app:v1", ggcr.Config{
		Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{`echo "$A $(pwd) $(id -u)"; echo kept >>` + f + "; cat " + f},
		Env: []string{"A=b", "PATH=/bin"}, WorkingDir: "/work", User: user,
	}, box)
	c := s.command(tool, "-quiet", "-image", ref, "-output", "../rootfs/app")
	c.Dir = filepath.Join(s.dir, "img2rootfs")
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if out, err := c.CombinedOutput(); err != nil || len(out) != 0 {
		s.t.Fatalf("img2rootfs: %v %s", err, out)
	}
	s.want(0, "b /work "+uid+"\nkept", "run", "-q", "app")
	s.want(0, "b /work "+uid+"\nkept\nkept", "run", "-q", "app") // it is a directory: what is written stays
	s.want(0, "x", "run", "-q", "app", "echo x")
	if lab.HasSubIDs() && !lab.IsRoot() {
		// Its files belong to ids that only the tool itself can remove.
		c := s.command(tool, "-quiet", "-force", "-image", s.push("empty:v1", ggcr.Config{}), "-output", filepath.Join(s.dir, "rootfs/app"))
		if out, err := c.CombinedOutput(); err != nil {
			s.t.Fatalf("img2rootfs: %v %s", err, out)
		}
	}
}
