package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file connects a container without root: a program of the caller carries the packets between an interface
// in the container's namespace and sockets of the caller's own.

// userMode chooses the program.
func (p *Plan) userMode() error {
	if tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		return p.noUserMode(&p.Notes, "/dev/net/tun cannot be opened", "as root: modprobe tun; chmod 0666 /dev/net/tun")
	} else {
		tun.Close()
	}
	say, cause, fix := &p.Lacking, "pasta is not installed", "install the package passt (or slirp4netns)"
	for _, m := range []Mode{Pasta, Slirp} {
		if path, err := exec.LookPath(string(m)); err == nil {
			if m == Pasta && offline() {
				say, cause, fix = &p.Notes, "this machine has no route to anywhere, and pasta needs one", "connect it (slirp4netns does without)"
				continue
			}
			p.Mode, p.Program = m, path
			if m == Slirp && len(p.Request.Ports) > 0 {
				p.Lacking = append(p.Lacking, "slirp4netns publishes ports on IPv4 only; pasta (Debian package passt) does on IPv6 too")
			}
			return p.checkUserPorts()
		}
	}
	return p.noUserMode(say, cause, fix)
}

// noUserMode goes without a network where nobody has asked for one, and says so: among the notes, or, where it would
// be there if a program were installed, among what is lacking.
func (p *Plan) noUserMode(say *[]string, cause, fix string) error {
	p.Mode = None
	if len(p.Request.Ports) > 0 {
		return &Error{What: "publish " + p.Request.Ports[0].String(), Flag: "-p", Cause: text("without root this needs pasta, and " + cause), Hint: fix}
	}
	*say = append(*say, "no network but loopback, for "+cause+": "+fix+"; --network none says that none is wanted")
	return nil
}

// checkUserPorts finds ports that the caller cannot have before anything is made.
func (p *Plan) checkUserPorts() error {
	for i := range p.Request.Ports {
		q := &p.Request.Ports[i]
		if q.Proto == "sctp" {
			return &Error{What: "publish " + q.String(), Flag: "-p", Cause: text(string(p.Mode) + " carries TCP and UDP only"), Hint: "run gcr as root for SCTP"}
		}
		if p.Mode == Slirp && q.Host.Is6() {
			return &Error{What: "publish " + q.String(), Flag: "-p", Cause: text("slirp4netns publishes on IPv4 addresses only"), Hint: "install pasta (package passt)"}
		}
		if q.HostPort == 0 {
			port, err := freePort(*q, true)
			if err != nil {
				return portError(*q, err)
			}
			q.HostPort, q.chosen = port, true
		}
		if err := canBind(*q); err != nil {
			return err
		}
	}
	return nil
}

// ForwardedDNS is where pasta answers for the resolver of the host: a link-local address that is nobody's.
var ForwardedDNS = netip.MustParseAddr("169.254.1.1")

// slirpDNS is where slirp4netns does the same (slirp4netns(1)).
var slirpDNS = netip.MustParseAddr("10.0.2.3")

// DNS is a name server that the container can use when those of the host are out of its reach; invalid where
// there is none.
func (p *Plan) DNS() netip.Addr {
	switch p.Mode {
	case Pasta:
		return ForwardedDNS
	case Slirp:
		return slirpDNS
	}
	return netip.Addr{}
}

// userNet is the running program.
type userNet struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	mu     sync.Mutex
	ended  chan struct{}
	works  bool // it has connected the container
	quit   bool
	// died is called when the program ends before the container.
	died func(string)
}

// pastaArgs are the arguments for the namespaces of a process.
func pastaArgs(ports []Port, pid int) []string {
	args := []string{"--config-net", "--foreground", "--quiet", "--no-map-gw", "--dns-forward", ForwardedDNS.String(), "-T", "none", "-U", "none"}
	spec := map[string][]string{}
	for _, p := range ports {
		s := fmt.Sprintf("%d:%d", p.HostPort, p.ContainerPort)
		if p.Host.IsValid() {
			s = p.Host.String() + "/" + s
		}
		spec[p.Proto] = append(spec[p.Proto], s)
	}
	for _, f := range []struct{ flag, proto string }{{"-t", "tcp"}, {"-u", "udp"}} {
		if len(spec[f.proto]) == 0 {
			args = append(args, f.flag, "none")
		}
		for _, s := range spec[f.proto] {
			args = append(args, f.flag, s)
		}
	}
	return append(args, strconv.Itoa(pid))
}

func slirpArgs(pid int) []string {
	return []string{"--configure", "--mtu=65520", "--disable-host-loopback", "--enable-ipv6", "--ready-fd=3", "--exit-fd=4", strconv.Itoa(pid), "tap0"}
}

