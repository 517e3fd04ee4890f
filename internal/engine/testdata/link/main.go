// Command link links the engine's front half and nothing else, so that a test can see what that costs at
// start-up.
package main

import (
	"os"

	"github.com/spf13/pflag"

	"gcr/internal/engine"
)

func main() {
	var o engine.Options
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.Register(fs)
	if len(os.Args) < 2 {
		return
	}
	if err := fs.Parse(os.Args[1:]); err != nil {
		os.Exit(125)
	}
}
