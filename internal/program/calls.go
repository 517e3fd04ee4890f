package program

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// This file holds the calls about files and mounts; process.go those about the process itself. Each method
// records one system call; the section of its manual page and the kernel version that brought it stand at
// the method.

// Open records openat(AT_FDCWD, path), openat(2). Descriptors are opened close-on-exec whatever the flags say.
func (p *Program) Open(path string, flag int) *Call { return p.OpenAt(CWD, path, flag, 0) }

// OpenAt records openat(2).
func (p *Program) OpenAt(dir Ref, path string, flag int, mode uint32) *Call {
	return p.record(SysOpenat, dir.arg(), p.String(path), flags(uint64(flag|unix.O_CLOEXEC), &openFlags), octal(mode))
}

// OpenInRoot records openat2(2) with RESOLVE_IN_ROOT: the path, its symbolic links and ".." are resolved as if
// root were the root directory, so that nothing outside it can be reached (Linux 5.6).
func (p *Program) OpenInRoot(root Ref, path string, flag int) *Call {
	return p.Openat2(root, path, flag, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// Openat2 records openat2(2) with the given resolve flags (Linux 5.6).
func (p *Program) Openat2(dir Ref, path string, flag int, resolve uint64) *Call {
	how := make([]byte, 0, 24)
	how = binary.LittleEndian.AppendUint64(how, uint64(flag|unix.O_CLOEXEC))
	how = binary.LittleEndian.AppendUint64(how, 0)
	how = binary.LittleEndian.AppendUint64(how, resolve)
	show := func() string {
		return fmt.Sprintf("{%s, %s}", flagText(uint64(flag|unix.O_CLOEXEC), openFlags), flagText(resolve, resolveFlags))
	}
	if path == "" || path == "/" {
		path = "."
	}
	return p.record(SysOpenat2, dir.arg(), p.String(strings.TrimPrefix(path, "/")), p.Bytes(how, show), Num(24))
}

// Close records close(2).
func (p *Program) Close(fd Ref) *Call { return p.record(SysClose, fd.arg()) }

// CloseFrom records close_range(2) from first to the last descriptor; with onExec they close only when the
// program becomes another (CLOSE_RANGE_CLOEXEC, Linux 5.11).
func (p *Program) CloseFrom(first int, onExec bool) *Call {
	f := Arg{form: formText, text: "0"}
	if onExec {
		f = Named(unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC")
	}
	return p.record(SysCloseRange, Num(int64(first)), Named(0xffffffff, "~0U"), f)
}

// OpenTree records open_tree(2): a descriptor of a mount or, with OPEN_TREE_CLONE, of a detached copy of it
// (Linux 5.2).
func (p *Program) OpenTree(dir Ref, path string, flag uint) *Call {
	return p.record(SysOpenTree, dir.arg(), p.String(path), flags(uint64(flag|unix.OPEN_TREE_CLOEXEC), &openTreeFlags))
}

// Fsopen records fsopen(2): a context in which a file system is configured (Linux 5.2).
func (p *Program) Fsopen(fstype string) *Call {
	return p.record(SysFsopen, p.String(fstype), Named(unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"))
}

// FsconfigString records fsconfig(2), FSCONFIG_SET_STRING. The kernel takes values below 256 bytes.
func (p *Program) FsconfigString(fs Ref, key, value string) *Call {
	return p.record(SysFsconfig, fs.arg(), Named(unix.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING"), p.String(key), p.String(value), Num(0))
}

// FsconfigFlag records fsconfig(2), FSCONFIG_SET_FLAG.
func (p *Program) FsconfigFlag(fs Ref, key string) *Call {
	return p.record(SysFsconfig, fs.arg(), Named(unix.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG"), p.String(key), Named(0, "NULL"), Num(0))
}

// FsconfigCreate records fsconfig(2), FSCONFIG_CMD_CREATE: the file system comes into being.
func (p *Program) FsconfigCreate(fs Ref) *Call {
	return p.record(SysFsconfig, fs.arg(), Named(unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"), Named(0, "NULL"), Named(0, "NULL"), Num(0))
}

// Fspick records fspick(2): a context in which the file system of the mount behind a descriptor is configured anew
// (Linux 5.2).
func (p *Program) Fspick(mnt Ref) *Call {
	return p.record(SysFspick, mnt.arg(), p.String(""), Named(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH, "FSPICK_CLOEXEC|FSPICK_EMPTY_PATH"))
}

// FsconfigReconfigure records fsconfig(2), FSCONFIG_CMD_RECONFIGURE: the file system takes the new options.
func (p *Program) FsconfigReconfigure(fs Ref) *Call {
	return p.record(SysFsconfig, fs.arg(), Named(unix.FSCONFIG_CMD_RECONFIGURE, "FSCONFIG_CMD_RECONFIGURE"), Named(0, "NULL"), Named(0, "NULL"), Num(0))
}

// Fsmount records fsmount(2): a detached mount of the configured file system (Linux 5.2).
func (p *Program) Fsmount(fs Ref, attrs uint64) *Call {
	return p.record(SysFsmount, fs.arg(), Named(unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"), flags(attrs, &mountAttrs))
}

// MoveMount records move_mount(2) from one descriptor to another: the detached mount is attached there, and no
// path is looked up again (Linux 5.2).
func (p *Program) MoveMount(from, to Ref) *Call {
	return p.record(SysMoveMount, from.arg(), p.String(""), to.arg(), p.String(""), flags(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH, &moveMountFlags))
}

// MoveMountTo records move_mount(2) from a descriptor to a path of the host, such as the rootfs directory itself,
// which may be a symbolic link.
func (p *Program) MoveMountTo(from Ref, path string) *Call {
	return p.record(SysMoveMount, from.arg(), p.String(""), CWD, p.String(path), flags(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS, &moveMountFlags))
}

// MountAttr is struct mount_attr of mount_setattr(2).
type MountAttr struct {
	Set, Clear  uint64 // MOUNT_ATTR_*
	Propagation uint64 // MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE; 0 leaves it
}

// MountSetattr records mount_setattr(2) on the mount behind a descriptor, with all mounts below it when
// recursive (Linux 5.12).
func (p *Program) MountSetattr(mnt Ref, recursive bool, a MountAttr) *Call {
	return p.mountSetattr(mnt, "", unix.AT_EMPTY_PATH, recursive, a)
}

// MountSetattrPath records mount_setattr(2) on the mount at a path.
func (p *Program) MountSetattrPath(path string, recursive bool, a MountAttr) *Call {
	return p.mountSetattr(CWD, path, 0, recursive, a)
}

func atRecursive(flag uint64, recursive bool) Arg {
	if recursive {
		flag |= unix.AT_RECURSIVE
	}
	return flags(flag, &atFlags)
}

func (p *Program) mountSetattr(dir Ref, path string, at uint64, recursive bool, a MountAttr) *Call {
	b := make([]byte, 0, 32)
	for _, v := range []uint64{a.Set, a.Clear, a.Propagation, 0} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return p.record(SysMountSetattr, dir.arg(), p.String(path), atRecursive(at, recursive), p.Bytes(b, a.text), Num(32))
}

func (a MountAttr) text() string {
	var parts []string
	if a.Set != 0 {
		parts = append(parts, "set="+flagText(a.Set, mountAttrs))
	}
	if a.Clear != 0 {
		parts = append(parts, "clr="+flagText(a.Clear, mountAttrs))
	}
	if a.Propagation != 0 {
		parts = append(parts, "propagation="+flagText(a.Propagation, mountFlags))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// Mount records mount(2), for what the newer calls cannot express: an overlay with a list of lower
// directories that is longer than the 255 bytes that fsconfig(2) takes.
func (p *Program) Mount(source, target, fstype string, flag uint64, data string) *Call {
	return p.record(SysMount, p.String(source), p.String(target), p.String(fstype), flags(flag, &mountFlags), p.String(data))
}

// Umount records umount2(2).
func (p *Program) Umount(path string, flag int) *Call {
	return p.record(SysUmount2, p.String(path), flags(uint64(flag), &umountFlags))
}

// PivotRoot records pivot_root(".", "."): the working directory becomes the root of the mount namespace and the
// old root is stacked on top of it (pivot_root(2), section "Notes").
func (p *Program) PivotRoot() *Call {
	dot := p.String(".")
	return p.record(SysPivotRoot, dot, dot)
}

// Chroot records chroot(2) to the working directory.
func (p *Program) Chroot(path string) *Call { return p.record(SysChroot, p.String(path)) }

// Fchdir records fchdir(2).
func (p *Program) Fchdir(fd Ref) *Call { return p.record(SysFchdir, fd.arg()) }

// Chdir records chdir(2).
func (p *Program) Chdir(path string) *Call { return p.record(SysChdir, p.String(path)) }

// Mkdirat records mkdirat(2).
func (p *Program) Mkdirat(dir Ref, name string, mode uint32) *Call {
	return p.record(SysMkdirat, dir.arg(), p.String(name), octal(mode))
}

// Mknodat records mknodat(2); mode holds the type (S_IFCHR, ...) and the permissions.
func (p *Program) Mknodat(dir Ref, name string, mode uint32, dev uint64) *Call {
	return p.record(SysMknodat, dir.arg(), p.String(name), Arg{value: uint64(mode), form: formFunc, show: func() string { return modeText(mode) }},
		Arg{value: dev, form: formFunc, show: func() string { return fmt.Sprintf("makedev(%d, %d)", unix.Major(dev), unix.Minor(dev)) }})
}

func modeText(mode uint32) string {
	kind := map[uint32]string{unix.S_IFCHR: "S_IFCHR", unix.S_IFBLK: "S_IFBLK", unix.S_IFIFO: "S_IFIFO", unix.S_IFREG: "S_IFREG"}[mode&unix.S_IFMT]
	return fmt.Sprintf("%s|0%o", kind, mode&^unix.S_IFMT)
}

// Symlinkat records symlinkat(2).
func (p *Program) Symlinkat(target string, dir Ref, name string) *Call {
	return p.record(SysSymlinkat, p.String(target), dir.arg(), p.String(name))
}

// Fchown records fchown(2); -1 leaves an id as it is.
func (p *Program) Fchown(fd Ref, uid, gid int64) *Call {
	return p.record(SysFchown, fd.arg(), Num(uid), Num(gid))
}

// Fchownat records fchownat(2) without following a symbolic link.
func (p *Program) Fchownat(dir Ref, name string, uid, gid int64) *Call {
	return p.record(SysFchownat, dir.arg(), p.String(name), Num(uid), Num(gid), Named(unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"))
}

// Write records write(2) of constant bytes.
func (p *Program) Write(fd Ref, data string) *Call {
	return p.record(SysWrite, fd.arg(), p.quoted(data), Num(int64(len(data))))
}

// Statx records statx(2) on a descriptor. The buffer receives struct statx (256 bytes); stx_mode stands in its
// bytes 28 and 29, stx_rdev_major and stx_rdev_minor from byte 128 on.
func (p *Program) Statx(fd Ref, mask uint64) (*Call, Buffer) {
	b := p.Buffer(256)
	return p.record(SysStatx, fd.arg(), p.String(""), Named(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"), hex(mask), b.At(0)), b
}

// Executable records faccessat2(2): may the process, with its effective ids, execute the file (Linux 5.8)?
func (p *Program) Executable(path Ref) *Call {
	return p.record(SysFaccessat2, CWD, path.arg(), Named(unix.X_OK, "X_OK"), Named(unix.AT_EACCESS, "AT_EACCESS"))
}

// quoted is the address of bytes without a NUL at the end, shown as a string.
func (p *Program) quoted(data string) Arg {
	return Arg{kind: argROData, form: formQuoted, value: p.addBytes([]byte(data)), text: data}
}

func hex(v uint64) Arg { return Arg{value: v, form: formHex} }
