package cgroup

import "unsafe"

// ptr points into a kernel structure at an offset in bytes.
func ptr[T any](p *T, offset uintptr) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(p), offset) }
