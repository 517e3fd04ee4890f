package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gcr/test/vm/wire"
)

// machinesAtOnce is how many VMs run at the same time. Boots wait more than they compute, so two share two
// processors well.
const machinesAtOnce = 2

// suitesCommand runs the suites in their places.
func suitesCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	only := flags.String("only", "", "comma-separated suites: the end of the package's path is enough (default: all)")
	at := flags.String("at", "", "comma-separated places (default: all)")
	tests := flags.String("run", "", "only tests that match this regular expression, as with go test -run")
	out := flags.String("out", "", "directory for results.json and the logs (default: results in the cache)")
	failed := flags.Bool("failed", false, "only what failed in the last run, by the results.json that it left")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := placesNamed(*at)
	if err != nil {
		return err
	}
	chosen, err := chooseSuites(*only, wanted)
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cache, err := openCache()
	if err != nil {
		return err
	}
	if *out == "" {
		*out = filepath.Join(cache.dir, "results")
	}
	file := filepath.Join(*out, "results.json")
	if *failed {
		if chosen, err = failedOnly(chosen, file); err != nil {
			return err
		}
	}
	// A run that is broken off leaves none, rather than those of an earlier one.
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	temp, err := os.MkdirTemp("", "gcr-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	r := &runner{root: root, temp: temp, out: *out, tests: *tests, prep: newPreparation(ctx, cache)}
	r.runAll(ctx, chosen, wanted)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run the suites: %w", err)
	}
	slices.SortFunc(r.results, func(a, b Result) int { return strings.Compare(a.Suite+" "+a.Place, b.Suite+" "+b.Place) })
	if err := save(r.results, file); err != nil {
		return err
	}
	well := summarize(os.Stdout, r.results, time.Since(began))
	fmt.Println("Results for programs are in", file)
	if !well {
		return exitStatus(1)
	}
	return nil
}

// chooseSuites returns the suites that only names and that run at one of the places at least, with their
// places reduced to these.
func chooseSuites(only string, wanted []place) ([]suite, error) {
	found, err := findSuites()
	if err != nil {
		return nil, err
	}
	var chosen []suite
	for name := range strings.SplitSeq(only, ",") {
		n := len(chosen)
		for _, s := range found {
			if s.Long && name == "" {
				if s.Short == "" {
					continue
				}
				s.Run, s.Limit = s.Short, 0
			}
			if s.Package == name || strings.HasSuffix(s.Package, "/"+name) || name == "" {
				s.At = slices.DeleteFunc(slices.Clone(s.At), func(at string) bool {
					return !slices.ContainsFunc(wanted, func(p place) bool { return p.Name == at })
				})
				if len(s.At) > 0 {
					chosen = append(chosen, s)
				}
			}
		}
		if n == len(chosen) {
			return nil, fmt.Errorf("suite %q: none of that name runs there (see: vm list)", name)
		}
	}
	return chosen, nil
}

// failedOnly leaves of each suite the places in which it failed.
func failedOnly(chosen []suite, file string) ([]suite, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the last run's results: %w", err)
	}
	var results []Result
	if err := json.Unmarshal(text, &results); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var left []suite
	for _, s := range chosen {
		s.At = slices.DeleteFunc(slices.Clone(s.At), func(at string) bool {
			return !slices.ContainsFunc(results, func(r Result) bool { return r.Suite == s.Package && r.Place == at && !r.ok() })
		})
		if len(s.At) > 0 {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("find what failed: nothing that is chosen did, says %s", file)
	}
	return left, nil
}

// A runner runs suites and gathers their results.
type runner struct {
	root, temp, out, tests string
	prep                   *preparation

	mu      sync.Mutex
	results []Result
}

func (r *runner) add(res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
	how := fmt.Sprintf("%d passed, %d failed, %d skipped", res.Passed, res.Failed, res.Skipped)
	if res.Error != "" {
		how = res.Error
		if i := strings.IndexByte(how, '\n'); i > 0 {
			how = how[:i]
		}
	}
	logf("%-9s %s: %s", res.Place, res.Suite, how)
}

// runAll runs everything: the host's part and the machines side by side.
func (r *runner) runAll(ctx context.Context, chosen []suite, wanted []place) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, machinesAtOnce)
	builds := map[string]func() error{}
	for _, arch := range []string{"amd64", "arm64"} {
		builds[arch] = sync.OnceValue(func() error { return r.build(ctx, chosen, arch) })
	}
	for _, m := range machinesOf(wanted) {
		tasks := r.tasksFor(m, chosen, wanted)
		if len(tasks) == 0 {
			continue
		}
		wg.Go(func() {
			// Fetching and compiling overlap with the machines that run already.
			var img image
			err := parallel(
				func() (err error) { img, err = r.prep.image(m); return },
				func() error { return builds[m.Arch]() },
			)
			slots <- struct{}{}
			defer func() { <-slots }()
			r.runMachine(ctx, m, img, tasks, err)
		})
	}
	if slices.ContainsFunc(wanted, func(p place) bool { return p.Machine == "" }) {
		r.runHost(ctx, chosen)
	}
	wg.Wait()
}

// dir is where an architecture's test binaries and files are.
func (r *runner) dir(arch string) string { return filepath.Join(r.temp, arch) }

func (r *runner) build(ctx context.Context, chosen []suite, arch string) error {
	logf("compiling for %s", arch)
	for _, s := range chosen {
		if !slices.ContainsFunc(s.At, func(at string) bool { return s.archAt(at) == arch }) {
			continue
		}
		if err := s.build(ctx, r.root, arch, r.dir(arch)); err != nil {
			return err
		}
	}
	return os.MkdirAll(r.dir(arch), 0o755)
}

