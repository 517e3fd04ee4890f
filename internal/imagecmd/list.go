package imagecmd

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"gcr/internal/image"
	"gcr/internal/image/manifest"
	"gcr/internal/image/reference"
	"gcr/internal/listing"
)

// row is one line of gcr images: an image under one of its names.
type row struct {
	Repository string
	Tag        string
	ID         string
	Digest     string
	Platform   string
	Created    time.Time
	Size       int64 // bytes, as in the registry
	Layers     int
}

func rows(imgs []*image.Image) []row {
	var out []row
	for _, i := range imgs {
		r := row{
			Repository: "<none>", Tag: "<none>", ID: i.ID().Encoded(), Digest: i.Digest().String(),
			Platform: manifest.PlatformString(i.Platform()), Size: i.Size(), Layers: len(i.Manifest().Layers),
		}
		if t := i.Config().Created; t != nil {
			r.Created = *t
		}
		if len(i.Names) == 0 {
			out = append(out, r)
		}
		for _, n := range i.Names {
			r.Repository, r.Tag = reference.Split(n)
			out = append(out, r)
		}
	}
	return out
}

func images() *cobra.Command {
	var o listing.Options
	var noTrunc, digests bool
	c := &cobra.Command{
		Use: "images [NAME]", Short: "List images", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			all, err := s.List()
			rs := rows(all)
			if len(args) == 1 {
				rs = filter(rs, args[0])
			}
			if o.Quiet {
				seen := map[string]bool{}
				for _, r := range rs {
					if !seen[r.ID] {
						seen[r.ID] = true
						fmt.Fprintln(c.OutOrStdout(), id(r.ID, noTrunc))
					}
				}
				return err
			}
			if e := listing.Write(c, &o, rs, func(w io.Writer) {
				fmt.Fprint(w, "REPOSITORY\tTAG\t")
				if digests {
					fmt.Fprint(w, "DIGEST\t")
				}
				fmt.Fprintln(w, "IMAGE ID\tPLATFORM\tCREATED\tSIZE")
				for _, r := range rs {
					fmt.Fprintf(w, "%s\t%s\t", r.Repository, r.Tag)
					if digests {
						fmt.Fprintf(w, "%s\t", r.Digest)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", id(r.ID, noTrunc), r.Platform, ago(r.Created), size(r.Size))
				}
			}); e != nil {
				return e
			}
			return err // images that cannot be read, after those that can
		},
	}
	o.Flags(c, "write IDs only")
	c.Flags().BoolVar(&noTrunc, "no-trunc", false, "write IDs in full")
	c.Flags().BoolVar(&digests, "digests", false, "show digests")
	return c
}

func filter(rs []row, name string) []row {
	var out []row
	ref, err := reference.Parse(name)
	for _, r := range rs {
		repo := err == nil && reference.Familiar(reference.Repository(ref.Context())) == r.Repository
		tagged := repo && strings.HasSuffix(name, ":"+r.Tag)
		if tagged || (repo && !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":")) {
			out = append(out, r)
		}
	}
	return out
}

func id(s string, full bool) string {
	if full {
		return "sha256:" + s
	}
	return s[:12]
}

// ago says how long something is past, as people do.
func ago(t time.Time) string {
	if t.IsZero() || t.Unix() <= 0 {
		return "-"
	}
	d := time.Since(t)
	for _, u := range []struct {
		n    time.Duration
		name string
	}{{365 * 24 * time.Hour, "year"}, {30 * 24 * time.Hour, "month"}, {7 * 24 * time.Hour, "week"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / u.n); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, u.name)
		} else if n == 1 {
			return "1 " + u.name + " ago"
		}
	}
	return "just now"
}

func size(n int64) string {
	f := float64(n)
	for _, u := range []string{"B", "kB", "MB", "GB"} {
		if f < 1000 {
			return fmt.Sprintf("%.3g%s", f, u)
		}
		f /= 1000
	}
	return fmt.Sprintf("%.3gTB", f)
}

