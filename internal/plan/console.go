package plan

import (
	"encoding/binary"
	"fmt"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (b *builder) console() error {
	if b.spec.Process.Terminal {
		own := b.has(specs.MountNamespace) && b.hasMount("/dev/pts") != nil
		if b.has(specs.MountNamespace) && !own {
			return fieldError("process.terminal", "plan terminal", "there is no devpts mounted on /dev/pts", "add a mount of type devpts on /dev/pts")
		}
		size := b.spec.Process.ConsoleSize
		b.add(console{own: own, size: size, uid: int64(b.spec.Process.User.UID)})
	}
	return nil
}

// console makes the container's terminal.
type console struct {
	own    bool // in the container's own devpts
	joined bool // the container is there already, and so is its /dev/console
	size   *specs.Box
	uid    int64
}

func (s console) Info() Info {
	return Info{
		What: "make a terminal", Field: "process.terminal", Man: "pty(7)",
		Why: "the container gets a pseudo-terminal of its own; the other end goes to the host side, which copies keys and output, so nothing inside can reach the caller's terminal",
	}
}

func (s console) Emit(e *emitter) {
	var master *program.Call
	if s.joined && s.own {
		e.root = e.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	}
	if s.own {
		master = e.Openat2(e.root, "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	} else {
		master = e.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	}
	zero := e.Bytes(make([]byte, 8), func() string { return "[0]" })
	e.Ioctl(master, unix.TIOCSPTLCK, "TIOCSPTLCK", zero)
	if s.size != nil {
		ws := binary.LittleEndian.AppendUint16(nil, uint16(s.size.Height))
		ws = binary.LittleEndian.AppendUint16(ws, uint16(s.size.Width))
		ws = append(ws, 0, 0, 0, 0)
		e.Ioctl(master, unix.TIOCSWINSZ, "TIOCSWINSZ", e.Bytes(ws, func() string { return fmt.Sprintf("{%d, %d}", s.size.Height, s.size.Width) }))
	}
	// The other end is opened through the first one, not by a name that could be exchanged (Linux 4.13).
	slave := e.Ioctl(master, unix.TIOCGPTPEER, "TIOCGPTPEER", program.Named(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY|O_CLOEXEC"))
	e.SendFD(program.Message{Kind: program.Console}, master)
	e.Close(master)
	if s.own && !s.joined {
		dev := e.dev
		if dev == nil {
			dev = e.Openat2(e.root, "/dev", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
		}
		e.Mknodat(dev, "console", unix.S_IFREG|0o600, 0).Ignore(unix.EEXIST)
		place := e.Openat2(dev, "console", unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		tree := e.Call(program.SysOpenTree, slave, e.String(""), program.Named(unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, "AT_EMPTY_PATH|OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC"))
		e.MoveMount(tree, place)
		e.Close(tree)
		e.Close(place)
	}
	e.Fchown(slave, s.uid, -1).Ignore(unix.EPERM, unix.EINVAL)
	e.Ioctl(slave, unix.TIOCSCTTY, "TIOCSCTTY", program.Num(0))
	for fd := range 3 {
		e.Dup3(slave, fd)
	}
	e.Close(slave)
}
func (s console) Shell() []string { return nil } // the script uses the terminal that it is run on
