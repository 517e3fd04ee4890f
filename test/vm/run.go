package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gcr/test/vm/wire"
)

// runCommand runs one command in one VM: the files given with -in are in its working directory, what it leaves
// in /vm/out comes back, and its exit status is the bench's.
func runCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	at := flags.String("at", "v2", "the place (see: vm list)")
	limit := flags.Duration("limit", 5*time.Minute, "time limit of the command")
	out := flags.String("out", "", "directory for the files that the command leaves in "+wire.OutputDir)
	var in, env []string
	flags.Func("in", "file, or directory whose content, to copy into the command's directory (repeatable)", func(s string) error {
		in = append(in, s)
		return nil
	})
	flags.Func("env", "NAME=value for the command (repeatable)", func(s string) error {
		env = append(env, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("run: which command? (vm run [flags] -- COMMAND [ARG…])")
	}
	p, err := placeNamed(*at)
	if err != nil {
		return err
	}
	if p.Machine == "" {
		return fmt.Errorf("run at %s: that is no VM; run the command itself", p.Name)
	}
	files, err := os.MkdirTemp("", "gcr-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	for _, name := range in {
		if err := stage(name, files); err != nil {
			return err
		}
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	m := machineNamed(p.Machine)
	img, err := newPreparation(ctx, cache).image(m)
	if err != nil {
		return err
	}
	task := wire.Task{Args: flags.Args(), As: p.As, Limit: *limit, Env: append(env, "GCR_VM_PLACE="+p.Name)}
	var end wire.Event
	var archive chunkFile
	defer archive.remove()
	err = m.boot(ctx, img, wire.Job{Tasks: []wire.Task{task}}, files, func(e wire.Event) {
		switch {
		case e.Ended:
			end = e
		case e.Stream == wire.Stdout:
			_, _ = os.Stdout.Write(e.Data)
		case e.Stream == wire.Stderr:
			_, _ = os.Stderr.Write(e.Data)
		case e.Stream == wire.Output:
			archive.write(e.Data)
		}
	})
	if err != nil {
		return err
	}
	if *out != "" {
		if err := archive.unpack(ctx, *out); err != nil {
			return err
		}
	}
	if end.Error != "" {
		return errors.New(end.Error)
	}
	if end.Status != 0 {
		return exitStatus(end.Status)
	}
	return nil
}

// stage copies a file, or what is in a directory, into dir.
func stage(name, dir string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(dir, os.DirFS(name))
	}
	return copyFile(name, filepath.Join(dir, filepath.Base(name)))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// A chunkFile gathers an archive that comes in pieces.
type chunkFile struct {
	file *os.File
	err  error
}

func (c *chunkFile) write(p []byte) {
	if c.file == nil && c.err == nil {
		c.file, c.err = os.CreateTemp("", "gcr-vm-*.tar")
	}
	if c.err == nil {
		_, c.err = c.file.Write(p)
	}
}

// unpack unpacks the archive into dir.
func (c *chunkFile) unpack(ctx context.Context, dir string) error {
	if c.file == nil || c.err != nil {
		return c.err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := runTool(ctx, "", "tar", "-xf", c.file.Name(), "--no-same-owner", "-C", dir)
	return err
}

func (c *chunkFile) remove() {
	if c.file != nil {
		c.file.Close()
		os.Remove(c.file.Name())
	}
}
