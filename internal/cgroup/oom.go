package cgroup

import (
	"context"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// OOMEvent says that the group ran out of memory.
type OOMEvent struct {
	// Kills counts the processes of the group that the kernel has killed for it so far.
	Kills uint64
}

// OOMKills counts how many processes of the group the kernel has killed because it ran out of memory. It
// can be asked after the processes are gone, until Delete.
func (g *Group) OOMKills() (uint64, error) {
	d, ok := g.with("memory")
	if !ok {
		return 0, &Error{Op: "count", Object: "out-of-memory kills", Cause: ErrNoGroup, Hint: "no memory controller counts for it"}
	}
	n, err := oomKills(d, g.version)
	if err != nil {
		return 0, &Error{Op: "read", Object: d.path + "/" + oomFile(g.version), Cause: err, Hint: "is the memory controller enabled for the group?"}
	}
	return n, nil
}

func oomFile(version int) string {
	if version == 1 {
		return "memory.oom_control"
	}
	return "memory.events"
}

func oomKills(d groupDir, version int) (uint64, error) {
	s, err := readFile(d.dir, oomFile(version))
	if err != nil {
		return 0, err
	}
	v, _ := flat(s, "oom_kill")
	n, _ := strconv.ParseUint(v, 10, 64)
	return n, nil
}

// WatchOOM reports each time that the group runs out of memory. The channel is closed when ctx ends, when
// the group is removed, and on v2 when its last process is gone.
func (g *Group) WatchOOM(ctx context.Context) (<-chan OOMEvent, error) {
	d, ok := g.with("memory")
	if !ok {
		return nil, &Error{Op: "watch for", Object: "out-of-memory kills", Cause: ErrNoGroup, Hint: "no memory controller counts for it"}
	}
	fail := func(err error) error {
		return &Error{Op: "watch", Object: d.path + "/" + oomFile(g.version), Cause: err, Hint: "is the memory controller enabled for the group?"}
	}
	// The watcher has a descriptor of its own: it may outlive the Group.
	dir, err := openDir(int(d.dir.Fd()), ".", unix.O_PATH)
	if err != nil {
		return nil, fail(err)
	}
	d.dir = dir
	start := watchOOMV2
	if g.version == 1 {
		start = watchOOMV1
	}
	run, err := start(ctx, d)
	if err != nil {
		dir.Close()
		return nil, fail(err)
	}
	events := make(chan OOMEvent)
	go func() {
		defer dir.Close()
		defer close(events)
		run(func(e OOMEvent) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	return events, nil
}

// watchOOMV2 polls memory.events, and cgroup.events to learn of the end.
func watchOOMV2(ctx context.Context, d groupDir) (func(report func(OOMEvent)), error) {
	last, err := oomKills(d, 2)
	if err != nil {
		return nil, err
	}
	memory, err := openFile(d.dir, "memory.events", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	group, err := openFile(d.dir, "cgroup.events", unix.O_RDONLY)
	if err != nil {
		memory.Close()
		return nil, err
	}
	cancel, stop, err := canceller(ctx)
	if err != nil {
		memory.Close()
		group.Close()
		return nil, err
	}
	return func(report func(OOMEvent)) {
		defer stop()
		defer memory.Close()
		defer group.Close()
		wasPopulated := false
		for ctx.Err() == nil {
			// The end is read before the count, so that a kill that was the end is counted.
			events, err := readAgain(group)
			if err != nil {
				return
			}
			content, err := readAgain(memory)
			if err != nil {
				return
			}
			v, _ := flat(content, "oom_kill")
			if n, _ := strconv.ParseUint(v, 10, 64); n > last {
				last = n
				report(OOMEvent{Kills: n})
			}
			populated, _ := flat(events, "populated")
			if wasPopulated && populated == "0" {
				return
			}
			wasPopulated = wasPopulated || populated == "1"
			fds := []unix.PollFd{
				{Fd: int32(memory.Fd()), Events: unix.POLLPRI},
				{Fd: int32(group.Fd()), Events: unix.POLLPRI},
				{Fd: int32(cancel), Events: unix.POLLIN},
			}
			if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
				return
			}
		}
	}, nil
}

// readAgain reads an open file from its beginning, which also arms its next notification.
func readAgain(f *os.File) (string, error) {
	var buf [4096]byte
	for {
		n, err := unix.Pread(int(f.Fd()), buf[:], 0)
		if err == unix.EINTR {
			continue
		}
		return string(buf[:max(n, 0)]), err
	}
}
