// Package prefault takes the page faults of a short-lived Go program together. To be linked is enough:
//
//	import _ "gcr/internal/prefault"
//
// A program that lives for three milliseconds touches some four hundred pages for the first time. Each is an exception, a walk
// through the kernel's tables, and on many virtual machines an exit to the hypervisor: 0.5 µs at best, and more than 10 µs
// have been seen. madvise(2), MADV_POPULATE_READ and MADV_POPULATE_WRITE (Linux 5.14), maps as many pages as one likes in one call,
// at a tenth to a half of that for each.
//
// It is done when the package is initialized, before any other but the runtime's: packages that are ready are initialized
// in the order of their paths (go.dev/ref/spec, "Program initialization"), and this one imports nothing that would have to be
// ready first, not even package syscall.
//
// What is mapped is a guess, which the tools that count page faults (perf record -e page-faults -d) have led to, and only
// costs time where it is wrong. So nobody looks at the results of the calls.
package prefault

import "unsafe"

const (
	heapSize  = 512 << 10 // bytes; commands touch most of the pages, and of the next 512 KiB some
	pageSize  = 4096      // where pages are larger the calls may fail, and nothing is mapped early
	allocSize = 64 << 10

	populateRead  = 22 // MADV_POPULATE_READ, include/uapi/asm-generic/mman-common.h
	populateWrite = 23 // MADV_POPULATE_WRITE
)

// madvise is madvise(2). It returns the negative errno.
func madvise(addr, length, advice uintptr) int

// text is where the program's code begins and ends, as the linker has placed it.
func text() (start, end uintptr)

// first is on the heap because the variable is the package's.
var first *[64]byte

func init() {
	// The runtime takes the heap from one piece of address space, lowest first, so what comes next lies about here and
	// behind.
	first = new([64]byte)
	heap := uintptr(unsafe.Pointer(first)) &^ (allocSize - 1)
	madvise(heap, heapSize, populateWrite)

	// Of the code all parts are needed, and the kernel maps sixteen pages around each that is touched. What is not in
	// memory is read from disk at once, in place of piece by piece.
	start, end := text()
	start &^= pageSize - 1
	madvise(start, end-start, populateRead)
}
