package cgroup

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// watchOOMV1 registers an eventfd for memory.oom_control (cgroup-v1/memory.rst, "OOM Control"). The kernel
// also signals it when the group is removed.
func watchOOMV1(ctx context.Context, d groupDir) (func(report func(OOMEvent)), error) {
	if _, err := oomKills(d, 1); err != nil {
		return nil, err
	}
	control, err := openFile(d.dir, "memory.oom_control", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		control.Close()
		return nil, err
	}
	cancel, stop, err := canceller(ctx)
	if err == nil {
		err = writeFile(d.dir, "cgroup.event_control", fmt.Sprintf("%d %d", event, control.Fd()))
		if err != nil {
			stop()
		}
	}
	if err != nil {
		control.Close()
		unix.Close(event)
		return nil, err
	}
	return func(report func(OOMEvent)) {
		defer stop()
		defer control.Close()
		defer unix.Close(event)
		var last uint64
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}, {Fd: int32(cancel), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
				return
			}
			if fds[0].Revents&unix.POLLIN == 0 {
				continue
			}
			var count [8]byte
			_, _ = unix.Read(event, count[:])
			// The kernel signals before it kills: give the count a moment to follow.
			wait, done := context.WithTimeout(ctx, time.Second)
			var kills uint64
			err := retry(wait, func() (bool, error) {
				var err error
				kills, err = oomKills(d, 1)
				return kills > last, err
			})
			done()
			if gone(err) {
				return // removed, which signals too
			}
			last = kills
			report(OOMEvent{Kills: kills})
		}
	}, nil
}
