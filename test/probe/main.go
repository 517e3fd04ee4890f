// Command probe is what runs inside the containers of the tests. It is static and needs nothing, so a root
// filesystem that holds it alone is enough.
//
//	probe report [PATH...]  print as JSON what the process sees of itself, its surroundings and the paths
//	probe sleep             wait until it is killed, and reap orphans
//	probe exit N            exit with status N
//	probe echo TEXT...      print words
//	probe cat FILE          print a file
//	probe write FILE TEXT   make a file
//	probe owner FILE        print user and group id of a file
//	probe hook FILE NAME    append NAME, the namespaces and standard input to FILE as one line of JSON
//	probe notify TEXT...    send each text to $NOTIFY_SOCKET, and wait
//	probe scheduler         print its scheduling policy and parameters
//	probe eat N             use N MiB of memory
//	probe net               print the network devices: NAME:up or NAME:down, and NAME=ADDRESS/BITS
//	probe count             print numbers until SIGUSR1
//	probe accept            answer one connection to the socket that a service manager has handed on
//	probe links LINK...     the same, and send each through connections and files; see links.go
//	probe locked FILE       succeed when somebody has locked the file
//	probe ignore            ignore SIGTERM and wait
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what a process sees.
type Report struct {
	Args       []string
	Env        []string
	Cwd        string
	PID, PPID  int
	SID        int
	Status     map[string]string // of /proc/self/status
	Limits     map[string][2]uint64
	Umask      int
	Hostname   string
	Domainname string
	Mounts     []Mount
	Namespaces map[string]string
	OOMScore   string
	Cgroup     string
	Policy     int
	Nice       int
	IOPrio     int
	Persona    int
	CPUs       []int
	FDs        []string
	Dev        []string
	Sysctl     map[string]string
	Exe        string
	Terminal   bool
	Rows, Cols int
	Keyring    int // serial number of the session keyring, 0 without one

	Machine     string            // of uname(2)
	UIDMap      string            // of /proc/self/uid_map
	GIDMap      string            // of /proc/self/gid_map
	Clocks      string            // of /proc/self/timens_offsets
	SessionKeys string            // description of the session keyring
	Loopback    string            // flags of the network device lo
	Network     []string          // names of the network devices
	Calls       map[string]string // what harmless system calls give: "ok" or the error
	Places      map[string]Place  // the paths of the command line
	Dumpable    int
	Scheduler   map[string]uint64 // of sched_getattr(2): flags, priority, runtime, deadline, period
	PGID        int
}

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	Root, Point, Options, Optional, Type, Source, Super string
}

