// Gcr runs containers: a shell in a root filesystem, from one command, with or without root.
//
//	gcr run ubuntu bash                  a shell in rootfs/ubuntu
//	gcr run host sh -c 'id; ps'          a throw-away copy of this machine
//	gcr run --explain ubuntu bash        what would be done, and why
//	gcr run --step ubuntu bash           the same, one step at a time
//
// This file holds flags and wiring; package engine does the work.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"gcr/internal/engine"
	"gcr/internal/image/userns"
	"gcr/internal/imagecmd"
	"gcr/internal/networkcmd"
	_ "gcr/internal/prefault"
	"gcr/internal/seccomp/seccompcmd"

	"github.com/spf13/cobra"
)

// version is the version of gcr; a release sets it with -ldflags.
var version = "0.1.0"

// statusInterrupted is what a shell says of a command that Ctrl-C has ended.
const statusInterrupted = 128 + 2

func main() {
	userns.Hook()
	status, err := execute(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gcr: "+err.Error())
	}
	os.Exit(status)
}

func execute(args []string) (int, error) {
	status := 0
	root := &cobra.Command{
		Use:   "gcr",
		Short: "Run containers, and see how they work",
		Long: `gcr runs containers: a shell in a root filesystem, from one command, with or without root.

A container is a short program of system calls. gcr writes that program, runs it, and can show it to you:
see gcr run --explain, --trace and --step.`,
		Example: `  gcr run host sh                     a throw-away copy of this machine
  gcr run ubuntu bash                 a shell in rootfs/ubuntu
  gcr run --explain host true         what would be done, and why`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetVersionTemplate("gcr version {{.Version}}" + revision() + "\n")
	root.AddCommand(runCommand(&status), networkcmd.Command(engine.CleanUp), seccompcmd.Command())
	root.AddCommand(imagecmd.Commands()...)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		if status == 0 {
			status = engine.StatusGCR
		}
		if errors.Is(err, context.Canceled) {
			return statusInterrupted, errors.New("interrupted")
		}
		return status, err
	}
	return status, nil
}

// revision is the commit that the binary was built from, where the build knows it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return " (" + s.Value[:12] + ")"
		}
	}
	return ""
}

func runCommand(status *int) *cobra.Command {
	o := &engine.Options{}
	cmd := &cobra.Command{
		Use:   "run [flags] ROOTFS|IMAGE [COMMAND [ARG...]]",
		Short: "Run a command in a new container",
		Long: `Run a command in a new container, and exit with its exit status.

ROOTFS is the name of a directory below ./rootfs or below a directory of GCR_ROOTFS, a path with a slash, or
the word host: the files of this machine, with a layer in memory over them that is gone at exit. Any other name
is that of an image, which is pulled where it is not there yet; what its container writes is gone at exit, too.

On a terminal the command is interactive, as with -it of docker run. Exit status 125 is an error of gcr, 126 a
command that cannot be executed, 127 one that is not there, 128+n one that signal n has ended.`,
		Example: `  gcr run ubuntu bash                               a shell
  gcr run --ephemeral ubuntu bash                   the same, and what it writes is gone at exit
  gcr run -v "$PWD:/src" -w /src ubuntu make        work on a directory of this machine
  gcr run --memory 512m --cpus 1.5 ubuntu ./job     with limits
  gcr run --ns pid host sh -c 'echo $$'             isolate process ids, and nothing else
  gcr run --step ubuntu bash                        stop before each step; s opens a shell there`,
		Args: func(_ *cobra.Command, args []string) error { return o.SetArgs(args) },
		RunE: func(*cobra.Command, []string) error {
			var err error
			*status, err = engine.Run(o)
			return err
		},
		ValidArgsFunction: completeRun,
	}
	o.Register(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; gcr run --help lists the flags", err)
	})
	return cmd
}

// completeRun offers the names of root filesystems and images for the first word, and files after it.
func completeRun(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names := []string{engine.HostRootfs}
	for _, dir := range engine.RootDirs(os.Getenv("GCR_ROOTFS")) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, filepath.Base(e.Name()))
			}
		}
	}
	return append(names, imagecmd.Names()...), cobra.ShellCompDirectiveNoFileComp
}
