package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// memory measures what a container takes before the user's command begins, and how little it can do with.
func (b *bench) memory() {
	if !b.wants("memory") {
		return
	}
	who := b.with(isOCI)
	pss := b.newResult("memory: PSS of a created container", kibibytes, who)
	peak := b.newResult("memory: peak of the cgroup before the user's command", kibibytes, who)
	least := b.newResult("memory: smallest limit under which /bin/true runs", kibibytes, who)
	s, err := newSpawner()
	if err != nil {
		b.skip("memory", err)
		return
	}
	defer s.close()
	for range b.samples(10) {
		for _, c := range who {
			k, _, err := b.create(s, c, plain.change, "/bin/true")
			if err != nil {
				b.skip("memory of "+c.name, err)
				continue
			}
			if n, err := proportional(b.groups.pids(k.id)); err == nil {
				pss.add(c.name, float64(n)/1024)
			}
			if n, err := b.groups.peak(k.id); err == nil {
				peak.add(c.name, float64(n)/1024)
			}
			b.destroy(s, c, k)
		}
	}
	for _, c := range who {
		if n, err := b.smallestLimit(s, c); err != nil {
			b.skip("smallest memory limit of "+c.name, err)
		} else {
			least.add(c.name, float64(n)/1024)
		}
	}
	pss.print()
	peak.print()
	least.print()
}

// smallestLimit searches for the limit in steps of 16 KiB.
func (b *bench) smallestLimit(s *spawner, c *contender) (int64, error) {
	const step = 16 << 10
	works := func(limit int64) bool {
		id := b.newID()
		dir, err := b.bundle(id, func(sp *specs.Spec) { sp.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit} }, "/bin/true")
		if err != nil {
			return false
		}
		defer os.RemoveAll(dir)
		_, err = s.run(c.command("run", "--bundle", dir, id)...)
		if err != nil {
			_, _ = s.run(c.command("delete", "--force", id)...)
			s.said()
		}
		return err == nil
	}
	low, high := int64(0), int64(128<<20)/step
	if !works(high * step) {
		return 0, errors.New("it does not run under 128 MiB")
	}
	for low+1 < high {
		if mid := (low + high) / 2; works(mid * step) {
			high = mid
		} else {
			low = mid
		}
	}
	return high * step, nil
}

// proportional sums the proportional set size of processes, in bytes (proc_pid_smaps(5)).
func proportional(pids []int) (int64, error) {
	if len(pids) == 0 {
		return 0, errors.New("there is no process")
	}
	total := int64(0)
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
				n, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					return 0, err
				}
				total += n << 10
			}
		}
	}
	return total, nil
}

// available is MemAvailable of /proc/meminfo, in bytes.
func available() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "MemAvailable:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// held creates many containers and holds them.
func (b *bench) held() {
	n := 1000
	if b.quick {
		n = 50
	}
	title := fmt.Sprintf("held: %d created containers, ", n)
	if !b.wants(title) {
		return
	}
	who := b.with(isOCI)
	pss := b.newResult(title+"PSS of all", kibibytes, who)
	charged := b.newResult(title+"memory charged to their cgroups", kibibytes, who)
	all := b.newResult(title+"memory of the machine", kibibytes, who)
	took := b.newResult(title+"time to create one", milliseconds, who)
	s, err := newSpawner()
	if err != nil {
		b.skip(title, err)
		return
	}
	defer s.close()
	for _, c := range who {
		var made []*container
		before, begin := available(), time.Now()
		groupBefore, _ := b.groups.usage()
		var failure error
		for range n {
			k, _, err := b.create(s, c, plain.change, "/bin/true")
			if err != nil {
				failure = err
				break
			}
			made = append(made, k)
		}
		elapsed, after := time.Since(begin), available()
		groupAfter, groupErr := b.groups.usage()
		var pids []int
		for _, k := range made {
			pids = append(pids, b.groups.pids(k.id)...)
		}
		sum, err := proportional(pids)
		if failure == nil {
			failure = err
		}
		for _, k := range made {
			b.destroy(s, c, k)
		}
		if failure != nil {
			b.skip(title+c.name, failure)
			continue
		}
		pss.add(c.name, float64(sum)/1024)
		if groupErr == nil {
			charged.add(c.name, float64(groupAfter-groupBefore)/1024)
		}
		all.add(c.name, float64(before-after)/1024)
		took.add(c.name, float64(elapsed.Microseconds())/1000/float64(n))
		time.Sleep(2 * time.Second) // the kernel takes namespaces and cgroups apart in the background
	}
	pss.print()
	charged.print()
	all.print()
	took.print()
}

// calls counts the system calls of a run, those of the container included.
func (b *bench) calls() {
	const name = "system calls of a run"
	if !b.wants(name) {
		return
	}
	strace, err := find("strace", "", "strace")
	if err != nil {
		b.skip(name, err)
		return
	}
	who := b.with(func(c *contender) bool { return runsBundle(c) })
	r := b.newResult(name, count, who)
	for _, c := range who {
		id := b.newID()
		var argv []string
		if c.oci {
			dir, err := b.bundle(id, plain.change, "/bin/true")
			if err != nil {
				b.skip(name, err)
				return
			}
			argv = c.command("run", "--bundle", dir, id)
		} else {
			argv = c.once(id, plain)
		}
		out := b.path("strace")
		if msg, err := exec.Command(strace, append([]string{"-f", "-qq", "-c", "-o", out, "--"}, argv...)...).CombinedOutput(); err != nil {
			b.skip(name+" of "+c.name, fmt.Errorf("%w: %s", err, msg))
			continue
		}
		if n, err := straceTotal(out); err != nil {
			b.skip(name+" of "+c.name, err)
		} else {
			r.add(c.name, float64(n))
		}
	}
	r.print()
}

// straceTotal reads the sum that strace -c prints last: seconds, microseconds a call, calls.
func straceTotal(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 5 && f[len(f)-1] == "total" {
			return strconv.Atoi(f[3])
		}
	}
	return 0, errors.New("strace has printed no sum")
}

// sizes measures the binaries.
func (b *bench) sizes() {
	const name = "size of the binary"
	if !b.wants(name) {
		return
	}
	r := b.newResult(name, kibibytes, b.contenders)
	for _, c := range b.contenders {
		if st, err := os.Stat(c.path); err == nil {
			r.add(c.name, float64(st.Size())/1024)
		}
	}
	r.print()
}
