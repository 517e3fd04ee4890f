// Package seccompcmd is the command "gcr seccomp", which shows what seccomp profiles do. It is apart from package
// seccomp so that gcrun does not link a command-line library for it.
//
//	root.AddCommand(seccompcmd.Command())
package seccompcmd

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"gcr/internal/seccomp"
)

// Command returns the command with its subcommands.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seccomp",
		Short: "Show what seccomp profiles do",
	}
	cmd.AddCommand(explain(), printDefault())
	return cmd
}

func printDefault() *cobra.Command {
	return &cobra.Command{
		Use:   "default",
		Short: "Print the default profile, in Docker's format",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), seccomp.DefaultFile())
			return err
		},
	}
}

func explain() *cobra.Command {
	var archName string
	var caps []string
	cmd := &cobra.Command{
		Use:   "explain PROFILE [SYSCALL [ARGUMENT...]]",
		Short: "Say which rule of a profile decides a system call",
		Long: `Say which rule of a profile decides a system call.

PROFILE is a file in Docker's format or in the OCI's, - for standard input, or the word default for the profile of
containers that bring none. SYSCALL is a name or a number. ARGUMENTs are numbers (decimal, 0x hexadecimal, 0 octal,
or negative, after a --); arguments that are not given are 0. Without SYSCALL the whole filter is listed.`,
		Example: `  gcr seccomp explain default socket 38
  gcr seccomp explain default clone 0x10000000 --cap CAP_SYS_ADMIN
  gcr seccomp explain my.json mkdirat --arch SCMP_ARCH_AARCH64
  gcr seccomp explain my.json`,
		Args:              cobra.RangeArgs(1, 8),
		ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			native := seccomp.Native()
			arch := native
			if archName != "" {
				var err error
				if arch, err = seccomp.ParseArch(archName); err != nil {
					return err
				}
			}
			profile, err := load(cmd.InOrStdin(), args[0], seccomp.Host{Arch: native, Caps: fullNames(caps), Kernel: kernel()})
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return list(cmd.OutOrStdout(), profile, native)
			}
			call, err := parseCall(arch, args[1:])
			if err != nil {
				return err
			}
			x, err := seccomp.Explain(profile, native, call)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), call, x)
		},
	}
	cmd.Flags().StringVar(&archName, "arch", "", "architecture that the call comes through: amd64, SCMP_ARCH_X86, … (default: this machine's)")
	cmd.Flags().StringSliceVar(&caps, "cap", nil, "capability that the container may have, for the conditions of the profile")
	return cmd
}

// complete offers the names of system calls as the second word.
func complete(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var out []string
	for _, n := range seccomp.Names(seccomp.Native()) {
		if strings.HasPrefix(n, prefix) {
			out = append(out, n)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func load(stdin io.Reader, path string, host seccomp.Host) (*specs.LinuxSeccomp, error) {
	if path == "default" {
		raw := seccomp.DefaultFile()
		return seccomp.Load([]byte(raw), host)
	}
	var raw []byte
	var err error
	if path == "-" {
		raw, err = io.ReadAll(stdin)
	} else {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	return seccomp.Load(raw, host)
}

func kernel() seccomp.Kernel {
	raw, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err == nil {
		if k, err := seccomp.ParseKernel(strings.TrimSpace(string(raw))); err == nil {
			return k
		}
	}
	return seccomp.Kernel{Major: 5, Minor: 15} // the oldest that GCR runs on
}

// fullNames lets people write sys_admin for CAP_SYS_ADMIN.
func fullNames(caps []string) []string {
	out := make([]string, len(caps))
	for i, c := range caps {
		out[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(c), "CAP_")
	}
	return out
}

func parseCall(arch seccomp.Arch, words []string) (seccomp.Call, error) {
	call := seccomp.Call{Arch: arch}
	if n, err := strconv.ParseUint(words[0], 0, 32); err == nil {
		call.Number = uint32(n)
	} else if nr, ok := seccomp.Number(arch, words[0]); ok {
		call.Number = nr
	} else {
		return call, fmt.Errorf("find system call %q: %s has no such call", words[0], arch)
	}
	for i, w := range words[1:] {
		if i >= len(call.Args) {
			return call, fmt.Errorf("read argument %d: a system call has at most %d", i, len(call.Args))
		}
		v, err := strconv.ParseUint(w, 0, 64)
		if err != nil {
			var signed int64
			if signed, err = strconv.ParseInt(w, 0, 64); err != nil {
				return call, fmt.Errorf("read argument %d: %q is not a 64-bit number", i, w)
			}
			v = uint64(signed)
		}
		call.Args[i] = v
	}
	return call, nil
}

func show(w io.Writer, call seccomp.Call, x seccomp.Explanation) error {
	name := seccomp.Name(call.Arch, call.Number)
	if name == "" {
		name = "no name"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%d) on %s\n", x.Action, name, call.Number, call.Arch)
	fmt.Fprintf(&b, "  because  %s\n", x.Because)
	for _, p := range x.Passed {
		fmt.Fprintf(&b, "  not by   %s\n", p)
	}
	fmt.Fprintf(&b, "  decided in %d instructions\n", x.Steps)
	_, err := io.WriteString(w, b.String())
	return err
}

func list(w io.Writer, profile *specs.LinuxSeccomp, native seccomp.Arch) error {
	f, err := seccomp.Compile(profile, native)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, warning := range f.Warnings {
		fmt.Fprintf(&b, "# %s\n", warning)
	}
	fmt.Fprintf(&b, "# %d instructions, flags %#x", len(f.Program), f.Flags)
	if f.Notify {
		b.WriteString(", with a listener for the agent")
	}
	b.WriteString("\n")
	b.WriteString(seccomp.Listing(f.Program))
	_, err = io.WriteString(w, b.String())
	return err
}
