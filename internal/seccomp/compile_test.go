package seccomp

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func uintp(n uint) *uint { return &n }

func TestCompileRefuses(t *testing.T) {
	allow := func(names ...string) []specs.LinuxSyscall {
		return []specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}}
	}
	arg := func(a specs.LinuxSeccompArg) []specs.LinuxSyscall {
		return []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{a}}}
	}
	for want, p := range map[string]*specs.LinuxSeccomp{
		"(linux.seccomp): there is none":           nil,
		"(defaultAction): missing":                 {},
		`"ALLOW" (defaultAction): not one of`:      {DefaultAction: "ALLOW"},
		"(defaultAction): SCMP_ACT_NOTIFY":         {DefaultAction: specs.ActNotify},
		"(defaultErrnoRet): 4096 is not":           {DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(4096)},
		"(defaultErrnoRet): this action returns":   {DefaultAction: specs.ActAllow, DefaultErrnoRet: uintp(1)},
		`(architectures[0]): "SCMP_ARCH_VAX"`:      {DefaultAction: specs.ActErrno, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}},
		`(architectures[0]): "amd64"`:              {DefaultAction: specs.ActErrno, Architectures: []specs.Arch{"amd64"}},
		"(architectures[0]): SCMP_ARCH_S390X":      {DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchS390X}},
		"(flags[0]): \"NEW_LISTENER\"":             {DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{"NEW_LISTENER"}},
		"(syscalls[0].names): an entry needs":      {DefaultAction: specs.ActErrno, Syscalls: allow()},
		"(syscalls[0].names[1]): empty name":       {DefaultAction: specs.ActErrno, Syscalls: allow("read", "")},
		"(syscalls[0].args[0].index): 6 is not":    {DefaultAction: specs.ActErrno, Syscalls: arg(specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo})},
		`(syscalls[0].args[0].op): "=="`:           {DefaultAction: specs.ActErrno, Syscalls: arg(specs.LinuxSeccompArg{Op: "=="})},
		`"OK" (syscalls[0].action): not one of`:    {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: "OK"}}},
		"(syscalls[0].errnoRet): 70000 is not":     {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrace, ErrnoRet: uintp(70000)}}},
		"SCMP_ACT_NOTIFY on write":                 {DefaultAction: specs.ActAllow, ListenerPath: "/s", Syscalls: []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActNotify}}},
		"(listenerPath): SCMP_ACT_NOTIFY needs":    {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActNotify}}},
		"(syscalls[1]): under these conditions":    contradiction(),
		"more than the 4096 instructions that the": tooLong(),
	} {
		_, err := Compile(p, ArchAMD64)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if _, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, 0); err == nil {
		t.Error("a machine without tables was accepted")
	}
}

func contradiction() *specs.LinuxSeccomp {
	one := []specs.LinuxSeccompArg{{Index: 0, Value: 1, Op: specs.OpEqualTo}}
	two := append(slices.Clone(one), specs.LinuxSeccompArg{Index: 1, Value: 2, Op: specs.OpEqualTo})
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"read"}, Action: specs.ActAllow, Args: two},
		{Names: []string{"read"}, Action: specs.ActLog, Args: one},
	}}
}

// manyRules has n rules for one call, each with arguments that share nothing with the others.
func manyRules(n int) *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(1)}
	for i := range n {
		var args []specs.LinuxSeccompArg
		for a := range uint(3) {
			args = append(args, specs.LinuxSeccompArg{Index: (a + uint(i)) % 6, Value: uint64(i)<<32 + uint64(a) + 7, Op: specs.OpGreaterThan})
		}
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: args})
	}
	return p
}

func tooLong() *specs.LinuxSeccomp { return manyRules(500) }

// TestUnknownNames holds the warning for names that no architecture knows, and that the rest still counts.
func TestUnknownNames(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"opennat", "read", "frobnicate"}, Action: specs.ActAllow}}}
	f, err := Compile(p, ArchAMD64)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Warnings) != 2 || !strings.Contains(f.Warnings[0], `did you mean "openat"`) || strings.Contains(f.Warnings[1], "mean") {
		t.Errorf("%q", f.Warnings)
	}
	if ret, _, err := Run(f.Program, Call{Arch: ArchAMD64}); err != nil || action(ret) != retAllow {
		t.Errorf("read: %v %v", action(ret), err)
	}
}

