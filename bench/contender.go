package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// contender is a program that is measured.
type contender struct {
	name   string
	path   string
	global []string // arguments before the command
	oci    bool     // takes the commands of an OCI runtime
	// once gives the command that makes and runs one container where there is no `run` of an OCI runtime.
	once func(id string, v variant) []string
}

// command is the argument list of a command of an OCI runtime.
func (c *contender) command(args ...string) []string {
	argv := make([]string, 0, 8)
	argv = append(argv, c.path)
	argv = append(argv, c.global...)
	return append(argv, args...)
}

// Names that the goals refer to.
const (
	nameGcrun  = "gcrun"
	nameCrun   = "crun"
	nameRunc   = "runc"
	nameFloor  = "floor"
	nameBwrap  = "bubblewrap"
	nameGcr    = "gcr run"
	namePodman = "podman run"
	nameDocker = "docker run"
)

// findContenders looks for the programs, and installs those that Debian has.
func (b *bench) findContenders(gcrun, gcr, floor string) error {
	if err := b.makeRootfs(); err != nil {
		return err
	}
	add := func(c *contender, err error) {
		if err != nil {
			b.skip(c.name, err)
			return
		}
		if c.oci {
			c.global = []string{"--root", filepath.Join(b.state, c.name)}
		}
		b.contenders = append(b.contenders, c)
	}
	self, err := filepath.Abs(gcrun)
	if err == nil {
		_, err = os.Stat(self)
	}
	if err != nil {
		return fmt.Errorf("find gcrun: %w; make builds it first", err)
	}
	add(&contender{name: nameGcrun, path: self, oci: true}, nil)

	path, err := b.buildFloor(floor)
	add(&contender{name: nameFloor, path: path, once: func(id string, v variant) []string {
		return b.floorCommand(path, id, v)
	}}, err)
	for _, peer := range []struct{ name, env, pkg string }{{nameCrun, "CRUN", "crun"}, {nameRunc, "RUNC", "runc"}, {"youki", "YOUKI", ""}} {
		path, err := find(peer.name, os.Getenv(peer.env), peer.pkg)
		if err != nil && peer.pkg == "" {
			continue // measured only where it is
		}
		add(&contender{name: peer.name, path: path, oci: true}, err)
	}
	bwrap, err := find("bwrap", "", "bubblewrap")
	add(&contender{name: nameBwrap, path: bwrap, once: func(_ string, v variant) []string { return b.bubblewrap(bwrap, v) }}, err)
	return b.findTools(gcr, add)
}

// bubblewrap is the nearest to the default bundle that bubblewrap can do: it has no cgroups, no device nodes
// beyond its own set, and no masked paths.
func (b *bench) bubblewrap(path string, v variant) []string {
	network := ""
	if v.name == hostNet.name {
		network = " --share-net"
	}
	return strings.Fields(path + " --unshare-all" + network + " --die-with-parent --ro-bind " + b.path("rootfs") +
		" / --proc /proc --dev /dev --tmpfs /dev/shm --mqueue /dev/mqueue --ro-bind /sys /sys --hostname gcr /bin/true")
}

// floorCommand is the floor's command line for a container.
func (b *bench) floorCommand(path, id string, v variant) []string {
	argv := []string{path}
	if v.name == hostNet.name {
		argv = append(argv, "-n")
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			argv = append(argv, "-b", strings.TrimSpace(set))
		}
	}
	argv = append(argv, b.path("rootfs"))
	return append(argv, b.groups.floorArgs(id)...)
}

// buildFloor compiles the floor.
func (b *bench) buildFloor(source string) (string, error) {
	if _, err := exec.LookPath("gcc"); err != nil {
		if err := install("gcc", "libc6-dev"); err != nil {
			return "", err
		}
	}
	out := b.path("floor")
	if msg, err := exec.Command("gcc", "-static", "-O2", "-o", out, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the floor: %w: %s", err, msg)
	}
	return out, nil
}

// find looks for a program: the one named, else the one in PATH, else the one of a Debian package.
func find(name, named, pkg string) (string, error) {
	if named != "" {
		return exec.LookPath(named)
	}
	path, err := exec.LookPath(name)
	if err == nil || pkg == "" {
		return path, err
	}
	if err := install(pkg); err != nil {
		return "", err
	}
	return exec.LookPath(name)
}

// install installs Debian packages.
func install(packages ...string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("it is missing, and so is apt-get to install it with")
	}
	fmt.Println("installing " + strings.Join(packages, ", "))
	_ = exec.Command("apt-get", "update").Run() // a list that is a little old does as well
	cmd := exec.Command("apt-get", append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w: %s", strings.Join(packages, ", "), err, out)
	}
	return nil
}

// with returns the contenders that the test holds for.
func (b *bench) with(test func(*contender) bool) []*contender {
	var out []*contender
	for _, c := range b.contenders {
		if test(c) {
			out = append(out, c)
		}
	}
	return out
}

func isOCI(c *contender) bool { return c.oci }

// runsBundle reports whether the contender runs what the default bundle says, or near to it.
func runsBundle(c *contender) bool { return c.oci || c.name == nameFloor || c.name == nameBwrap }

// knows reports whether the contender runs the variant: the floor and bubblewrap know two.
func (c *contender) knows(v variant) bool {
	switch c.name {
	case nameFloor, nameBwrap:
		return v.name == plain.name || v.name == hostNet.name
	}
	return true
}

func isTool(c *contender) bool {
	return c.name == nameGcr || c.name == namePodman || c.name == nameDocker
}
