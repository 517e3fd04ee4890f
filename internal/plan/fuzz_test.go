package plan

import (
	"io"
	"strings"
	"testing"

	"gcr/internal/program"
	"gcr/internal/spec"
)

// FuzzConfig makes a program of every configuration that package spec accepts, for both architectures and in words:
// what cannot be planned is refused in words.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		`{"ociVersion":"1.2.0","root":{"path":"rootfs","readonly":true},"hostname":"a","process":{"cwd":"/","args":["sh"],"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3],"umask":18},"capabilities":{"bounding":["CAP_KILL"],"ambient":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"oomScoreAdj":5},
		  "mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev/pts","type":"devpts","options":["gid=5"]},{"destination":"data/../x","type":"bind","source":"/tmp","options":["rbind","rro","rslave"]},{"destination":"/sys/fs/cgroup","type":"cgroup"}],
		  "linux":{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"uts"},{"type":"time"}],"maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],"sysctl":{"net.ipv4.ip_forward":"1"},"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],"rootfsPropagation":"rshared"}}`,
		`{"ociVersion":"1.2.0","root":{"path":"r"},"process":{"cwd":"/","args":["sh"]},"linux":{"namespaces":[{"type":"user"},{"type":"mount"}],"uidMappings":[{"containerID":0,"hostID":5,"size":10}],"gidMappings":[{"containerID":0,"hostID":5,"size":10}],"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}}}`,
		`{"ociVersion":"1.2.0","root":{"path":"/"},"process":{"cwd":"/","args":["\n"],"scheduler":{"policy":"SCHED_FIFO","priority":1},"ioPriority":{"class":"IOPRIO_CLASS_BE"}},"annotations":{"a":"b"},"linux":{"namespaces":[{"type":"network","path":"/proc/1/ns/net"}],"personality":{"domain":"LINUX32"},"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-3,99999999"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := spec.Parse(data)
		if err != nil {
			return
		}
		p, err := New(Input{Spec: s, Root: Root{Path: s.Root.Path}, StateDir: "/run/x", Host: Host{Capabilities: 1<<41 - 1, LastCap: 40, SysAdmin: true}})
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("refused without a word")
			}
			return
		}
		for _, arch := range []program.Arch{program.AMD64, program.ARM64} {
			if _, err := p.Program.Compile(arch); err != nil && err.Error() == "" {
				t.Fatal("not compiled, without a word")
			}
		}
		if err := p.Explain(io.Discard); err != nil {
			t.Fatal(err)
		}
		if err := p.ExplainShell(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}
