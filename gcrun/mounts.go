package main

import (
	"fmt"

	"gcr/internal/spec"
)

// runMounts is crun's command: mounts add|remove ID FILE.
func runMounts(g *globals, c *command, args []string) error {
	rest, err := parse(c, flagSet("mounts"), args, 3, 3)
	if err != nil {
		return err
	}
	verb, id, file := rest[0], rest[1], rest[2]
	if verb != "add" && verb != "remove" {
		return usageError{fmt.Errorf("there is no command \"mounts %s\": use mounts add or mounts remove", verb)}
	}
	data, err := spec.ReadFile(file)
	if err != nil {
		return err
	}
	mounts, err := spec.ParseMounts(data)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if g.explain.value != "" {
		p, err := g.store().ExplainMounts(id, mounts, verb == "remove")
		if err != nil {
			return err
		}
		return g.print(p)
	}
	if verb == "remove" {
		return g.store().RemoveMounts(id, mounts)
	}
	return setupError("", "", g.store().AddMounts(id, mounts))
}
