package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gcr/test/vm/wire"

	"golang.org/x/sys/unix"
)

// boot is process 1 in the initial RAM file system.
func boot() error {
	for _, m := range []struct{ fs, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := mount(m.fs, m.fs, m.dir, 0, ""); err != nil {
			return err
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	disks, err := waitForDisks(wire.RootDisk, wire.ModulesDisk, wire.InputDisk)
	if err != nil {
		return err
	}
	const root = "/newroot"
	if err := mount(disks[wire.RootDisk], "ext4", root, 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/lib/modules", 0o755); err != nil {
		return err
	}
	if err := mount(disks[wire.ModulesDisk], "ext4", root+"/lib/modules", unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := unpack(disks[wire.InputDisk], root+wire.InputDir); err != nil {
		return err
	}
	if err := copySelf(root + "/vm/guest"); err != nil {
		return err
	}
	if err := os.MkdirAll(root+wire.OutputDir, 0o755); err != nil {
		return err
	}
	// Chmod, since MkdirAll is subject to the umask: ordinary users leave files here too.
	if err := os.Chmod(root+wire.OutputDir, 0o777|os.ModeSticky); err != nil {
		return err
	}
	job, err := readJob(root + wire.InputDir)
	if err != nil {
		return err
	}
	if err := switchRoot(root); err != nil {
		return err
	}
	if job.Init == "systemd" {
		return startSystemd()
	}
	return runPlain(job.Cgroup)
}

func mount(source, fs, dir string, flags uintptr, data string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount(source, dir, fs, flags, data); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", source, fs, dir, err)
	}
	return nil
}

// loadModules loads the drivers that the host put into /modules, in the order of /modules/list, which has
// every module after those it needs.
func loadModules() error {
	list, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		f, err := os.Open("/modules/" + name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// waitForDisks returns the device file of each virtio disk, by serial number. The kernel finds devices on
// work queues of its own, hence the wait.
func waitForDisks(serials ...string) (map[string]string, error) {
	for range 1000 {
		found := map[string]string{}
		names, _ := filepath.Glob("/sys/block/vd*")
		for _, dir := range names {
			serial, _ := os.ReadFile(dir + "/serial")
			found[strings.TrimSpace(string(serial))] = "/dev/" + filepath.Base(dir)
		}
		missing := false
		for _, s := range serials {
			missing = missing || found[s] == ""
		}
		if !missing {
			return found, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("find virtio disks %v: none appeared within 10 s", serials)
}

// unpack writes the regular files, directories and symbolic links of a tar archive below dir.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read input archive: %w", err)
		}
		name := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = writeFile(name, r, h.FileInfo().Mode().Perm())
		default:
			err = fmt.Errorf("unpack %s: type %c is not supported", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(name string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func copySelf(name string) error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(name, f, 0o755)
}

func readJob(dir string) (wire.Job, error) {
	var job wire.Job
	text, err := os.ReadFile(filepath.Join(dir, wire.JobFile))
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	if err != nil {
		return job, fmt.Errorf("read job: %w", err)
	}
	return job, nil
}

// switchRoot makes dir the root of the mount tree, as switch_root(8) does: an initial RAM file system cannot
// be pivoted away, only mounted over.
func switchRoot(dir string) error {
	for _, sub := range []string{"/dev", "/proc", "/sys"} {
		if err := os.MkdirAll(dir+sub, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(sub, dir+sub, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", sub, err)
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// runPlain sets up what an init system would, runs the agent, reaps whatever becomes an orphan meanwhile, and
// switches the machine off.
func runPlain(cgroup string) error {
	os.Clearenv()
	os.Setenv("PATH", searchPath)
	mounts := []struct {
		fs, dir string
		flags   uintptr
		data    string
	}{
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"mqueue", "/dev/mqueue", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"securityfs", "/sys/kernel/security", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"bpf", "/sys/fs/bpf", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=700"},
	}
	for _, m := range mounts {
		if err := mount(m.fs, m.fs, m.dir, m.flags, m.data); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := mountCgroups(cgroup); err != nil {
		return err
	}
	if err := steady(cgroup); err != nil {
		return fmt.Errorf("make a cgroup that stays: %w", err)
	}
	// What systemd does too: every mount event is seen by mount namespaces made later.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("vm")); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	firstConnection()
	run := fmt.Sprintf("/run/user/%d", wire.UserID)
	if err := errors.Join(os.MkdirAll("/run/user", 0o755), os.Mkdir(run, 0o700), os.Chown(run, wire.UserID, wire.UserID)); err != nil {
		return err
	}
	child, err := os.StartProcess("/vm/guest", []string{"guest", "agent"}, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == child.Pid || err == unix.ECHILD {
			powerOff()
		}
	}
}
