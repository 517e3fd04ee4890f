package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// streams runs commands as kubectl exec does: the runtime names an address, to which the streams are connected.
func (k *kubelet) streams(id string) {
	var out, errs bytes.Buffer
	err := k.stream(id, false, []string{"sh", "-c", "cat; echo oh >&2; exit 4"}, remotecommand.StreamOptions{Stdin: strings.NewReader("from outside\n"), Stdout: &out, Stderr: &errs})
	var status exec.ExitError
	if errors.As(err, &status) && status.ExitStatus() == 4 {
		err = nil
	}
	k.check("exec with streams", err, out.String()+errs.String(), "^from outside\noh\n$")

	// A terminal: what is typed comes after its answer is there.
	typed, keys := io.Pipe()
	screen := &screen{want: map[string]string{"# ": "stty size; tty\n", "/dev/pts/": "exit 3\n"}, keys: keys}
	sizes := make(sizeQueue, 1)
	sizes <- remotecommand.TerminalSize{Width: 77, Height: 33}
	// Who waits for an answer that does not come shall not wait for all the rest.
	patient := k.ctx
	ctx, cancel := context.WithTimeout(patient, time.Minute)
	defer cancel()
	k.ctx = ctx
	err = k.stream(id, true, []string{"sh"}, remotecommand.StreamOptions{Stdin: typed, Stdout: screen, Tty: true, TerminalSizeQueue: sizes})
	k.ctx = patient
	close(sizes)
	if errors.As(err, &status) && status.ExitStatus() == 3 {
		err = nil
	}
	k.check("exec on a terminal", err, screen.String(), "(?s)33 77.*/dev/pts/")
}

func (k *kubelet) stream(id string, tty bool, command []string, o remotecommand.StreamOptions) error {
	r, err := k.Exec(k.ctx, &cri.ExecRequest{ContainerId: id, Cmd: command, Tty: tty, Stdin: true, Stdout: true, Stderr: !tty})
	if err != nil {
		return err
	}
	u, err := url.Parse(r.GetUrl())
	if err != nil {
		return err
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", u)
	if err != nil {
		return err
	}
	return e.StreamWithContext(k.ctx, o)
}

// sizeQueue hands the sizes of the terminal on.
type sizeQueue chan remotecommand.TerminalSize

func (q sizeQueue) Next() *remotecommand.TerminalSize {
	s, ok := <-q
	if !ok {
		return nil
	}
	return &s
}

// screen types an answer when something that it waits for appears.
type screen struct {
	mutex sync.Mutex
	text  []byte
	want  map[string]string
	keys  io.Writer
}

func (s *screen) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return string(s.text)
}

func (s *screen) Write(b []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.text = append(s.text, b...)
	for text, answer := range s.want {
		if bytes.Contains(s.text, []byte(text)) {
			delete(s.want, text)
			go func() { _, _ = io.WriteString(s.keys, answer) }()
		}
	}
	return len(b), nil
}
