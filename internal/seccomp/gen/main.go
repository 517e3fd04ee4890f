// Command gen writes the system call tables of package seccomp (../tables_gen.go).
//
// It reads two trees of a stated version:
//
//   - the kernel's own tables (arch/*/…/syscall*.tbl, scripts/syscall.tbl) from an unpacked kernel source,
//     for instance Debian's package linux-source-6.12;
//   - the files zsysnum_linux_*.go of the module golang.org/x/sys, which are generated from a newer kernel. They add
//     the calls that are younger than the kernel source, and every number that both know must agree, or gen stops.
//
// Usage, from internal/seccomp:
//
//	apt-get install linux-source-6.12 && tar -xf /usr/src/linux-source-6.12.tar.xz -C /tmp
//	go mod download golang.org/x/sys@v0.49.0
//	go run ./gen -linux /tmp/linux-source-6.12 -xsys "$(go env GOMODCACHE)/golang.org/x/sys@v0.49.0"
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// column describes one table: where the kernel keeps it, which ABI names of its second field count, what is
// added to each number, and the GOARCH whose x/sys file knows the same table.
type column struct {
	name   string // the Go identifier's suffix, in the order of the constants in ../arch.go
	file   string
	abis   []string
	base   int
	goarch string
	extra  map[string]int
}

var columns = []column{
	{name: "X86", file: "arch/x86/entry/syscalls/syscall_32.tbl", abis: []string{"i386"}, goarch: "386"},
	{name: "AMD64", file: "arch/x86/entry/syscalls/syscall_64.tbl", abis: []string{"common", "64"}, goarch: "amd64"},
	{name: "X32", file: "arch/x86/entry/syscalls/syscall_64.tbl", abis: []string{"common", "x32"}, base: 0x40000000},
	{name: "ARM", file: "arch/arm/tools/syscall.tbl", abis: []string{"common"}, goarch: "arm", extra: map[string]int{
		// arch/arm/include/uapi/asm/unistd.h, __ARM_NR_BASE + n; these never stood in a table.
		"breakpoint": 0x0f0001, "cacheflush": 0x0f0002, "usr26": 0x0f0003, "usr32": 0x0f0004, "set_tls": 0x0f0005, "get_tls": 0x0f0006,
	}},
	{name: "ARM64", file: "scripts/syscall.tbl", abis: []string{"common", "64", "renameat", "rlimit", "memfd_secret"}, goarch: "arm64"},
	{name: "MIPSO32", file: "arch/mips/kernel/syscalls/syscall_o32.tbl", abis: []string{"common", "o32"}, base: 4000, goarch: "mips"},
	{name: "MIPSN64", file: "arch/mips/kernel/syscalls/syscall_n64.tbl", abis: []string{"common", "n64"}, base: 5000, goarch: "mips64"},
	{name: "MIPSN32", file: "arch/mips/kernel/syscalls/syscall_n32.tbl", abis: []string{"common", "n32"}, base: 6000},
	{name: "PPC", file: "arch/powerpc/kernel/syscalls/syscall.tbl", abis: []string{"common", "nospu", "32"}, goarch: "ppc"},
	{name: "PPC64", file: "arch/powerpc/kernel/syscalls/syscall.tbl", abis: []string{"common", "nospu", "64"}, goarch: "ppc64"},
	{name: "RISCV64", file: "scripts/syscall.tbl", abis: []string{"common", "64", "riscv", "rlimit", "memfd_secret"}, goarch: "riscv64"},
	{name: "S390", file: "arch/s390/kernel/syscalls/syscall.tbl", abis: []string{"common", "32"}},
	{name: "S390X", file: "arch/s390/kernel/syscalls/syscall.tbl", abis: []string{"common", "64"}, goarch: "s390x"},
	{name: "PARISC", file: "arch/parisc/kernel/syscalls/syscall.tbl", abis: []string{"common", "32"}},
	{name: "PARISC64", file: "arch/parisc/kernel/syscalls/syscall.tbl", abis: []string{"common", "64"}},
	{name: "LOONGARCH64", file: "scripts/syscall.tbl", abis: []string{"common", "64"}, goarch: "loong64"},
	{name: "M68K", file: "arch/m68k/kernel/syscalls/syscall.tbl", abis: []string{"common"}},
	{name: "SH", file: "arch/sh/kernel/syscalls/syscall.tbl", abis: []string{"common"}},
}

