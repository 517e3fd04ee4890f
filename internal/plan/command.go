package plan

import (
	"fmt"
	"path"
	"strings"

	"gcr/internal/program"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// This file holds the last steps: from the working directory to the user's command.

func (b *builder) cwd() error {
	cwd := b.spec.Process.Cwd
	if !path.IsAbs(cwd) {
		return fieldError("process.cwd", "plan working directory", fmt.Sprintf("%q is not an absolute path", cwd), "")
	}
	b.add(workdir{cwd, b.has(specs.MountNamespace)})
	return nil
}

// rootCwd comes before the change of user.
func (b *builder) rootCwd() error {
	if b.spec.Process.User.UID != 0 && path.IsAbs(b.spec.Process.Cwd) {
		b.add(rootWorkdir{workdir{b.spec.Process.Cwd, b.has(specs.MountNamespace)}})
	}
	return nil
}

// rootWorkdir changes to the working directory with the rights of the container's root. What root may not enter (a
// network file system knows other roots) is left to the user, who comes after.
type rootWorkdir struct{ workdir }

func (s rootWorkdir) Info() Info {
	i := s.workdir.Info()
	i.What += " as root"
	i.Why = "the command may start in a directory that its user could not enter, such as the home of another, as with runc and crun; " + i.Why
	return i
}

func (s rootWorkdir) Emit(e *emitter) {
	denied := e.NewLabel()
	e.Chdir(s.path).OnError(unix.EACCES, denied)
	e.entered = s.verify(e)
	e.Bind(denied)
}

func (s rootWorkdir) Shell() []string { return nil }

// workdir changes to the working directory.
type workdir struct {
	path  string
	check bool
}

func (s workdir) Info() Info {
	return Info{
		What: "change to directory " + s.path, Field: "process.cwd", Man: "chdir(2)",
		Why: "then the kernel is asked where that is: a directory outside the root would show as unreachable (CVE-2024-21626)",
	}
}

func (s workdir) Emit(e *emitter) {
	if e.entered == nil {
		e.Chdir(s.path)
		if s.check {
			s.verify(e)
		}
		return
	}
	done := e.NewLabel()
	e.IfNot(e.entered, 0, done)
	e.Chdir(s.path)
	s.verify(e)
	e.Bind(done)
}

// verify makes sure that the working directory is inside the root, and returns a value that is not 0 from there on.
func (s workdir) verify(e *emitter) program.Ref {
	// getcwd answers "(unreachable)..." for a directory that no path from the root leads to.
	buf := e.Scratch(unix.PathMax + 16)
	length := e.Call(program.SysGetcwd, buf.At(0), program.Num(unix.PathMax+16))
	if s.check {
		good := e.NewLabel()
		e.IfNot(e.Load32(buf, 0), int64(uint32('(')|uint32('u')<<8|uint32('n')<<16|uint32('r')<<24), good)
		e.Fail(unix.EXDEV, "the working directory lies inside the root")
		e.Bind(good)
	}
	return length
}

func (s workdir) Shell() []string { return []string{"cd " + shellQuote(s.path)} }

func (b *builder) searchExecutable() error {
	if b.in.NoCommand {
		return nil
	}
	if b.spec.Process.Args[0] == "" {
		return fieldError("process.args[0]", "plan command", "it is empty", "")
	}
	name := b.spec.Process.Args[0]
	if x := b.plan.exec; x != nil && x.path != "" {
		name = x.path
	}
	b.add(search{name: name, candidates: Candidates(name, b.spec.Process.Env, b.spec.Process.Cwd)})
	return nil
}

// defaultPath is searched when the environment has no PATH, as execvp(3) and the shells do.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Candidates lists the paths at which a command is looked for: itself when it holds a slash, else each
// directory of PATH (execvp(3)).
func Candidates(name string, env []string, cwd string) []string {
	if strings.ContainsRune(name, '/') {
		return []string{name}
	}
	search := defaultPath
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			search = p
		}
	}
	var out []string
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		out = append(out, path.Join(dir, name))
	}
	return out
}

// search settles the path of the command before the container is started, so that a missing one is reported
// when the container is created.
type search struct {
	name       string
	candidates []string
}

func (s search) Info() Info {
	return Info{
		What: "find " + s.name, Field: "process.args[0]", Man: "execvp(3)",
		Why: "the directories of PATH are searched inside the container, with the rights of the command's user",
	}
}

func (s search) Emit(e *emitter) {
	e.exe = e.Set(e.String(s.candidates[0]))
	found := e.NewLabel()
	refused := e.Set(program.Num(0))
	for _, c := range s.candidates {
		next, no := e.NewLabel(), e.NewLabel()
		p := e.String(c)
		// Where a directory can be opened there is no program.
		dir := e.NewLabel()
		e.Call(program.SysOpenat, program.CWD, p, program.Named(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, "O_PATH|O_DIRECTORY|O_CLOEXEC"), program.Num(0)).
			OnError(unix.ENOTDIR, dir).OnError(unix.ENOENT, next).OnError(unix.EACCES, no).OnError(unix.ELOOP, next)
		if len(s.candidates) == 1 {
			e.Fail(unix.EISDIR, c+" is a program")
		}
		e.Jump(next)
		e.Bind(dir)
		check := e.Executable(p).OnError(unix.EACCES, no).OnError(unix.ENOENT, next)
		if len(s.candidates) > 1 {
			check.OnError(unix.ENOTDIR, next)
		}
		e.SetTo(e.exe, p)
		e.Jump(found)
		e.Bind(no)
		e.SetTo(refused, program.Num(1))
		e.Bind(next)
	}
	none := e.NewLabel()
	e.If(refused, 0, none)
	e.Fail(unix.EACCES, s.name+" may be executed")
	e.Bind(none)
	e.Fail(unix.ENOENT, s.name+" is there")
	e.Bind(found)
}
func (s search) Shell() []string { return nil }

