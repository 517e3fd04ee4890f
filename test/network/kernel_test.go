package network

import (
	"os/exec"
	"strings"
	"testing"

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
// without.
func TestWithoutNFTables(t *testing.T) {
	output(t, "network", "prune")
	refused := func(t *testing.T, want string, prefix ...string) {
		t.Helper()
		run := func(args ...string) (string, error) {
			args = append(append(prefix[:len(prefix):len(prefix)], gcr, "run", "--quiet"), args...)
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			return strings.TrimSpace(string(out)), err
		}
		for _, args := range [][]string{{}, {"-p", "8080:80"}} {
			out, err := run(append(args, rootfs, "/agent", "lookup", "localhost")...)
			if err == nil {
				t.Errorf("%v: a container runs without the rules that guard it", args)
			}
			if strings.Contains(out, "\n") || !strings.Contains(out, want) || !strings.Contains(out, "modprobe nf_tables") || !strings.Contains(out, "--network none") {
				t.Errorf("%v: not one line with %q and what to do:\n%s", args, want, out)
			}
		}
		for _, n := range []string{"none", "host"} {
			if out, err := run("--network", n, rootfs, "/agent", "lookup", "localhost"); err != nil {
				t.Errorf("--network %s: %s", n, out)
			}
		}
		if left := leftovers(); left != "" {
			t.Errorf("left: %s", left)
		}
	}
	t.Run("no netfilter", func(t *testing.T) { refused(t, "protocol not supported", agent, "without") })
}
