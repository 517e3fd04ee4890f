package plan

import (
	"slices"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Network makes the host side connect the container's new network namespace while the program prepares the root
// filesystem. The program waits for the end of it before the user's command. What is to be done is up to
// launch.Options.SetUpNetwork; the plan says it in words.
type Network struct {
	Info   Info
	Detail []string // the changes, one a line
	// Shell does the same in a script; what follows [UndoPrefix] in a line is done at its end. Enter is the command that runs another one in the connected namespace,
	// for instance "nsenter --net=/run/netns/web".
	Shell []string
	Enter string
	// Held says in place of Enter that Shell connects the namespaces of a process, $namespaces, and that this is still to
	// be made.
	Held bool
}

// UndoPrefix begins a line of a script whose command belongs to the end.
const UndoPrefix = "undo: "

func (b *builder) awaitNetwork() error {
	if b.in.Network == nil {
		return nil
	}
	if ns, ok := b.ns[specs.NetworkNamespace]; !ok || ns.Path != "" {
		return fieldError("linux.namespaces", "connect the container", "it has no network namespace of its own", "add a namespace of type network, without a path")
	}
	b.add(awaitNetwork{})
	return nil
}

// setUpNetwork is the step of the host side.
func (b *builder) setUpNetwork() []HostStep {
	n := b.in.Network
	if n == nil {
		return nil
	}
	shell := slices.Clone(n.Shell)
	if n.Held {
		shell = append([]string{
			"unshare " + b.plan.heldFlags() + " sleep infinity &",
			"namespaces=$!",
			UndoPrefix + "kill $namespaces",
			`until [ "$(cat /proc/$namespaces/comm)" = sleep ]; do sleep 0.1; done`,
		}, shell...)
	}
	for i, l := range shell {
		if command, ok := strings.CutPrefix(l, UndoPrefix); ok {
			shell[i] = undo(command)
		}
	}
	return []HostStep{{SetUpNetwork, n.Info, n.Detail, shell}}
}

// awaitNetwork waits until the host side has connected the container.
type awaitNetwork struct{}

func (s awaitNetwork) Info() Info {
	return Info{
		What: "wait for the network", Field: "linux.namespaces", Man: "unix(7)",
		Why: "the host side has been connecting the container while the root filesystem was prepared; the command finds addresses and routes in place",
	}
}

func (s awaitNetwork) Emit(e *emitter) {
	e.Send(program.Message{Kind: program.Network})
	e.Program.Wait()
}
func (s awaitNetwork) Shell() []string { return nil }
