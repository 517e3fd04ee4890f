//go:build tools

package main

// The programs of the suite are built by their import paths; this keeps the module and what they need in go.mod.
import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
