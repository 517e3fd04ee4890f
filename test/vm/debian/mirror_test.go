package debian

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMirror(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"none", "", "", DefaultMirror},
		{"one line", "sources.list", "deb [arch=amd64] http://mirror.example/debian bookworm main\n", "http://mirror.example/debian"},
		{"deb822", "sources.list.d/debian.sources", "Types: deb\nURIs: https://mirror.example:8080/cache/debian/\nSuites: bookworm\n", "https://mirror.example:8080/cache/debian"},
		{"comment", "sources.list", "# deb http://mirror.example/debian bookworm main\n", DefaultMirror},
		{"security only", "sources.list", "deb http://mirror.example/debian-security bookworm-security main\n", DefaultMirror},
		{"another distribution", "sources.list", "deb http://archive.ubuntu.com/ubuntu jammy main\n", DefaultMirror},
	} {
		t.Run(c.name, func(t *testing.T) {
			etc := t.TempDir()
			if c.file != "" {
				name := filepath.Join(etc, c.file)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := Mirror(etc); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
