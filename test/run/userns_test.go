package run

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gcr/test/lab"
)

// TestUserNamespaces looks at the id maps that the kernel has for each value of --userns, for each kind of caller.
func TestUserNamespaces(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		type c struct {
			mode, id string
			maps     []string // "inside outside count"; outside a ? stands for any
			shared   bool     // the host's user namespace
			refusal  string
		}
		cases := map[lab.Role][]c{
			lab.Root: {
				{mode: "host", id: "0", shared: true},
				{mode: "private", id: "0"},
				{mode: "auto", id: "0", maps: []string{"0 ? 65536"}},
				{mode: "0:700000:1000,5000:800000:10", id: "0", maps: []string{"0 700000 1000", "5000 800000 10"}},
			},
			lab.User: {
				{mode: "private", id: "0", maps: []string{"0 12345 1"}},
				{mode: "keep-id", refusal: "needs a root beside the caller"},
				{mode: "host", refusal: "(--userns=host)"},
				{mode: "0:200000:1000", refusal: "must be the caller's in /etc/subuid"},
				{mode: "0:12345:1", id: "0", maps: []string{"0 12345 1"}},
			},
			lab.SubIDs: {
				{mode: "private", id: "0", maps: []string{"0 12345 1", "1 200000 65536"}},
				{mode: "keep-id", id: "12345", maps: []string{"0 200000 12345", "12345 12345 1", "12346 212345 53191"}},
				{mode: "0:12345:1,1:200100:500", id: "0", maps: []string{"0 12345 1", "1 200100 500"}},
				{mode: "0:12345:1,1:700000:10", refusal: "must be the caller's in /etc/subuid"},
			},
		}[lab.Current()]
		if len(cases) == 0 {
			t.Skipf("what the caller's ids are is known of the lab's own roles only, not of %s", lab.Current())
		}
		own, err := os.Readlink("/proc/self/ns/user")
		if err != nil {
			t.Fatal(err)
		}
		root := lab.Busybox(t)
		for _, c := range cases {
			out, err := exec.Command(lab.GCR(t), "run", "--quiet", "--network=none", "--ephemeral", "--userns="+c.mode, root,
				"sh", "-c", "id -u; readlink /proc/self/ns/user; cat /proc/self/uid_map").CombinedOutput()
			if c.refusal != "" {
				if err == nil || !strings.Contains(string(out), c.refusal) {
					t.Errorf("--userns=%s: %v: %s; want a refusal that says %q", c.mode, err, out, c.refusal)
				}
				continue
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if err != nil || len(lines) < 3 {
				t.Errorf("--userns=%s: %v: %s", c.mode, err, out)
				continue
			}
			if lines[0] != c.id {
				t.Errorf("--userns=%s: the command is user %s, want %s", c.mode, lines[0], c.id)
			}
			if shared := lines[1] == own; shared != c.shared {
				t.Errorf("--userns=%s: the host's user namespace is shared: %v", c.mode, shared)
			}
			var maps []string
			for i, line := range lines[2:] {
				f := strings.Fields(line)
				if i < len(c.maps) && strings.Contains(c.maps[i], "?") {
					f[1] = "?"
				}
				maps = append(maps, strings.Join(f, " "))
			}
			if c.maps != nil && !slices.Equal(maps, c.maps) {
				t.Errorf("--userns=%s: the kernel maps %q, want %q", c.mode, maps, c.maps)
			}
		}
	})
}