// TestLongJumps compiles a filter with targets further away than a conditional jump reaches, and runs all of it.
func TestLongJumps(t *testing.T) {
	p := manyRules(60)
	for i, n := range Names(ArchAMD64) {
		if i%2 == 0 && n != "read" {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{n}, Action: specs.ActErrno, ErrnoRet: uintp(uint(2 + i))})
		}
	}
	f, err := Compile(p, ArchAMD64)
	if err != nil {
		t.Fatal(err)
	}
	long := 0
	for pc, in := range f.Program {
		if in.Code == opJump {
			long++
		}
		if in.Code == opJump && pc+1+int(in.K) >= len(f.Program) {
			t.Errorf("instruction %d leaves the program", pc)
		}
	}
	if len(f.Program) < 512 || long == 0 {
		t.Errorf("%d instructions with %d long jumps: too small to show anything", len(f.Program), long)
	}
	m := newMachine(t, f.Program)
	for nr := range uint32(512) {
		for i := range uint64(62) {
			args := [6]uint64{i<<32 + 8, i<<32 + 9, i<<32 + 10, i<<32 + 8, i<<32 + 9, i<<32 + 10}
			d := newData(ArchAMD64, nr, args)
			if got, want := m.run(t, &d), plainNative(t, p, ArchAMD64, ArchAMD64, nr, args); !slices.Contains(want, got) {
				t.Fatalf("%d %#x: %v, want %v", nr, args, got, want)
			}
			if nr != 0 {
				break // only read has arguments
			}
		}
	}
}

// TestBigEndian compiles for machines whose arguments have the high half first, which libseccomp cannot be asked
// for here.
func TestBigEndian(t *testing.T) {
	for _, native := range []Arch{ArchS390X, ArchPPC64, ArchMIPS64, ArchPARISC64} {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.Arch(native.String())}, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 5 << 32, Op: specs.OpLessThan}}},
			{Names: []string{"getpid"}, Action: specs.ActAllow},
		}}
		f, err := Compile(p, native)
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(t, f.Program)
		nr, _ := Number(native, "read")
		for v, want := range map[uint64]action{0: retAllow, 5: retAllow, 5<<32 - 1: retAllow, 5 << 32: retErrno | 1, 1 << 63: retErrno | 1} {
			d := newData(native, nr, [6]uint64{0, v})
			if got := m.run(t, &d); got != want {
				t.Errorf("%s: read(%#x) %v, want %v", native, v, got, want)
			}
		}
		d := newData(native, 0, [6]uint64{})
		if got := m.run(t, &d); native == ArchS390X && got != retENOSYS {
			t.Errorf("%s: number 0, which stands for unknown calls: %v, want ENOSYS", native, got)
		}
	}
}

