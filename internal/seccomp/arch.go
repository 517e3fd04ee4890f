package seccomp

import (
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Arch is a system call ABI, as in SCMP_ARCH_* of the OCI runtime specification (config-linux.md, seccomp).
// The zero value is no architecture.
type Arch uint8

// The architectures of the specification.
const (
	ArchX86 Arch = iota + 1
	ArchAMD64
	ArchX32
	ArchARM
	ArchARM64
	ArchMIPS
	ArchMIPS64
	ArchMIPS64N32
	ArchMIPSEL
	ArchMIPSEL64
	ArchMIPSEL64N32
	ArchPPC
	ArchPPC64
	ArchPPC64LE
	ArchRISCV64
	ArchS390
	ArchS390X
	ArchPARISC
	ArchPARISC64
	ArchLOONGARCH64
	ArchM68K
	ArchSH
	ArchSHEB
	archEnd
)

// archInfo is what the compiler must know of an architecture.
type archInfo struct {
	oci    string // SCMP_ARCH_*
	name   string // Docker's and libseccomp's short name
	goarch string // GOARCH, where Go knows the architecture
	audit  uint32 // AUDIT_ARCH_* in seccomp_data.arch
	table  uint8
	wide   bool   // arguments are compared with 64 bits
	big    bool   // big endian: the high word of an argument comes first
	base   uint32 // the smallest number
	// socketcall and ipc are the numbers of the calls that multiplex socket and System V IPC calls; 0 is none.
	socketcall, ipc uint32
}

// x32Bit marks a call of the x32 ABI; the kernel reports it with AUDIT_ARCH_X86_64 (__X32_SYSCALL_BIT).
const x32Bit = 0x40000000

var archs = [archEnd]archInfo{
	ArchX86:         {oci: "SCMP_ARCH_X86", name: "x86", goarch: "386", audit: unix.AUDIT_ARCH_I386, table: tableX86, socketcall: 102, ipc: 117},
	ArchAMD64:       {oci: "SCMP_ARCH_X86_64", name: "amd64", goarch: "amd64", audit: unix.AUDIT_ARCH_X86_64, table: tableAMD64, wide: true},
	ArchX32:         {oci: "SCMP_ARCH_X32", name: "x32", audit: unix.AUDIT_ARCH_X86_64, table: tableX32, base: x32Bit},
	ArchARM:         {oci: "SCMP_ARCH_ARM", name: "arm", goarch: "arm", audit: unix.AUDIT_ARCH_ARM, table: tableARM},
	ArchARM64:       {oci: "SCMP_ARCH_AARCH64", name: "arm64", goarch: "arm64", audit: unix.AUDIT_ARCH_AARCH64, table: tableARM64, wide: true},
	ArchMIPS:        {oci: "SCMP_ARCH_MIPS", name: "mips", goarch: "mips", audit: unix.AUDIT_ARCH_MIPS, table: tableMIPSO32, big: true, base: 4000, socketcall: 4102, ipc: 4117},
	ArchMIPS64:      {oci: "SCMP_ARCH_MIPS64", name: "mips64", goarch: "mips64", audit: unix.AUDIT_ARCH_MIPS64, table: tableMIPSN64, wide: true, big: true, base: 5000},
	ArchMIPS64N32:   {oci: "SCMP_ARCH_MIPS64N32", name: "mips64n32", goarch: "mips64p32", audit: unix.AUDIT_ARCH_MIPS64N32, table: tableMIPSN32, big: true, base: 6000},
	ArchMIPSEL:      {oci: "SCMP_ARCH_MIPSEL", name: "mipsel", goarch: "mipsle", audit: unix.AUDIT_ARCH_MIPSEL, table: tableMIPSO32, base: 4000, socketcall: 4102, ipc: 4117},
	ArchMIPSEL64:    {oci: "SCMP_ARCH_MIPSEL64", name: "mipsel64", goarch: "mips64le", audit: unix.AUDIT_ARCH_MIPSEL64, table: tableMIPSN64, wide: true, base: 5000},
	ArchMIPSEL64N32: {oci: "SCMP_ARCH_MIPSEL64N32", name: "mipsel64n32", goarch: "mips64p32le", audit: unix.AUDIT_ARCH_MIPSEL64N32, table: tableMIPSN32, base: 6000},
	ArchPPC:         {oci: "SCMP_ARCH_PPC", name: "ppc", goarch: "ppc", audit: unix.AUDIT_ARCH_PPC, table: tablePPC, big: true, socketcall: 102, ipc: 117},
	ArchPPC64:       {oci: "SCMP_ARCH_PPC64", name: "ppc64", goarch: "ppc64", audit: unix.AUDIT_ARCH_PPC64, table: tablePPC64, wide: true, big: true, socketcall: 102, ipc: 117},
	ArchPPC64LE:     {oci: "SCMP_ARCH_PPC64LE", name: "ppc64le", goarch: "ppc64le", audit: unix.AUDIT_ARCH_PPC64LE, table: tablePPC64, wide: true, socketcall: 102, ipc: 117},
	ArchRISCV64:     {oci: "SCMP_ARCH_RISCV64", name: "riscv64", goarch: "riscv64", audit: unix.AUDIT_ARCH_RISCV64, table: tableRISCV64, wide: true},
	ArchS390:        {oci: "SCMP_ARCH_S390", name: "s390", goarch: "s390", audit: unix.AUDIT_ARCH_S390, table: tableS390, big: true, socketcall: 102, ipc: 117},
	ArchS390X:       {oci: "SCMP_ARCH_S390X", name: "s390x", goarch: "s390x", audit: unix.AUDIT_ARCH_S390X, table: tableS390X, wide: true, big: true, socketcall: 102, ipc: 117},
	ArchPARISC:      {oci: "SCMP_ARCH_PARISC", name: "parisc", audit: unix.AUDIT_ARCH_PARISC, table: tablePARISC, big: true},
	ArchPARISC64:    {oci: "SCMP_ARCH_PARISC64", name: "parisc64", audit: unix.AUDIT_ARCH_PARISC64, table: tablePARISC64, wide: true, big: true},
	ArchLOONGARCH64: {oci: "SCMP_ARCH_LOONGARCH64", name: "loongarch64", goarch: "loong64", audit: unix.AUDIT_ARCH_LOONGARCH64, table: tableLOONGARCH64, wide: true},
	ArchM68K:        {oci: "SCMP_ARCH_M68K", name: "m68k", audit: unix.AUDIT_ARCH_M68K, table: tableM68K, big: true, socketcall: 102, ipc: 117},
	ArchSH:          {oci: "SCMP_ARCH_SH", name: "sh", audit: unix.AUDIT_ARCH_SHEL, table: tableSH, socketcall: 102, ipc: 117},
	ArchSHEB:        {oci: "SCMP_ARCH_SHEB", name: "sheb", audit: unix.AUDIT_ARCH_SH, table: tableSH, big: true, socketcall: 102, ipc: 117},
}

// Native returns the architecture that this program was built for, or 0 if the package knows no table for it.
func Native() Arch { return archOfGo(runtime.GOARCH) }

func archOfGo(goarch string) Arch {
	for a := ArchX86; a < archEnd; a++ {
		if archs[a].goarch == goarch {
			return a
		}
	}
	return 0
}

// ParseArch finds an architecture by its OCI name (SCMP_ARCH_X86_64), its short name as Docker and libseccomp use
// it (amd64, x86, loongarch64), or its GOARCH.
func ParseArch(s string) (Arch, error) {
	for a := ArchX86; a < archEnd; a++ {
		if i := &archs[a]; s != "" && (i.oci == s || i.name == s || i.goarch == s) {
			return a, nil
		}
	}
	return 0, fmt.Errorf("find architecture %q: not one of the OCI runtime specification (SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64, …)", s)
}

// String returns the OCI name.
func (a Arch) String() string {
	if a == 0 || a >= archEnd {
		return fmt.Sprintf("Arch(%d)", uint8(a))
	}
	return archs[a].oci
}

// Audit returns the AUDIT_ARCH_* value that the kernel reports for calls of this architecture.
func (a Arch) Audit() uint32 { return a.info().audit }

// Short returns the short name, as Docker and libseccomp use it.
func (a Arch) Short() string { return a.info().name }

func (a Arch) info() *archInfo {
	if a >= archEnd {
		a = 0
	}
	return &archs[a]
}

// ArchNames lists the OCI names of all architectures, sorted.
func ArchNames() []string {
	var out []string
	for a := ArchX86; a < archEnd; a++ {
		out = append(out, archs[a].oci)
	}
	slices.Sort(out)
	return out
}
