package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// An image is all that a machine boots from.
type image struct {
	kernel  string // file
	initrd  []byte
	modules string // file
	root    string // file
}

// A preparation makes what machines need, each thing once and independent things at the same time.
type preparation struct {
	ctx     context.Context
	cache   *cache
	mu      sync.Mutex
	entries map[string]func() (string, error)
}

func newPreparation(ctx context.Context, c *cache) *preparation {
	return &preparation{ctx: ctx, cache: c, entries: map[string]func() (string, error){}}
}

// entry is (*cache).entry, run once for each name.
func (p *preparation) entry(name, recipe string, make func(dir string) error) (string, error) {
	p.mu.Lock()
	once := p.entries[name]
	if once == nil {
		once = sync.OnceValues(func() (string, error) { return p.cache.entry(name, recipe, make) })
		p.entries[name] = once
	}
	p.mu.Unlock()
	return once()
}

// image makes or finds what m boots from.
func (p *preparation) image(m machine) (image, error) {
	tools := []string{
		"mmdebstrap=mmdebstrap", "mke2fs=e2fsprogs", "depmod=kmod", "xz=xz-utils", "dpkg-deb=dpkg",
		emulators[m.Arch].program + "=" + emulators[m.Arch].pkg,
	}
	p.mu.Lock()
	err := needTools(p.ctx, tools...)
	p.mu.Unlock()
	if err != nil {
		return image{}, err
	}
	var kernelDir, rootDir string
	var guest []byte
	err = parallel(
		func() (err error) { kernelDir, err = p.kernel(m.Kernel); return },
		func() (err error) { rootDir, err = p.root(m.Arch); return },
		func() (err error) { guest, err = buildGuest(p.ctx, m.Arch); return },
	)
	if err != nil {
		return image{}, err
	}
	initrd, err := os.ReadFile(filepath.Join(kernelDir, driversFile))
	if err != nil {
		return image{}, err
	}
	init := newCPIO()
	init.file("init", 0o755, guest)
	return image{
		kernel:  filepath.Join(kernelDir, kernelFile),
		initrd:  append(initrd, init.bytes()...),
		modules: filepath.Join(kernelDir, modulesFile),
		root:    filepath.Join(rootDir, imageFile),
	}, nil
}

func (p *preparation) kernel(k kernel) (string, error) {
	recipe := fmt.Sprint("1 ", k, drivers, leftOut)
	return p.entry("kernel-"+k.Name, recipe, func(dir string) error { return makeKernel(p.ctx, k, dir) })
}

func (p *preparation) root(arch string) (string, error) {
	native, err := nativeArch()
	if err != nil {
		return "", err
	}
	etc := ""
	if arch != native {
		dir, err := p.root(native)
		if err != nil {
			return "", err
		}
		etc = filepath.Join(dir, etcFile)
	}
	return p.entry("root-"+arch, rootRecipe(arch), func(dir string) error { return makeRoot(p.ctx, arch, etc, dir) })
}

// nativeArch is Debian's name of the host's architecture.
func nativeArch() (string, error) {
	out, err := runTool(context.Background(), "", "go", "env", "GOHOSTARCH")
	if err != nil {
		return "", err
	}
	return string([]byte(out)[:len(out)-1]), nil
}

// buildGuest compiles the guest side of the bench.
func buildGuest(ctx context.Context, arch string) ([]byte, error) {
	temp, err := os.MkdirTemp("", "gcr-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	name := filepath.Join(temp, "guest")
	if err := goBuild(ctx, arch, "build", "-ldflags=-s -w", "-o", name, "gcr/test/vm/guest"); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

// goBuild runs the go command for an architecture, without cgo, so that the result runs on any root file
// system.
func goBuild(ctx context.Context, arch string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// parallel runs functions at the same time and returns the first of their errors, in their order.
func parallel(funcs ...func() error) error {
	errs := make([]error, len(funcs))
	var wg sync.WaitGroup
	for i, f := range funcs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
