// Package rootfs makes a root file system directory from an image, without a store: the layers are unpacked one over
// the other as they come.
//
//	res, err := rootfs.Make(ctx, "ubuntu:latest", "rootfs/ubuntu", rootfs.Options{Client: client})
//
// Beside the directory, as NAME.json, lies the image's configuration, which gcr run reads for entrypoint,
// environment, working directory and user. The directory appears whole, by one rename, or not at all.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gcr/internal/image/fault"
	"gcr/internal/image/fetch"
	"gcr/internal/image/flock"
	"gcr/internal/image/manifest"
	"gcr/internal/image/progress"
	"gcr/internal/image/registry"
	"gcr/internal/image/source"
	"gcr/internal/image/stream"
	"gcr/internal/image/unpack"
	"gcr/internal/image/userns"
)

// Options for Make.
type Options struct {
	Client   *registry.Client
	Platform v1.Platform        // zero: that of this machine
	Force    bool               // replace a directory that is there
	Progress *progress.Reporter // nil: silent
}

// Result says what was made.
type Result struct {
	Config v1.Image
	Layers int
	Stats  unpack.Stats
	Owners string // how owners were kept, in words
}

// ConfigPath is where the configuration of the image in a root file system directory lies.
func ConfigPath(dir string) string { return filepath.Clean(dir) + ".json" }

// Make makes the directory output from an image that source.Open knows.
func Make(ctx context.Context, image, output string, o Options) (*Result, error) {
	r, err := makeRootfs(ctx, image, output, o)
	if err != nil {
		return nil, fault.New("make root file system", output, err)
	}
	return r, nil
}

func makeRootfs(ctx context.Context, image, output string, o Options) (*Result, error) {
	output, err := filepath.Abs(output)
	if err != nil {
		return nil, err
	}
	if output == "/" {
		return nil, errors.New("the root directory of this machine cannot be replaced")
	}
	w := &work{o: o, worker: userns.New(), parent: filepath.Dir(output), name: filepath.Base(output)}
	if err := w.refuse(); err != nil {
		return nil, err
	}
	if o.Platform.Architecture == "" {
		w.o.Platform = manifest.Host()
	}
	src, err := source.Open(ctx, image, source.Options{Client: o.Client})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	img, err := source.Image(ctx, src, w.o.Platform)
	if err != nil {
		return nil, err
	}
	if img.Config.OS != "" && img.Config.OS != "linux" {
		return nil, fmt.Errorf("image is for %s; only Linux images can be used", img.Config.OS)
	}
	if o.Platform.Architecture != "" && img.Config.Architecture != "" && manifest.Matches(img.Config.Platform, o.Platform) == 0 {
		return nil, fmt.Errorf("image is for %s and not for %s", manifest.PlatformString(img.Config.Platform), manifest.PlatformString(o.Platform))
	}
	return w.run(ctx, src, img)
}

type work struct {
	o      Options
	worker userns.Worker
	parent string
	name   string
	dir    *os.File // parent, open
	tmp    string   // name of the directory being made, in parent
}

func (w *work) output() string { return filepath.Join(w.parent, w.name) }

// refuse says no early, before anything is downloaded. The rename at the end says it again.
func (w *work) refuse() error {
	st, err := os.Lstat(w.output())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !st.IsDir():
		return errors.New("something that is not a directory is in the way")
	case !w.o.Force:
		return errors.New("it is there already; -force replaces it")
	}
	return nil
}

func (w *work) run(ctx context.Context, src source.Source, img *source.Resolved) (res *Result, err error) {
	if err := os.MkdirAll(w.parent, 0o755); err != nil {
		return nil, err
	}
	if w.dir, err = os.Open(w.parent); err != nil {
		return nil, err
	}
	defer w.dir.Close()
	w.clean(ctx)
	w.tmp = fmt.Sprintf(".%s.partial-%d", w.name, os.Getpid())
	if err := unix.Mkdirat(int(w.dir.Fd()), w.tmp, 0o700); err != nil {
		return nil, err
	}
	// The lock on the directory tells a later run that this one is alive.
	lock, err := lockDir(filepath.Join(w.parent, w.tmp))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	defer func() {
		if e := w.worker.Remove(context.WithoutCancel(ctx), w.dir, w.tmp); e != nil && err == nil {
			err = e
		}
	}()
	dirfd, err := openFresh(lock, "fs")
	if err != nil {
		return nil, err
	}
	defer dirfd.Close()
	res = &Result{Config: img.Config, Layers: len(img.Manifest.Layers), Owners: w.worker.String()}
	if err := w.layers(ctx, src, img, dirfd, lock, res); err != nil {
		return nil, err
	}
	if err := unix.Syncfs(int(w.dir.Fd())); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := w.writeConfig(img.RawConf); err != nil {
		return nil, err
	}
	return res, w.show(int(lock.Fd()))
}

