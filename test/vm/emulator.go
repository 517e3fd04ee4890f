package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
)

// An emulator is qemu for one architecture.
type emulator struct {
	program, pkg string
	machine      []string
	console      string
}

var emulators = map[string]emulator{
	// qboot instead of a full BIOS: seconds less under emulation.
	"amd64": {"qemu-system-x86_64", "qemu-system-x86", []string{"-machine", "q35", "-bios", "qboot.rom"}, "ttyS0"},
	"arm64": {"qemu-system-aarch64", "qemu-system-arm", []string{"-machine", "virt,gic-version=3"}, "ttyAMA0"},
}

const (
	guestCPUs   = 2    // as the smallest runners have; cpusets need two
	guestMemory = 2048 // MiB
)

// commandLine returns qemu's arguments to boot img with the files of dir: "initrd", "input" (a raw disk),
// "console" (a log), "events" (the socket the host listens on).
func (m machine) commandLine(img image, dir string) ([]string, error) {
	e := emulators[m.Arch]
	accel, cpu, kernelArgs, err := m.acceleration()
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	args := []string{e.program}
	args = append(args, e.machine...)
	args = append(args,
		"-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(guestCPUs), "-m", strconv.Itoa(guestMemory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", img.kernel, "-initrd", file("initrd"),
		// panic=-1 with -no-reboot: a guest that panics ends at once.
		"-append", "console="+e.console+" quiet panic=-1 mitigations=off random.trust_cpu=on"+
			" systemd.show_status=0 systemd.condition-needs-update=0 "+m.Args+kernelArgs,
		"-serial", "file:"+file("console"),
		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=events,path="+file("events"),
		"-device", "virtserialport,chardev=events,name=org.gcr.events",
	)
	for _, d := range []struct{ serial, file, option string }{
		{"root", img.root, "snapshot=on"}, // what a guest writes goes to a nameless file
		{"modules", img.modules, "readonly=on"},
		{"input", file("input"), "readonly=on"},
	} {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=%s,file=%s,format=raw,%s", d.serial, d.file, d.option),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%s", d.serial, d.serial))
	}
	return args, nil
}

// acceleration returns the values of -accel and -cpu and what they need on the kernel's command line.
func (m machine) acceleration() (accel, cpu, kernelArgs string, err error) {
	if m.Arch == runtime.GOARCH && virtualizes() {
		return "kvm", "host", "", nil
	}
	// Emulated clocks drift and emulated timers are late: do not let the kernel conclude anything from it.
	kernelArgs = " nokaslr no_timer_check tsc=reliable"
	if m.Arch == "arm64" {
		// The architected pointer authentication is costly to emulate.
		return "tcg,thread=multi", "max,pauth-impdef=on", kernelArgs, nil
	}
	cpu = "max"
	version, err := exec.Command(emulators[m.Arch].program, "--version").Output()
	if err != nil {
		return "", "", "", fmt.Errorf("ask for qemu's version: %w", err)
	}
	if n := regexp.MustCompile(`version (\d+)\.`).FindSubmatch(version); n != nil {
		if major, _ := strconv.Atoi(string(n[1])); major < 8 {
			// Their cmpxchg16b corrupts flags, on which Linux 6.12 panics in half of the boots.
			cpu = "max,-cx16"
		}
	}
	return "tcg,thread=multi", cpu, kernelArgs, nil
}

// virtualizes says whether the host's processor can run a guest. A host may have /dev/kvm without.
func virtualizes() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	if runtime.GOARCH != "amd64" {
		return true
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	return regexp.MustCompile(`\b(vmx|svm)\b`).Match(info)
}
