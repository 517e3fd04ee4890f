package seccomp

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// reference is a running testdata/libseccomp/build: libseccomp behind a pipe.
type reference struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startReference(t testing.TB) *reference {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("the comparison with libseccomp needs gcc (Debian: apt-get install gcc libseccomp-dev)")
	}
	bin := filepath.Join(t.TempDir(), "build")
	if out, err := exec.Command("gcc", "-O1", "-o", bin, "testdata/libseccomp/build.c", "-lseccomp").CombinedOutput(); err != nil {
		if _, err := os.Stat("/usr/include/seccomp.h"); err != nil {
			t.Skip("the comparison with libseccomp needs its header (Debian: apt-get install libseccomp-dev)")
		}
		t.Fatalf("compile testdata/libseccomp/build.c: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("testdata/libseccomp/build: %v", err)
		}
	})
	return &reference{in, bufio.NewReader(out)}
}

// lsArch is libseccomp's own short name of an architecture.
func lsArch(a Arch) string {
	switch a {
	case ArchAMD64:
		return "x86_64"
	case ArchARM64:
		return "aarch64"
	}
	return a.Short()
}

// resolve returns libseccomp's number for a name: negative numbers are its own inventions, -1 means unknown.
func (r *reference) resolve(t testing.TB, a Arch, name string) int {
	t.Helper()
	fmt.Fprintf(r.in, "resolve %s %s\n", lsArch(a), name)
	var nr int
	if _, err := fmt.Fscanln(r.out, &nr); err != nil {
		t.Fatal(err)
	}
	return nr
}

// build gives libseccomp a profile in the way of runc: rules equal to the default action are left out, and an
// argument that occurs twice makes each condition a rule of its own. The error is libseccomp's.
func (r *reference) build(t testing.TB, p *specs.LinuxSeccomp) ([]unix.SockFilter, error) {
	t.Helper()
	def, err := parseAction(p.DefaultAction, p.DefaultErrnoRet, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "new %d\n", uint32(def))
	for _, a := range p.Architectures {
		arch, err := ParseArch(string(a))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "arch %s\n", lsArch(arch))
	}
	for _, e := range p.Syscalls {
		act, err := parseAction(e.Action, e.ErrnoRet, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if act == def {
			continue
		}
		seen, twice := map[uint]bool{}, false
		var words []string
		for _, a := range e.Args {
			twice = twice || seen[a.Index]
			seen[a.Index] = true
			words = append(words, fmt.Sprintf(" %d %s %d %d", a.Index, strings.TrimPrefix(string(a.Op), "SCMP_CMP_"), a.Value, a.ValueTwo))
		}
		for _, name := range e.Names {
			if !twice {
				fmt.Fprintf(&b, "rule %d %s%s\n", uint32(act), name, strings.Join(words, ""))
				continue
			}
			for _, w := range words {
				fmt.Fprintf(&b, "rule %d %s%s\n", uint32(act), name, w)
			}
		}
	}
	b.WriteString("end\n")
	if _, err := io.WriteString(r.in, b.String()); err != nil {
		t.Fatal(err)
	}
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(line, "ok %d", &n); err != nil {
		return nil, fmt.Errorf("libseccomp: %s", strings.TrimSpace(line))
	}
	prog := make([]unix.SockFilter, n)
	for i := range prog {
		p := &prog[i]
		if _, err := fmt.Fscanln(r.out, &p.Code, &p.Jt, &p.Jf, &p.K); err != nil {
			t.Fatal(err)
		}
	}
	return prog, nil
}

// stub is what runc puts in front of libseccomp's program: the ENOSYS rule for calls newer than the profile. It is
// written here from the description in runc's patchbpf, on numbers that libseccomp resolved.
type stub struct {
	on   bool
	last map[Arch]uint32
}

func (r *reference) newStub(t testing.TB, p *specs.LinuxSeccomp) stub {
	t.Helper()
	s := stub{last: map[Arch]uint32{}}
	switch p.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace:
		return s
	}
	if p.DefaultErrnoRet != nil && *p.DefaultErrnoRet == uint(unix.ENOSYS) {
		return s
	}
	s.on = true
	list := []Arch{Native()}
	for _, name := range p.Architectures {
		a, err := ParseArch(string(name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	for _, a := range list {
		for _, e := range p.Syscalls {
			for _, name := range e.Names {
				nr := r.resolve(t, a, name)
				if call := callIndex(name); nr < -1 && call >= 0 {
					// A deliberate difference: on architectures with socketcall(2) libseccomp knows socket calls by
					// pseudo numbers only, so that runc's rule may answer ENOSYS to a call that the profile allows.
					if _, _, ok := archs[a].multiplexed(int32(call)); ok {
						direct, ok := Number(a, name)
						if ok {
							nr = int(direct)
						}
					}
				}
				if nr > 0 {
					s.last[a] = max(s.last[a], uint32(nr))
				}
			}
		}
	}
	return s
}

// newer says whether the stub answers ENOSYS.
func (s stub) newer(a Arch, nr uint32) bool {
	if !s.on {
		return false
	}
	if archs[a].audit == archs[ArchAMD64].audit {
		a = ArchAMD64
		if nr&x32Bit != 0 {
			a = ArchX32
		}
	}
	last := s.last[a]
	return last != 0 && nr > last
}
