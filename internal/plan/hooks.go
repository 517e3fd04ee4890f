package plan

import "gcr/internal/program"

func (b *builder) hooks() error {
	if b.in.Hooks {
		b.add(hooks{})
	}
	return nil
}

// hooks stops the program while the host side runs the hooks that come before the change of the root.
type hooks struct{}

func (s hooks) Info() Info {
	return Info{
		What: "wait while the hooks run", Field: "hooks", Man: "OCI runtime.md, \"Lifecycle\"",
		Why: "prestart and createRuntime hooks run on the host, createContainer hooks in the container's namespaces, all before the root is changed; they set up networks and devices that the next steps rely on",
	}
}

func (s hooks) Emit(e *emitter) {
	e.Send(program.Message{Kind: program.Hooks})
	e.Program.Wait()
}
func (s hooks) Shell() []string { return nil }
