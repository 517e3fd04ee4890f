package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file has the four bpf(2) calls that a device filter needs. The loader of a BPF library would probe
// kernel features and parse type information first, which costs more than starting the container.

// filterName tells our program from those of others.
const filterName = "gcr_devices"

// attach loads the filter and puts it in the place of the one that is there, in one step, or adds it to a
// group that has none (BPF_PROG_ATTACH with BPF_F_REPLACE, since Linux 5.6). The kernel drops it with the group.
func (f *DeviceFilter) attach(group *os.File) error {
	const field = resourcesField + "devices"
	fail := func(op string, err error) error {
		e := &Error{Op: op, Object: "the device filter", Field: field, Cause: err}
		if errors.Is(err, unix.EPERM) {
			e.Hint = "it needs CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) in the initial user namespace"
		}
		return e
	}
	// BPF_PROG_ATTACH wants a directory that is open for reading, which O_PATH is not.
	dir, err := openDir(int(group.Fd()), ".", unix.O_RDONLY)
	if err != nil {
		return fail("open the group for", err)
	}
	defer dir.Close()
	prog, err := f.load()
	if err != nil {
		return fail("load", err)
	}
	defer unix.Close(prog)
	old, err := attachedFilter(dir)
	if err != nil {
		return fail("look for", err)
	}
	attr := struct{ target, prog, kind, flags, replace uint32 }{
		uint32(dir.Fd()), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI, 0,
	}
	if old >= 0 {
		defer unix.Close(old)
		attr.flags |= unix.BPF_F_REPLACE
		attr.replace = uint32(old)
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fail("attach", err)
	}
	runtime.KeepAlive(dir)
	return nil
}

// load gives the program to the verifier and returns its descriptor.
func (f *DeviceFilter) load() (int, error) {
	code := f.program()
	license := []byte("Apache-2.0\x00")
	// union bpf_attr for BPF_PROG_LOAD, linux/bpf.h.
	attr := struct {
		kind, count                uint32
		insns, license             unsafe.Pointer
		logLevel, logSize          uint32
		log                        unsafe.Pointer
		version, flags             uint32
		name                       [16]byte
		ifindex, expectedAttachFor uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code) / 8),
		insns: unsafe.Pointer(unsafe.SliceData(code)), license: unsafe.Pointer(unsafe.SliceData(license)),
		expectedAttachFor: unix.BPF_CGROUP_DEVICE,
	}
	copy(attr.name[:], filterName)
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil && !errors.Is(err, unix.EPERM) {
		// Once more, to hear the verifier's reason.
		log := make([]byte, 64<<10)
		attr.logLevel, attr.logSize, attr.log = 1, uint32(len(log)), unsafe.Pointer(unsafe.SliceData(log))
		if fd, again := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); again == nil {
			return fd, nil
		}
		if text, _, _ := strings.Cut(string(log), "\x00"); text != "" {
			err = fmt.Errorf("%w: the verifier says: %s", err, strings.TrimSpace(text))
		}
	}
	return fd, err
}

// attachedFilter gives a descriptor of our device filter that is attached to the group itself, -1 if there
// is none. Others may be there too, of systemd for instance; all have to agree, so they are left alone.
func attachedFilter(dir *os.File) (int, error) {
	var ids [64]uint32 // BPF_CGROUP_MAX_PROGS
	attr := struct {
		target, kind, flags, attachFlags uint32
		ids                              unsafe.Pointer
		count                            uint32
		_                                uint32
	}{uint32(dir.Fd()), unix.BPF_CGROUP_DEVICE, 0, 0, unsafe.Pointer(&ids), uint32(len(ids)), 0}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return -1, err
	}
	for _, id := range ids[:min(int(attr.count), len(ids))] {
		byID := struct{ id, next, flags uint32 }{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID), unsafe.Sizeof(byID))
		if errors.Is(err, unix.ENOENT) {
			continue // gone since the query
		}
		if err != nil {
			return -1, err
		}
		name, err := programName(fd)
		if err == nil && name == filterName {
			return fd, nil
		}
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
	}
	return -1, nil
}

// programName asks for the name that a program was loaded with (struct bpf_prog_info, linux/bpf.h).
func programName(fd int) (string, error) {
	var info [128]byte
	attr := struct {
		fd, size uint32
		info     unsafe.Pointer
	}{uint32(fd), uint32(len(info)), unsafe.Pointer(&info)}
	if _, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return "", err
	}
	const at, size = 64, 16 // offset of name, BPF_OBJ_NAME_LEN
	return string(bytes.TrimRight(info[at:at+size], "\x00")), nil
}

// bpf is bpf(2). The descriptors it returns are close-on-exec.
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EAGAIN, unix.EINTR: // a signal came while the verifier ran
			continue
		}
		return -1, errno
	}
}
