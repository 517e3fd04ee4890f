// Package seccomp turns an OCI seccomp profile into the BPF program that the kernel runs before each system call.
//
// It is a pure function from a value to a value: nothing here talks to the kernel.
//
//	profile := seccomp.Default([]string{"CAP_CHOWN"}, "amd64")
//	filter, err := seccomp.Compile(profile, seccomp.Native())
//	if err != nil { … }
//	// seccomp(SECCOMP_SET_MODE_FILTER, filter.Flags, &sock_fprog{len, filter.Program})
//
// The meaning of a profile is the one that runc gives it through libseccomp (see docs/seccomp.md): several rules
// for a call are alternatives, several conditions in a rule must all hold, an unconditional rule beats conditional
// ones, calls newer than every call that the profile names fail with ENOSYS, and calls made through an
// architecture that the profile does not list kill the thread.
//
// The passes, one file each:
//
//	profile.go   names and numbers checked; each entry of syscalls[] becomes rules with sorted conditions
//	lower.go     rules for one architecture, by system call number (socketcall and ipc multiplexing here)
//	order.go     which rule comes first when several match; rules that contradict each other
//	match.go     the rules of one call become 32-bit tests; tests whose answer is known are left out
//	ranges.go    the numbers become ranges with one target each (ENOSYS, x32, wrong architecture), then a search tree
//	layout.go    the graph becomes instructions; jumps longer than 255 are repaired
//
// Explain and Listing say in words what a profile and a program do.
package seccomp
