package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func runSpec(_ *globals, c *command, args []string) error {
	fset := flagSet("spec")
	bundle, file, rootless := "", "", false
	bothText(fset, &bundle, "bundle", "b", "`directory` of the bundle (default: the working directory)")
	bothText(fset, &file, "file", "f", "`file` to write (default: config.json in the bundle)")
	fset.BoolVar(&rootless, "rootless", false, "for a user without rights: with a user namespace that maps the caller to root")
	if _, err := parse(c, fset, args, 0, 0); err != nil {
		return err
	}
	s := spec.Example()
	if rootless {
		spec.MakeRootless(s, os.Geteuid(), os.Getegid())
	}
	if file == "" {
		file = filepath.Join(bundle, "config.json")
	}
	return writeSpec(file, s)
}

func writeSpec(path string, s *specs.Spec) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("file %s exists. Remove it first", filepath.Base(path))
	}
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}
