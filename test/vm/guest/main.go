// Command guest is the guest side of the VM bench: the first process of the guest's initial RAM file system,
// then of the guest itself (unless systemd is wanted), and the agent that runs the host's tasks.
//
//	/init            as PID 1: drivers, disks, root file system, hand over
//	/vm/guest agent  runs the tasks of /vm/in/job.json and switches the machine off
//
// It is one static program, so that a guest's root file system needs nothing of the bench's own.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	var err error
	switch {
	case os.Getpid() == 1:
		err = boot()
	case len(os.Args) == 2 && os.Args[1] == "agent":
		err = agent()
	default:
		err = fmt.Errorf("usage: as process 1 of a VM, or: guest agent")
	}
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "guest:", err)
	if os.Getpid() == 1 {
		powerOff()
	}
	os.Exit(1)
}

// powerOff ends the machine at once. Nothing is synced: the guest's disks are thrown away.
func powerOff() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
