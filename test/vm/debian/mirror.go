// Package debian knows where Debian's packages come from.
//
//	source := debian.Mirror("/etc/apt") + " bookworm main"
package debian

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// DefaultMirror is Debian's own choice.
const DefaultMirror = "http://deb.debian.org/debian"

// Mirror returns the URL of the Debian archive that the apt configured in the directory etc uses, so that a site's mirror or proxy serves the
// bench too, or [DefaultMirror] (as on a host that is no Debian).
func Mirror(etc string) string {
	var names []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.sources", "sources.list.d/*.list"} {
		found, _ := filepath.Glob(filepath.Join(etc, pattern))
		names = append(names, found...)
	}
	archive := regexp.MustCompile(`https?://[^\s]+/debian/?(\s|$)`)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			if url := archive.FindString(line); url != "" {
				return strings.TrimSuffix(strings.TrimSpace(url), "/")
			}
		}
	}
	return DefaultMirror
}
