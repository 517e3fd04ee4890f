// Command vm is the project's VM bench: it runs programs inside throw-away virtual machines, to test on
// kernels, cgroup layouts and architectures that the host itself does not have.
//
//	go run ./test/vm                                     every suite everywhere it belongs, with a summary
//	go run ./test/vm suites -only guestcheck -at arm64   one suite in one place
//	go run ./test/vm list                                the suites and the places
//	go run ./test/vm setup                               only fetch kernels and build images
//	go run ./test/vm run -at rootless -- id              one command in one VM
//	go run ./test/vm run -at v2 -in a.test -out o -- ./a.test -test.v
//
// Kernels and root file systems are Debian's packages, kept under $GCR_VM_CACHE (default: gcr-vm in the user's
// cache directory). Without /dev/kvm the machines are emulated, which is several times slower than real ones:
// good for testing what works, not how fast.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	var status exitStatus
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// exitStatus is the status of a command that ran in a VM, handed on.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func command(ctx context.Context, args []string) error {
	name := "suites"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("vm "+name, flag.ContinueOnError)
	switch name {
	case "suites":
		return suitesCommand(ctx, flags, args)
	case "run":
		return runCommand(ctx, flags, args)
	case "setup":
		return setupCommand(ctx, flags, args)
	case "list":
		return listCommand(os.Stdout)
	}
	return fmt.Errorf("%q: there is no such command; there are suites, run, setup and list", name)
}

// setupCommand fills the cache for the machines of the named places (default: all).
func setupCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	at := flags.String("at", "", "comma-separated places to prepare for (default: all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := placesNamed(*at)
	if err != nil {
		return err
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	began := time.Now()
	prep := newPreparation(ctx, cache)
	for _, m := range machinesOf(wanted) {
		if _, err := prep.image(m); err != nil {
			return err
		}
	}
	logf("%s is ready, in %v", cache.dir, time.Since(began).Round(time.Second))
	return nil
}

// began is when the program began, for log lines.
var began = time.Now()

// logf says on standard error what is going on, with the seconds since the start.
func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
