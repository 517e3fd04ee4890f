package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A cache is the directory that holds what is worth keeping: kernels, root images, package lists. Each thing
// in it is a directory whose name ends in a hash of the recipe it was made by, and which appears by a rename
// when it is complete. So a changed recipe makes a new one, and an interrupted bench leaves nothing half-made
// that a later one would use.
type cache struct {
	dir string
}

// openCache finds the cache, or makes an empty one.
func openCache() (*cache, error) {
	dir := os.Getenv("GCR_VM_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache directory: %w (set GCR_VM_CACHE)", err)
		}
		dir = filepath.Join(base, "gcr-vm")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &cache{dir}, nil
}

// entry returns the directory of the thing called name that is made by recipe, and calls make with a
// temporary directory to fill when it is not there yet.
func (c *cache) entry(name, recipe string, make func(dir string) error) (string, error) {
	sum := sha256.Sum256([]byte(recipe))
	final := filepath.Join(c.dir, name+"-"+hex.EncodeToString(sum[:6]))
	// One maker at a time for each entry, across processes; the lock goes away with its holder.
	lock, err := os.OpenFile(filepath.Join(c.dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	stale, _ := filepath.Glob(filepath.Join(c.dir, name+"-*"))
	half, _ := filepath.Glob(filepath.Join(c.dir, name+".new-*"))
	// A bench that still uses an old one has its files open.
	for _, old := range append(stale, half...) {
		if err := os.RemoveAll(old); err != nil {
			return "", err
		}
	}
	logf("making %s", name)
	temp, err := os.MkdirTemp(c.dir, name+".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return "", err
	}
	if err := make(temp); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	logf("made %s", name)
	return final, os.Rename(temp, final)
}

// runTool runs a program; when it fails the error carries the end of what it said.
func runTool(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(stdout.String())
		}
		if len(said) > 2000 {
			said = "…" + said[len(said)-2000:]
		}
		return "", fmt.Errorf("run %s %s: %w\n%s", name, strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// needTools makes sure that the host has the programs, installing their Debian packages when it may.
// Each entry of tools is "program=package".
func needTools(ctx context.Context, tools ...string) error {
	var missing []string
	for _, t := range tools {
		program, pkg, _ := strings.Cut(t, "=")
		if _, err := exec.LookPath(program); errors.Is(err, exec.ErrNotFound) {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("find the bench's tools: missing; run: sudo apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	logf("installing %s", strings.Join(missing, " "))
	if _, err := runTool(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err := runTool(ctx, "", "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
	return err
}
