// Command socketcall makes sockets as 32-bit x86 code can: through socketcall(2), whose arguments lie in memory, and
// through socket(2).
package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

const sysSocket = 359 // socket(2) on i386, Linux 4.3

func main() {
	const alg, seqpacket = 38, 5
	for _, c := range []struct {
		name   string
		family uintptr
		kind   uintptr
	}{{"AF_INET", syscall.AF_INET, syscall.SOCK_STREAM}, {"AF_ALG", alg, seqpacket}} {
		args := [3]uintptr{c.family, c.kind, 0}
		_, _, errno := syscall.RawSyscall(syscall.SYS_SOCKETCALL, 1, uintptr(unsafe.Pointer(&args)), 0)
		report("socketcall "+c.name, errno)
	}
	for _, c := range []struct {
		name   string
		family uintptr
		kind   uintptr
	}{{"AF_INET", syscall.AF_INET, syscall.SOCK_STREAM}, {"AF_ALG", alg, seqpacket}} {
		_, _, errno := syscall.RawSyscall(sysSocket, c.family, c.kind, 0)
		report("socket "+c.name, errno)
	}
}

func report(what string, errno syscall.Errno) {
	switch errno {
	case 0:
		fmt.Println(what + ": ok")
	case syscall.EPERM:
		fmt.Println(what + ": EPERM")
	case syscall.ENOSYS:
		fmt.Println(what + ": ENOSYS")
	default:
		// A family that this kernel does not have.
		fmt.Println(what+":", errno)
	}
}
