package engine

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// busyboxRoot makes a small root filesystem of the host's static busybox.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	file, err := elf.Open(box)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libs, _ := file.ImportedLibraries(); len(libs) > 0 {
		t.Skip("needs a static busybox (package busybox-static), this one needs ", libs)
	}
	dir := filepath.Join(t.TempDir(), "box")
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(box)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755)
	}
	for _, applet := range []string{"sh", "id", "cat", "grep", "hostname", "mount", "echo", "ls"} {
		if err == nil {
			err = os.Symlink("busybox", filepath.Join(dir, "bin", applet))
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/tmp:/bin/sh\n"), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\nadm:x:4:alice\nalice:x:1000:\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPeerRunsIt gives configurations to runc, the reference runtime, and looks from inside whether the
// kernel was told what the flags say. The names of options are the specification's, not gcr's own.
func TestPeerRunsIt(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc (package runc)")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: runc cannot set supplementary groups for others")
	}
	rootfs := busyboxRoot(t)
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "f"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	for _, c := range []struct {
		name   string
		flags  []string
		script string
		want   []string
	}{
		{
			"default", nil, "id; grep Cap /proc/self/status; hostname; cat /etc/hostname; echo $HOME $PATH; ls /sys/firmware /proc/scsi | grep -c acpi; echo x >/proc/sys/kernel/core_pattern",
			[]string{"uid=0(root) gid=0(root)", "CapInh:\t0000000000000000", "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "CapAmb:\t0000000000000000", "/root /usr/local/sbin", "Read-only file system"},
		},
		{
			"user",
			[]string{"-u", "alice", "--sysctl", "net.core.somaxconn=77", "--umask", "077"},
			"id; grep CapEff /proc/self/status; cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; umask; echo $HOME",
			[]string{"uid=1000(alice) gid=1000(alice) groups=4(adm),1000(alice)", "CapEff:\t0000000000000000", "\n77\n0\n0\t2147483647\n0077\n/tmp"},
		},
		{
			"mounts",
			[]string{"--read-only", "-v", data + ":/tmp/d:ro", "--tmpfs", "/tmp:size=1m,exec"},
			"cat /tmp/d/f; echo x >/tmp/d/f; echo x >/x; echo x >/tmp/y && echo written; grep ' /tmp ' /proc/mounts",
			[]string{"from the host", "can't create /tmp/d/f: Read-only", "can't create /x: Read-only", "written", "tmpfs /tmp tmpfs rw,nosuid,nodev,relatime,size=1024k"},
		},
		{
			"limits",
			[]string{"--ulimit", "nofile=100:200", "--hostname", "web", "--add-host", "db:10.0.0.5", "--dns", "9.9.9.9", "--no-hosts=false", "--oom-score-adj", "500"},
			"ulimit -n; ulimit -Hn; hostname; cat /etc/hosts /etc/resolv.conf /proc/self/oom_score_adj",
			[]string{"100\n200\nweb\n", "10.0.0.5\tdb\n", "127.0.1.1\tweb\n", "nameserver 9.9.9.9\n", "500\n"},
		},
		{"some-namespaces", []string{"--ns", "pid,mnt"}, "echo pid $$; hostname", []string{"pid 1\n" + host + "\n"}},
		{"user-namespace", []string{"--userns", "private", "--cap-drop", "ALL", "--cap-add", "chown"}, "cat /proc/self/uid_map; grep CapEff /proc/self/status", []string{"0          0", "CapEff:\t0000000000000001"}},
		{"host-namespaces", []string{"--pid=host", "--ipc=host", "--uts=host", "--network=host", "--cgroupns=host"}, "hostname; cat /proc/1/comm", []string{host + "\n"}},
		{"device", []string{"--device", "/dev/null:/dev/hole:rw"}, "ls -l /dev/hole; echo x >/dev/hole && echo swallowed", []string{"1,   3", "swallowed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := ReadHost()
			if err != nil {
				t.Fatal(err)
			}
			root, err := FindRoot(rootfs, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			config, err := buildWords(append(c.flags, rootfs, "sh", "-c", c.script), h, root)
			if err != nil {
				t.Fatal(err)
			}
			bundle := t.TempDir()
			for _, f := range config.Files {
				if err := os.WriteFile(filepath.Join(bundle, f.Name), f.Content, os.FileMode(f.Mode)); err != nil {
					t.Fatal(err)
				}
			}
			spec := config.Place(bundle)
			// Distributions ship runtimes that know 1.0.x and refuse to look further.
			spec.Version = "1.0.2"
			text, err := json.Marshal(spec)
			if err == nil {
				err = os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			out, _ := exec.Command(runc, "--root", t.TempDir(), "run", "--bundle", bundle, "gcr-test-"+config.ShortID()).CombinedOutput()
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q does not show in:\n%s", want, out)
				}
			}
		})
	}
}
