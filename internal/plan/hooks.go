package plan

import (
	"fmt"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
)

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

// runHooks tells which hooks the host side starts, and when.
func (b *builder) runHooks() []HostStep {
	h := b.spec.Hooks
	if !b.first || h == nil {
		return nil
	}
	var detail []string
	for _, k := range []struct {
		name string
		list []specs.Hook
	}{
		//lint:ignore SA1019 deprecated, but Docker up to 26 and many tools use it
		{"prestart", h.Prestart},
		{"createRuntime", h.CreateRuntime},
		{"createContainer", h.CreateContainer},
		{"startContainer", h.StartContainer},
		{"poststart", h.Poststart},
		{"poststop", h.Poststop},
	} {
		for _, hook := range k.list {
			detail = append(detail, k.name+": "+hookText(hook))
		}
	}
	if detail == nil {
		return nil
	}
	return []HostStep{{RunHooks, Info{
		What: "run the hooks", Field: "hooks", Man: "OCI config.md, \"POSIX-platform Hooks\"",
		Why: "programs of the host that take part in the container's life: prestart, createRuntime and createContainer while the program waits for them, startContainer before the command, poststart after it has started, poststop when the container is deleted; each reads the container's state from its standard input",
	}, detail, nil}}
}

func hookText(h specs.Hook) string {
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	text := fmt.Sprintf("execve(%q, %q, %q)", h.Path, args, append([]string{}, h.Env...))
	if h.Timeout != nil {
		text += fmt.Sprintf(", killed after %d s", *h.Timeout)
	}
	return text
}
