package plan

import (
	"gcr/internal/program"
)

// Info says in words what a step does and why.
type Info struct {
	// What is an order, "mount proc on /proc"; an error message begins with it.
	What string `json:"what"`
	// Field is the place in config.json that asked for the step, for instance "mounts[0]"; empty for steps that
	// every container needs.
	Field string `json:"field,omitempty"`
	// Why explains the step to somebody who has not built a container before.
	Why string `json:"why"`
	// Man is the manual page to read on.
	Man string `json:"man,omitempty"`
}

// Step is one thing that the container's first process does. A step is a plain value: the same one is run,
// printed, narrated and turned into shell.
type Step interface {
	// Info describes the step.
	Info() Info
	// Emit records the calls of the step.
	Emit(*emitter)
	// Shell returns the lines that do the same in a shell script, nil where a shell has no means.
	Shell() []string
}

// emitter records a program and carries what one step leaves for later ones.
type emitter struct {
	*program.Program
	in *Input

	root program.Ref // the container's root mount
	proc program.Ref // our own mount of proc, not reachable by a path that the image could bend
	dev  program.Ref // the directory that device nodes go into
	// late are the descriptors of mounts that become read-only later, by the field that asked for the mount.
	late map[string]program.Ref
	exe  program.Arg // path of the user's program, settled by the search through PATH
	// entered is not 0 once the working directory has been entered before the change of user; nil without such a try.
	entered program.Ref
}
