package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// What the tools of a person run: the same root filesystem as a directory and as an image, without a network and with
// the one that a container gets when nothing is said.
var (
	rootNone     = variant{name: "root filesystem, no network"}
	rootNetwork  = variant{name: "root filesystem, default network"}
	imageNone    = variant{name: "image, no network", image: true}
	imageNetwork = variant{name: "image, default network", image: true}
)

// withArticle is the variant's name in a sentence.
func (v variant) withArticle() string {
	if v.image {
		return "an " + v.name
	}
	return "a " + v.name
}

// imageName is the name of the image in the stores of the tools.
const imageName = "localhost/gcr-bench:latest"

// podman is kept apart from what else Podman has on this machine: its store, its records, its networks' addresses.
func (b *bench) podman(path string) []string {
	return []string{path, "--root", b.path("podman"), "--runroot", filepath.Join(b.state, "podman")}
}

// findTools looks for the tools of a person: gcr, podman, docker.
func (b *bench) findTools(gcr string, add func(*contender, error)) error {
	if gcr == "" {
		return nil
	}
	path, err := filepath.Abs(gcr)
	if err == nil {
		_, err = os.Stat(path)
	}
	// The images of the benchmark stay out of the caller's store.
	if err := os.Setenv("GCR_IMAGES", b.path("images")); err != nil {
		return err
	}
	add(&contender{name: nameGcr, path: path, once: func(_ string, v variant) []string {
		root := b.path("rootfs")
		if v.image {
			root = imageName
		}
		return append(append([]string{path, "run"}, network(v)...), root, "/bin/true")
	}}, err)
	podman, err := find("podman", "", "podman")
	add(&contender{name: namePodman, path: podman, once: func(_ string, v variant) []string {
		argv := append(b.podman(podman), "run", "--rm", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
		argv = append(argv, network(v)...)
		if v.image {
			return append(argv, imageName, "/bin/true")
		}
		return append(argv, "--rootfs", b.path("rootfs"), "/bin/true")
	}}, err)
	if docker, err := exec.LookPath("docker"); err == nil && exec.Command(docker, "version").Run() == nil {
		add(&contender{name: nameDocker, path: docker, once: func(_ string, v variant) []string {
			return append(append([]string{docker, "run", "--rm"}, network(v)...), imageName, "/bin/true")
		}}, nil)
	}
	return nil
}

func network(v variant) []string {
	if v.name == rootNone.name || v.name == imageNone.name {
		return []string{"--network=none"}
	}
	return nil
}

// importImage makes an image of the root filesystem in the store of each tool.
func (b *bench) importImage() error {
	archive := b.path("rootfs.tar")
	if msg, err := exec.Command("tar", "-C", b.path("rootfs"), "-cf", archive, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("make an image: %w: %s", err, msg)
	}
	for _, c := range b.with(isTool) {
		argv := []string{c.path, "import", archive, imageName}
		if c.name == namePodman {
			argv = append(b.podman(c.path), argv[1:]...)
		}
		if msg, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("make an image for %s: %w: %s", c.name, err, msg)
		}
	}
	return nil
}

// tools measures the tools of a person.
func (b *bench) tools() {
	if len(b.with(isTool)) == 0 {
		return
	}
	if err := b.importImage(); err != nil {
		b.skip("run of an image", err)
	}
	for _, v := range []variant{rootNone, rootNetwork, imageNone, imageNetwork} {
		b.measure(actTool, v, warm, b.samples(25))
	}
	b.many(100, 16, rootNetwork)
	b.many(100, 16, imageNetwork)
}

// many measures how long it takes to run n containers, some of them at a time. Docker has images alone.
func (b *bench) many(n, atATime int, v variant) {
	name := fmt.Sprintf("%d runs of %s, %d at a time", n, v.withArticle(), atATime)
	if !b.wants(name) {
		return
	}
	who := b.with(func(c *contender) bool { return isTool(c) && (c.name != nameDocker || v.image) })
	r := b.newResult(name, milliseconds, who)
	failed := map[string]bool{}
	for round := range min(3, b.samples(3)) {
		for i := range who {
			c := who[(i+round)%len(who)]
			if failed[c.name] {
				continue
			}
			u, err := b.batch(actTool, c, v, atATime, n)
			if err != nil {
				b.skip(name+" of "+c.name, err)
				failed[c.name] = true
				continue
			}
			r.addUsage(c.name, u, 1)
		}
	}
	r.print()
}