// inspected is what inspect shows, with the names of fields that Docker has.
type inspected struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Digest       string
	Created      *time.Time
	Author       string `json:",omitempty"`
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string //nolint:revive // Docker's name
	Size         int64
	Config       v1.ImageConfig
	RootFS       v1.RootFS
	History      []v1.History
	Directories  []string // lowerdir order: topmost first
	Pulled       time.Time
}

func inspection(i *image.Image) inspected {
	c := i.Config()
	out := inspected{
		ID: i.ID().String(), RepoTags: []string{}, RepoDigests: []string{}, Digest: i.Digest().String(), Created: c.Created, Author: c.Author,
		Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, Size: i.Size(), Config: c.Config, RootFS: c.RootFS, History: c.History,
		Directories: i.Layers(), Pulled: i.Pulled,
	}
	d := i.Digest()
	if i.Index != "" {
		d = i.Index
	}
	seen := map[string]bool{}
	for _, n := range i.Names {
		out.RepoTags = append(out.RepoTags, reference.Familiar(n))
		repo, _ := reference.Split(n)
		if rd := repo + "@" + d.String(); !seen[rd] {
			seen[rd] = true
			out.RepoDigests = append(out.RepoDigests, rd)
		}
	}
	return out
}

func inspect() *cobra.Command {
	var o listing.Options
	var platform string
	c := &cobra.Command{
		Use: "inspect IMAGE...", Short: "Show what an image is", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			p, err := image.PlatformOf(platform)
			if err != nil {
				return err
			}
			var all []inspected
			for _, a := range args {
				i, err := s.Resolve(a, p)
				if err != nil {
					return err
				}
				all = append(all, inspection(i))
			}
			if o.Format == "" {
				o.JSON = true
			}
			return listing.Write(c, &o, all, nil)
		},
	}
	o.Flags(c, "")
	c.Flags().StringVar(&platform, "platform", "", "`OS/ARCH[/VARIANT]` to choose")
	return c
}

// step is one line of gcr history.
type step struct {
	Created   *time.Time
	CreatedBy string
	Comment   string
	Size      int64
	Layer     digest.Digest `json:",omitempty"`
	Empty     bool
}

func history() *cobra.Command {
	var o listing.Options
	var noTrunc bool
	c := &cobra.Command{
		Use: "history IMAGE", Short: "Show how an image was made, last step first", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			i, err := s.Resolve(args[0], v1.Platform{})
			if err != nil {
				return err
			}
			st := steps(i)
			if o.Quiet {
				for _, x := range st {
					if !x.Empty {
						fmt.Fprintln(c.OutOrStdout(), x.Layer)
					}
				}
				return nil
			}
			return listing.Write(c, &o, st, func(w io.Writer) {
				fmt.Fprintln(w, "CREATED\tCREATED BY\tSIZE\tCOMMENT")
				for _, x := range st {
					by := strings.ReplaceAll(strings.ReplaceAll(x.CreatedBy, "\t", " "), "\n", " ")
					if !noTrunc && len(by) > 60 {
						by = by[:57] + "..."
					}
					t := time.Time{}
					if x.Created != nil {
						t = *x.Created
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", ago(t), printable(by), size(x.Size), printable(x.Comment))
				}
			})
		},
	}
	o.Flags(c, "write digests of layers only")
	c.Flags().BoolVar(&noTrunc, "no-trunc", false, "do not shorten")
	return c
}

// printable keeps an image from writing escape sequences to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

// steps joins the history with the layers; a history that does not fit, or is missing, gives the layers alone.
func steps(i *image.Image) []step {
	c, ls := i.Config(), i.Manifest().Layers
	n := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			n++
		}
	}
	var out []step
	if n != len(ls) {
		for _, l := range ls {
			out = append(out, step{CreatedBy: "(not recorded)", Size: l.Size, Layer: l.Digest})
		}
	} else {
		k := 0
		for _, h := range c.History {
			s := step{Created: h.Created, CreatedBy: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer}
			if !h.EmptyLayer {
				s.Size, s.Layer = ls[k].Size, ls[k].Digest
				k++
			}
			out = append(out, s)
		}
	}
	for a, b := 0, len(out)-1; a < b; a, b = a+1, b-1 {
		out[a], out[b] = out[b], out[a]
	}
	return out
}