// Numbers of the multiplexed calls: socketcall(2)'s first argument (linux/net.h) and ipc(2)'s (linux/ipc.h).
// The latter are written with ipcOffset added.
var (
	socketCalls = []string{
		1: "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
	}
	ipcCalls = []string{
		1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop", 11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
		21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
	}
)

const ipcOffset = 100

// firstUnified is the first number from which on every architecture uses the same numbers for new calls (Linux 5.1).
const firstUnified = 424

func main() {
	log.SetFlags(0)
	linux := flag.String("linux", "", "`directory` of an unpacked kernel source")
	xsys := flag.String("xsys", "", "`directory` of the module golang.org/x/sys")
	out := flag.String("o", "tables_gen.go", "`file` to write")
	flag.Parse()
	if *linux == "" || *xsys == "" {
		flag.Usage()
		os.Exit(2)
	}
	src, err := generate(*linux, *xsys)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, src, 0o644); err != nil {
		log.Fatal(err)
	}
}

func generate(linux, xsys string) ([]byte, error) {
	version, err := kernelVersion(filepath.Join(linux, "Makefile"))
	if err != nil {
		return nil, err
	}
	newer, err := dockerfileVersion(filepath.Join(xsys, "unix/linux/Dockerfile"))
	if err != nil {
		return nil, err
	}
	young, err := readXsys(xsys, "arm64")
	if err != nil {
		return nil, err
	}
	tables := make([]map[string]int, len(columns))
	for i, c := range columns {
		t, err := readTable(filepath.Join(linux, c.file), c)
		if err != nil {
			return nil, err
		}
		for name, nr := range c.extra {
			t[name] = nr
		}
		top := 0
		for _, nr := range t {
			if nr-c.base < 0x10000 {
				top = max(top, nr-c.base)
			}
		}
		for name, nr := range young {
			if nr > top && nr >= firstUnified {
				t[name] = nr + c.base
			}
		}
		if c.goarch != "" {
			known, err := readXsys(xsys, c.goarch)
			if err != nil {
				return nil, err
			}
			for name, nr := range known {
				if have, ok := t[name]; ok && have != nr {
					return nil, fmt.Errorf("compare tables (%s): %s is %d in the kernel source and %d in x/sys", c.name, name, have, nr)
				}
				t[name] = nr
			}
		}
		tables[i] = t
	}
	return render(version, newer, tables)
}

var placeholder = regexp.MustCompile(`^(reserved|unused|ni_syscall)[0-9_]*$`)

func readTable(path string, c column) (map[string]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		w := strings.Fields(line)
		if len(w) < 3 || !slices.Contains(c.abis, w[1]) || placeholder.MatchString(w[2]) {
			continue
		}
		nr, err := strconv.Atoi(w[0])
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", path, err)
		}
		t[w[2]] = nr + c.base
	}
	if len(t) < 250 {
		return nil, fmt.Errorf("read table %s: only %d calls for the ABIs %v", path, len(t), c.abis)
	}
	return t, nil
}

var sysnum = regexp.MustCompile(`(?m)^\s+SYS_([A-Z0-9_]+)\s+=\s+(\d+)`)

func readXsys(dir, goarch string) (map[string]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "unix", "zsysnum_linux_"+goarch+".go"))
	if err != nil {
		return nil, err
	}
	t := map[string]int{}
	for _, m := range sysnum.FindAllSubmatch(b, -1) {
		name := strings.ToLower(string(m[1]))
		nr, err := strconv.Atoi(string(m[2]))
		if err != nil {
			return nil, err
		}
		// linux/unistd.h of these architectures names some numbers that no call answers to.
		if placeholder.MatchString(name) || name == "syscall_mask" || name == "arch_specific_syscall" {
			continue
		}
		t[name] = nr
	}
	return t, nil
}

