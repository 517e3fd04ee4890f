package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Agent answers the system calls that a seccomp filter hands over (seccomp_unotify(2)).
type Agent struct {
	// Path is that of its socket, for listenerPath; it is longer than an address of unix(7) takes.
	Path string
	// States has a state for each listener that was received, Calls the number of each call that was answered.
	States chan specs.ContainerProcessState
	Calls  chan int32
	// PIDs has the process behind each pidfd that came with a listener.
	PIDs chan int
}

// The structures and requests of linux/seccomp.h.
type (
	seccompData struct {
		nr   int32
		arch uint32
		ip   uint64
		args [6]uint64
	}
	notification struct {
		id    uint64
		pid   uint32
		flags uint32
		data  seccompData
	}
	response struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

const (
	notifReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
)

// SeccompAgent starts an agent that lets every call fail with an error.
func SeccompAgent(t *testing.T, answer unix.Errno) *Agent {
	t.Helper()
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("long-", 24))
	if err := os.Symlink(dir, long); err != nil {
		t.Fatal(err)
	}
	a := &Agent{Path: filepath.Join(long, "agent.sock"), States: make(chan specs.ContainerProcessState, 8), Calls: make(chan int32, 64), PIDs: make(chan int, 64)}
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: filepath.Join(dir, "agent.sock")}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 8); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			if err != nil {
				return // the test has ended
			}
			a.receive(conn, answer)
			unix.Close(conn)
		}
	}()
	t.Cleanup(func() {
		_ = unix.Shutdown(l, unix.SHUT_RDWR)
		<-ended
		unix.Close(l)
	})
	return a
}

// receive takes a listener and answers in the background until nobody uses the filter any more.
func (a *Agent) receive(conn int, answer unix.Errno) {
	buf, oob := make([]byte, 1<<16), make([]byte, unix.CmsgSpace(4*4))
	n, on, _, _, err := unix.Recvmsg(conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return
	}
	var st specs.ContainerProcessState
	if err := json.Unmarshal(buf[:n], &st); err != nil {
		return
	}
	var fds []int
	messages, _ := unix.ParseSocketControlMessage(oob[:on])
	for i := range messages {
		more, _ := unix.ParseUnixRights(&messages[i])
		fds = append(fds, more...)
	}
	for i, name := range st.Fds {
		switch {
		case i >= len(fds):
		case name == specs.SeccompFdName:
			go a.answer(fds[i], answer)
		case name == "pidFd":
			info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fds[i])) // proc(5): Pid
			_, pid, _ := strings.Cut(string(info), "\nPid:")
			n, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(pid+"\n", "\n", 2)[0]))
			a.PIDs <- n
			unix.Close(fds[i])
		}
	}
	a.States <- st
}

func (a *Agent) answer(listener int, errno unix.Errno) {
	defer unix.Close(listener)
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return // POLLHUP: the last process with the filter is gone
		}
		var n notification
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifReceive, uintptr(unsafe.Pointer(&n))); e != 0 {
			continue
		}
		r := response{id: n.id, errno: -int32(errno)}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&r)))
		a.Calls <- n.data.nr
	}
}
