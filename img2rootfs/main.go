// Command img2rootfs makes a root file system directory from a container image.
//
//	cd img2rootfs && go build -o img2rootfs .
//	sudo ./img2rootfs -image ubuntu:latest -output ../rootfs/ubuntu
//
// The image may be a name in a registry, docker-archive:FILE (docker save), oci:DIR[:TAG], oci-archive:FILE, or
// docker-daemon:NAME. Beside the directory it writes NAME.json, the image's configuration, for gcr run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gcr/internal/image/manifest"
	"gcr/internal/image/progress"
	"gcr/internal/image/registry"
	"gcr/internal/image/rootfs"
	"gcr/internal/image/settings"
	"gcr/internal/image/userns"
)

func main() {
	userns.Hook()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "img2rootfs: interrupted; nothing was left behind")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "img2rootfs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("img2rootfs", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), "usage: img2rootfs -image IMAGE -output DIRECTORY [-platform OS/ARCH[/VARIANT]] [-force] [-quiet]\n\n")
		f.PrintDefaults()
	}
	image := f.String("image", "", "`IMAGE` in a registry, or docker-archive:FILE, oci:DIR[:TAG], oci-archive:FILE, docker-daemon:NAME")
	output := f.String("output", "", "`DIRECTORY` to make")
	platform := f.String("platform", "", "`OS/ARCH[/VARIANT]` to choose, like linux/arm64; default that of this machine")
	force := f.Bool("force", false, "replace the directory if it is there")
	quiet := f.Bool("quiet", false, "say nothing but errors")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		os.Exit(2) // flag has said what is wrong
	}
	if *image == "" || *output == "" || f.NArg() > 0 {
		f.Usage()
		os.Exit(2)
	}
	set, err := settings.Load()
	if err != nil {
		return err
	}
	o := rootfs.Options{Client: registry.New(set, registry.Options{}), Force: *force}
	if *platform != "" {
		if o.Platform, err = manifest.ParsePlatform(*platform); err != nil {
			return err
		}
	}
	if !*quiet {
		o.Progress = progress.New(os.Stderr)
	}
	res, err := rootfs.Make(ctx, *image, *output, o)
	o.Progress.Wait()
	if err != nil || *quiet {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d layers, %d entries, %.1f MB\n", *output, res.Layers, res.Stats.Entries, float64(res.Stats.Bytes)/1e6)
	if res.Stats.Recorded > 0 {
		fmt.Fprintf(os.Stderr, "%d owners or devices could not be set without root and are noted in the attribute user.containers.override_stat\n", res.Stats.Recorded)
	}
	if res.Stats.Dropped > 0 {
		fmt.Fprintf(os.Stderr, "%d attributes could not be kept (%s)\n", res.Stats.Dropped, res.Owners)
	}
	return nil
}
