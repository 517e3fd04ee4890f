package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"gcr/internal/launch"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hasEarlyHooks reports whether there are hooks that run before the root changes.
func hasEarlyHooks(h *specs.Hooks) bool {
	//lint:ignore SA1019 deprecated, but Docker up to 26 uses it
	return h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0
}

// hookState is what a hook reads from its standard input (runtime.md, "State").
func (c *Container) hookState(status specs.ContainerState) specs.State {
	st := specs.State{Version: c.rec.OCIVersion, ID: c.rec.ID, Status: status, Pid: c.rec.PID, Bundle: c.rec.Bundle, Annotations: c.rec.Annotations}
	if status == specs.StateStopped {
		st.Pid = 0
	}
	return st
}

// hookError is the failure of a hook in the words of runc.
func hookError(kind string, n int, err error, stdout, stderr string) error {
	return fmt.Errorf("error running %s hook #%d: %w, stdout: %s, stderr: %s", kind, n, err, stdout, stderr)
}

// runHooks runs hooks on the host, one after the other, until one fails.
func runHooks(kind string, hooks []specs.Hook, st specs.State) error {
	for n, h := range hooks {
		if err := runHook(kind, n, h, st); err != nil {
			return err
		}
	}
	return nil
}

func runHook(kind string, n int, h specs.Hook, st specs.State) error {
	in, err := json.Marshal(st)
	if err != nil {
		return err
	}
	ctx, cancel := hookContext(h)
	defer cancel()
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, h.Path)
	// Without variables of its own a hook has none: not those of the container, and not those of whoever called the
	// runtime (CVE-2025-23266).
	cmd.Args, cmd.Env = h.Args, append([]string{}, h.Env...)
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	cmd.Dir = st.Bundle // as with runc and crun; the specification is silent
	// A child of the hook may hold the pipes; the hook itself is what counts.
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	kept := keepOutput(st, stdout.String(), stderr.String())
	if ctx.Err() != nil {
		err = fmt.Errorf("hook ran past specified timeout of %ds", *h.Timeout)
	}
	// A hook may end without reading its input.
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, exec.ErrWaitDelay) {
		return hookError(kind, n, err, stdout.String(), stderr.String())
	}
	return kept
}

// keepOutput appends what a hook has printed to the files that the annotations of crun name.
func keepOutput(st specs.State, stdout, stderr string) error {
	for _, o := range []struct{ name, text string }{{hooksStdout, stdout}, {hooksStderr, stderr}} {
		file := st.Annotations[o.name]
		if file == "" || o.text == "" {
			continue
		}
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			_, err = f.WriteString(o.text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("keep output of hook (annotations[%s]): %w", o.name, err)
		}
	}
	return nil
}

func hookContext(h specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout != nil {
		return context.WithTimeout(context.Background(), time.Duration(*h.Timeout)*time.Second)
	}
	return context.WithCancel(context.Background())
}

// runPoststop runs the last hooks, whose failures are worth a warning only (runtime.md, "Lifecycle", step 13).
func (c *Container) runPoststop(s *specs.Spec) {
	if s == nil || s.Hooks == nil {
		return
	}
	for n, h := range s.Hooks.Poststop {
		if err := runHook("poststop", n, h, c.hookState(specs.StateStopped)); err != nil {
			c.store.warn("%v", err)
		}
	}
}

// runInside runs hooks in the namespaces of the container: as a small program that joins them, like exec, so no file
// of the host is executed inside other than the hook itself.
func (c *Container) runInside(kind string, hooks []specs.Hook, st specs.State, s *specs.Spec, pidfd *os.File) error {
	for n, h := range hooks {
		stdout, stderr, err := c.runOneInside(kind, h, st, s, pidfd)
		kept := keepOutput(st, stdout, stderr)
		if err != nil {
			return hookError(kind, n, err, stdout, stderr)
		}
		if kept != nil {
			return kept
		}
	}
	return nil
}

func (c *Container) runOneInside(kind string, h specs.Hook, st specs.State, s *specs.Spec, pidfd *os.File) (stdout, stderr string, err error) {
	in, err := json.Marshal(st)
	if err != nil {
		return "", "", err
	}
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	p := *s.Process
	p.Args, p.Env, p.Terminal, p.Cwd = args, h.Env, false, "/"
	if kind == "createContainer" {
		p.Cwd = st.Bundle
	}
	x := execution{c: c, spec: s, process: &p, pidfd: pidfd, path: h.Path, early: kind == "createContainer"}
	pl, opts, done, err := x.plan()
	if err != nil {
		return "", "", err
	}
	defer done()
	var pipes [3]pipe
	for i := range pipes {
		if pipes[i], err = newPipe(); err != nil {
			return "", "", err
		}
		defer pipes[i].close()
	}
	opts.Stdio = [3]*os.File{pipes[0].r, pipes[1].w, pipes[2].w}
	proc, err := launch.Start(pl, opts)
	if err != nil {
		return "", "", err
	}
	defer proc.Close()
	pipes[0].r.Close()
	pipes[1].w.Close()
	pipes[2].w.Close()
	go func() {
		_, _ = pipes[0].w.Write(in)
		pipes[0].w.Close()
	}()
	out, errs := make(chan string, 1), make(chan string, 1)
	go func() { out <- readText(pipes[1].r) }()
	go func() { errs <- readText(pipes[2].r) }()
	ctx, cancel := hookContext(h)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			_ = proc.Signal(unix.SIGKILL)
		case <-ended:
		}
	}()
	status, err := proc.Wait()
	close(ended)
	select {
	case stdout = <-out:
	case <-time.After(time.Second):
	}
	select {
	case stderr = <-errs:
	case <-time.After(time.Second):
	}
	switch {
	case err != nil:
		return stdout, stderr, err
	case ctx.Err() != nil:
		return stdout, stderr, fmt.Errorf("hook ran past specified timeout of %ds", *h.Timeout)
	case status != 0:
		return stdout, stderr, fmt.Errorf("exit status %d", status)
	}
	return stdout, stderr, nil
}

// maxHookOutput bounds what is kept of a hook's output, in bytes.
const maxHookOutput = 64 << 10

func readText(f *os.File) string {
	var b head
	_, _ = io.Copy(&b, f)
	return b.String()
}

// head keeps the first maxHookOutput bytes that are written to it, and takes the rest too: a hook that writes without
// end costs no memory, and does not wait for a reader.
type head struct{ text strings.Builder }

func (h *head) Write(b []byte) (int, error) {
	h.text.Write(b[:min(len(b), maxHookOutput-h.text.Len())])
	return len(b), nil
}

func (h *head) String() string { return h.text.String() }

type pipe struct{ r, w *os.File }

func newPipe() (pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return pipe{}, fmt.Errorf("make pipe for a hook: %w", err)
	}
	return pipe{r, w}, nil
}

func (p pipe) close() {
	if p.r != nil {
		p.r.Close()
		p.w.Close()
	}
}
