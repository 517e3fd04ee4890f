package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"gcr/internal/criu"
	"gcr/internal/plan"
	"gcr/internal/procfs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CheckpointOptions say how processes are written to disk or brought back, with the names of runc's options.
type CheckpointOptions struct {
	CRIU      string // the program; empty for criu in PATH
	ImagePath string // directory of the images; empty for "checkpoint"
	WorkPath  string // directory of logs; empty for that of the images
	Parent    string // images of a pre-dump, relative to ImagePath

	LeaveRunning, PreDump      bool
	TCPEstablished, TCPSkip    bool
	ExtUnixSockets, LinkRemap  bool
	ShellJob, FileLocks        bool
	AutoDedup, LazyPages       bool
	StatusFD                   int // -1 for none
	PageServer                 string
	PagePort                   int
	ManageCgroups              criu.CgroupMode
	EmptyNS                    uint32
	LSMProfile, LSMMountContxt string
}

// descriptorsName is the file, beside CRIU's images, that says what the standard streams were.
const descriptorsName = "descriptors.json"

// Names under which the container's own namespaces of others are known in the images.
const (
	externalNet = "extRootNetNS"
	externalPID = "extRootPidNS"
)

var errCRIUUser = errors.New("checkpoint and restore need root: criu puts processes together from parts that only root may touch")

