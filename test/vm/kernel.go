package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// drivers are what a guest needs before it can mount its root file system; the rest comes from the modules
// disk, by modprobe.
var drivers = []string{"virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4"}

// leftOut are directories of modules that no container needs and that are most of the size.
var leftOut = []string{
	"sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/iio", "drivers/staging", "drivers/scsi",
	"drivers/usb", "drivers/hid", "drivers/net/ethernet", "drivers/net/wireless", "drivers/nvme", "drivers/target",
	"drivers/crypto", "drivers/hwmon", "drivers/mmc", "drivers/mtd", "drivers/input", "drivers/edac",
	"fs/smb", "fs/ocfs2", "fs/gfs2", "fs/ceph", "fs/nfsd", "fs/jfs", "fs/reiserfs", "net/rxrpc", "net/tipc",
}

// Files of a kernel's cache entry.
const (
	kernelFile  = "vmlinuz"
	driversFile = "drivers.cpio" // the part of the initial RAM file system that comes with the kernel
	modulesFile = "modules.ext4"
)

// makeKernel fills dir with the newest kernel that k.Meta stands for.
func makeKernel(ctx context.Context, k kernel, dir string) error {
	aptDir := filepath.Join(dir, "apt")
	apt, err := openArchive(ctx, aptDir, k.Arch, k.Suites)
	if err != nil {
		return err
	}
	pkg, err := newestKernel(ctx, apt, k)
	if err != nil {
		return err
	}
	logf("fetching %s", pkg)
	files := filepath.Join(dir, "files")
	if err := apt.unpack(ctx, pkg, files); err != nil {
		return err
	}
	images, _ := filepath.Glob(filepath.Join(files, "boot/vmlinuz-*"))
	trees, _ := filepath.Glob(filepath.Join(files, "lib/modules/*"))
	if len(images) != 1 || len(trees) != 1 {
		return fmt.Errorf("unpack %s: found %d kernels and %d module trees, want one of each", pkg, len(images), len(trees))
	}
	release := filepath.Base(trees[0])
	for _, sub := range leftOut {
		if err := os.RemoveAll(filepath.Join(trees[0], "kernel", sub)); err != nil {
			return err
		}
	}
	if _, err := runTool(ctx, "", "depmod", "-b", files, release); err != nil {
		return err
	}
	if err := packDrivers(ctx, trees[0], filepath.Join(dir, driversFile)); err != nil {
		return err
	}
	if err := makeImage(ctx, filepath.Join(files, "lib/modules"), filepath.Join(dir, modulesFile), 256); err != nil {
		return err
	}
	if err := os.Rename(images[0], filepath.Join(dir, kernelFile)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(files), os.RemoveAll(aptDir))
}

// newestKernel returns the package that the meta package depends on.
func newestKernel(ctx context.Context, apt *archive, k kernel) (string, error) {
	depends, err := apt.show(ctx, k.Meta, "Depends")
	if err != nil {
		return "", err
	}
	image := regexp.MustCompile(`\blinux-image-[^ ,]+`)
	// apt shows the newest version first, but prefers no suite: the first of the last suite's counts.
	for _, d := range depends {
		if pkg := image.FindString(d); pkg != "" {
			return pkg, nil
		}
	}
	return "", fmt.Errorf("find a kernel: %s depends on none", k.Meta)
}

// packDrivers writes the drivers, uncompressed, and their order of loading as an archive for the initial RAM
// file system.
func packDrivers(ctx context.Context, tree, name string) error {
	order, err := loadOrder(filepath.Join(tree, "modules.dep"), drivers)
	if err != nil {
		return err
	}
	w := newCPIO()
	for _, dir := range []string{"dev", "proc", "sys", "newroot", "modules"} {
		w.dir(dir)
	}
	var list []string
	for _, file := range order {
		base, text, err := readModule(ctx, filepath.Join(tree, file))
		if err != nil {
			return err
		}
		list = append(list, base)
		w.file("modules/"+base, 0o644, text)
	}
	w.file("modules/list", 0o644, []byte(strings.Join(list, "\n")+"\n"))
	return os.WriteFile(name, w.bytes(), 0o644)
}

// readModule returns a module's name and its content, decompressed.
func readModule(ctx context.Context, file string) (string, []byte, error) {
	tools := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
	base, tool := filepath.Base(file), tools[filepath.Ext(file)]
	if tool == "" {
		text, err := os.ReadFile(file)
		return base, text, err
	}
	text, err := runTool(ctx, "", tool, "-dc", file)
	return strings.TrimSuffix(base, filepath.Ext(base)), []byte(text), err
}

// loadOrder reads modules.dep, whose lines are "file: file…" with every dependency, the deepest last, and
// returns the files to load for the named modules, dependencies first. A module that is not there is built
// into the kernel.
func loadOrder(dep string, names []string) ([]string, error) {
	text, err := os.ReadFile(dep)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // module name -> its file and those it needs
	for line := range strings.Lines(string(text)) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		needs[strings.ReplaceAll(name, "-", "_")] = append([]string{file}, strings.Fields(rest)...)
	}
	// ext4 asks for a checksum by the name of an algorithm, which modules.dep does not show.
	names = append([]string{"crc32c_generic"}, names...)
	var order []string
	seen := map[string]bool{}
	for _, name := range names {
		files := needs[name]
		for i := len(files) - 1; i >= 0; i-- {
			if !seen[files[i]] {
				seen[files[i]] = true
				order = append(order, files[i])
			}
		}
	}
	return order, nil
}

// makeImage makes an ext4 image of a directory, sparse, with room for at least the given MiB more.
func makeImage(ctx context.Context, dir, name string, sizeMiB int) error {
	_, err := runTool(ctx, "", "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0",
		"-E", "lazy_itable_init=1,root_owner=0:0", "-d", dir, name, fmt.Sprintf("%dM", sizeMiB))
	return err
}
