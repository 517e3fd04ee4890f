package seccomp

import (
	"os"
	"reflect"
	"slices"
	"testing"
)

// dockerCaps are the capabilities of a container that asks for nothing.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// TestDefaultIsItsFile holds the data in the binary to the JSON that it was made from, for every capability that an
// entry asks for and every architecture.
func TestDefaultIsItsFile(t *testing.T) {
	raw, err := os.ReadFile("default.json")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if f.Date != DefaultDate {
		t.Errorf("default_gen.go is of %s, default.json of %s; run go generate", DefaultDate, f.Date)
	}
	sets := [][]string{nil, dockerCaps}
	for _, e := range f.Syscalls {
		sets = append(sets, e.Includes.Caps, e.Excludes.Caps)
	}
	for _, goarch := range []string{"amd64", "386", "arm64", "arm", "riscv64", "ppc64le", "s390x", "loong64", "mips64le"} {
		for _, caps := range sets {
			want, err := Load(raw, Host{Arch: archOfGo(goarch), Caps: caps, Kernel: Kernel{5, 15}})
			if err != nil {
				t.Fatal(err)
			}
			got := Default(caps, goarch)
			for i := range want.Syscalls {
				if len(want.Syscalls[i].Args) == 0 {
					want.Syscalls[i].Args = nil
				}
				want.Syscalls[i].Args = slices.Clip(want.Syscalls[i].Args)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Default(%v, %s) is not default.json; run go generate", caps, goarch)
			}
			filter, err := Compile(got, archOfGo(goarch))
			if err != nil {
				t.Errorf("compile Default(%v, %s): %v", caps, goarch, err)
			}
			if len(filter.Warnings) > 0 {
				t.Errorf("Default(%v, %s): %v", caps, goarch, filter.Warnings)
			}
		}
	}
}

// BenchmarkDefault is what a container start pays: from capabilities to instructions.
func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(Default(dockerCaps, "amd64"), ArchAMD64); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDocker compiles Docker's profile, for three architectures.
func BenchmarkDocker(b *testing.B) {
	raw, err := os.ReadFile("testdata/profiles/docker-0.3.0.json")
	if err != nil {
		b.Fatal(err)
	}
	p, err := Load(raw, Host{Arch: ArchAMD64, Caps: dockerCaps, Kernel: Kernel{6, 18}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Compile(p, ArchAMD64); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad reads the default profile from its JSON, for comparison.
func BenchmarkLoad(b *testing.B) {
	raw, err := os.ReadFile("default.json")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Load(raw, Host{Arch: ArchAMD64, Caps: dockerCaps, Kernel: Kernel{6, 18}}); err != nil {
			b.Fatal(err)
		}
	}
}