func (c *Connection) attachUserNet(pid int) error {
	u := &userNet{ended: make(chan struct{}), died: c.lostHelper}
	c.record.Ports = c.plan.Request.Ports
	var ready func() error
	var err error
	if c.plan.Mode == Pasta {
		u.cmd = exec.Command(c.plan.Program, pastaArgs(c.record.Ports, pid)...)
		ready = func() error { return u.awaitLink(pid) }
	} else if ready, err = u.slirp(c, pid); err != nil {
		return err
	}
	u.cmd.Stderr = &lockedWriter{u: u}
	// In a session of its own: keys of the terminal are for the container.
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := u.cmd.Start(); err != nil {
		return &Error{What: "start " + c.plan.Program, Cause: err}
	}
	c.child = u
	c.record.Helper = &Helper{Program: string(c.plan.Mode), PID: u.cmd.Process.Pid, Start: startTime(u.cmd.Process.Pid)}
	if err := c.record.write(); err != nil {
		return err
	}
	go u.watch()
	if err := ready(); err != nil {
		return err
	}
	u.mu.Lock()
	u.works = true
	u.mu.Unlock()
	return nil
}

// lostHelper writes down that the program has ended before the container, and tells.
func (c *Connection) lostHelper(said string) {
	if ended(c.record.PID) {
		return // the container was first: without its namespace there is nothing to carry
	}
	c.record.Helper.Ended = said
	if err := c.record.write(); err != nil {
		said += "; " + err.Error()
	}
	if c.OnDeath != nil {
		c.OnDeath(said)
	}
}

type lockedWriter struct{ u *userNet }

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.u.mu.Lock()
	defer w.u.mu.Unlock()
	if w.u.stderr.Len() < 1<<16 {
		w.u.stderr.Write(b)
	}
	return len(b), nil
}

// said is the last line of what the program has written.
func (u *userNet) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(u.stderr.String()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func (u *userNet) watch() {
	err := u.cmd.Wait()
	// Who stops the program waits until its end has been written down.
	defer close(u.ended)
	u.mu.Lock()
	quit := u.quit || !u.works
	u.mu.Unlock()
	if !quit {
		said := u.said()
		if said == "" && err != nil {
			said = err.Error()
		}
		u.died(said)
	}
}

func (u *userNet) failed() error {
	said := u.said()
	if said == "" {
		said = "it ended without a word"
	}
	u.mu.Lock()
	u.quit = true
	u.mu.Unlock()
	hint := "--network none does without"
	if tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		hint = "it needs /dev/net/tun, which cannot be opened (modprobe tun; chmod 0666 /dev/net/tun); " + hint
	} else {
		tun.Close()
	}
	return &Error{What: "connect the container with " + filepath.Base(u.cmd.Path), Cause: text(said), Hint: hint}
}

// awaitLink waits until pasta has made and configured its interface: it shows in /proc/PID/net of the
// container's process. pasta has no other sign when it stays in the foreground.
func (u *userNet) awaitLink(pid int) error {
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		select {
		case <-u.ended:
			return u.failed()
		case <-time.After(wait):
		}
		if routes, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/route", pid)); err == nil && bytes.Count(routes, []byte("\n")) > 1 {
			return nil
		}
		if routes, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/ipv6_route", pid)); err == nil && defaultRoute6(routes) {
			return nil
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			return text("connect the container: its first process has ended")
		}
	}
}

// defaultRoute6 looks for a default route over something that is not lo (proc(5), /proc/net/ipv6_route).
func defaultRoute6(b []byte) bool {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 10 && f[1] == "00" && f[9] != "lo" && strings.Trim(f[4], "0") != "" {
			return true
		}
	}
	return false
}

func (u *userNet) stop() {
	u.mu.Lock()
	u.quit = true
	u.mu.Unlock()
	_ = u.cmd.Process.Kill()
	<-u.ended
}

// ended reports whether a process is gone or waits to be reaped.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	state := bytes.TrimSpace(b[bytes.LastIndexByte(b, ')')+1:])
	return len(state) == 0 || state[0] == 'Z' || state[0] == 'X'
}

// startTime is field 22 of /proc/PID/stat (proc_pid_stat(5)); the name in field 2 may hold spaces.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return ""
	}
	return f[19]
}

// kill ends a helper whose container is dead.
func (h *Helper) kill() {
	fd, err := unix.PidfdOpen(h.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if h.Start != "" && startTime(h.PID) == h.Start {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

var errSlirp = errors.New("slirp4netns does not answer")