func kernelVersion(makefile string) (string, error) {
	b, err := os.ReadFile(makefile)
	if err != nil {
		return "", err
	}
	var v []string
	for _, key := range []string{"VERSION", "PATCHLEVEL", "SUBLEVEL"} {
		m := regexp.MustCompile(`(?m)^` + key + ` = (\d+)`).FindSubmatch(b)
		if m == nil {
			return "", fmt.Errorf("read version (%s): no %s", makefile, key)
		}
		v = append(v, string(m[1]))
	}
	return strings.Join(v, "."), nil
}

func dockerfileVersion(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`--branch v([0-9.]+) .*torvalds/linux`).FindSubmatch(b)
	if m == nil {
		return "", fmt.Errorf("read version (%s): no kernel branch named", path)
	}
	return string(m[1]), nil
}

// hash is FNV-1a; ../table.go computes the same.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

func render(version, newer string, tables []map[string]int) ([]byte, error) {
	set := map[string]bool{}
	for _, t := range tables {
		for name := range t {
			set[name] = true
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)

	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated by internal/seccomp/gen from Linux %s and golang.org/x/sys (Linux %s); DO NOT EDIT.\n\n", version, newer)
	fmt.Fprintf(&b, "package seccomp\n\n")
	fmt.Fprintf(&b, "// TablesVersion names the kernels whose system calls the tables hold: the source of the tables, and the\n")
	fmt.Fprintf(&b, "// kernel up to which newer calls were added.\nconst TablesVersion = \"Linux %s, newer calls up to Linux %s\"\n\n", version, newer)
	fmt.Fprintf(&b, "// callNames holds every name of every table, sorted.\nvar callNames = [...]string{\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%q,\n", name)
	}
	fmt.Fprintf(&b, "}\n\n")

	size := 1
	for size < 3*len(names) {
		size *= 2
	}
	slots := make([]int, size)
	for i, name := range names {
		at := hash(name) & uint32(size-1)
		for slots[at] != 0 {
			at = (at + 1) & uint32(size-1)
		}
		slots[at] = i + 1
	}
	fmt.Fprintf(&b, "// callHash maps hashName(name) modulo its length, with linear probing, to 1 + the index in callNames.\n")
	fmt.Fprintf(&b, "var callHash = [%d]uint16{%s}\n\n", size, wrap(slots))
	mux := make([]int, len(names))
	for i, name := range names {
		if n := slices.Index(socketCalls, name); n > 0 {
			mux[i] = n
		} else if n := slices.Index(ipcCalls, name); n > 0 {
			mux[i] = n + ipcOffset
		}
	}
	fmt.Fprintf(&b, "// callMux holds for each name the number by which socketcall(2) knows it, or %d more than the\n", ipcOffset)
	fmt.Fprintf(&b, "// number by which ipc(2) knows it, or 0.\n")
	fmt.Fprintf(&b, "var callMux = [%d]uint8{%s}\n\n", len(names), wrap(mux))
	fmt.Fprintf(&b, "// callNumbers holds for each table and each name of callNames the number, or -1.\n")
	fmt.Fprintf(&b, "var callNumbers = [%d][%d]int32{\n", len(tables), len(names))
	for i, t := range tables {
		row := make([]int, len(names))
		for j, name := range names {
			row[j] = -1
			if nr, ok := t[name]; ok {
				row[j] = nr
			}
		}
		fmt.Fprintf(&b, "table%s: {%s},\n", columns[i].name, wrap(row))
	}
	fmt.Fprintf(&b, "}\n\nconst (\n")
	for i, c := range columns {
		if i == 0 {
			fmt.Fprintf(&b, "table%s = iota\n", c.name)
		} else {
			fmt.Fprintf(&b, "table%s\n", c.name)
		}
	}
	fmt.Fprintf(&b, ")\n")
	return format.Source(b.Bytes())
}

func wrap(v []int) string {
	var b strings.Builder
	for i, n := range v {
		if i%20 == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%d, ", n)
	}
	b.WriteByte('\n')
	return b.String()
}
