package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// peerFlags are the options that runc 1.1 to 1.4 and crun 1.8 to 1.27 have, by command. Whoever calls those may call
// gcrun with the same. Not there: crun's --regex of kill and delete.
var peerFlags = map[string]string{
	"":       "cgroup-manager criu debug log log-format log-level root rootless systemd-cgroup version v V help h",
	"create": "bundle b config f console-socket no-new-keyring no-pivot no-subreaper pid-file pidfd-socket preserve-fds",
	"run":    "bundle b config f console-socket detach d keep no-new-keyring no-pivot no-subreaper pid-file pidfd-socket preserve-fds",
	"exec": "additional-gids g apparmor cap c cgroup console-socket cwd detach d env e ignore-paused no-new-privs pid-file pidfd-socket " +
		"preserve-fds process p process-label tty t user u",
	"kill":   "all a",
	"delete": "force f",
	"list":   "format f quiet q",
	"ps":     "format f",
	"update": "resources r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpuset-cpus cpuset-mems cpu-idle " +
		"kernel-memory kernel-memory-tcp memory memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema",
	"events": "interval stats",
	"spec":   "bundle b file f rootless",
	"checkpoint": "auto-dedup empty-ns ext-unix-sk file-locks image-path lazy-pages leave-running link-remap manage-cgroups-mode page-server " +
		"parent-path pre-dump shell-job status-fd tcp-established tcp-skip-in-flight work-path",
	"restore": "auto-dedup bundle b console-socket detach d empty-ns ext-unix-sk file-locks image-path lazy-pages lsm-mount-context lsm-profile " +
		"manage-cgroups-mode no-pivot no-subreaper pid-file shell-job tcp-established work-path",
	"start": "", "state": "", "pause": "", "resume": "", "features": "", "mounts": "",
}

// An option that exists is one that "--help" goes past: its complaint would come first.
func TestFlagsOfPeers(t *testing.T) {
	know := func(command, name string) bool {
		var args []string
		if command != "" {
			args = append(args, command)
		}
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		// Of any kind: a number, which is also a text and, with =, no boolean.
		for _, value := range []string{"=1", "=1s", "=text"} {
			out, _ := exec.Command(binary, append(args, dashes+name+value, "--help")...).CombinedOutput()
			if !strings.Contains(string(out), "flag provided but not defined") && !strings.Contains(string(out), "invalid value") && !strings.Contains(string(out), "invalid boolean value") {
				return true
			}
		}
		return false
	}
	for command, names := range peerFlags {
		for _, name := range strings.Fields(names) {
			if !know(command, name) {
				t.Errorf("gcrun %s does not know --%s", command, name)
			}
		}
		if know(command, "no-such-option") {
			t.Errorf("gcrun %s takes any option", command)
		}
	}
	// The list is no older than the runc of this machine.
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Log("runc is missing: only the list above is checked")
		return
	}
	option := regexp.MustCompile(`(?m)^ {3}--([a-z0-9-]+)(?: value)?(?:, -([a-z]))?`)
	for command, names := range peerFlags {
		if command == "mounts" {
			continue // crun's
		}
		args := []string{"--help"}
		if command != "" {
			args = []string{command, "--help"}
		}
		out, err := exec.Command(runc, args...).Output()
		if err != nil {
			continue // an older runc without the command
		}
		for _, m := range option.FindAllStringSubmatch(string(out), -1) {
			for _, name := range m[1:] {
				if name != "" && !strings.Contains(" "+names+" ", " "+name+" ") {
					t.Errorf("the list has no --%s of runc %s", name, command)
				}
			}
		}
	}
}

// Options may also stand behind the id, as with runc, but not where a command or the options of ps(1) follow it.
func TestOptionsBehindTheID(t *testing.T) {
	b := newBox(t, nil, "sleep")
	b.ok("create", b.id, "--bundle", b.bundle, "--pid-file="+filepath.Join(b.bundle, "pid"))
	pid := b.pidFile(filepath.Join(b.bundle, "pid"))
	b.ok("start", b.id)
	if out := b.ok("exec", b.id, "/probe", "report", "--detach"); !strings.Contains(out, `"--detach"`) {
		t.Errorf("the command lost its option: %s", out)
	}
	if out := b.ok("ps", b.id, "-o", "pid"); strings.Join(strings.Fields(out), " ") != fmt.Sprintf("PID %d", pid) {
		t.Errorf("ps gives %q", out)
	}
	b.fails(1, "flag provided but not defined: -9", "kill", b.id, "-9")
	b.fails(1, `unknown signal "--all"`, "kill", b.id, "--", "--all")
	b.ok("kill", b.id, "KILL", "--all")
	want(t, "end", b.reap(pid), 137)
	b.fails(1, "requires exactly 1 argument(s)", "delete", b.id, "other", "--force")
	b.ok("delete", b.id, "--force")
	b.fails(1, "container does not exist", "state", b.id)
}

func TestSpecFile(t *testing.T) {
	b := newBox(t, nil)
	file := filepath.Join(b.bundle, "other.json")
	b.ok("spec", "--file", file)
	b.fails(1, "file other.json exists. Remove it first", "spec", "-f", file)
	b.fails(1, "file config.json exists. Remove it first", "spec", "-b", b.bundle)
}
