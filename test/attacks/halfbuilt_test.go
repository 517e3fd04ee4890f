package attacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gcr/internal/launch"
	"gcr/internal/plan"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// halfBuilt puts a container into a user namespace in which the attacker is root already, stops it in the middle
// of being set up, and lets the attacker look at its descriptors.
func halfBuilt(m *museum, weak bool) outcome {
	m.leak()
	holder := inUserNamespace(m, "hold")
	defer holder.end()

	peek := func(pid int) outcome {
		holder.say(strconv.Itoa(pid))
		return holder.hear()
	}
	if weak {
		// A process of the runtime that has joined and started its own program once more.
		cmd := exec.Command("nsenter", "-U", "--preserve-credentials", "-t", strconv.Itoa(holder.cmd.Process.Pid), "sh", "-c", "echo ready; exec sleep 1000")
		cmd.ExtraFiles = m.extra
		out, err := cmd.StdoutPipe()
		m.must(err)
		m.must(cmd.Start())
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		_, err = bufio.NewReader(out).ReadString('\n')
		m.must(err)
		return peek(cmd.Process.Pid)
	}

	spec := &specs.Spec{
		Process: &specs.Process{Args: []string{"/museum", "attack", "uid0"}, Cwd: "/", Capabilities: &specs.LinuxCapabilities{}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/ns/user", holder.cmd.Process.Pid)},
			{Type: specs.MountNamespace},
		}},
	}
	host := plan.Host{LastCap: 40, Capabilities: 1<<41 - 1}
	p, err := plan.New(plan.Input{Spec: spec, Root: plan.Root{Path: m.rootfs}, StateDir: m.t.TempDir(), Stops: true, DieWithParent: true, Host: host})
	m.must(err)
	var last outcome
	joined := false
	pid := 0
	_, err = launch.Start(p, launch.Options{
		Host: host, State: m.t.TempDir(),
		OnStep: func(n int, _ time.Duration, pidfd int) error {
			if n > 0 && strings.Contains(p.Steps[n-1].Info().What, "join the user namespace") {
				joined = true
			}
			if !joined {
				return nil
			}
			if pid == 0 {
				if pid, err = pidOf(pidfd); err != nil {
					return err
				}
			}
			if last = peek(pid); last.worked {
				return fmt.Errorf("step %d was read", n)
			}
			return nil
		},
	})
	if !joined {
		m.t.Fatalf("the container never joined the user namespace: %v", err)
	}
	return last
}

// pidOf reads the process id behind a pidfd (pidfd_open(2), "fdinfo").
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "Pid:")
	return strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
}

// holder is an attacker who is root in a user namespace, takes process ids and answers with outcomes.
type holder struct {
	m   *museum
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
}

func inUserNamespace(m *museum, part string) *holder {
	self, err := os.Executable()
	m.must(err)
	cmd := exec.Command(self, "attack", part)
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: maps, GidMappings: maps}
	r, w, err := os.Pipe()
	m.must(err)
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	r.Close()
	h := &holder{m: m, cmd: cmd, in: w, out: bufio.NewReader(out)}
	if o := h.hear(); o.detail != "ready" {
		m.t.Fatalf("the attacker did not start: %v", o)
	}
	return h
}

func (h *holder) say(line string) {
	_, err := fmt.Fprintln(h.in, line)
	h.m.must(err)
}

func (h *holder) hear() outcome {
	line, err := h.out.ReadString('\n')
	h.m.must(err)
	line = strings.TrimSpace(line)
	if text, ok := strings.CutPrefix(line, "worked: "); ok {
		return worked("%s", text)
	}
	return refused("%s", strings.TrimPrefix(line, "refused: "))
}

func (h *holder) end() {
	h.in.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func init() {
	attackers["hold"] = func([]string) outcome {
		fmt.Println("ready")
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			o := attackers["peek"]([]string{in.Text()})
			if pid, err := strconv.Atoi(in.Text()); err == nil && !o.worked {
				if err := unix.PtraceSeize(pid); err == nil {
					o = worked("traces process %d", pid)
				}
			}
			if o.worked {
				fmt.Println("worked: " + o.detail)
			} else {
				fmt.Println("refused: " + o.detail)
			}
		}
		return refused("end")
	}
}
