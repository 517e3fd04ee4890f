package main

import (
	"fmt"
	"os"
	"path/filepath"

	"gcr/test/vm/wire"

	"golang.org/x/sys/unix"
)

// units are what systemd finds below /run/systemd/system: a target that pulls in a usual system as far as
// containers are concerned (bus, logind, the ordinary user's manager) and the agent as its last service.
var units = map[string]string{
	"gcr-vm.target": `[Unit]
Description=A system for tests
Requires=basic.target
Wants=dbus.service systemd-logind.service user@1000.service gcr-vm.service
After=basic.target
`,
	"gcr-vm.service": `[Unit]
Description=Runs the tests
After=basic.target dbus.service systemd-logind.service user@1000.service
FailureAction=poweroff-force
SuccessAction=poweroff-force
[Service]
ExecStart=/vm/guest agent
TasksMax=infinity
LimitNOFILE=524288
StandardOutput=journal+console
`,
	// Distributions differ in what a user's manager gets; this is what the rootless documentation of
	// every container engine asks an administrator to set.
	"user@.service.d/delegate.conf": `[Service]
Delegate=cpu cpuset io memory pids
`,
}

// masked are units that cost seconds under emulation and have no part in what is tested.
var masked = []string{
	"systemd-journal-flush.service", "systemd-random-seed.service", "systemd-sysusers.service",
	"systemd-binfmt.service", "systemd-remount-fs.service", "systemd-pstore.service", "systemd-modules-load.service",
	"systemd-update-utmp.service", "systemd-tmpfiles-setup-dev.service", "systemd-udev-trigger.service",
	"systemd-hwdb-update.service", "systemd-journal-catalog-update.service", "systemd-update-done.service",
	"modprobe@configfs.service", "modprobe@efi_pstore.service", "modprobe@drm.service", "modprobe@dm_mod.service",
	"modprobe@loop.service", "modprobe@fuse.service", "sys-kernel-debug.mount", "sys-kernel-config.mount",
	"sys-kernel-tracing.mount", "kmod-static-nodes.service", "run-lock.mount", "e2scrub_reap.service",
	"apparmor.service",
}

// startSystemd hands process 1 over.
func startSystemd() error {
	const run = "/run"
	if err := mount("tmpfs", "tmpfs", run, unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	dir := run + "/systemd/system"
	for name, text := range units {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	const init = "/lib/systemd/systemd"
	if err := unix.Exec(init, []string{init, "--unit=gcr-vm.target"}, []string{"PATH=" + searchPath}); err != nil {
		return fmt.Errorf("start %s: %w", init, err)
	}
	return nil
}

// userEnv is the environment of the ordinary user's session.
func userEnv() []string {
	run := fmt.Sprintf("/run/user/%d", wire.UserID)
	return []string{
		"HOME=/home/" + wire.UserName, "USER=" + wire.UserName, "LOGNAME=" + wire.UserName,
		"XDG_RUNTIME_DIR=" + run, "DBUS_SESSION_BUS_ADDRESS=unix:path=" + run + "/bus",
	}
}
