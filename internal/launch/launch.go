// Package launch runs a plan: it does what the plan's host side says, starts the container's first process
// with clone3 and listens to it until the user's command has taken over.
//
//	process, err := launch.Start(p, launch.Options{Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}})
//	if err != nil {
//		return err // names the step, the field of the configuration and the cause
//	}
//	status, err := process.Wait()
//
// When something fails, what was made is taken away again; when gcr itself is killed, the first process ends
// with it, because its socket to the host side does.
package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gcr/internal/clone"
	"gcr/internal/plan"
	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// Options says what a plan does not: the open files and the people who watch.
type Options struct {
	// Stdio become descriptors 0, 1 and 2 of the container, unless it has a terminal.
	Stdio [3]*os.File
	// MakeCgroup makes the container's cgroup when the plan has one, in a goroutine of its own. It may call born as soon as
	// the process can be born into the v2 directory dir, and if it fails after that, it calls end before it takes the
	// directory away (see cgroup.Plan.CreateAround).
	MakeCgroup func(born func(dir int) (end func())) (Cgroup, error)
	// Input is what the plan was made from.
	Host  plan.Host
	State string
	Files []plan.File

	// OnHost is called before each step of the host side. An error ends the start.
	OnHost func(n int, s plan.HostStep) error
	// OnStep is called when the program begins a step, with the time of CLOCK_MONOTONIC; when the plan has
	// stops, the program waits until it returns. An error ends the container.
	OnStep func(n int, at time.Duration, pidfd int) error
	// OnPID is called with the process id that the first process sees.
	OnPID func(pid int)
	// Target is a pidfd of the process whose namespaces a plan of plan.NewExec joins.
	Target *os.File
	// Listener is the socket on which a created container waits to be started.
	Listener *os.File
	// Resctrl is the "tasks" file of the resctrl group to enter.
	Resctrl *os.File
	// OnHooks is called when the program waits for the hooks that come before the change of the root, with the
	// process id of the container.
	OnHooks func(pid int, pidfd *os.File) error
	// MoveDevices moves the network devices of the configuration into the container's network namespace, which may
	// be kept open. It is called when the program waits for them.
	MoveDevices func(netns *os.File) error
	// OnClone is called when the first process exists, with its process id and the inode of its program, while it sets
	// itself up. After it a program that waits for nothing else is told to go on, so that OnReady is called beside the
	// user's command. Where the program waits more than once it is not called. An error ends the start. It may be nil.
	OnClone func(pid int, image uint64) error
	// OnReady is called, when the plan waits, after everything is set up and before the program goes on.
	OnReady func(pid int) error
	// OnNotify is called with the listener of a seccomp filter that hands system calls to an agent.
	OnNotify func(pid int, listener *os.File) error
	// OnConsole is called with the master of the container's terminal, which then belongs to the callee.
	OnConsole func(master *os.File) error
	// SetUpNetwork connects the container when the plan has a network. It is called as soon as the first process
	// exists, with its process id and its network namespace, and runs beside the program. An error ends the start.
	SetUpNetwork func(pid int, netns *os.File) error
	// Compile is given to program.Compile.
	Compile []program.Option
}

// Cgroup is what launch needs of a container's cgroup; *cgroup.Group is one.
type Cgroup interface {
	// CgroupFD is the v2 directory to start in, used when the plan has CLONE_INTO_CGROUP.
	CgroupFD() int
	// TaskFiles are the v1 "tasks" files, one for each of the plan's FDTasks descriptors; launch closes them.
	TaskFiles() ([]*os.File, error)
}

// Process is a container's first process.
type Process struct {
	PID int
	// Image is the inode of the program in its memfd: as long as /proc/PID/exe is that inode the command has not
	// taken over.
	Image uint64
	pidfd *os.File
	sync  *os.File
}

// Start runs the plan. When it returns without error the user's command has taken over or, if the plan listens, the
// program waits for a connection that starts it.
func Start(p *plan.Plan, o Options) (*Process, error) {
	s := &starter{plan: p, o: o}
	defer s.close()
	defer s.cgroupDone()
	for n, h := range p.Host {
		if o.OnHost != nil {
			if err := o.OnHost(n, h); err != nil {
				return nil, s.abort(err)
			}
		}
		if err := s.do(h); err != nil {
			return nil, s.abort(err)
		}
	}
	proc := &Process{PID: s.child.PID, Image: s.inode, pidfd: s.pidfd, sync: s.host}
	s.pidfd, s.host = nil, nil
	return proc, nil
}

