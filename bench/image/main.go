// Command image measures how fast images are pulled and unpacked: GCR beside skopeo with umoci, Podman, containerd,
// and tar itself, from a registry on loopback, all in one run.
//
//	go run ./bench/image                        # all images, all tools that are installed
//	go run ./bench/image -only small -runs 5
//
// It needs root, and makes its images itself: one large layer (Debian with compilers, by mmdebstrap), 100,000 small
// files, ten layers; each with gzip and with zstd. Each tool starts from an empty store. The times are medians of
// whole processes; "floor" is decompressing with the library that GCR uses and writing the same files, and nothing
// else: no network, digest or copy of the blob, no owners, modes or times. "one file" writes what was decompressed into
// one file.
// BENCH_PROFILE=FILE writes a CPU profile of GCR's last pull.
// CPU time is that of the tool and its children, and of containerd's daemon for ctr. Peak
// memory is that of the largest process of a run (proc_pid_status(5), VmHWM).
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"

	"gcr/internal/image"
	"gcr/internal/image/registry"
	"gcr/internal/image/settings"
	"gcr/internal/image/userns"
)

func main() {
	userns.Hook()
	if len(os.Args) == 4 {
		// The bench itself plays some of the tools, each in a process of its own.
		roles := map[string]func(string, string) error{"-pull": pull, "-files": sameFiles, "-one": oneFile}
		if f := roles[os.Args[1]]; f != nil {
			if err := f(os.Args[2], os.Args[3]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	var o options
	flag.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "gcr-bench-image"), "`DIRECTORY` for images and results")
	flag.StringVar(&o.only, "only", "", "measure only images whose name contains `TEXT`")
	flag.StringVar(&o.tools, "tools", "", "measure only tools whose name contains `TEXT`")
	flag.IntVar(&o.runs, "runs", 3, "`N` runs of each")
	flag.StringVar(&o.big, "big", "", "`FILE.tar` to take for the large layer, in place of running mmdebstrap")
	flag.Parse()
	if err := bench(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	dir, only, tools, big string
	runs                  int
}

// pull is GCR's side: what gcr pull does, sync included.
func pull(ref, root string) error {
	set, err := settings.Parse(nil)
	if err != nil {
		return err
	}
	s, err := image.Open(root, registry.New(set, registry.Options{}))
	if err != nil {
		return err
	}
	s.NoSync = os.Getenv("BENCH_NOSYNC") != ""
	if p := os.Getenv("BENCH_PROFILE"); p != "" {
		f, err := os.Create(p)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	_, err = s.Pull(context.Background(), ref, image.PullOptions{})
	return err
}

// tool is a way to get an image onto the disk. It is given the reference, the layers' blobs and an empty directory.
type tool struct {
	name  string
	needs []string
	run   func(t *trial) error
	clean func(t *trial)
}

type trial struct {
	ref   string
	blobs []string // files of the layers, bottom first
	zstd  bool
	dir   string
	peak  int64 // KiB
	cpu   time.Duration
	sock  string
	// daemon is the process id of containerd.
	daemon int
}

// daemonTime is the CPU time of a process and of its children that have ended (proc_pid_stat(5), utime to cstime, in
// ticks of 10 ms).
func daemonTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var sum time.Duration
	for _, s := range f[11:15] {
		n, _ := strconv.Atoi(s)
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

func (t *trial) sh(name string, args ...string) error {
	c := exec.Command(name, args...)
	var diag bytes.Buffer
	c.Stderr = &diag
	err := c.Start()
	if err == nil {
		stop := t.watch(c.Process.Pid)
		err = c.Wait()
		stop()
	}
	if c.ProcessState == nil {
		return err
	}
	if ru, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.cpu += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(diag.String()))
	}
	return nil
}

// each runs a role of the bench on one layer after the other.
func (t *trial) each(self, role, to string) error {
	for _, b := range t.blobs {
		if err := t.sh(self, role, b, to); err != nil {
			return err
		}
	}
	return nil
}

// watch samples the peak memory of a process and its children until the returned function is called. ru_maxrss will
// not do: it starts with what the process that called fork had.
func (t *trial) watch(pid int) func() {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			t.sample(pid)
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (t *trial) sample(pid int) {
	p := fmt.Sprintf("/proc/%d", pid)
	if exe, _ := os.Readlink(p + "/exe"); exe == "" {
		return
	}
	b, _ := os.ReadFile(p + "/status")
	if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
		var kib int64
		_, _ = fmt.Sscan(rest, &kib)
		t.peak = max(t.peak, kib)
	}
	kids, _ := os.ReadFile(fmt.Sprintf("%s/task/%d/children", p, pid))
	for _, k := range strings.Fields(string(kids)) {
		var n int
		if _, err := fmt.Sscan(k, &n); err == nil {
			t.sample(n)
		}
	}
}

func tools() []tool {
	self, _ := os.Executable()
	return []tool{
		{name: "gcr pull", run: func(t *trial) error { return t.sh(self, "-pull", t.ref, t.dir+"/s") }},
		{name: "gcr pull, no sync", run: func(t *trial) error { return t.sh("env", "BENCH_NOSYNC=1", self, "-pull", t.ref, t.dir+"/s") }},
		{name: "skopeo+umoci", needs: []string{"skopeo", "umoci"}, run: func(t *trial) error {
			if err := t.sh("skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+t.ref, "oci:"+t.dir+"/l:v1"); err != nil {
				return err
			}
			return t.sh("umoci", "unpack", "--image", t.dir+"/l:v1", t.dir+"/b")
		}},
		{name: "podman pull", needs: []string{"podman"}, run: func(t *trial) error {
			return t.sh("podman", "--root", t.dir+"/p", "--runroot", t.dir+"/r", "--storage-driver", "overlay", "pull", "-q", "--tls-verify=false", t.ref)
		}, clean: func(t *trial) {
			_ = exec.Command("umount", "-l", t.dir+"/p/overlay").Run() // podman leaves it mounted
		}},
		{name: "ctr pull", needs: []string{"ctr", "containerd"}, run: func(t *trial) error {
			before := daemonTime(t.daemon)
			err := t.sh("ctr", "-a", t.sock, "image", "pull", "--plain-http", t.ref)
			t.cpu += daemonTime(t.daemon) - before
			return err
		}, clean: func(t *trial) {
			_ = exec.Command("ctr", "-a", t.sock, "image", "rm", "--sync", t.ref).Run()
		}},
		{name: "tar", needs: []string{"tar", "zstd", "gzip"}, run: func(t *trial) error {
			z := "gzip"
			if t.zstd {
				z = "zstd"
			}
			for _, b := range t.blobs {
				if err := t.sh("tar", "--use-compress-program="+z, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", t.dir, "-xpf", b); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "floor", run: func(t *trial) error { return t.each(self, "-files", t.dir) }},
		{name: "one file", run: func(t *trial) error { return t.each(self, "-one", t.dir+"/out") }},
	}
}

func bench(o options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: owners and devices are part of the work")
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	images, err := makeImages(o)
	if err != nil {
		return err
	}
	host, stop, err := serve(filepath.Join(o.dir, "registry"))
	if err != nil {
		return err
	}
	defer stop()
	sock, daemon, stopd := containerd(filepath.Join(o.dir, "containerd"))
	defer stopd()
	for _, im := range images {
		if err := im.push(host); err != nil {
			return err
		}
		var rs []result
		for _, tl := range tools() {
			if !strings.Contains(tl.name, o.tools) || missing(tl.needs) != "" || (tl.name == "ctr pull" && sock == "") {
				continue
			}
			r := result{Tool: tl.name}
			for range o.runs {
				t := &trial{ref: host + "/" + im.name + ":v1", blobs: im.blobs, zstd: im.zstd, dir: filepath.Join(o.dir, "work"), sock: sock, daemon: daemon}
				if err := exec.Command("rm", "-rf", t.dir).Run(); err != nil {
					return fmt.Errorf("clear %s: %w", t.dir, err)
				}
				if err := os.MkdirAll(t.dir, 0o755); err != nil {
					return err
				}
				syncDir(t.dir) // not the dirt of the one before
				start := time.Now()
				err := tl.run(t)
				d := time.Since(start)
				if tl.clean != nil {
					tl.clean(t)
				}
				if err != nil {
					r.Failed = err.Error()
					break
				}
				r.times = append(r.times, d)
				r.cpus = append(r.cpus, t.cpu)
				r.PeakMiB = max(r.PeakMiB, t.peak/1024)
			}
			r.finish()
			rs = append(rs, r)
			fmt.Fprintf(os.Stderr, "%s: %+v\n", im.name, r)
		}
		table(im, rs)
		_ = exec.Command("rm", "-rf", filepath.Join(o.dir, "work")).Run()
	}
	return nil
}

type result struct {
	Tool    string
	Seconds float64
	CPU     float64 // seconds, user and system
	PeakMiB int64
	Failed  string `json:",omitempty"`
	times   []time.Duration
	cpus    []time.Duration
}

func (r *result) finish() {
	if len(r.times) == 0 {
		return
	}
	sort.Slice(r.times, func(i, j int) bool { return r.times[i] < r.times[j] })
	r.Seconds = r.times[len(r.times)/2].Seconds()
	sort.Slice(r.cpus, func(i, j int) bool { return r.cpus[i] < r.cpus[j] })
	r.CPU = r.cpus[len(r.cpus)/2].Seconds()
}

func table(im madeImage, rs []result) {
	fmt.Printf("\n%s (%d files, %d MB compressed, %d MB unpacked, %d layers)\n\n", im.name, im.files, im.packed>>20, im.bytes>>20, len(im.blobs))
	fmt.Println("| tool | seconds | of gcr pull | CPU seconds | peak MiB |\n| --- | ---: | ---: | ---: | ---: |")
	for _, r := range rs {
		if r.Failed != "" {
			fmt.Printf("| %s | failed: %.80s | | | |\n", r.Tool, strings.ReplaceAll(r.Failed, "\n", " "))
			continue
		}
		ratio := ""
		if rs[0].Seconds > 0 {
			ratio = fmt.Sprintf("%.2f", r.Seconds/rs[0].Seconds)
		}
		fmt.Printf("| %s | %.2f | %s | %.2f | %d |\n", r.Tool, r.Seconds, ratio, r.CPU, r.PeakMiB)
	}
}

func missing(names []string) string {
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			return n
		}
	}
	return ""
}

// serve starts a registry on loopback that keeps blobs in files.
func serve(dir string) (string, func(), error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)), ggcrregistry.WithBlobHandler(ggcrregistry.NewDiskBlobHandler(dir)))}
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), func() { s.Close(); os.RemoveAll(dir) }, nil
}

// containerd starts a containerd of its own; "" if it is not installed or does not start.
func containerd(dir string) (string, int, func()) {
	if missing([]string{"containerd", "ctr"}) != "" {
		return "", 0, func() {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", 0, func() {}
	}
	conf := filepath.Join(dir, "config.toml")
	text := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.devmapper\"]\n"
	_ = os.WriteFile(conf, []byte(text), 0o600)
	sock := filepath.Join(dir, "sock")
	c := exec.Command("containerd", "--config", conf, "--root", dir+"/root", "--state", dir+"/state", "--address", sock)
	if err := c.Start(); err != nil {
		return "", 0, func() {}
	}
	stop := func() { _ = c.Process.Signal(syscall.SIGTERM); _ = c.Wait(); os.RemoveAll(dir) }
	for range 100 {
		if exec.Command("ctr", "-a", sock, "version").Run() == nil {
			return sock, c.Process.Pid, stop
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	return "", 0, func() {}
}

func syncDir(p string) {
	if d, err := os.Open(p); err == nil {
		_ = unix.Syncfs(int(d.Fd()))
		d.Close()
	}
}
