package userns

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
	"syscall"

	"gcr/internal/image/pack"
	"gcr/internal/image/unpack"
)

// Names by which a copy of the program knows what it is for. They are argv[0], which no user types.
const (
	enterName = "gcr-userns-enter"
	workName  = "gcr-userns-work"
)

// task is what the copy is to do, as JSON in argv[1].
type task struct {
	Do      string // "unpack", "remove" or "pack"
	Name    string // for remove
	Options unpack.Options
}

type answer struct {
	Stats unpack.Stats
	Error string
}

// Hook turns a copy started by this package into what it is for, and never returns then. Every program that uses
// this package calls it first in main, or in TestMain.
func Hook() {
	switch os.Args[0] {
	case enterName:
		enter()
	case workName:
		work()
	default:
		return
	}
	os.Exit(1)
}

// enter waits until the maps are written and executes itself again, now as root of the namespace.
func enter() {
	var b [1]byte
	if _, err := os.NewFile(4, "go").Read(b[:]); err != nil {
		os.Exit(1) // the parent is gone, or could not write the maps
	}
	if err := syscall.Setgid(0); err != nil {
		fmt.Fprintln(os.Stderr, "become group 0 of the user namespace:", err)
		return
	}
	if err := syscall.Setuid(0); err != nil {
		fmt.Fprintln(os.Stderr, "become user 0 of the user namespace:", err)
		return
	}
	err := syscall.Exec("/proc/self/exe", append([]string{workName}, os.Args[1:]...), os.Environ())
	fmt.Fprintln(os.Stderr, "start again in the user namespace:", err)
}

// work does the task in the directory open as descriptor 3 and answers on standard output.
func work() {
	var t task
	var a answer
	err := json.Unmarshal([]byte(os.Args[1]), &t)
	if err == nil {
		dir := os.NewFile(3, "target")
		switch t.Do {
		case "unpack":
			a.Stats, err = unpackHere(dir, t.Options, os.Stdin)
		case "remove":
			err = unpack.RemoveAt(dir, t.Name)
		case "pack":
			err = pack.Tree(context.Background(), dir, os.NewFile(5, "archive"), pack.Options{})
		default:
			err = fmt.Errorf("task %q is not known", t.Do)
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	if json.NewEncoder(os.Stdout).Encode(a) == nil {
		os.Exit(0)
	}
}

func unpackHere(dir *os.File, o unpack.Options, r io.Reader) (unpack.Stats, error) {
	tree, err := unpack.New(dir, o)
	if err != nil {
		return unpack.Stats{}, err
	}
	st, err := tree.Layer(context.Background(), r)
	if err != nil {
		tree.Abandon()
		return st, err
	}
	return st, tree.Close()
}

// Unpack unpacks one uncompressed layer into the open directory, with the ids of m.
func Unpack(ctx context.Context, m Map, layer io.Reader, dir *os.File, o unpack.Options) (unpack.Stats, error) {
	o.UserXattr, o.PlaceDevices = true, true
	a, err := m.run(ctx, task{Do: "unpack", Options: o}, dir, layer, nil)
	return a.Stats, err
}

// Remove removes name below the open directory, whoever of m owns what is in it.
func Remove(ctx context.Context, m Map, dir *os.File, name string) error {
	_, err := m.run(ctx, task{Do: "remove", Name: name}, dir, nil, nil)
	return err
}

// Pack writes the tree below the open directory to w as a tar stream.
func Pack(ctx context.Context, m Map, dir *os.File, w io.Writer) error {
	r, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, r)
		r.Close() // where w is broken, the copy of this program must not wait for ever
		copied <- err
	}()
	_, err = m.run(ctx, task{Do: "pack"}, dir, nil, pw)
	pw.Close()
	if e := <-copied; e != nil {
		return e
	}
	return err
}

func (m Map) run(ctx context.Context, t task, dir *os.File, in io.Reader, out5 *os.File) (answer, error) {
	spec, err := json.Marshal(t)
	if err != nil {
		return answer{}, err
	}
	waitR, waitW, err := os.Pipe()
	if err != nil {
		return answer{}, err
	}
	defer waitW.Close()
	// The reader of the layer may fail with an error that says more than the broken pipe that the copy sees.
	src := &errReader{r: in}
	var out, diag bytes.Buffer
	c := exec.CommandContext(ctx, "/proc/self/exe", string(spec))
	c.Args[0] = enterName
	c.Env = []string{"PATH=/usr/bin:/bin", "GOMAXPROCS=" + os.Getenv("GOMAXPROCS")}
	c.ExtraFiles = []*os.File{dir, waitR}
	if out5 != nil {
		c.ExtraFiles = append(c.ExtraFiles, out5)
	}
	c.Stdout, c.Stderr = &out, &diag
	// In a process group of its own it does not get the Ctrl-C that is meant for this process, which then says so itself.
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Setpgid: true}
	// If this process dies, the copy sees the end of its input and stops.
	if in != nil {
		c.Stdin = src
	}
	err = c.Start()
	waitR.Close()
	if err != nil {
		return answer{}, fmt.Errorf("start in a user namespace: %w", err)
	}
	if err := m.write(c.Process.Pid); err != nil {
		waitW.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
		return answer{}, err
	}
	_, _ = waitW.Write([]byte{1})
	werr := c.Wait()
	if ctx.Err() != nil {
		return answer{}, context.Cause(ctx)
	}
	if src.err != nil {
		return answer{}, src.err
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		if werr == nil {
			werr = errors.New("it gave no answer")
		}
		return a, fmt.Errorf("work in a user namespace: %w: %s", werr, strings.TrimSpace(diag.String()))
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

type errReader struct {
	r   io.Reader
	err error
}

func (e *errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}