// show puts the finished directory in its place with one rename. What it replaces goes away with the temporary one.
func (w *work) show(tmp int) error {
	// Moving a directory writes its "..", for which its owner needs write permission (rename(2), EACCES).
	if os.Geteuid() != 0 {
		var st unix.Stat_t
		if err := unix.Fstatat(tmp, "fs", &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if mode := st.Mode & 0o7777; mode&0o200 == 0 {
			if err := unix.Fchmodat(tmp, "fs", mode|0o200, 0); err != nil {
				return err
			}
			defer func() { _ = unix.Fchmodat(int(w.dir.Fd()), w.name, mode, 0) }()
		}
	}
	err := unix.Renameat2(tmp, "fs", int(w.dir.Fd()), w.name, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST && w.o.Force {
		if os.Geteuid() != 0 {
			// The old directory moves, too. It may be somebody else's; then the exchange says so.
			w.openUp()
		}
		err = unix.Renameat2(tmp, "fs", int(w.dir.Fd()), w.name, unix.RENAME_EXCHANGE)
	}
	if err == unix.EEXIST {
		return errors.New("it was made by someone else in the meantime; -force replaces it")
	}
	return err
}

// openUp gives the owner of the directory to be replaced write permission on it, never through a symlink.
func (w *work) openUp() {
	fd, err := unix.Openat(int(w.dir.Fd()), w.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o700)
}

func (w *work) writeConfig(raw []byte) error {
	f, err := os.CreateTemp(w.parent, "."+w.name+".json-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), ConfigPath(w.output()))
	}
	return err
}

// clean removes what killed runs for the same output have left.
func (w *work) clean(ctx context.Context) {
	es, _ := os.ReadDir(w.parent)
	for _, e := range es {
		if !strings.HasPrefix(e.Name(), "."+w.name+".partial-") {
			continue
		}
		l, err := lockDir(filepath.Join(w.parent, e.Name()))
		if err != nil {
			continue // alive, or not ours
		}
		_ = w.worker.Remove(ctx, w.dir, e.Name())
		l.Close()
	}
}

func lockDir(p string) (*os.File, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, flock.ErrBusy
	}
	return f, nil
}

func openFresh(dir *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o755); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	// Whatever the umask: a root that the image does not mention must let every user of the container in.
	if err := f.Chmod(0o755); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// layers unpacks one layer after the other, while the next ones are already being downloaded.
func (w *work) layers(ctx context.Context, src source.Source, img *source.Resolved, dir, tmp *os.File, res *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	set := w.o.Client.Settings()
	tree, err := w.worker.Tree(dir, unpack.Options{
		Form: unpack.Applied, Limits: unpack.Limits{Bytes: set.Limits.LayerBytes, Entries: set.Limits.LayerEntries},
	})
	if err != nil {
		return err
	}
	ls := img.Manifest.Layers
	spools := make([]*spooled, len(ls))
	defer func() {
		cancel()
		for _, s := range spools {
			s.end()
		}
	}()
	for i := range ls {
		for n := i; n < min(i+set.Parallel, len(ls)); n++ {
			if spools[n] == nil {
				if spools[n], err = w.fetch(ctx, src, ls[n], tmp); err != nil {
					tree.Abandon()
					return err
				}
			}
		}
		st, err := w.layer(ctx, tree, spools[i], string(img.Config.RootFS.DiffIDs[i]))
		if err != nil {
			tree.Abandon()
			return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(ls), ls[i].Digest, err)
		}
		spools[i].bar.Done("done")
		spools[i].end()
		res.Stats.Entries += st.Entries
		res.Stats.Bytes += st.Bytes
		res.Stats.Dropped += st.Dropped
		res.Stats.Recorded += st.Recorded
	}
	return tree.Close()
}

type spooled struct {
	f   *os.File
	sp  *fetch.Spool
	bar *progress.Bar
}

func (s *spooled) end() {
	if s != nil {
		s.bar.Fail()
		_ = s.sp.Wait()
		s.f.Close()
	}
}

func (w *work) fetch(ctx context.Context, src source.Source, d v1.Descriptor, tmp *os.File) (*spooled, error) {
	// A file without a name: it goes away with this process.
	name := "blob"
	fd, err := unix.Openat(int(tmp.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Unlinkat(int(tmp.Fd()), name, 0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &spooled{f: os.NewFile(uintptr(fd), "download"), bar: w.o.Progress.Bar(d.Digest.Encoded()[:12], d.Size)}
	pause, tries := w.o.Client.Backoff()
	s.sp = fetch.Start(ctx, s.f, d, fetch.Source{
		Open:  func(ctx context.Context, off int64) (io.ReadCloser, error) { return src.Blob(ctx, d, off) },
		Retry: func(err error) (bool, time.Duration) { return src.Retry(err) }, Backoff: pause, Tries: tries, Progress: s.bar.Add,
	})
	return s, nil
}

func (w *work) layer(ctx context.Context, tree userns.Tree, s *spooled, diffID string) (unpack.Stats, error) {
	l, err := stream.Open(s.sp.Reader())
	if err != nil {
		return unpack.Stats{}, preferred(s.sp, err)
	}
	defer l.Close()
	st, err := tree.Layer(ctx, l)
	if err == nil {
		_, err = io.Copy(io.Discard, l)
	}
	if err != nil {
		return st, preferred(s.sp, err)
	}
	if err := s.sp.Wait(); err != nil {
		return st, err
	}
	if got, _ := l.Sum(); string(got) != diffID {
		return st, fmt.Errorf("uncompressed content does not match the diff ID in the image configuration: want %s, got %s", diffID, got)
	}
	return st, nil
}

// preferred gives the error of the transfer where there is one: what cannot be unpacked may be other bytes than were
// asked for.
func preferred(sp *fetch.Spool, err error) error {
	if sp.Remaining() > 32<<20 {
		return err
	}
	if e := sp.Wait(); e != nil {
		return e
	}
	return err
}