// archAt is the architecture of a place, "" for the host, where "go test" compiles.
func (s suite) archAt(name string) string {
	p, err := placeNamed(name)
	if err != nil || p.Machine == "" {
		return ""
	}
	return machineNamed(p.Machine).Arch
}

// An assignment is a suite at a place.
type assignment struct {
	suite suite
	place place
}

func (a assignment) name() string { return a.suite.Package + " at " + a.place.Name }

// tasksFor returns what a machine has to do in one boot.
func (r *runner) tasksFor(m machine, chosen []suite, wanted []place) []assignment {
	var list []assignment
	for _, p := range wanted {
		for _, s := range chosen {
			if p.Machine == m.Name && slices.Contains(s.At, p.Name) {
				list = append(list, assignment{s, p})
			}
		}
	}
	return list
}

func (a assignment) limit() time.Duration {
	if a.suite.Limit > 0 {
		return a.suite.Limit
	}
	return defaultLimit
}

// args is the command of a suite. Go's own limit comes a little before the bench's, since it says which test
// hangs where.
func (r *runner) args(a assignment) []string {
	args := []string{"./" + a.suite.binary(), "-test.v=test2json", "-test.timeout=" + (a.limit() - 30*time.Second).String()}
	if os.Getenv("GCR_TEST_FULL") == "" {
		args = append(args, "-test.short")
	}
	switch {
	case r.tests != "":
		args = append(args, "-test.run="+r.tests)
	case a.suite.Run != "":
		args = append(args, "-test.run="+a.suite.Run)
	}
	return args
}

// runMachine boots a machine and has it run its suites. When the machine dies on the way, one that boots again
// runs that suite a second time, and if that is deadly too those after it.
func (r *runner) runMachine(ctx context.Context, m machine, img image, list []assignment, err error) {
	died := "" // the suite and place at which a machine has died before
	for len(list) > 0 {
		outputs, ends := make([]bytes.Buffer, len(list)), make([]*wire.Event, len(list))
		var times []time.Time
		if err == nil {
			var job wire.Job
			for _, a := range list {
				job.Tasks = append(job.Tasks, wire.Task{
					Args: r.args(a), Dir: a.suite.Package, As: a.place.As, Limit: a.limit(),
					Env: []string{"GCR_VM_PLACE=" + a.place.Name},
				})
			}
			logf("%-9s boots", m.Name)
			err = m.boot(ctx, img, job, r.dir(m.Arch), func(e wire.Event) {
				switch {
				case e.Started:
					times = append(times, time.Now())
					logf("%-9s is up", m.Name)
				case e.Ended:
					ends[e.Task] = &e
					times = append(times, time.Now())
					a := list[e.Task]
					res := Result{Suite: a.suite.Package, Place: a.place.Name, Died: a.name() == died, Seconds: times[len(times)-1].Sub(times[len(times)-2]).Seconds()}
					r.finish(ctx, res, outputs[e.Task].Bytes(), e.Status, e.Error)
				case e.Stream == wire.Stdout || e.Stream == wire.Stderr:
					outputs[e.Task].Write(e.Data)
				}
			})
			if err == nil {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		next := slices.Index(ends, nil)
		if next < 0 {
			return // it died after its last task
		}
		again := len(times) > 0
		if deadly := list[next].name(); again && deadly != died {
			// Emulated processors make mistakes; a suite that is deadly twice is at fault.
			logf("%-9s died in %s: trying again", m.Name, deadly)
			died, list, err = deadly, list[next:], nil
			continue
		}
		for ; next < len(list); next++ {
			a := list[next]
			r.finish(ctx, Result{Suite: a.suite.Package, Place: a.place.Name, Died: a.name() == died}, outputs[next].Bytes(), 0, err.Error())
			if again {
				next++
				break
			}
		}
		list, err = list[next:], nil
	}
}

// runHost runs the suites that belong here with the go command, one after the other.
func (r *runner) runHost(ctx context.Context, chosen []suite) {
	for _, s := range chosen {
		if !slices.Contains(s.At, "host") || ctx.Err() != nil {
			continue
		}
		began := time.Now()
		args := []string{"test", "-v", "-count=1", "-timeout=" + defaultLimit.String()}
		if os.Getenv("GCR_TEST_FULL") == "" {
			args = append(args, "-short")
		}
		switch {
		case r.tests != "":
			args = append(args, "-run="+r.tests)
		case s.Run != "":
			args = append(args, "-run="+s.Run)
		}
		cmd := exec.CommandContext(ctx, "go", append(args, "gcr/"+s.Package)...)
		cmd.Env = append(os.Environ(), "GCR_VM_PLACE=host")
		cmd.Dir = r.root
		output, err := cmd.CombinedOutput()
		status, problem := 0, ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			problem = err.Error()
		}
		res := Result{Suite: s.Package, Place: "host", Seconds: time.Since(began).Seconds()}
		r.finish(ctx, res, output, status, problem)
	}
}

// finish evaluates and keeps the output of a suite at a place.
func (r *runner) finish(ctx context.Context, res Result, output []byte, status int, problem string) {
	if err := res.evaluate(ctx, output, status, problem); err != nil {
		res.Error = err.Error()
	}
	if r.tests != "" && res.Error == noTests {
		return // the suite has none that was asked for
	}
	res.Log = filepath.Join(r.out, "logs", res.Place, strings.ReplaceAll(res.Suite, "/", "-")+".log")
	err := errors.Join(os.MkdirAll(filepath.Dir(res.Log), 0o755), os.WriteFile(res.Log, output, 0o644))
	if err != nil && res.Error == "" {
		res.Error = err.Error()
	}
	r.add(res)
}
