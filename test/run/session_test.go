package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gcr/test/lab"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { lab.Main(m) }

// TestSessions runs the scripts of testdata for each kind of caller. A script finds:
//
//	gcr           on PATH
//	rootfs/box    a root filesystem of busybox
//	$DEBIAN       a Debian system, in scripts that say "debian"
//
// and beside testscript's own commands:
//
//	status N CMD…  runs the command, whose exit status must be N
//	oneline        standard error of the last command is one line of gcr's
//	copy A B       copies files
func TestSessions(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		files, err := filepath.Glob("testdata/all/*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts: %v", err)
		}
		kinds := []string{"bad"}
		if lab.IsRoot() {
			kinds = append(kinds, "root")
		} else {
			kinds = append(kinds, "user")
		}
		for _, kind := range kinds {
			more, err := filepath.Glob("testdata/" + kind + "/*.txtar")
			if err != nil || len(more) == 0 {
				t.Fatalf("no scripts for %s: %v", kind, err)
			}
			files = append(files, more...)
		}
		if lab.Current() == lab.SubIDs {
			// A range of ids makes a difference for these only; the rest has been run with one id.
			files, err = filepath.Glob("testdata/user/subids*.txtar")
			if err != nil || len(files) == 0 {
				t.Fatalf("no scripts: %v", err)
			}
		}
		box := lab.Busybox(t)
		var scene *lab.Scene
		testscript.RunT(oneAtATime{t}, testscript.Params{
			Files:               files,
			RequireExplicitExec: true,
			Setup: func(env *testscript.Env) error {
				gcr, err := os.Readlink(lab.GCR(t))
				if err != nil {
					gcr = lab.GCR(t)
				}
				run := filepath.Join(env.WorkDir, ".run")
				if err := os.Mkdir(run, 0o700); err != nil {
					return err
				}
				if err := os.Mkdir(filepath.Join(env.WorkDir, "rootfs"), 0o755); err != nil {
					return err
				}
				if out, err := exec.Command("cp", "-a", box, filepath.Join(env.WorkDir, "rootfs", "box")).CombinedOutput(); err != nil {
					return fmt.Errorf("copy the root filesystem: %w: %s", err, out)
				}
				env.Setenv("PATH", filepath.Dir(gcr)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
				env.Setenv("HOME", env.WorkDir)
				env.Setenv("XDG_RUNTIME_DIR", run)
				env.Setenv("UID", strconv.Itoa(os.Geteuid()))
				env.Setenv("MODULE", lab.Module(t))
				state := filepath.Join(run, "gcr")
				if lab.IsRoot() {
					state = "/run/gcr"
				}
				env.Setenv("STATE", state)
				scene = lab.Look(t, state)
				before := scene
				env.Defer(func() { before.Unchanged(t) })
				return nil
			},
			Condition: func(cond string) (bool, error) {
				switch cond {
				case "asroot":
					return lab.IsRoot(), nil
				case "hassubids":
					return lab.HasSubIDs(), nil
				case "cgroup1":
					_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
					return err != nil, nil
				}
				return false, fmt.Errorf("there is no condition %q", cond)
			},
			Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
				"status":  cmdStatus,
				"oneline": cmdOneLine,
				"copy":    cmdCopy,
				"debian": func(ts *testscript.TestScript, _ bool, _ []string) {
					ts.Setenv("DEBIAN", lab.Debian(t))
				},
				"same": cmdSame,
			},
		})
	})
}

// oneAtATime keeps testscript from running the scripts in parallel: each looks at what is left behind.
type oneAtATime struct{ *testing.T }

func (t oneAtATime) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(oneAtATime{t}) })
}
func (t oneAtATime) Parallel()     {}
func (t oneAtATime) Verbose() bool { return testing.Verbose() }

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdOneLine(ts *testscript.TestScript, _ bool, _ []string) {
	lines := strings.SplitAfter(ts.ReadFile("stderr"), "\n")
	lines = lines[:len(lines)-1]
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "gcr: ") || !strings.HasSuffix(lines[0], "\n") || strings.Contains(lines[0], "failed to") {
		ts.Fatalf("standard error is not one line of gcr's: %q", lines)
	}
	if ts.ReadFile("stdout") != "" {
		ts.Fatalf("standard output holds %q", ts.ReadFile("stdout"))
	}
}

func cmdCopy(ts *testscript.TestScript, _ bool, args []string) {
	if out, err := exec.Command("cp", "-a", ts.MkAbs(args[0]), ts.MkAbs(args[1])).CombinedOutput(); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// cmdSame compares the output of the last command with that of another one on the host.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	got := ts.ReadFile("stdout")
	cmd := exec.Command(args[0], args[1:]...)
	want, err := cmd.Output()
	ts.Check(err)
	if bytes.Equal([]byte(got), want) == neg {
		ts.Fatalf("in the container: %q, on the host: %q", got, want)
	}
}
