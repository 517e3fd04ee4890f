package criu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Session is one run of CRIU.
type Session struct {
	// Stdio are CRIU's standard streams, which restored processes may inherit; nil is /dev/null.
	Stdio [3]*os.File
	// Files are further descriptors that CRIU gets, from FirstFile on.
	Files []*os.File
	// Started is called when CRIU runs and has not been told anything: a place to put it into a cgroup.
	Started func(pid int) error
	// Notify is called with the name of each step that CRIU tells of (such as "post-restore"), the process that it is
	// about, and a descriptor that came with it or nil. An error makes CRIU give up.
	Notify func(script string, pid int, file *os.File) error
}

// FirstFile is the number of the first of Session.Files in CRIU's process.
const FirstFile = 4

// Error is a failure that CRIU reports.
type Error struct {
	Op    string   // "dump" and the like
	Errno int      // what CRIU says of the cause, 0 if nothing
	Text  string   // in its words
	Log   string   // path of its log
	Lines []string // those of the log that tell of errors
}

func (e *Error) Error() string {
	s := "criu " + e.Op + ": "
	switch {
	case len(e.Lines) > 0:
		s += strings.Join(e.Lines, "; ")
	case e.Text != "":
		s += e.Text
	case e.Errno != 0:
		s += unix.Errno(e.Errno).Error()
	default:
		s += "it gave up"
	}
	if e.Log != "" {
		s += "; see " + e.Log
	}
	return s
}

var operations = map[Type]string{Dump: "dump", PreDump: "pre-dump", Restore: "restore"}

// Run starts the program and has it carry out the request. After a restore it gives the id of the restored process, which
// is a child of this one.
func Run(program string, r *Request, s Session) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket for criu: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "criu"), os.NewFile(uintptr(pair[1]), "criu")
	defer ours.Close()
	cmd := exec.Command(program, "swrk", "3")
	if s.Stdio[0] != nil {
		cmd.Stdin = s.Stdio[0]
	}
	if s.Stdio[1] != nil {
		cmd.Stdout = s.Stdio[1]
	}
	if s.Stdio[2] != nil {
		cmd.Stderr = s.Stdio[2]
	}
	cmd.ExtraFiles = append([]*os.File{theirs}, s.Files...)
	err = cmd.Start()
	theirs.Close() // only CRIU's copy is left, so its end shows here
	if err != nil {
		return 0, fmt.Errorf("start criu: %w", err)
	}
	pid, err := converse(ours, cmd.Process.Pid, r, s)
	ours.Close()
	if err != nil {
		_ = cmd.Process.Kill() // it may wait for a word of ours
	}
	werr := cmd.Wait()
	if err == nil && werr != nil && r.Type != PreDump { // after a pre-dump CRIU waits for a next one, and complains
		err = &Error{Op: operations[r.Type], Text: werr.Error()}
	}
	var known *Error
	if errors.As(err, &known) {
		dir := r.Images
		if r.Work != nil {
			dir = r.Work
		}
		known.Log = filepath.Join(dir.Name(), r.LogFile)
		known.Lines = complaints(known.Log)
	}
	return pid, err
}

// converse tells CRIU what to do and listens until it is done.
func converse(conn *os.File, criuPID int, r *Request, s Session) (int, error) {
	if s.Started != nil {
		if err := s.Started(criuPID); err != nil {
			return 0, err
		}
	}
	fd := int(conn.Fd())
	silent := &Error{Op: operations[r.Type], Text: "it ended without an answer"}
	if err := send(fd, r.encode()); errors.Is(err, unix.EPIPE) {
		return 0, silent
	} else if err != nil {
		return 0, fmt.Errorf("tell criu what to do: %w", err)
	}
	restored := 0
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, file, err := receive(fd, buf, oob)
		if err != nil {
			return 0, fmt.Errorf("listen to criu: %w", err)
		}
		if n == 0 {
			return 0, silent
		}
		a, err := parseAnswer(buf[:n])
		if err != nil {
			return 0, fmt.Errorf("listen to criu: %w", err)
		}
		if a.kind != notify {
			if file != nil {
				file.Close()
			}
			if !a.success {
				return 0, &Error{Op: operations[r.Type], Errno: a.errno, Text: a.text}
			}
			if a.pid != 0 {
				restored = a.pid
			}
			return restored, nil
		}
		if a.script == "post-restore" {
			restored = a.pid
		}
		err = nil
		if s.Notify != nil {
			err = s.Notify(a.script, a.pid, file)
		} else if file != nil {
			file.Close()
		}
		if serr := send(fd, heard(err == nil)); err == nil && serr != nil {
			err = fmt.Errorf("answer criu: %w", serr)
		}
		if err != nil {
			return restored, err
		}
	}
}

func send(fd int, b []byte) error {
	for {
		err := unix.Sendmsg(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive reads one message and the descriptor that may come with it.
func receive(fd int, buf, oob []byte) (int, *os.File, error) {
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) {
			return 0, nil, nil
		}
		if err != nil || oobn == 0 {
			return n, nil, err
		}
		var files []*os.File
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range msgs {
			if fds, rerr := unix.ParseUnixRights(&msgs[i]); rerr == nil {
				for _, f := range fds {
					files = append(files, os.NewFile(uintptr(f), "criu"))
				}
			}
		}
		if err != nil || len(files) == 0 {
			return n, nil, err
		}
		for _, f := range files[1:] {
			f.Close()
		}
		return n, files[0], nil
	}
}

// complaints are the lines of CRIU's log that tell of errors, without their time and place in the program.
func complaints(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 4
	var found []string
	in := bufio.NewScanner(io.LimitReader(f, 64<<20))
	for in.Scan() {
		// (00.012345) Error (criu/mount.c:1081): mnt: Mount 41 has no root
		_, text, ok := strings.Cut(in.Text(), "Error (")
		if !ok {
			continue
		}
		if _, rest, ok := strings.Cut(text, "): "); ok {
			text = rest
		}
		if found = append(found, strings.TrimSpace(text)); len(found) == most {
			break
		}
	}
	return found
}