func main() {
	cmd := "report"
	if len(os.Args) > 1 {
		cmd = os.Args[1]
	}
	args := os.Args[min(2, len(os.Args)):]
	switch cmd {
	case "report":
		r := report()
		r.Places = map[string]Place{}
		for _, path := range args {
			r.Places[path] = look(path)
		}
		r.Calls = calls()
		b, err := json.Marshal(r)
		check(err)
		fmt.Println(string(b))
	case "sleep":
		wait()
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		wait()
	case "mkdir":
		fmt.Println(unix.Mkdirat(unix.AT_FDCWD, args[0], 0o755))
	case "exit":
		n, err := strconv.Atoi(args[0])
		check(err)
		os.Exit(n)
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "cat":
		b, err := os.ReadFile(args[0])
		check(err)
		os.Stdout.Write(b)
	case "write":
		check(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "owner":
		var st unix.Stat_t
		check(unix.Stat(args[0], &st))
		fmt.Printf("%d:%d\n", st.Uid, st.Gid)
	case "notify":
		for _, text := range args {
			conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
			check(err)
			_, err = conn.Write([]byte(text))
			check(err)
			if strings.Contains(text, "READY=1") && len(args) > 2 {
				break // the one who listens goes away
			}
		}
		wait()
	case "scheduler":
		a, err := unix.SchedGetAttr(os.Getpid(), 0)
		check(err)
		fmt.Printf("policy %d ", a.Policy)
		if a.Policy == unix.SCHED_DEADLINE {
			fmt.Printf("runtime %d deadline %d period %d", a.Runtime, a.Deadline, a.Period)
		} else {
			fmt.Printf("priority %d", a.Priority)
		}
	case "eat":
		n, err := strconv.Atoi(args[0])
		check(err)
		b := make([]byte, n<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
	case "net":
		network()
	case "count": // a number a line, each one more than the last, until SIGUSR1 ends it with status 9
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGUSR1)
		for n := 1; ; n++ {
			fmt.Println(n)
			select {
			case <-end:
				os.Exit(9)
			case <-time.After(20 * time.Millisecond):
			}
		}
	case "accept":
		accept()
	case "links":
		links(args)
	case "locked":
		locked(args[0])
	case "hook":
		hook(args[0], args[1])
	default:
		check(fmt.Errorf("there is no command %q", cmd))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(99)
	}
}

func wait() {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, syscall.SIGCHLD)
	for range ch {
		for {
			var ws syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}

func hook(file, name string) {
	in, err := io.ReadAll(os.Stdin)
	check(err)
	cwd, _ := os.Getwd()
	line, err := json.Marshal(map[string]any{"hook": name, "state": json.RawMessage(in), "ns": namespaces(), "env": os.Environ(), "cwd": cwd})
	check(err)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(err)
	_, err = f.Write(append(line, '\n'))
	check(err)
	check(f.Close())
}

func network() {
	list, err := net.Interfaces()
	check(err)
	for _, i := range list {
		state := "down"
		if i.Flags&net.FlagUp != 0 {
			state = "up"
		}
		fmt.Println(i.Name + ":" + state)
		addresses, err := i.Addrs()
		check(err)
		for _, a := range addresses {
			fmt.Println(i.Name + "=" + a.String())
		}
	}
}

func namespaces() map[string]string {
	out := map[string]string{}
	entries, _ := os.ReadDir("/proc/self/ns")
	for _, e := range entries {
		out[e.Name()], _ = os.Readlink("/proc/self/ns/" + e.Name())
	}
	return out
}

func report() Report {
	r := Report{
		Args: os.Args, Env: os.Environ(), PID: os.Getpid(), PPID: os.Getppid(), Namespaces: namespaces(),
		Status: map[string]string{}, Limits: map[string][2]uint64{}, Sysctl: map[string]string{},
	}
	r.Cwd, _ = unix.Getwd()
	r.SID, _ = unix.Getsid(0)
	for _, l := range strings.Split(text("/proc/self/status"), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok {
			r.Status[k] = strings.Join(strings.Fields(v), " ")
		}
	}
	r.Umask = unix.Umask(0)
	for n := range 16 {
		var l unix.Rlimit
		if unix.Prlimit(0, n, nil, &l) == nil {
			r.Limits[strconv.Itoa(n)] = [2]uint64{l.Cur, l.Max}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Hostname, r.Domainname = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Domainname[:])
	}
	for _, l := range strings.Split(strings.TrimSpace(text("/proc/self/mountinfo")), "\n") {
		left, right, ok := strings.Cut(l, " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if ok && len(f) >= 6 && len(g) >= 3 {
			var optional []string
			for _, o := range f[6:] {
				name, _, _ := strings.Cut(o, ":")
				optional = append(optional, name)
			}
			r.Mounts = append(r.Mounts, Mount{f[3], f[4], f[5], strings.Join(optional, ","), g[0], g[1], g[2]})
		}
	}
	r.OOMScore = strings.TrimSpace(text("/proc/self/oom_score_adj"))
	r.Cgroup = text("/proc/self/cgroup")
	policy, _, _ := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	r.Policy = int(policy)
	nice, _, _ := unix.Syscall(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	r.Nice = 20 - int(nice)
	io, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, 0, 0)
	r.IOPrio = int(io)
	persona, _, _ := unix.Syscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	r.Persona = int(persona)
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		for n := range 1024 {
			if set.IsSet(n) {
				r.CPUs = append(r.CPUs, n)
			}
		}
	}
	// The descriptors that were there before this process opened any: what Go opens is close-on-exec, which nothing
	// that came through execve can be.
	for n := range 64 {
		if flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			r.FDs = append(r.FDs, fmt.Sprintf("%d", n))
		}
	}
	names, _ := filepath.Glob("/dev/*")
	for _, name := range names {
		var st unix.Stat_t
		if unix.Lstat(name, &st) != nil {
			continue
		}
		link, _ := os.Readlink(name)
		r.Dev = append(r.Dev, fmt.Sprintf("%s %o %d:%d %d:%d %s", name, st.Mode, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)), st.Uid, st.Gid, link))
	}
	sort.Strings(r.Dev)
	for _, key := range sysctls {
		if v := text("/proc/sys/" + key); v != "" {
			r.Sysctl[key] = strings.TrimSpace(v)
		}
	}
	r.Keyring, _ = unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	r.Exe, _ = os.Readlink("/proc/self/exe")
	if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		r.Terminal, r.Rows, r.Cols = true, int(ws.Row), int(ws.Col)
	}
	r.Machine = unix.ByteSliceToString(u.Machine[:])
	r.UIDMap, r.GIDMap, r.Clocks = words(text("/proc/self/uid_map")), words(text("/proc/self/gid_map")), words(text("/proc/self/timens_offsets"))
	if a, err := unix.SchedGetAttr(os.Getpid(), 0); err == nil {
		r.Scheduler = map[string]uint64{"flags": a.Flags, "priority": uint64(a.Priority), "runtime": a.Runtime, "deadline": a.Deadline, "period": a.Period}
	}
	surroundings(&r)
	return r
}

func text(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
