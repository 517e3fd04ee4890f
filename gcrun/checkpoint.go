package main

import (
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"gcr/internal/criu"
	"gcr/internal/launch"
	"gcr/internal/lifecycle"

	"golang.org/x/sys/unix"
)

// checkpointFlags are the options that checkpoint and restore share, with runc's names.
type checkpointFlags struct {
	o                   lifecycle.CheckpointOptions
	manage, emptyNS, ps string
}

func (f *checkpointFlags) define(fs *flag.FlagSet) {
	o := &f.o
	o.StatusFD = -1
	fs.StringVar(&o.ImagePath, "image-path", "", "`directory` of criu's images (default: ./checkpoint)")
	fs.StringVar(&o.WorkPath, "work-path", "", "`directory` of criu's logs (default: that of the images)")
	fs.BoolVar(&o.TCPEstablished, "tcp-established", false, "take connected TCP sockets along")
	fs.BoolVar(&o.ExtUnixSockets, "ext-unix-sk", false, "take unix sockets along whose other end is outside")
	fs.BoolVar(&o.ShellJob, "shell-job", false, "the container's terminal is the caller's")
	fs.BoolVar(&o.FileLocks, "file-locks", false, "take file locks along")
	fs.BoolVar(&o.AutoDedup, "auto-dedup", false, "free memory pages in the images that newer ones replace")
	fs.BoolVar(&o.LazyPages, "lazy-pages", false, "fetch memory pages when they are used (userfaultfd(2))")
	fs.StringVar(&f.manage, "manage-cgroups-mode", "", "`mode` of cgroups: soft, full, strict or ignore")
	fs.StringVar(&f.emptyNS, "empty-ns", "", "make this `namespace` anew and leave it empty: network")
}

// finish checks the options and completes them.
func (f *checkpointFlags) finish(g *globals) error {
	f.o.CRIU = g.criu
	switch f.manage {
	case "":
		f.o.ManageCgroups = criu.CgroupDefault
	case "soft":
		f.o.ManageCgroups = criu.CgroupSoft
	case "full":
		f.o.ManageCgroups = criu.CgroupFull
	case "strict":
		f.o.ManageCgroups = criu.CgroupStrict
	case "ignore":
		f.o.ManageCgroups = criu.CgroupIgnore
	default:
		return usageError{fmt.Errorf("invalid value %q for --manage-cgroups-mode: use soft, full, strict or ignore", f.manage)}
	}
	switch f.emptyNS {
	case "":
	case "network":
		f.o.EmptyNS = unix.CLONE_NEWNET
	default:
		return usageError{fmt.Errorf("invalid value %q for --empty-ns: only network can be left empty", f.emptyNS)}
	}
	if f.ps != "" {
		host, port, err := net.SplitHostPort(f.ps)
		n := 0
		if err == nil {
			n, err = strconv.Atoi(port)
		}
		if err != nil {
			return usageError{fmt.Errorf("invalid value %q for --page-server: use ADDRESS:PORT", f.ps)}
		}
		f.o.PageServer, f.o.PagePort = host, n
	}
	if f.o.ImagePath == "" {
		f.o.ImagePath = "checkpoint"
	}
	for _, p := range []*string{&f.o.ImagePath, &f.o.WorkPath} {
		if *p == "" {
			continue
		}
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	return nil
}

func runCheckpoint(g *globals, c *command, args []string) error {
	fs := flagSet("checkpoint")
	var f checkpointFlags
	f.define(fs)
	fs.StringVar(&f.o.Parent, "parent-path", "", "`directory` of the images of a pre-dump, relative to --image-path")
	fs.BoolVar(&f.o.LeaveRunning, "leave-running", false, "let the container run on")
	fs.BoolVar(&f.o.PreDump, "pre-dump", false, "write only the memory, and let the container run on: a later checkpoint with --parent-path is short")
	fs.BoolVar(&f.o.TCPSkip, "tcp-skip-in-flight", false, "leave TCP connections out that are being made")
	fs.BoolVar(&f.o.LinkRemap, "link-remap", false, "give deleted files a name meanwhile")
	fs.IntVar(&f.o.StatusFD, "status-fd", -1, "write a zero byte to `descriptor` when lazy pages can be fetched")
	fs.StringVar(&f.ps, "page-server", "", "send memory pages to criu at `address:port`")
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if err := f.finish(g); err != nil {
		return err
	}
	return g.store().Checkpoint(rest[0], f.o)
}

func runRestore(g *globals, c *command, args []string) error {
	fs := flagSet("restore")
	var f checkpointFlags
	var o lifecycle.CreateOptions
	f.define(fs)
	bothText(fs, &o.Bundle, "bundle", "b", "`directory` of the bundle (default: the working directory)")
	fs.StringVar(&o.PidFile, "pid-file", "", "write the process id of the container to `file`")
	fs.StringVar(&o.ConsoleSocket, "console-socket", "", "unix `socket` that gets the container's terminal")
	both(fs, &o.Detached, "detach", "d", "return when the container runs")
	fs.StringVar(&f.o.LSMProfile, "lsm-profile", "", "`profile` instead of that of the images, as TYPE:NAME")
	fs.StringVar(&f.o.LSMMountContxt, "lsm-mount-context", "", "SELinux `context` of mounts instead of that of the images")
	fs.Bool("no-subreaper", false, "accepted for compatibility: gcrun is never a subreaper")
	fs.Bool("no-pivot", false, "accepted for compatibility: criu puts the root in place")
	rest, err := parse(c, fs, args, 1, 1)
	if err != nil {
		return err
	}
	if err := f.finish(g); err != nil {
		return err
	}
	if err := g.finish(&o, rest[0]); err != nil {
		return err
	}
	var forward *launch.Forwarder
	if !o.Detached {
		if forward, err = launch.ForwardSignals(); err != nil {
			return err
		}
	}
	r, err := g.store().Restore(o, f.o)
	if err != nil {
		return err
	}
	if o.Detached {
		if r.Master != nil {
			r.Master.Close()
		}
		r.Release()
		return nil
	}
	status, err := attend(r.Process, r.Master, forward)
	if err != nil {
		r.Stop()
	}
	if derr := r.End(); derr != nil {
		g.log.warn(derr.Error())
	}
	if err != nil {
		return err
	}
	return exitStatus(status)
}
