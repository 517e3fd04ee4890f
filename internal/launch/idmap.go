package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"gcr/internal/plan"
	"gcr/internal/procfs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// writeIDMaps writes the maps of the child's new user namespace (user_namespaces(7), "User and group ID
// mappings"). An ordinary user may map its own id by itself; a range needs the helpers newuidmap and newgidmap,
// which know from /etc/subuid what the user may have.
func writeIDMaps(pid int, host plan.Host, uids, gids []specs.LinuxIDMapping) error {
	if host.UID == 0 {
		if err := writeMap(pid, "uid_map", uids); err != nil {
			return err
		}
		return writeMap(pid, "gid_map", gids)
	}
	helpers := make(chan error, 2)
	running := 0
	start := func(helper string, m []specs.LinuxIDMapping) {
		running++
		go func() { helpers <- runMapHelper(helper, pid, m) }()
	}
	var errs []error
	if plan.OwnIDsOnly(uids, host.UID) {
		errs = append(errs, writeMap(pid, "uid_map", uids))
	} else {
		start("newuidmap", uids)
	}
	if plan.OwnIDsOnly(gids, host.GID) {
		// The kernel wants it in this order: with setgroups still allowed the process could drop a group that
		// keeps it from a file (CVE-2014-8989).
		if err := procfs.Write(pid, "setgroups", "deny"); err != nil {
			errs = append(errs, fmt.Errorf("forbid setgroups: %w", err))
		} else {
			errs = append(errs, writeMap(pid, "gid_map", gids))
		}
	} else {
		start("newgidmap", gids)
	}
	for range running {
		errs = append(errs, <-helpers)
	}
	return errors.Join(errs...)
}

func writeMap(pid int, file string, m []specs.LinuxIDMapping) error {
	var b strings.Builder
	for _, r := range m {
		fmt.Fprintf(&b, "%d %d %d\n", r.ContainerID, r.HostID, r.Size)
	}
	if err := procfs.Write(pid, file, b.String()); err != nil {
		field := map[string]string{"uid_map": "linux.uidMappings", "gid_map": "linux.gidMappings"}[file]
		hint := ""
		switch {
		case errors.Is(err, unix.EPERM):
			hint = "an ordinary user may map its own id only; a range needs an entry in /etc/subuid and /etc/subgid and the programs newuidmap and newgidmap (Debian package uidmap)"
		case errors.Is(err, unix.EINVAL):
			hint = "ranges of the map must not overlap, and the kernel takes 340 of them"
		}
		return &plan.Error{What: "write " + file, Field: field, Cause: cause(err), Hint: hint}
	}
	return nil
}

func runMapHelper(helper string, pid int, m []specs.LinuxIDMapping) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range m {
		args = append(args, fmt.Sprint(r.ContainerID), fmt.Sprint(r.HostID), fmt.Sprint(r.Size))
	}
	cmd := exec.Command(helper, args...)
	// Ctrl-C is for gcr, which hands it on to the container.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		if text == "" {
			text = err.Error()
		}
		return &plan.Error{
			What: "map ids with " + helper, Field: "linux.uidMappings", Cause: errors.New(text),
			Hint: "the range must be the caller's in /etc/subuid and /etc/subgid, and " + helper + " needs its set-user-ID bit or file capabilities",
		}
	}
	return nil
}

// cause takes the path off an error of package os: the message around it names the object.
func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
