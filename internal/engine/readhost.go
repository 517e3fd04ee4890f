package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"gcr/internal/account"
	"gcr/internal/hostfacts"
	"gcr/internal/rootfile"
)

// maxHostFile bounds what is read of a configuration file of the host, in bytes.
const maxHostFile = 4 << 20

// ReadHost gathers the facts. It reads files and asks the kernel; it changes nothing. The cgroup facts are
// left to the caller.
func ReadHost() (*Host, error) {
	h := &Host{
		UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
		LookupEnv:  os.LookupEnv,
		Rlimit:     hostfacts.Rlimit,
		Stat:       hostfacts.Stat,
		Devices:    hostfacts.Devices,
		ReadFile:   readBounded,
		AppArmor:   hostfacts.AppArmorExec,
		SELinux:    hostfacts.SELinuxContext,
		InBounding: hostfacts.InBoundingSet,
		OwnIDs: func() (uids, gids []account.Range) {
			return ownIDs("/proc/self/uid_map"), ownIDs("/proc/self/gid_map")
		},
		ClaimIDs: func(first uint32) (bool, error) { return hostfacts.Claim(fmt.Sprintf("gcr-ids-%d", first)) },
		Files:    &hostRoot{},

		StdinTerminal:  hostfacts.IsTerminal(0),
		StdoutTerminal: hostfacts.IsTerminal(1),
		CPUs:           runtime.NumCPU(),
	}
	if err := hostfacts.Random(h.Random[:]); err != nil {
		return nil, err
	}
	var err error
	if h.Effective, err = hostfacts.Capabilities(); err != nil {
		return nil, err
	}
	if h.Hostname, h.Release, err = hostfacts.Uname(); err != nil {
		return nil, err
	}
	if h.Cwd, err = os.Getwd(); err != nil {
		// The directory was removed: paths that are not relative still work.
		h.Cwd = ""
	}
	if h.StdinTerminal {
		h.Rows, h.Columns = hostfacts.WindowSize(0)
	}
	const resolv = "/etc/resolv.conf"
	if h.ResolvConf, err = readBounded(resolv, maxHostFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Op: "read", Object: resolv, Cause: cause(err), Hint: "the container's own is made from it"}
	}
	if onlyLoopback(h.ResolvConf) {
		h.ResolvUpstream, _ = readBounded("/run/systemd/resolve/resolv.conf", maxHostFile)
	}
	h.Thermal = thermalPaths("/sys/devices/system/cpu")
	if h.UID != 0 {
		h.readSubIDs()
	}
	return h, nil
}

// readSubIDs finds the caller's subordinate ids. A file that is not there gives none.
func (h *Host) readSubIDs() {
	path, _ := h.LookupEnv("PATH")
	h.HasNewIDMap = onPath("newuidmap", path) && onPath("newgidmap", path)
	if passwd, err := h.ReadFile("/etc/passwd", maxHostFile); err == nil {
		if u, found, _ := account.UserByID(h.UID, passwd); found {
			h.Username = u.Name
		}
	}
	if h.Username == "" {
		// A user of a directory service is not in the file. A wrong name does no harm: newuidmap(1)
		// asks the service itself.
		h.Username, _ = h.LookupEnv("USER")
	}
	if data, err := h.ReadFile("/etc/subuid", maxHostFile); err == nil {
		h.SubUIDs = account.SubIDs(h.Username, h.UID, data)
	}
	if data, err := h.ReadFile("/etc/subgid", maxHostFile); err == nil {
		h.SubGIDs = account.SubIDs(h.Username, h.UID, data)
	}
}

// onPath looks for an executable in the directories of a PATH.
func onPath(name, path string) bool {
	for dir := range strings.SplitSeq(path+":/usr/bin:/bin", ":") {
		if !filepath.IsAbs(dir) {
			continue
		}
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// ownIDs reads which ids exist in gcr's own user namespace, from the first column of uid_map
// (user_namespaces(7)).
func ownIDs(path string) []account.Range {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []account.Range
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[0], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			out = append(out, account.Range{Start: uint32(start), Count: uint32(count)})
		}
	}
	return out
}

// thermalPaths lists each CPU's thermal_throttle directory, whose counters tell a container about its
// neighbours. Most virtual machines have none: the first CPU is asked before the directory is read.
func thermalPaths(dir string) []string {
	if _, err := os.Stat(dir + "/cpu0/thermal_throttle"); err != nil {
		return nil
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, d := range names {
		n, ok := strings.CutPrefix(d.Name(), "cpu")
		if !ok || n == "" || !digits(n) {
			continue
		}
		path := dir + "/" + d.Name() + "/thermal_throttle"
		if _, err := os.Stat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// readBounded reads a file of the host, which the caller may read himself: at most max bytes.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%w: more than %d bytes", rootfile.ErrTooLarge, max)
	}
	return data, err
}

// cause takes the path off an error of the file system, since the message around it has it already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// hostRoot is the host's root directory, opened when it is first asked for.
type hostRoot struct{ root *rootfile.Root }

func (r *hostRoot) open() (err error) {
	if r.root == nil {
		r.root, err = rootfile.Open("/")
	}
	return err
}

func (r *hostRoot) ReadFile(path string, max int64) ([]byte, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return r.root.ReadFile(path, max)
}

func (r *hostRoot) Stat(path string) (rootfile.Info, error) {
	if err := r.open(); err != nil {
		return rootfile.Info{}, err
	}
	return r.root.Stat(path)
}
