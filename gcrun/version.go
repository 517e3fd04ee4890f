package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// version may be set by the linker: -ldflags "-X main.version=1.2.3".
var version = "0.1.0"

// printVersion writes the form that engines parse: the name and version first, and no other line with the word
// "version" in it.
func printVersion(w io.Writer) {
	fmt.Fprintf(w, "gcrun version %s\ncommit: %s\nspec: %s\ngo: %s\n", version, commit(), specs.Version, runtime.Version())
}

// commit is the revision that the binary was built from.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
