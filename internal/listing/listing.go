// Package listing writes what the listing commands of gcr have found: a table for people, JSON or a template of their
// own for scripts. All these commands take the same flags, those of docker and podman.
//
//	var o listing.Options
//	o.Flags(cmd, "write IDs only")
//	…
//	return listing.Write(cmd, &o, rows, func(w io.Writer) {
//		fmt.Fprintln(w, "NAME\tSIZE")
//		…
//	})
package listing

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/spf13/cobra"
)

// Options is the form that the caller of a command has chosen.
type Options struct {
	JSON   bool
	Format string // a text/template for each item, or "json"
	Quiet  bool   // for the command to see to
}

// Flags adds --json, --format and, where quiet says what it does, -q.
func (o *Options) Flags(c *cobra.Command, quiet string) {
	c.Flags().BoolVar(&o.JSON, "json", false, "write JSON")
	c.Flags().StringVar(&o.Format, "format", "", "write each with a Go `TEMPLATE`, or \"json\"")
	if quiet != "" {
		c.Flags().BoolVarP(&o.Quiet, "quiet", "q", false, quiet)
	}
}

// Write shows items in the chosen form; table writes them for people, with tabs between the columns. An error is that
// of the template or of the output.
func Write[T any](c *cobra.Command, o *Options, items []T, table func(w io.Writer)) error {
	w := c.OutOrStdout()
	if o.JSON || o.Format == "json" {
		if items == nil {
			items = []T{}
		}
		return JSON(w, items)
	}
	if o.Format != "" {
		f := strings.TrimPrefix(o.Format, "table ")
		t, err := template.New("format").Funcs(template.FuncMap{"json": line, "join": strings.Join}).Parse(f + "\n")
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

// JSON writes a value as people read it, indented and with its characters as they are.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line is the function json of templates.
func line(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
