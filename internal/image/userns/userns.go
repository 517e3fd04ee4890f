// Package userns does work on image trees inside a user namespace that maps a range of subordinate ids, so that an
// ordinary user can keep the owners of an image.
//
// A process can enter a namespace with a range only before it has threads, which a Go program never is; so the work
// is done by a copy of the program, which Hook takes over before main does anything else:
//
//	func main() {
//		userns.Hook()
//		...
//	}
//
//	m, ok := userns.Range()             // the caller's subordinate ids, if there are any
//	err := userns.Unpack(ctx, m, layer, dir, opts)
//
// The copy is started in a new user namespace, newuidmap(1) and newgidmap(1) write the maps, and it executes itself
// again to gain the capabilities of the namespace's root (user_namespaces(7), "Capabilities").
package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// Map is a pair of id ranges: the caller becomes 0, and 1, 2, … are the subordinate ids.
type Map struct {
	UID, GID int // the caller
	SubUID   int // first subordinate user id
	SubUIDs  int // how many
	SubGID   int
	SubGIDs  int
	uidTool  string
	gidTool  string
}

// Range finds the subordinate ids of the caller (subuid(5)). It gives false where there are none, or where newuidmap
// is not installed: then there is one id only.
func Range() (Map, bool) {
	m := Map{UID: os.Geteuid(), GID: os.Getegid()}
	names := []string{strconv.Itoa(m.UID)}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	var ok bool
	if m.SubUID, m.SubUIDs, ok = lookup("/etc/subuid", names); !ok {
		return m, false
	}
	if m.SubGID, m.SubGIDs, ok = lookup("/etc/subgid", names); !ok {
		return m, false
	}
	var err error
	if m.uidTool, err = exec.LookPath("newuidmap"); err != nil {
		return m, false
	}
	if m.gidTool, err = exec.LookPath("newgidmap"); err != nil {
		return m, false
	}
	return m, true
}

func lookup(file string, names []string) (first, count int, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	return find(f, names)
}

// find takes the first range of the caller with at least one id.
func find(r io.Reader, names []string) (first, count int, ok bool) {
	for s := bufio.NewScanner(r); s.Scan(); {
		p := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(p) != 3 || (p[0] != names[0] && p[0] != names[len(names)-1]) {
			continue
		}
		a, e1 := strconv.ParseUint(p[1], 10, 31)
		n, e2 := strconv.ParseUint(p[2], 10, 31)
		if e1 == nil && e2 == nil && n > 0 && a > 0 {
			return int(a), int(n), true
		}
	}
	return 0, 0, false
}

// Initial says whether this process is in the first user namespace, where all ids exist.
func Initial() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	f := strings.Fields(string(b))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

func (m Map) write(pid int) error {
	for _, c := range []struct {
		tool            string
		own, sub, count int
	}{{m.uidTool, m.UID, m.SubUID, m.SubUIDs}, {m.gidTool, m.GID, m.SubGID, m.SubGIDs}} {
		cmd := exec.Command(c.tool, strconv.Itoa(pid), "0", strconv.Itoa(c.own), "1", "1", strconv.Itoa(c.sub), strconv.Itoa(c.count))
		if out, err := cmd.CombinedOutput(); err != nil {
			text := strings.TrimSpace(string(out))
			if text == "" {
				text = err.Error()
			}
			return fmt.Errorf("map subordinate ids with %s: %w", c.tool, errors.New(text))
		}
	}
	return nil
}
