package imagecmd

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"gcr/internal/image"
	"gcr/internal/image/reference"
)

// Names lists the images in the store under the names that people type, for the completion of a shell. It makes no
// store where there is none.
func Names() []string {
	root := os.Getenv("GCR_IMAGES")
	if root == "" {
		root = image.DefaultRoot()
	}
	if _, err := os.Stat(root); err != nil {
		return nil
	}
	s, err := image.Open(root, nil)
	if err != nil {
		return nil
	}
	imgs, _ := s.List() // those that can be read
	var out []string
	for _, i := range imgs {
		for _, n := range i.Names {
			out = append(out, reference.Familiar(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// completeNames offers the images for the first words, up to so many; 0 means for all.
func completeNames(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.DeleteFunc(Names(), func(n string) bool { return slices.Contains(args, n) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// complete is the completion of a command's arguments, for Commands.
func complete(c *cobra.Command) {
	switch c.Name() {
	case "rmi", "rm", "save", "inspect", "pull":
		c.ValidArgsFunction = completeNames(0)
	case "history", "export", "images", "ls", "push", "tag":
		c.ValidArgsFunction = completeNames(1)
	case "load":
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range c.Commands() {
		complete(sub)
	}
}
