package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"gcr/test/vm/wire"
)

// A machine is one kind of VM.
type machine struct {
	Name   string
	Arch   string // Debian's name of the architecture
	Kernel kernel
	Init   string // see wire.Job
	Cgroup string // see wire.Job; empty under systemd, which mounts what Args say, or v2
	Args   string // more for the kernel's command line
}

// A place is where a suite can run: a machine and an identity on it. The host is a place without a machine.
type place struct {
	Name    string
	Machine string
	As      wire.Identity
	What    string
}

// A kernel is one of Debian's: the newest that a meta package of a suite stands for.
type kernel struct {
	Name   string
	Arch   string
	Suites []string // where the package and its dependencies are
	Meta   string
}

var (
	kernel612   = kernel{"6.12-amd64", "amd64", []string{"bookworm", "bookworm-backports"}, "linux-image-cloud-amd64"}
	kernel61    = kernel{"6.1-amd64", "amd64", []string{"bookworm"}, "linux-image-cloud-amd64"}
	kernelArm64 = kernel{"6.12-arm64", "arm64", []string{"bookworm", "bookworm-backports"}, "linux-image-cloud-arm64"}
)

var machines = []machine{
	{Name: "v2", Arch: "amd64", Kernel: kernel612, Init: "plain", Cgroup: "v2"},
	{Name: "systemd", Arch: "amd64", Kernel: kernel612, Init: "systemd"},
	// 6.1, since Debian's later kernels are built without memory and cpuset for v1.
	{Name: "systemd1", Arch: "amd64", Kernel: kernel61, Init: "systemd", Args: "systemd.unified_cgroup_hierarchy=0"},
	{Name: "v1", Arch: "amd64", Kernel: kernel61, Init: "plain", Cgroup: "v1"},
	{Name: "hybrid", Arch: "amd64", Kernel: kernel61, Init: "plain", Cgroup: "hybrid"},
	// Debian's kernels have SELinux and start AppArmor, and the two exclude each other.
	{Name: "selinux", Arch: "amd64", Kernel: kernel612, Init: "plain", Cgroup: "v2", Args: "security=selinux selinux=1"},
	{Name: "arm64", Arch: "arm64", Kernel: kernelArm64, Init: "plain", Cgroup: "v2"},
}

var places = []place{
	{"host", "", "", "this machine, as whoever runs the bench"},
	{"v2", "v2", wire.Root, "Linux 6.12, cgroup v2 with every controller, root"},
	{"user", "v2", wire.User, "the same, an ordinary user without a cgroup of its own"},
	{"systemd", "systemd", wire.Root, "systemd is the init, root in a service"},
	{"rootless", "systemd", wire.Manager, "an ordinary user's systemd manager, its cgroup delegated"},
	{"login", "systemd", wire.Login, "an ordinary user's login session, as after ssh"},
	{"systemd1", "systemd1", wire.Root, "Linux 6.1, systemd with cgroup v1 and v2 beside it, root in a service"},
	{"v1", "v1", wire.Root, "Linux 6.1, cgroup v1, root"},
	{"hybrid", "hybrid", wire.Root, "Linux 6.1, cgroup v1 with v2 beside it, root"},
	{"selinux", "selinux", wire.Root, "Linux 6.12 with SELinux in place of AppArmor, root"},
	{"arm64", "arm64", wire.Root, "Linux 6.12 on arm64, cgroup v2, root"},
}

func placeNamed(name string) (place, error) {
	i := slices.IndexFunc(places, func(p place) bool { return p.Name == name })
	if i < 0 {
		var names []string
		for _, p := range places {
			names = append(names, p.Name)
		}
		return place{}, fmt.Errorf("place %q: there is none; there are %s", name, strings.Join(names, ", "))
	}
	return places[i], nil
}

// placesNamed returns the places of a comma-separated list, or all for an empty one.
func placesNamed(list string) ([]place, error) {
	if list == "" {
		return places, nil
	}
	var wanted []place
	for name := range strings.SplitSeq(list, ",") {
		p, err := placeNamed(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, p)
	}
	return wanted, nil
}

// machinesOf returns the machines that the places need, each once.
func machinesOf(wanted []place) []machine {
	var needed []machine
	for _, m := range machines {
		if slices.ContainsFunc(wanted, func(p place) bool { return p.Machine == m.Name }) {
			needed = append(needed, m)
		}
	}
	return needed
}

func machineNamed(name string) machine {
	return machines[slices.IndexFunc(machines, func(m machine) bool { return m.Name == name })]
}

// listCommand prints the places and the suites.
func listCommand(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLACE\tWHAT IT IS")
	for _, p := range places {
		fmt.Fprintf(w, "%s\t%s\n", p.Name, p.What)
	}
	fmt.Fprintln(w, "\nSUITE\tRUNS AT")
	found, err := findSuites()
	if err != nil {
		return err
	}
	for _, s := range found {
		fmt.Fprintf(w, "%s\t%s\n", s.Package, strings.Join(s.At, " "))
	}
	return w.Flush()
}