// TestEveryArchitecture compiles the default and Docker's profile for every machine.
func TestEveryArchitecture(t *testing.T) {
	raw, err := os.ReadFile("testdata/profiles/docker-0.3.0.json")
	if err != nil {
		t.Fatal(err)
	}
	for a := ArchX86; a < archEnd; a++ {
		p, err := Load(raw, Host{Arch: a, Kernel: Kernel{6, 12}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := Compile(p, a)
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		m := newMachine(t, f.Program)
		for name, want := range map[string]action{"read": retAllow, "exit_group": retAllow, "kexec_load": retErrno | 1, "add_key": retErrno | 1} {
			nr, ok := Number(a, name)
			if !ok {
				t.Errorf("%s has no %s", a, name)
			}
			d := newData(a, nr, [6]uint64{})
			if got := m.run(t, &d); got != want {
				t.Errorf("%s: %s %v, want %v", a, name, got, want)
			}
		}
	}
}

// TestTables holds the generated numbers to those of golang.org/x/sys for this architecture, and to each other.
func TestTables(t *testing.T) {
	for name, want := range map[string]uintptr{"read": unix.SYS_READ, "openat2": unix.SYS_OPENAT2, "mseal": unix.SYS_MSEAL, "seccomp": unix.SYS_SECCOMP, "clone3": unix.SYS_CLONE3} {
		if nr, ok := Number(Native(), name); !ok || uintptr(nr) != want {
			t.Errorf("%s is %d, x/sys says %d", name, nr, want)
		}
	}
	if !slices.IsSorted(callNames[:]) {
		t.Error("the names are not sorted")
	}
	for i, name := range callNames {
		if callIndex(name) != i {
			t.Errorf("callIndex(%q) = %d, want %d", name, callIndex(name), i)
		}
	}
	for _, name := range []string{"", "rea", "readd", "no_such_call"} {
		if callIndex(name) >= 0 {
			t.Errorf("callIndex(%q) = %d", name, callIndex(name))
		}
	}
	for a := ArchX86; a < archEnd; a++ {
		if b, err := ParseArch(a.String()); err != nil || a != b {
			t.Errorf("ParseArch(%s) = %s, %v", a, b, err)
		}
		seen := map[uint32]string{}
		for _, name := range Names(a) {
			nr, _ := Number(a, name)
			if other := seen[nr]; other != "" {
				t.Errorf("%s: %s and %s are both %d", a, name, other, nr)
			}
			seen[nr] = name
			if Name(a, nr) != name {
				t.Errorf("%s: Name(%d) = %s, want %s", a, nr, Name(a, nr), name)
			}
			if nr < archs[a].base {
				t.Errorf("%s: %s is %d, below the architecture's base", a, name, nr)
			}
		}
		for _, mux := range []struct {
			name string
			nr   uint32
		}{{"socketcall", archs[a].socketcall}, {"ipc", archs[a].ipc}} {
			if nr, ok := Number(a, mux.name); mux.nr != 0 && (!ok || nr != mux.nr) {
				t.Errorf("%s: %s is %d, not %d", a, mux.name, nr, mux.nr)
			}
		}
	}
}

// TestKnownFacts tries every pair of tests on small words: a test whose answer is known must have that answer for
// every value that the facts leave.
func TestKnownFacts(t *testing.T) {
	w := word{16, 7}
	kinds := []kind{kindJEQ, kindJGT, kindJGE}
	answer := func(k kind, x, v uint32) bool {
		switch k {
		case kindJEQ:
			return x == v
		case kindJGT:
			return x > v
		default:
			return x >= v
		}
	}
	settled := 0
	for i := range 3 * 8 * 2 * 3 * 8 * 2 {
		f1 := fact{w, kinds[i%3], i/24%2 == 0, uint32(i / 3 % 8), nothing}
		f2 := fact{w, kinds[i/48%3], i/1152%2 == 0, uint32(i / 144 % 8), 0}
		m := matcher{facts: []fact{f1, f2}}
		var left []uint32
		for x := range uint32(8) {
			if answer(f1.kind, x, f1.value) == f1.truth && answer(f2.kind, x, f2.value) == f2.truth {
				left = append(left, x)
			}
		}
		if left == nil {
			continue // cannot happen on any way through a program
		}
		for _, k := range kinds {
			for v := range uint32(8) {
				truth, ok := m.known(1, w, k, v)
				if !ok {
					continue
				}
				settled++
				for _, x := range left {
					if answer(k, x, v) != truth {
						t.Fatalf("after %+v and %+v, test %d of %d is not %v for %d", f1, f2, k, v, truth, x)
					}
				}
			}
		}
	}
	if settled == 0 {
		t.Error("no test was ever settled")
	}
}

// TestSpans holds the merging of ranges and the search tree to a plain list.
func TestSpans(t *testing.T) {
	g := newGraph()
	targets := []nodeID{g.ret(retAllow), g.ret(retLog), g.ret(retTrap)}
	var s spans
	var want [64]nodeID
	for nr := range uint32(64) {
		want[nr] = targets[(nr*nr/7)%3]
		s.from(nr, want[nr])
	}
	for i := 1; i < len(s); i++ {
		if s[i].target == s[i-1].target || s[i].start <= s[i-1].start {
			t.Errorf("spans %d and %d should be one: %v", i-1, i, s)
		}
	}
	root := g.search(s)
	prog, err := g.program(g.fresh(node{kind: kindLoad, k: offNumber, t: root}))
	if err != nil {
		t.Fatal(err)
	}
	for nr := range uint32(64) {
		ret, path, err := Run(prog, Call{Arch: ArchAMD64, Number: nr})
		if err != nil || ret != g.nodes[want[nr]].k {
			t.Errorf("%d: %v, %v", nr, action(ret), err)
		}
		if len(path) > 9 {
			t.Errorf("%d: %d steps", nr, len(path))
		}
	}
}

// TestPure holds the package to its place in the layers: no GCR package, no command-line library, and nothing that
// reaches the kernel.
func TestPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"github.com/opencontainers/runtime-spec/specs-go", "golang.org/x/sys/unix"}
	call := regexp.MustCompile(`\bunix\.([a-z]|[A-Z][a-z]+[A-Za-z]*\()`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if strings.Contains(strings.Split(path, "/")[0], ".") && !slices.Contains(allowed, path) || strings.HasPrefix(path, "gcr/") || path == "os" || path == "syscall" {
				t.Errorf("%s imports %s", name, path)
			}
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllString(string(src), -1) {
			if m != "unix.ErrnoName(" && m != "unix.Errno(" {
				t.Errorf("%s calls %s…", name, m)
			}
		}
	}
}

// TestNoStartUpCost links the package into a program that compiles nothing, and reads what the runtime says about
// its initialisation. The tables are data; the package must have nothing to do at start.
func TestNoStartUpCost(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "idle")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/idle").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "init runtime") {
		t.Fatalf("no trace in\n%s", out)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "gcr/internal/seccomp") {
			t.Errorf("the package is initialised at start: %s", line)
		}
	}
	if !strings.Contains(string(out), "read is 0 on amd64") {
		t.Errorf("the program does not use the package:\n%s", out)
	}
}

// TestDocumentation holds the worked example of docs/seccomp.md to what the compiler does.
func TestDocumentation(t *testing.T) {
	raw, err := os.ReadFile("../../docs/seccomp.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, after, ok := strings.Cut(string(raw), "```"+kind+"\n")
		text, _, closed := strings.Cut(after, "```")
		if !ok || !closed {
			t.Fatalf("no block of %s", kind)
		}
		return text
	}
	p, err := Load([]byte(block("json")), Host{Arch: ArchAMD64})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Compile(p, ArchAMD64)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Listing(f.Program), block("text"); got != want {
		t.Errorf("the listing is now\n%s", got)
	}
}