// starter holds what exists while a plan is carried out.
type starter struct {
	plan  *plan.Plan
	o     Options
	image *os.File
	host  *os.File // our end of the sync socket
	guest *os.File
	child *clone.Child
	pidfd *os.File
	open  []*os.File
	waits *byte
	// making is the cgroup on its way, nil when there is none to wait for.
	making *making
	late   bool // the process exists before the cgroup does
	into   int  // descriptor of the v2 cgroup
	tasks  []*os.File
	trees  []*os.File
	inode  uint64
	// network gets the result of Options.SetUpNetwork.
	network chan error
}

func (s *starter) close() {
	for _, f := range append(s.open, s.image, s.host, s.guest, s.pidfd) {
		if f != nil {
			f.Close()
		}
	}
}

// abort ends the first process, if there is one, and waits until it is gone.
func (s *starter) abort(err error) error {
	s.kill()
	_ = s.cgroupDone()
	// What is going on there sees that the process is gone.
	_ = s.networkDone()
	return err
}

// kill ends the first process, if there is one.
func (s *starter) kill() {
	if s.child != nil {
		_ = unix.PidfdSendSignal(int(s.pidfd.Fd()), unix.SIGKILL, nil, 0)
		_, _ = wait(s.child.PID)
		s.child = nil
	}
}

func (s *starter) do(h plan.HostStep) error {
	switch h.Action {
	case plan.MakeStateDir:
		return s.makeState()
	case plan.MakeCgroup:
		return s.makeCgroup()
	case plan.HandOverCgroup:
		return s.handOverCgroup()
	case plan.MakeImage:
		if s.plan.Program == nil {
			if err := s.plan.Record(); err != nil {
				return err
			}
		}
		image, err := s.plan.Program.Compile(program.Native, s.o.Compile...)
		if err != nil {
			return err
		}
		if s.image, err = sealedImage(image); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(s.image.Fd()), &st); err != nil {
			return fmt.Errorf("look at the container's program: %w", err)
		}
		s.inode = st.Ino
		return nil
	case plan.MakeSync:
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make sync socket: %w", err)
		}
		s.host, s.guest = os.NewFile(uintptr(pair[0]), "sync"), os.NewFile(uintptr(pair[1]), "sync")
		return nil
	case plan.MakeTrees:
		return s.makeTrees()
	case plan.JoinNamespaces:
		return nil // done by the thread that clones
	case plan.MakeResctrl, plan.RunHooks:
		return nil // by the caller: Options.Resctrl, Options.OnHooks and the commands after this one
	case plan.Clone:
		return s.clone()
	case plan.WriteIDMaps:
		return writeIDMaps(s.child.PID, s.o.Host, s.plan.UIDMap, s.plan.GIDMap)
	case plan.LetGo:
		return s.letGo()
	case plan.SetUpNetwork:
		return s.startNetwork()
	case plan.AwaitReady:
		return s.listen()
	}
	return fmt.Errorf("run plan: there is no action %d", h.Action)
}

