package run

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gcr/test/lab"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestNotify hands a call of a container to an agent.
func TestNotify(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		agent := lab.SeccompAgent(t, unix.EMULTIHOP)
		profile := filepath.Join(t.TempDir(), "profile.json")
		b, err := json.Marshal(specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: agent.Path, ListenerMetadata: "for the agent",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(profile, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(lab.GCR(t), "run", "--quiet", "--network=none", "--security-opt", "seccomp="+profile, lab.Busybox(t), "mkdir", "/made").CombinedOutput()
		if err == nil || strings.TrimSpace(string(out)) != "mkdir: can't create directory '/made': Multihop attempted" {
			t.Fatalf("%v: %q, want the agent's answer", err, out)
		}
		<-agent.Calls
		st := <-agent.States
		if st.Metadata != "for the agent" || st.State.Status != specs.StateCreating || len(st.State.ID) != 64 || st.Pid == 0 || st.State.Pid != st.Pid {
			t.Errorf("the agent was told %+v", st)
		}
	})
}
