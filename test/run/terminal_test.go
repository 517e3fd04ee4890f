package run

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gcr/test/lab"

	"golang.org/x/sys/unix"
)

// onTerminal starts gcr in a directory of its own on a terminal.
func onTerminal(t *testing.T, args ...string) *lab.Terminal {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(lab.GCR(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "TERM=xterm")
	return lab.Start(t, cmd)
}

// On a terminal gcr is interactive without being asked.
func TestTerminal(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		box := lab.Busybox(t)

		t.Run("interactive", func(t *testing.T) {
			term := onTerminal(t, "run", box, "sh")
			pid := term.Expect(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[run\] as pid (\d+)`)[1]
			if pid != strconv.Itoa(term.PID()) {
				t.Errorf("[run] as pid %s, want %d", pid, term.PID())
			}
			term.Expect(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[fork\] as pid 1\r\n`)
			term.Expect(`# `)
			term.Type("echo shell $$; tty; id -u; hostname\n")
			term.Expect(`\nshell 1\r\n/dev/(pts/0|console)\r\n0\r\n[0-9a-f]{12}\r\n`)
			// The size is the terminal's, now and after a change.
			term.Type("stty size\n")
			term.Expect(`\n24 80\r\n`)
			term.Resize(50, 132)
			term.Type("while [ \"$(stty size)\" != '50 132' ]; do :; done; echo resized\n")
			term.Expect(`\nresized\r\n`)
			// Ctrl-C reaches what runs in the foreground, and neither the shell nor gcr.
			term.Type("sh -c 'echo begin; exec sleep 1000'\n")
			term.Expect(`\nbegin\r\n`)
			term.Type("\x03")
			term.Expect(`\^C(?s:.*)# `)
			term.Type("echo status $?\n")
			term.Expect(`\nstatus 130\r\n`)
			term.Type("echo still $$\n")
			term.Expect(`\nstill 1\r\n`)
			// Ctrl-Z stops it, and the shell has job control.
			term.Type("sh -c 'echo begin; exec sleep 1000'\n")
			term.Expect(`\nbegin\r\n`)
			term.Type("\x1a")
			term.Expect(`Stopped`)
			term.Type("jobs; kill -9 %1; wait; echo killed\n")
			term.Expect(`Stopped.*exec sleep 1000`)
			term.Expect(`\nkilled\r\n`)
			// Ctrl-D is the end of input.
			term.Type("exec sh -c 'exit 37'\n")
			if s := term.Wait(); s != 37 {
				t.Errorf("exit status %d, want 37", s)
			}
		})

		t.Run("quiet", func(t *testing.T) {
			term := onTerminal(t, "run", "--quiet", box, "echo", "said")
			if s := term.Wait(); s != 0 || term.Output() != "said\n" {
				t.Errorf("status %d, output %q", s, term.Output())
			}
		})

		t.Run("end of input", func(t *testing.T) {
			term := onTerminal(t, "run", "--quiet", box, "cat")
			term.Type("line\n")
			term.Expect(`line\r\nline\r\n`)
			term.Type("\x04")
			if s := term.Wait(); s != 0 {
				t.Errorf("exit status %d", s)
			}
		})

		t.Run("the terminal is given back", func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("sh", "-c", `a=$(stty -g); "$@"; b=$(stty -g); [ "$a" = "$b" ] && echo same || echo "$a" "$b"`, "sh", lab.GCR(t), "run", "--quiet", box, "stty", "raw")
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
			term := lab.Start(t, cmd)
			term.Expect(`same\r\n`)
			term.Wait()
		})

		t.Run("init", func(t *testing.T) {
			term := onTerminal(t, "run", "--quiet", "--init", box, "sh", "-c", "echo $$; sleep 1000; echo not reached")
			term.Expect(`2\r\n`)
			term.Type("\x03")
			if s := term.Wait(); s != 128+int(unix.SIGINT) {
				t.Errorf("exit status %d, want 130:\n%s", s, term.Output())
			}
		})

		t.Run("output is a file", func(t *testing.T) {
			// No terminal on standard output: what goes there is as the command wrote it.
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			cmd := exec.Command("sh", "-c", `"$@" >`+out, "sh", lab.GCR(t), "run", "--quiet", box, "sh", "-c", "echo a; echo b")
			cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
			if s := lab.Start(t, cmd).Wait(); s != 0 {
				t.Errorf("exit status %d", s)
			}
			if data, err := os.ReadFile(out); err != nil || string(data) != "a\nb\n" {
				t.Errorf("%v, %q", err, data)
			}
		})

		t.Run("as Docker", func(t *testing.T) {
			for _, c := range []struct {
				flags []string
				want  string
			}{
				{[]string{"-it"}, "tty"},
				{[]string{"--interactive", "--tty"}, "tty"},
				{[]string{"-t"}, "tty"},
				{[]string{"-t=false"}, "no"},
				{[]string{"-i"}, "tty"},
			} {
				term := onTerminal(t, append(append([]string{"run", "--quiet"}, c.flags...), box, "sh", "-c", "tty >/dev/null && echo is tty || echo is no")...)
				term.Wait()
				if !strings.Contains(term.Output(), "is "+c.want) {
					t.Errorf("%s: %q, want %s", c.flags, term.Output(), c.want)
				}
			}
		})
	})
}