func (b *builder) dieWithParent() error {
	if b.in.DieWithParent {
		b.add(dieWithParent{})
	}
	return nil
}

// dieWithParent ties the life of the container to the process that watches over it. It comes after the change
// of user, which would reset it.
type dieWithParent struct{}

func (s dieWithParent) Info() Info {
	return Info{What: "die with the parent", Why: "when gcr is killed the kernel kills the container, so none is left behind unwatched", Man: "PR_SET_PDEATHSIG(2const)"}
}

func (s dieWithParent) Emit(e *emitter) {
	e.Prctl(unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", program.Named(uint64(unix.SIGKILL), "SIGKILL"))
}
func (s dieWithParent) Shell() []string { return nil }

func (b *builder) ready() error {
	s := ready{wait: b.in.Wait, closeFrom: b.plan.Sync() + 1}
	if b.in.Listen {
		s.listen = b.plan.Sync() + 1
		s.closeFrom++
	}
	b.add(s)
	return nil
}

// ready tells the host side that the container is set up.
type ready struct {
	wait      bool
	listen    int // the listening socket, 0 for none
	closeFrom int
}

func (s ready) Info() Info {
	if s.listen != 0 {
		return Info{What: "report that the container is created, and wait for start", Why: "the OCI life cycle has two commands: create ends here; start connects to the container's socket and lets the process go on, which from then on reports failures there", Man: "accept(2)"}
	}
	if s.wait {
		return Info{What: "report that the container is set up, and wait for an answer", Why: "the host side learns that all is well and has time to do its part; were it gone, there would be no answer and the container would end", Man: "unix(7)"}
	}
	return Info{What: "report that the container is set up", Why: "the host side learns that all is well; were it gone, this would fail and the container would end", Man: "unix(7)"}
}

func (s ready) Emit(e *emitter) {
	e.CloseFrom(s.closeFrom, false)
	if s.listen != 0 {
		e.DropStack() // it may wait for long, and be one of many
	}
	e.Send(program.Message{Kind: program.Ready})
	if s.wait || s.listen != 0 {
		e.Program.Wait()
	}
	if s.listen != 0 {
		e.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", program.Num(0))
		e.UnblockSignals()
		e.AwaitConnection(program.FD(s.listen))
	}
}
func (s ready) Shell() []string { return nil }

// handOver leaves nothing to do that a system call filter could refuse.
func (b *builder) handOver() error {
	if b.in.Init {
		return nil // an init goes on working: it does the same in the child
	}
	b.add(handOver{first: b.plan.Sync()})
	return nil
}

// handOver prepares the process for the user's command.
type handOver struct{ first int }

func (s handOver) Info() Info {
	return Info{What: "mark the remaining descriptors to be closed, and accept signals", Why: "the command inherits its standard streams and nothing else; it is done now since a system call filter may know neither close_range nor rt_sigprocmask", Man: "close_range(2)"}
}

func (s handOver) Emit(e *emitter) {
	e.CloseFrom(s.first, true)
	e.UnblockSignals()
}
func (s handOver) Shell() []string { return nil }

func (b *builder) exec() error {
	p := b.spec.Process
	if b.in.NoCommand {
		b.add(noCommand{})
		return nil
	}
	s := execCommand{args: p.Args, env: environment(p.Env)}
	if b.in.Init {
		b.add(initProcess{}, handOver{first: b.plan.Sync()})
	}
	b.add(s)
	return nil
}

// environment leaves one entry for each name, with the last of its values: getenv(3) would find the first.
func environment(list []string) []string {
	at := make(map[string]int, len(list))
	out := make([]string, 0, len(list))
	for _, v := range list {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			out[i] = v
			continue
		}
		at[name] = len(out)
		out = append(out, v)
	}
	return out
}

// noCommand ends a container that has no command.
type noCommand struct{}

func (s noCommand) Info() Info {
	return Info{What: "run nothing", Field: "process", Why: "the configuration has no process: the container can be created, but not started", Man: "OCI config.md, \"Process\""}
}
func (s noCommand) Emit(e *emitter) { e.Fail(unix.ENOEXEC, "there is a command") }
func (s noCommand) Shell() []string { return nil }

// execCommand replaces the program by the user's command.
type execCommand struct {
	args, env []string
}

func (s execCommand) Info() Info {
	return Info{
		What: "run " + s.args[0], Field: "process.args", Man: "execve(2)",
		Why: "the program replaces itself by the command, in the same process: all that was set up stays, and nothing of the runtime does",
	}
}

func (s execCommand) Emit(e *emitter) {
	e.Execve(e.exe, s.args, s.env)
}

func (s execCommand) Shell() []string {
	words := make([]string, 0, len(s.args)+len(s.env))
	for _, v := range s.env {
		words = append(words, shellQuote(v))
	}
	for _, a := range s.args {
		words = append(words, shellQuote(a))
	}
	return []string{
		"set -- env -i " + strings.Join(words, " "),
		`if command -v setpriv >/dev/null && setpriv --help 2>&1 | grep -q bounding-set; then set -- setpriv ${IDS:-} ${CAPS:+--bounding-set "$CAPS"} ${NNP:-} "$@"`,
		`elif [ -n "${CAPS:-}${IDS:-}${NNP:-}" ]; then echo "note: without setpriv(1) in the root filesystem the command keeps user, capabilities and privileges" >&2; fi`,
		`exec "$@"`,
	}
}
