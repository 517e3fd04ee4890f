// Package imagecmd is the commands of gcr that are about images: pull, images, rmi, inspect, history, tag, save,
// load, import, export, push, login, logout, image prune.
//
//	root.AddCommand(imagecmd.Commands()...)
//
// The store is the one of image.DefaultRoot, or the directory that GCR_IMAGES or the flag --image-root names, where
// the root command has such a flag. main must call userns.Hook before anything else.
package imagecmd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gcr/internal/image"
	"gcr/internal/image/progress"
)

// Commands makes the commands. Each call makes new ones. Ctrl-C, and the signals that ask a program to end, stop what
// they do in good order; the second time they end it at once.
func Commands() []*cobra.Command {
	list := []*cobra.Command{
		pull(), images(), rmi(), inspect(), history(), tag(), save(), load(), importCmd(), export(), push(), login(), logout(), group(),
	}
	for _, c := range list {
		complete(c)
		c.PersistentPreRun = func(c *cobra.Command, _ []string) {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			context.AfterFunc(ctx, stop)
			c.SetContext(ctx)
		}
	}
	return list
}

// group is "gcr image …": prune, and the others under the names that Docker and Podman have for them.
func group() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Work with images", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	ls := images()
	ls.Use, ls.Aliases = "ls", []string{"list"}
	rm := rmi()
	rm.Use = "rm IMAGE..."
	c.AddCommand(prune(), ls, rm, inspect(), history(), tag(), save(), load(), importCmd(), pull(), push())
	return c
}

func open(c *cobra.Command) (*image.Store, error) {
	root := os.Getenv("GCR_IMAGES")
	if f := c.Flag("image-root"); f != nil && f.Value.String() != "" {
		root = f.Value.String()
	}
	if root == "" {
		root = image.DefaultRoot()
	}
	return image.Open(root, nil)
}

func reporter(c *cobra.Command, quiet bool) *progress.Reporter {
	if quiet {
		return nil
	}
	return progress.New(c.ErrOrStderr())
}

// noTerminal refuses to write an archive to a terminal.
func noTerminal(w io.Writer) error {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("write archive: standard output is a terminal; name a file with -o, or redirect it")
	}
	return nil
}
