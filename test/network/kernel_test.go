package network

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSCTP publishes a port of SCTP, which most kernels have as a module and few load.
func TestSCTP(t *testing.T) {
	_ = exec.Command("modprobe", "sctp").Run()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		t.Skip("the kernel has no SCTP: ", err)
	}
	unix.Close(fd)
	start(t, "-p", "8080:80/sctp", "-p", "127.0.0.1:8081:80/sctp", rootfs, "/agent", "serve", "80")
	for _, c := range []struct{ from, to, want string }{
		{"client", join(hostIn4, "8080"), client4},
		{"client", join(hostIn6, "8080"), client6},
		{"", join(hostIn4, "8080"), ""},
		{"", join(hostIn6, "8080"), ""},
		{"", "127.0.0.1:8080", ""},
		{"", "127.0.0.1:8081", ""},
	} {
		if got, err := ask(c.from, "sctp", c.to); err != nil || c.want != "" && got != c.want {
			t.Errorf("from %q to %s: %s, %v; want %s", c.from, c.to, got, err, c.want)
		}
	}
	if got, err := exec.Command(gcr, "run", "--quiet", rootfs, "/agent", "dial", "sctp", join(hostIn4, "8080")).CombinedOutput(); err != nil {
		t.Errorf("from another container: %s", got)
	}
	if got, ok := reaches("client", "sctp", join(hostIn4, "8081")); ok {
		t.Errorf("the client reaches what is published on the loopback only: %s", got)
	}
	// The socket that keeps a port of TCP has no counterpart here: the record does.
	if out, err := exec.Command(gcr, "run", "--quiet", "-p", "8080:80/sctp", rootfs, "/agent", "wait").CombinedOutput(); err == nil || !strings.Contains(string(out), "belongs to container") {
		t.Errorf("the same port twice: %s", out)
	}
}

// TestWithoutNFTables has one line that says what the kernel lacks, nothing left, and a container by the ways that do
// without: once nf_tables seems to be missing altogether; in a VM it then really is, all of it or a part.
func TestWithoutNFTables(t *testing.T) {
	output(t, "network", "prune")
	t.Run("no netfilter", func(t *testing.T) { refused(t, "protocol not supported", agent, "without") })
	t.Run("module missing", func(t *testing.T) {
		unloadNFTables(t)
		refused(t, "the kernel does not take the rules")
		if _, err := os.Stat("/sys/module/nf_tables"); err == nil {
			t.Error("nf_tables has been loaded meanwhile")
		}
	})
	t.Run("part missing", func(t *testing.T) {
		unloadNFTables(t, "nf_tables")
		refused(t, "modprobe nft_chain_nat")
	})
}

// refused tries containers that need rules which the kernel does not take.
func refused(t *testing.T, want string, prefix ...string) {
	t.Helper()
	run := func(args ...string) (string, error) {
		args = append(append(prefix[:len(prefix):len(prefix)], gcr), args...)
		// Without a limit, one that waits for ever would be told by the end of all tests only.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if ctx.Err() != nil {
			t.Errorf("%v has not ended", args)
		}
		return strings.TrimSpace(string(out)), err
	}
	for _, flags := range [][]string{{}, {"-p", "8080:80"}} {
		out, err := run(slices.Concat([]string{"run", "--quiet"}, flags, []string{rootfs, "/agent", "lookup", "localhost"})...)
		if err == nil {
			t.Errorf("%v: a container runs without the rules that guard it", flags)
		}
		if strings.Contains(out, "\n") || !strings.Contains(out, want) || !strings.Contains(out, "modprobe nf") || !strings.Contains(out, "--network none") {
			t.Errorf("%v: not one line with %q and what to do:\n%s", flags, want, out)
		}
	}
	for _, n := range []string{"none", "host"} {
		if out, err := run("run", "--quiet", "--network", n, rootfs, "/agent", "lookup", "localhost"); err != nil {
			t.Errorf("--network %s: %s", n, out)
		}
	}
	if left := leftovers(); left != "" {
		t.Errorf("left: %s", left)
	}
	for _, args := range [][]string{{"network", "create", "bare"}, {"network", "ls"}, {"network", "explain"}, {"network", "rm", "bare"}, {"network", "prune"}} {
		if out, err := run(args...); err != nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// unloadNFTables takes nf_tables out of the kernel for the rest of the test, except for the modules to keep.
func unloadNFTables(t *testing.T, keep ...string) {
	t.Helper()
	if os.Getenv("GCR_VM_PLACE") == "" {
		t.Skip("taken away from the whole machine: only in a VM of the bench")
	}
	_ = exec.Command("modprobe", "nf_tables").Run()
	if _, err := os.Stat("/sys/module/nf_tables/refcnt"); err != nil {
		t.Skip("the kernel has nf_tables built in, it cannot be taken away")
	}
	// What dead namespaces of earlier tests hold is let go in the kernel's own time.
	eventually(t, "nf_tables to be unloaded", func() bool {
		_ = sh(`nft flush ruleset; nsenter --net=` + work + `/machine nft flush ruleset`)
		_ = sh(`for i in 1 2 3 4; do for m in $(lsmod | sed -n 's/^\(nft_[a-z0-9_]*\|nf_tables\) .*/\1/p'); do rmmod $m 2>/dev/null || true; done; done`)
		_, err := os.Stat("/sys/module/nf_tables")
		return err != nil
	})
	for _, k := range append(keep, "nfnetlink") {
		must(sh("modprobe " + k))
	}
	// The kernel starts modprobe outside of the tests' mount namespace.
	const loader = "/proc/sys/kernel/modprobe"
	old, err := os.ReadFile(loader)
	must(err)
	must(os.WriteFile(loader, []byte("/bin/false"), 0))
	t.Cleanup(func() { must(os.WriteFile(loader, old, 0)) })
}