func (s *starter) makeState() error {
	for _, d := range []string{plan.RootDir, plan.ScratchDir} {
		if err := os.MkdirAll(filepath.Join(s.o.State, d), 0o700); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	for _, f := range s.o.Files {
		if err := os.WriteFile(filepath.Join(s.o.State, f.Name), []byte(f.Content), 0o644); err != nil {
			return fmt.Errorf("write %s of the container: %w", f.Name, err)
		}
	}
	return nil
}

// wake tells a program that waits to go on.
func (s *starter) wake() error {
	_, err := unix.Write(int(s.host.Fd()), []byte{1})
	return err
}

// letGo wakes the program; when it is no more, it finds out why.
func (s *starter) letGo() error {
	if err := s.wake(); err != nil {
		return s.gone(fmt.Errorf("wake the first process: %w", err))
	}
	return nil
}

// tellBefore tells a program that waits once to go on, before it asks.
func (s *starter) tellBefore() (bool, error) {
	if s.o.OnClone == nil || !s.plan.WaitsOnce() {
		return false, nil
	}
	if err := s.o.OnClone(s.child.PID, s.inode); err != nil {
		return false, err
	}
	// Should the process be no more, what it has said tells why.
	_, _ = unix.Write(int(s.host.Fd()), []byte{1})
	return true, nil
}

// listen reads the program's messages until the socket ends: the user's command has taken over.
func (s *starter) listen() error {
	told, err := s.tellBefore()
	if err != nil {
		return err
	}
	buf, oob := make([]byte, program.MessageSize+1), make([]byte, unix.CmsgSpace(4))
	ready := false
	for {
		n, fd, err := receive(int(s.host.Fd()), buf, oob)
		if errors.Is(err, unix.ECONNRESET) {
			// It is gone and has left a word of ours unread. The kernel tells that once, before what it has said itself.
			continue
		}
		if err != nil {
			return fmt.Errorf("read from the first process: %w", err)
		}
		if n == 0 {
			if !ready {
				return s.gone(errors.New("run the container's first process: it ended without a report"))
			}
			return nil
		}
		m, err := program.Decode(buf[:n])
		if err != nil {
			return err
		}
		switch m.Kind {
		case program.Failed:
			return s.plan.Failure(int(m.Arg), unix.Errno(m.Errno))
		case program.Ready:
			ready = true
			if s.o.OnReady == nil && !s.plan.Waits() {
				continue
			}
			if s.o.OnReady != nil {
				if err := s.o.OnReady(s.child.PID); err != nil {
					return err
				}
			}
			if told {
				continue
			}
			if err := s.wake(); err != nil {
				// It is no more; what it has said after its report tells why.
				ready = false
				continue
			}
			if s.plan.Listens() {
				return nil
			}
		case program.Hooks:
			if s.o.OnHooks != nil {
				if err := s.o.OnHooks(s.child.PID, s.pidfd); err != nil {
					return err
				}
			}
			if err := s.letGo(); err != nil {
				return err
			}
		case program.Devices:
			if err := s.moveDevices(); err != nil {
				return err
			}
			if err := s.letGo(); err != nil {
				return err
			}
		case program.Forked:
			if err := s.follow(int(m.Arg)); err != nil {
				return err
			}
		case program.Notify:
			if fd < 0 || s.o.OnNotify == nil {
				return errors.New("receive the seccomp listener: nobody wants it")
			}
			if err := s.o.OnNotify(s.child.PID, os.NewFile(uintptr(fd), "seccomp listener")); err != nil {
				return err
			}
		case program.Network:
			if err := s.networkDone(); err != nil {
				return err
			}
			if err := s.letGo(); err != nil {
				return err
			}
		case program.PID:
			if s.o.OnPID != nil {
				s.o.OnPID(int(m.Arg))
			}
		case program.AtStep:
			if s.o.OnStep != nil {
				if err := s.o.OnStep(int(m.Arg), m.Time, int(s.pidfd.Fd())); err != nil {
					return err
				}
			}
			if s.plan.Stops() {
				if _, err := unix.Write(int(s.host.Fd()), []byte{1}); err != nil {
					return s.gone(fmt.Errorf("let the first process go on: %w", err))
				}
			}
		case program.Console:
			if fd < 0 {
				return errors.New("receive the container's terminal: no descriptor came with the message")
			}
			// Non-blocking, so that a reader of it can be stopped.
			if err := unix.SetNonblock(fd, true); err != nil {
				unix.Close(fd)
				return fmt.Errorf("receive the container's terminal: %w", err)
			}
			if s.o.OnConsole == nil {
				unix.Close(fd)
				return errors.New("receive the container's terminal: nobody wants it")
			}
			if err := s.o.OnConsole(os.NewFile(uintptr(fd), "console")); err != nil {
				return err
			}
		}
	}
}

// gone finds out why the first process is no more before it could report.
func (s *starter) gone(err error) error {
	ws, werr := wait(s.child.PID)
	i, cerr := s.child.Failed()
	s.child = nil
	switch {
	case cerr != nil:
		return fmt.Errorf("prepare the first process (call %d): %w", i, cerr)
	case werr == nil && ws.Signaled():
		return fmt.Errorf("%w: killed by %s", err, unix.SignalName(ws.Signal()))
	}
	return err
}

// receive reads one message and the descriptor that may come with it, -1 if none does.
func receive(sock int, buf, oob []byte) (int, int, error) {
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, -1, err
		}
		if oobn == 0 {
			return n, -1, nil
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(msgs) == 0 {
			return n, -1, err
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) == 0 {
			return n, -1, err
		}
		return n, fds[0], nil
	}
}

func wait(pid int) (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return ws, err
		}
	}
}

// Adopt is a Process for a child of this one that somebody else has made: CRIU, on a restore.
func Adopt(pid int) (*Process, error) {
	pidfd, err := OpenProcess(pid)
	if err != nil {
		return nil, err
	}
	return &Process{PID: pid, pidfd: pidfd}, nil
}

// Wait waits for the end of the process and returns its status as a shell does: the exit status, or 128 + n
// when signal n ended it.
func (p *Process) Wait() (int, error) {
	ws, err := wait(p.PID)
	if err != nil {
		return 0, fmt.Errorf("wait for the container: %w", err)
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// Signal sends a signal to the process; one that has ended already is no error.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Pidfd is a descriptor of the process; it belongs to the Process.
func (p *Process) Pidfd() *os.File { return p.pidfd }

// Close lets go of the descriptors; the process is not touched.
func (p *Process) Close() {
	p.pidfd.Close()
	if p.sync != nil {
		p.sync.Close()
	}
}
