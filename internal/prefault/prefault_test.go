package prefault

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapped counts the pages of a piece of memory that the process has mapped (proc_pid_pagemap(5), bit 63).
func mapped(t *testing.T, start, length uintptr) (n, of int) {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := uintptr(os.Getpagesize())
	entries := make([]byte, length/page*8)
	if _, err := f.ReadAt(entries, int64(start/page*8)); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(entries); i += 8 {
		of++
		if binary.NativeEndian.Uint64(entries[i:])>>63 == 1 {
			n++
		}
	}
	return n, of
}

// All of the code and what comes after the first object of the heap is there, though nothing has used most of it.
func TestPagesAreThere(t *testing.T) {
	start, end := text()
	start &^= pageSize - 1
	if n, of := mapped(t, start, end-start); n < of {
		t.Errorf("%d of %d pages of the code are mapped", n, of)
	}
	heap := uintptr(unsafe.Pointer(first)) &^ (allocSize - 1)
	// The heap is mapped in pieces of 4 MiB, and the next one is not there yet.
	length := min(heapSize, (heap|(4<<20-1))+1-heap)
	if n, of := mapped(t, heap, length); n < of {
		t.Errorf("%d of %d pages of the heap are mapped", n, of)
	}
}

// The calls do what the kernel's manual says, and a wrong guess does no harm.
func TestMadvise(t *testing.T) {
	const length = 64 << 10
	m, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	at := uintptr(unsafe.Pointer(&m[0]))
	if n, _ := mapped(t, at, length); n != 0 {
		t.Fatalf("%d pages are mapped before", n)
	}
	if r := madvise(at, length, populateWrite); r != 0 {
		t.Fatalf("madvise: %v", unix.Errno(-r))
	}
	if n, of := mapped(t, at, length); n != of {
		t.Errorf("%d of %d pages are mapped", n, of)
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	if r := madvise(at, length, populateWrite); r != -int(unix.ENOMEM) {
		t.Errorf("madvise of nothing: %v", unix.Errno(-r))
	}
}
