// Package program records a short list of system calls and compiles it to a static ELF file of a few KiB.
//
// The program is what a container's first process runs from the moment it exists until it becomes the user's
// command: it mounts, pivots, drops privileges and ends with execve. It never allocates, never touches a
// stack, and every jump but those of an explicit [Program.Forever] leads forward, so it always ends.
//
// A program is recorded like ordinary system-call code:
//
//	p := program.New(3)                                 // errors are reported on descriptor 3
//	root := p.OpenTree(program.CWD, "/srv/rootfs", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
//	dst := p.OpenInRoot(root, "proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
//	fs := p.Fsopen("proc")
//	p.FsconfigCreate(fs)
//	mnt := p.Fsmount(fs, unix.MOUNT_ATTR_NOSUID)
//	p.MoveMount(mnt, dst)
//	p.Umount(".", unix.MNT_DETACH).Ignore(unix.EINVAL)
//	p.Execve([]string{"/bin/sh"}, env)
//	image, err := p.Compile(program.Native)             // ELF bytes, ready for a memfd
//
// The result of a call is a value that later calls may take as an argument. A call that fails stops the
// program with a report (see [Message]), unless the call says otherwise with [Call.Ignore] or
// [Call.OnError].
//
// Recording is pure: it makes no system call, so plans can be printed, compared and tested anywhere. The
// package emits code for amd64 and arm64.
package program
