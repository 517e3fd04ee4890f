package program_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gcr/internal/program"

	"golang.org/x/sys/unix"
)

// A program that has given its stack back goes on, and can become another one.
func TestDropStack(t *testing.T) {
	p := program.New(3)
	p.DropStack()
	p.Send(program.Message{Kind: program.Ready})
	p.Wait()
	p.Write(program.FD(1), "alive\n")
	p.Execve(p.String("/proc/self/exe"), []string{"again"}, nil)
	image, err := p.Compile(program.Native)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, image, 0o700); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, guest := pair[0], os.NewFile(uintptr(pair[1]), "sync")
	cmd := exec.Command(path, strings.Repeat("argument", 100))
	cmd.ExtraFiles = []*os.File{guest}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guest.Close()
	for round := range 2 {
		msg := make([]byte, 2*program.MessageSize)
		if n, err := unix.Read(host, msg); n <= 0 || err != nil {
			t.Fatalf("no word from the program in round %d: %d, %v", round, n, err)
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(maps), "[stack]") {
			t.Errorf("the stack is still there:\n%s", maps)
		}
		if round == 0 {
			if _, err := unix.Write(host, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	unix.Close(host)
	_ = cmd.Wait()
	if out.String() != "alive\n" {
		t.Errorf("it wrote %q", out.String())
	}
}
