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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"gcr/internal/account"
)

// Map is how ids of the namespace map to those outside: the caller becomes 0, and 1, 2, … are the subordinate ids,
// range after range in the order of /etc/subuid, as in the containers that gcr run makes.
type Map struct {
	UID, GID         int // the caller
	SubUIDs, SubGIDs []account.Range
	uidTool          string
	gidTool          string
}

// Range finds the subordinate ids of the caller (subuid(5)). It gives false where there are none, or where newuidmap
// is not installed: then there is one id only.
func Range() (Map, bool) {
	m := Map{UID: os.Geteuid(), GID: os.Getegid()}
	name := ""
	if u, err := user.LookupId(strconv.Itoa(m.UID)); err == nil {
		name = u.Username
	}
	if m.SubUIDs = lookup("/etc/subuid", name, m.UID); len(m.SubUIDs) == 0 {
		return m, false
	}
	if m.SubGIDs = lookup("/etc/subgid", name, m.UID); len(m.SubGIDs) == 0 {
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

func lookup(file, name string, uid int) []account.Range {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return account.SubIDs(name, uint32(uid), b)
}

// maxLines is how many ranges a map takes (user_namespaces(7), since Linux 4.15).
const maxLines = 340

// args are those of newuidmap(1) after the process id. Ranges that overlap an earlier one are left out: the kernel
// refuses a map that has an id twice.
func args(own int, ranges []account.Range) []string {
	out := []string{"0", strconv.Itoa(own), "1"}
	taken := []account.Range{{Start: uint32(own), Count: 1}}
	next := uint64(1)
	for _, r := range ranges {
		overlaps := slices.ContainsFunc(taken, func(t account.Range) bool {
			return uint64(r.Start) < uint64(t.Start)+uint64(t.Count) && uint64(t.Start) < uint64(r.Start)+uint64(r.Count)
		})
		n := min(uint64(r.Count), account.MaxID+1-next)
		if overlaps || n == 0 || len(taken) == maxLines {
			continue
		}
		taken = append(taken, r)
		out = append(out, fmt.Sprint(next), fmt.Sprint(r.Start), fmt.Sprint(n))
		next += n
	}
	return out
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
		tool string
		args []string
	}{{m.uidTool, args(m.UID, m.SubUIDs)}, {m.gidTool, args(m.GID, m.SubGIDs)}} {
		cmd := exec.Command(c.tool, append([]string{strconv.Itoa(pid)}, c.args...)...)
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
