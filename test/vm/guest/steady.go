package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steady makes a cgroup that stays for good, with a bit of everything that the kernel patches its own code for:
// static keys (jump labels) for the first cpuset, the first CPU quota and the first device filter. Without it they
// would change with each test's first group and last, and an emulated processor (qemu 7.2 at least) now and then
// still runs the breakpoint that the other processor has patched in meanwhile, on which the kernel panics
// ("int3: 0000").
func steady(layout string) error {
	const name = "steady"
	quota, value := "cpu.max", "1000000 1000000"
	dirs := map[string]string{"cpu": cgroupRoot, "cpuset": cgroupRoot}
	if layout != "v2" {
		quota, value = "cpu.cfs_quota_us", "1000000"
		dirs = map[string]string{"cpu": cgroupRoot + "/cpu", "cpuset": cgroupRoot + "/cpuset"}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dirs["cpu"], name, quota), []byte(value), 0); err != nil {
		return err
	}
	if layout != "v2" {
		return nil
	}
	return allowDevices(filepath.Join(cgroupRoot, name))
}

// firstConnection makes the kernel choose its secrets for the sequence numbers of TCP, after which it patches the
// choice out of its code. Nobody listens at the port, so that the errors tell nothing.
func firstConnection() {
	for family, to := range map[int]unix.Sockaddr{
		unix.AF_INET:  &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 1},
		unix.AF_INET6: &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 1},
	} {
		if fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			_ = unix.Connect(fd, to)
			unix.Close(fd)
		}
	}
}

// allowDevices attaches a device filter that allows everything (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).
func allowDevices(dir string) error {
	var code []byte
	for _, insn := range []uint64{0x1_0000_00b7, 0x95} { // r0 = 1; exit
		code = binary.NativeEndian.AppendUint64(code, insn)
	}
	license := []byte("GPL\x00")
	var pin runtime.Pinner // the kernel gets the addresses as numbers
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	defer pin.Unpin()
	load := struct {
		kind, count    uint32
		code, license  uint64
		logLevel, size uint32
		log            uint64
		version, flags uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code) / 8),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	prog, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		return fmt.Errorf("load a device filter: %w", errno)
	}
	defer unix.Close(int(prog))
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	attach := struct{ target, prog, kind, flags uint32 }{uint32(group.Fd()), uint32(prog), unix.BPF_CGROUP_DEVICE, 0}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach)), unsafe.Sizeof(attach)); errno != 0 {
		return fmt.Errorf("attach a device filter to %s: %w", dir, errno)
	}
	return nil
}
