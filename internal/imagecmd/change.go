package imagecmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gcr/internal/image"
	"gcr/internal/image/reference"
	"gcr/internal/listing"
)

func pull() *cobra.Command {
	var platform string
	var quiet bool
	c := &cobra.Command{
		Use: "pull IMAGE...", Short: "Bring images from a registry into the store", Args: cobra.MinimumNArgs(1),
		Long: "Bring images into the store: a name in a registry (\"ubuntu\" is docker.io/library/ubuntu:latest), docker-archive:FILE, oci:DIR[:TAG], oci-archive:FILE, docker-daemon:NAME.",
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			p, err := image.PlatformOf(platform)
			if err != nil {
				return err
			}
			for _, a := range args {
				r := reporter(c, quiet)
				img, err := s.Pull(c.Context(), a, image.PullOptions{Platform: p, Progress: r})
				r.Wait()
				if err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), img.ID())
			}
			return nil
		},
	}
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` to choose, like linux/arm64")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "write the ID only")
	return c
}

func push() *cobra.Command {
	var quiet bool
	c := &cobra.Command{
		Use: "push IMAGE [DESTINATION]", Short: "Send an image to a registry", Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			dest := ""
			if len(args) == 2 {
				dest = strings.TrimPrefix(args[1], "docker://")
			}
			r := reporter(c, quiet)
			d, err := s.Push(c.Context(), args[0], dest, r)
			r.Wait()
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), d)
			return nil
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "write the digest only")
	return c
}

func rmi() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rmi IMAGE...", Short: "Remove images", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			var errs []error
			for _, a := range args {
				r, err := s.Remove(c.Context(), a, force)
				if err != nil {
					if force && errors.Is(err, image.ErrNotFound) {
						continue
					}
					errs = append(errs, err)
					continue
				}
				report(c, r)
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "remove all names, also of an image in use; no error if there is none")
	return c
}

func report(c *cobra.Command, r *image.Removed) {
	for _, n := range r.Untagged {
		fmt.Fprintln(c.OutOrStdout(), "untagged:", reference.Familiar(n))
	}
	for _, d := range r.Deleted {
		fmt.Fprintln(c.OutOrStdout(), "deleted:", d)
	}
	if r.Later {
		fmt.Fprintln(c.ErrOrStderr(), "something is being pulled or saved: disk space is freed by the next rmi or prune")
	}
}

func prune() *cobra.Command {
	var all, force, asJSON bool
	c := &cobra.Command{
		Use: "prune", Short: "Remove images without a name, and what killed commands left", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			if all && !force && !confirm(c, "Remove all images that no container uses?") {
				return nil
			}
			r, err := s.Prune(c.Context(), all)
			if err != nil {
				return err
			}
			if asJSON {
				return listing.JSON(c.OutOrStdout(), r)
			}
			report(c, r)
			fmt.Fprintln(c.OutOrStdout(), "freed:", size(r.Freed))
			return nil
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also images with a name that no container uses")
	c.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

func confirm(c *cobra.Command, q string) bool {
	fmt.Fprint(c.ErrOrStderr(), q+" [y/N] ")
	line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes"
}

func tag() *cobra.Command {
	return &cobra.Command{
		Use: "tag IMAGE NAME", Short: "Give an image another name", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			return s.Tag(c.Context(), args[0], args[1])
		},
	}
}

func save() *cobra.Command {
	var out, format, platform string
	c := &cobra.Command{
		Use: "save IMAGE...", Short: "Write images into an archive", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := image.ParseFormat(format)
			if err != nil {
				return err
			}
			p, err := image.PlatformOf(platform)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			if out != "" && out != "-" {
				return s.SaveFile(c.Context(), out, f, args, p)
			}
			if err := noTerminal(c.OutOrStdout()); err != nil {
				return err
			}
			return s.Save(c.Context(), c.OutOrStdout(), f, args, p)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write; default standard output")
	c.Flags().StringVar(&format, "format", string(image.DockerArchive), "docker-archive or oci-archive")
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` to choose")
	return c
}

func load() *cobra.Command {
	var in, platform string
	var quiet bool
	c := &cobra.Command{
		Use: "load", Short: "Bring images from an archive into the store", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := image.PlatformOf(platform)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			f, err := input(c, in)
			if err != nil {
				return fmt.Errorf("load archive: %w", err)
			}
			r := reporter(c, quiet)
			imgs, err := s.Load(c.Context(), f, image.PullOptions{Platform: p, Progress: r})
			r.Wait()
			for _, i := range imgs {
				if len(i.Names) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "loaded:", i.ID())
				}
				for _, n := range i.Names {
					fmt.Fprintln(c.OutOrStdout(), "loaded:", reference.Familiar(n))
				}
			}
			return err
		},
	}
	c.Flags().StringVarP(&in, "input", "i", "", "`FILE` to read; default standard input")
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` to choose")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress")
	return c
}

// input opens a file, or standard input for "" and "-".
func input(c *cobra.Command, name string) (*os.File, error) {
	if name != "" && name != "-" {
		return os.Open(name)
	}
	if f, ok := c.InOrStdin().(*os.File); ok {
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(w, c.InOrStdin())
		w.Close()
	}()
	return r, nil
}

func importCmd() *cobra.Command {
	var o image.ImportOptions
	var platform string
	c := &cobra.Command{
		Use: "import FILE|- [NAME]", Short: "Make an image from a tar archive of a root file system", Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.Platform, err = image.PlatformOf(platform); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			f, err := input(c, args[0])
			if err != nil {
				return fmt.Errorf("import root file system: %w", err)
			}
			defer f.Close()
			if len(args) == 2 {
				o.Name = args[1]
			}
			img, err := s.Import(c.Context(), f, o)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), img.ID())
			return nil
		},
	}
	c.Flags().StringArrayVarP(&o.Changes, "change", "c", nil, "Dockerfile `INSTRUCTION` for the configuration, like 'CMD [\"/bin/sh\"]'")
	c.Flags().StringVarP(&o.Message, "message", "m", "", "`TEXT` for the history")
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` that the image is for")
	return c
}

func export() *cobra.Command {
	var out, platform string
	c := &cobra.Command{
		Use: "export IMAGE", Short: "Write the root file system of an image as a tar archive", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := image.PlatformOf(platform)
			if err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			if out != "" && out != "-" {
				return s.ExportFile(c.Context(), out, args[0], p)
			}
			if err := noTerminal(c.OutOrStdout()); err != nil {
				return err
			}
			return s.Export(c.Context(), c.OutOrStdout(), args[0], p)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write; default standard output")
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` to choose")
	return c
}