// Signals that reach gcr reach the first process of the container.
func TestSignals(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		box := lab.Busybox(t)
		for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM, unix.SIGALRM, unix.SIGCONT} {
			for _, init := range []bool{false, true} {
				name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
				script := `trap 'echo got ` + name + `; exit 9' ` + name + `; echo ready; while :; do sleep 0.01; done`
				args := []string{"run"}
				if init {
					args = append(args, "--init")
				}
				cmd := exec.Command(lab.GCR(t), append(args, box, "sh", "-c", script)...)
				cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 6)
				if n, err := out.Read(buf); string(buf[:n]) != "ready\n" {
					t.Fatalf("%s: %q, %v", name, buf[:n], err)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				rest := make([]byte, 64)
				n, _ := out.Read(rest)
				if s := lab.ExitStatus(t, cmd.Wait()); s != 9 || string(rest[:n]) != "got "+name+"\n" {
					t.Errorf("%s, init %v: exit status %d, output %q", name, init, s, rest[:n])
				}
			}
		}
	})
}

// --step stops before each step.
func TestStep(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		box := lab.Busybox(t)
		state := t.TempDir()
		t.Setenv("XDG_RUNTIME_DIR", state)
		dir := filepath.Join(state, "gcr")
		if lab.IsRoot() {
			dir = "/run/gcr"
		}
		start := func(t *testing.T, args ...string) *lab.Terminal {
			return lab.Start(t, exec.Command(lab.GCR(t), append([]string{"run", "--step"}, args...)...))
		}

		t.Run("to the end", func(t *testing.T) {
			scene := lab.Look(t, dir)
			term := start(t, box, "echo", "the command's words")
			steps := 0
			for {
				if m := term.Expect(`\[q\] quit > |the command's words\r\n`); m[0] != "[q] quit > " {
					break
				}
				steps++
				term.Type("\n")
			}
			if s := term.Wait(); s != 0 || steps < 20 {
				t.Errorf("status %d after %d steps:\n%s", s, steps, term.Output())
			}
			for _, want := range []string{"start the first process in its namespaces", "mount proc on /proc (mounts[0])", "pivot into the root filesystem", "clone3", "run echo"} {
				if want != "clone3" && !strings.Contains(term.Output(), want) {
					t.Errorf("no step %q:\n%s", want, term.Output())
				}
			}
			scene.Unchanged(t)
		})

		t.Run("a shell at a step", func(t *testing.T) {
			scene := lab.Look(t, dir)
			term := start(t, box, "true")
			forward(term, `change to directory /`)
			term.Type("s\n")
			term.Expect(`\(half-built\) # `)
			term.Type("echo in $(ls / | tr '\\n' ' '); hostname\n")
			term.Expect(`\nin bin dev .*\r\n[0-9a-f]{12}\r\n`)
			term.Type("exit\n")
			term.Expect(`\[q\] quit > `)
			term.Type("q\n")
			if s := term.Wait(); s != 0 {
				t.Errorf("exit status %d:\n%s", s, term.Output())
			}
			scene.Unchanged(t)
		})

		t.Run("quit", func(t *testing.T) {
			for _, at := range []string{`make the container's state directory`, `start the first process`, `mount proc on`, `become user`, `run true`} {
				scene := lab.Look(t, dir)
				term := start(t, box, "true")
				forward(term, at)
				term.Type("q\n")
				if s := term.Wait(); s != 0 {
					t.Errorf("quit at %q: exit status %d:\n%s", at, s, term.Output())
				}
				scene.Unchanged(t)
			}
		})
	})
}

// forward goes on until the step whose words match.
func forward(term *lab.Terminal, step string) {
	for {
		if m := term.Expect(`(?s)µs  \w+ +([^\n]*?)\r\n.*?\[q\] quit > `); strings.HasPrefix(m[1], step) {
			return
		}
		term.Type("\n")
	}
}