// program finds CRIU.
func (o *CheckpointOptions) program() (string, error) {
	if os.Geteuid() != 0 {
		return "", errCRIUUser
	}
	name := o.CRIU
	if name == "" {
		name = "criu"
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find criu: %w; install the package criu (https://criu.org), or name the program with --criu", errors.Unwrap(err))
	}
	return p, nil
}

// request makes what dump and restore have in common, and opens the directories.
func (o *CheckpointOptions) request(kind criu.Type, log string, create bool) (*criu.Request, func(), error) {
	if o.ImagePath == "" {
		o.ImagePath = "checkpoint"
	}
	r := &criu.Request{
		Type: kind, LogFile: log, ExtUnixSockets: o.ExtUnixSockets, TCPEstablished: o.TCPEstablished, TCPSkipInFlight: o.TCPSkip,
		LinkRemap: o.LinkRemap, ShellJob: o.ShellJob, FileLocks: o.FileLocks, AutoDedup: o.AutoDedup, LazyPages: o.LazyPages,
		StatusFD: o.StatusFD, PageServer: o.PageServer, PagePort: o.PagePort, EmptyNS: o.EmptyNS, Cgroups: o.ManageCgroups,
	}
	done := func() {
		for _, f := range []*os.File{r.Images, r.Work} {
			if f != nil {
				f.Close()
			}
		}
	}
	var err error
	open := func(name string, missing bool) (*os.File, error) {
		if missing {
			if err := os.MkdirAll(name, 0o700); err != nil {
				return nil, err
			}
		}
		return os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if r.Images, err = open(o.ImagePath, create); err != nil {
		return nil, nil, fmt.Errorf("open the directory of the images (--image-path): %w", err)
	}
	if o.WorkPath != "" {
		if r.Work, err = open(o.WorkPath, true); err != nil {
			done()
			return nil, nil, fmt.Errorf("open the work directory (--work-path): %w", err)
		}
	}
	return r, done, nil
}

// criuConfig is a file with more options for CRIU: what the annotation org.criu.config names, an empty text for none, else
// the administrator's for this runtime or for runc.
func criuConfig(annotations map[string]string) string {
	if name, ok := annotations["org.criu.config"]; ok {
		return name
	}
	for _, name := range []string{"/etc/criu/gcrun.conf", "/etc/criu/runc.conf"} {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return ""
}

// Checkpoint writes the processes of a container to disk. Unless they are left running the container is deleted.
func (s Store) Checkpoint(id string, o CheckpointOptions) error {
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.unlock()
	if st := c.status(); st != specs.StateRunning && st != Paused {
		return fmt.Errorf("cannot checkpoint a container that is %s", st)
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	program, err := o.program()
	if err != nil {
		return err
	}
	kind := criu.Dump
	if o.PreDump {
		kind = criu.PreDump
	}
	r, done, err := o.request(kind, "dump.log", true)
	if err != nil {
		return err
	}
	defer done()
	if err := o.checkParent(); err != nil {
		return err
	}
	r.PID, r.Root, r.Parent = c.rec.PID, c.rec.Rootfs, o.Parent
	r.TrackMemory, r.LeaveRunning = o.PreDump, o.LeaveRunning || o.PreDump
	r.ConfigFile = criuConfig(config.Annotations)
	if err := c.external(r, config); err != nil {
		return err
	}
	streams, err := standardStreams(c.rec.PID)
	if err != nil {
		return err
	}
	for _, st := range streams {
		if strings.HasPrefix(st, "file[") {
			r.External = append(r.External, st)
		}
	}
	if !o.PreDump {
		text, err := json.Marshal(streams)
		if err != nil {
			return err
		}
		if err := writeWhole(filepath.Join(o.ImagePath, descriptorsName), text); err != nil {
			return err
		}
	}
	var sess criu.Session
	if o.StatusFD >= 0 && o.StatusFD <= 2 {
		o.StatusFD = -1
	}
	sess.Notify = func(script string, _ int, file *os.File) error {
		if file != nil {
			file.Close()
		}
		if script == "status-ready" && o.StatusFD > 2 {
			_, err := unix.Write(o.StatusFD, []byte{0})
			return err
		}
		return nil
	}
	if _, err := criu.Run(program, r, sess); err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, err)
	}
	if err := shareImages(o.ImagePath, config); err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, err)
	}
	if r.LeaveRunning {
		return nil
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.destroy()
}

// shareImages lets the root of a user namespace read the images: on restore it is that user who looks into the directory. It
// may write none of them, for CRIU trusts them.
func shareImages(dir string, config *specs.Spec) error {
	if config.Linux == nil {
		return nil
	}
	gid := -1
	for _, m := range config.Linux.GIDMappings {
		if m.ContainerID == 0 {
			gid = int(m.HostID)
		}
	}
	if gid <= 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the directory of the images: %w", err)
	}
	share := func(name string, mode os.FileMode) error {
		if err := os.Lchown(name, -1, gid); err != nil {
			return fmt.Errorf("give the images to the container's group %d: %w", gid, err)
		}
		if err := os.Chmod(name, mode); err != nil {
			return fmt.Errorf("let the container's group read the images: %w", err)
		}
		return nil
	}
	for _, e := range entries {
		if e.Type().IsRegular() && filepath.Ext(e.Name()) == ".img" {
			if err := share(filepath.Join(dir, e.Name()), 0o640); err != nil {
				return err
			}
		}
	}
	return share(dir, 0o750)
}

func (o *CheckpointOptions) checkParent() error {
	if o.Parent == "" {
		return nil
	}
	if filepath.IsAbs(o.Parent) {
		return fmt.Errorf("use --parent-path %s: it is relative to --image-path", o.Parent)
	}
	if _, err := os.Stat(filepath.Join(o.ImagePath, o.Parent)); err != nil {
		return fmt.Errorf("use --parent-path: %w", err)
	}
	return nil
}

