package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gcr/test/vm/debian"
	"gcr/test/vm/wire"
)

// release is the Debian release of the guests.
const release = "bookworm"

// packages are what the guests have beside Debian's essential ones; what a suite needs goes here.
var packages = []string{
	// A system with sessions.
	"systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "kmod", "procps",
	// Subordinate ids, and what tests look at or work with.
	"uidmap", "iproute2", "nftables", "acl", "attr", "e2fsprogs", "strace", "fuse-overlayfs", "apparmor",
	// Networks: the firewalls of others, and what carries packets without root.
	"iptables", "passt", "slirp4netns",
	// Podman, what it calls as the first process of a container, and terminals for it.
	"podman", "conmon", "catatonit", "bsdutils",
	// Checkpoint and restore.
	"criu",
	// One static program makes a whole root file system for a container.
	"busybox-static",
}

const (
	imageFile = "root.ext4"
	etcFile   = "etc.tar" // the configuration that the packages' scripts made
	imageSize = 3 << 10   // MiB; sparse
)

// rootRecipe is what a root image depends on.
func rootRecipe(arch string) string {
	return fmt.Sprint("3 ", release, arch, packages, wire.UserName, wire.UserID)
}

// makeRoot fills dir with a root image. Packages of a foreign architecture can only be unpacked, since their
// scripts do not run here; what the scripts would have made is taken from nativeEtc, the etcFile of the host's
// own architecture.
func makeRoot(ctx context.Context, arch, nativeEtc, dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("build a root file system: only root can own its files; run this command once with sudo (with GCR_VM_CACHE naming your cache)")
	}
	root := filepath.Join(dir, "root")
	args := []string{
		"--quiet", "--mode=root", "--architectures=" + arch, "--include=" + strings.Join(packages, ","),
		`--aptopt=Acquire::Languages "none"`, `--aptopt=APT::Install-Recommends "false"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/info/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
	}
	if nativeEtc == "" {
		args = append(args, "--variant=essential")
	} else {
		args = append(args, "--variant=extract", "--include=?essential", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main", keyring, debian.Mirror("/etc/apt"), release)
	if _, err := runTool(ctx, dir, "mmdebstrap", append(args, release, root, source)...); err != nil {
		return err
	}
	if nativeEtc == "" {
		if err := packEtc(ctx, root, filepath.Join(dir, etcFile)); err != nil {
			return err
		}
	} else if _, err := runTool(ctx, root, "tar", "-xpf", nativeEtc, "--keep-directory-symlink", "--exclude=etc/ld.so.cache"); err != nil {
		return err
	}
	if err := configure(root); err != nil {
		return err
	}
	if err := makeImage(ctx, root, filepath.Join(dir, imageFile), imageSize); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// packEtc keeps /etc and the symbolic links that update-alternatives and the like made in /usr.
func packEtc(ctx context.Context, root, name string) error {
	list := []string{"etc"}
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type() == fs.ModeSymlink {
				list = append(list, filepath.Join(dir, e.Name()))
			}
		}
	}
	_, err := runTool(ctx, root, "tar", append([]string{"-cpf", name}, list...)...)
	return err
}

// configure makes the machine's identity and its ordinary user.
func configure(root string) error {
	write := func(name, text string) error {
		return os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	add := func(name, line string) error {
		f, err := os.OpenFile(filepath.Join(root, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(line + "\n")
		return errors.Join(err, f.Close())
	}
	user, id := wire.UserName, wire.UserID
	home := filepath.Join(root, "home", user)
	return errors.Join(
		write("etc/hostname", "vm\n"),
		write("etc/hosts", "127.0.0.1 localhost vm\n::1 localhost\n"),
		write("etc/fstab", ""),
		write("etc/machine-id", "5d0f6f4e1f5c4d7e8b4c6f2a9e3d1b70\n"),
		add("etc/passwd", fmt.Sprintf("%s:x:%d:%d::/home/%s:/bin/bash", user, id, id, user)),
		add("etc/group", fmt.Sprintf("%s:x:%d:", user, id)),
		add("etc/shadow", user+":*:20000:0:99999:7:::"),
		add("etc/subuid", user+":100000:65536"),
		add("etc/subgid", user+":100000:65536"),
		os.MkdirAll(home, 0o755),
		os.Chown(home, id, id),
	)
}
