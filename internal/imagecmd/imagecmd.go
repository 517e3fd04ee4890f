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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"text/template"

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

// output is the choice of form that listing commands give.
type output struct {
	json   bool
	format string
	quiet  bool
}

func (o *output) flags(c *cobra.Command, quiet string) {
	c.Flags().BoolVar(&o.json, "json", false, "write JSON")
	c.Flags().StringVar(&o.format, "format", "", "write each with a Go `TEMPLATE`, or \"json\"")
	if quiet != "" {
		c.Flags().BoolVarP(&o.quiet, "quiet", "q", false, quiet)
	}
}

// write shows items in the chosen form; table writes them for people.
func write[T any](c *cobra.Command, o *output, items []T, table func(w io.Writer)) error {
	w := c.OutOrStdout()
	if o.json || o.format == "json" {
		if items == nil {
			items = []T{}
		}
		return writeJSON(w, items)
	}
	if o.format != "" {
		f := strings.TrimPrefix(o.format, "table ")
		t, err := template.New("format").Funcs(template.FuncMap{"json": toJSON, "join": strings.Join}).Parse(f + "\n")
		if err != nil {
			return fmt.Errorf("read --format: %w", err)
		}
		for _, i := range items {
			if err := t.Execute(w, i); err != nil {
				return fmt.Errorf("write with --format: %w", err)
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	table(tw)
	return tw.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// noTerminal refuses to write an archive to a terminal.
func noTerminal(w io.Writer) error {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("write archive: standard output is a terminal; name a file with -o, or redirect it")
	}
	return nil
}