// external names what in the container comes from outside of it, and the cgroup that holds it still.
func (c *Container) external(r *criu.Request, config *specs.Spec) error {
	for _, m := range config.Mounts {
		if bindMount(m) {
			r.External = append(r.External, externalMount(path.Clean("/"+m.Destination), ""))
		}
	}
	in, err := c.input()
	if err != nil {
		return err
	}
	for _, m := range cgroupMounts(config, in.Cgroup) {
		r.External = append(r.External, externalMount(m.Destination, ""))
	}
	if config.Linux == nil {
		return nil
	}
	for _, p := range config.Linux.MaskedPaths {
		// A file is covered by /dev/null, a directory by a file system of its own, which CRIU understands.
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/root%s", c.rec.PID, path.Clean("/"+p)), &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			r.External = append(r.External, externalMount(path.Clean("/"+p), "/dev/null"))
		}
	}
	for _, d := range boundDevices(config) {
		r.External = append(r.External, externalMount(d, ""))
	}
	for _, ns := range config.Linux.Namespaces {
		if ns.Path == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(ns.Path, &st); err != nil {
			return fmt.Errorf("look at namespace %s: %w", ns.Path, err)
		}
		switch ns.Type {
		case specs.NetworkNamespace:
			r.External = append(r.External, fmt.Sprintf("net[%d]:%s", st.Ino, externalNet))
		case specs.PIDNamespace:
			r.External = append(r.External, fmt.Sprintf("pid[%d]:%s", st.Ino, externalPID))
		}
	}
	if st := c.rec.Cgroup; st != nil {
		r.FreezeCgroup = st.Paths[""]
		for key, p := range st.Paths {
			if key == "freezer" {
				r.FreezeCgroup = p
			}
		}
	}
	return nil
}

// boundDevices are the device files that belong to the host: in a user namespace none can be made.
func boundDevices(config *specs.Spec) []string {
	if len(config.Linux.UIDMappings) == 0 {
		return nil
	}
	out := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
	for _, d := range config.Linux.Devices {
		out = append(out, path.Clean("/"+d.Path))
	}
	return out
}

// cgroupMounts are the mounts that show a container its own group: parts of the host's hierarchies.
func cgroupMounts(config *specs.Spec, c plan.Cgroup) []specs.Mount {
	var out []specs.Mount
	for _, m := range config.Mounts {
		if m.Type != "cgroup" && m.Type != "cgroup2" {
			continue
		}
		for _, h := range c.Mounts {
			place := path.Clean("/" + m.Destination)
			if c.Version == 1 {
				place = path.Join(place, h.Name)
			}
			out = append(out, specs.Mount{Destination: place, Source: h.Path})
		}
	}
	return out
}

// externalMount names a mount by its place in the container; the name is its key in the images.
func externalMount(place, name string) string {
	if name == "" {
		name = place
	}
	return "mnt[" + place + "]:" + name
}

// standardStreams names the first three descriptors of a process as CRIU does: "pipe:[7]" for what has no path, and
// "file[1c:2f]" (id of the mount and inode, in hexadecimal) for a file of the host, which the container's mounts do not lead to.
func standardStreams(pid int) ([]string, error) {
	own, err := mountIDs(pid)
	if err != nil {
		return nil, err
	}
	out := make([]string, 3)
	for fd := range out {
		link := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
		name, err := os.Readlink(link)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed
		}
		if err != nil {
			return nil, fmt.Errorf("look at the container's descriptors: %w", err)
		}
		out[fd] = name
		if !strings.HasPrefix(name, "/") {
			continue
		}
		id, err := mountOf(pid, fd)
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Stat(link, &st); err != nil {
			return nil, fmt.Errorf("look at the container's descriptors: %w", err)
		}
		terminal := st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) >= 136 && unix.Major(st.Rdev) <= 143
		if !own[id] && !terminal {
			out[fd] = fmt.Sprintf("file[%x:%x]", id, st.Ino)
		}
	}
	return out, nil
}

// mountIDs are the ids of the mounts that a process sees (proc_pid_mountinfo(5), field 1).
func mountIDs(pid int) (map[int]bool, error) {
	data, err := procfs.Read(strconv.Itoa(pid) + "/mountinfo")
	if err != nil {
		return nil, err
	}
	all := map[int]bool{}
	for line := range strings.Lines(string(data)) {
		first, _, _ := strings.Cut(line, " ")
		if id, err := strconv.Atoi(first); err == nil {
			all[id] = true
		}
	}
	return all, nil
}

// mountOf is the id of the mount that a descriptor was opened on (proc_pid_fdinfo(5)).
func mountOf(pid, fd int) (int, error) {
	data, err := procfs.Read(fmt.Sprintf("%d/fdinfo/%d", pid, fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, fmt.Errorf("read /proc/%d/fdinfo/%d: it has no mnt_id", pid, fd)
}
