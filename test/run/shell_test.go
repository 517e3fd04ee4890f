package run

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"gcr/test/lab"
)

// The script of --explain=shell does what gcr does: the same command finds itself in the same container.
func TestExplainShell(t *testing.T) {
	lab.Each(t, func(t *testing.T) {
		if lab.Current() == lab.SubIDs {
			t.Skip("unshare(1) maps ranges with newuidmap in its own way: the maps of the script are seen in the golden files")
		}
		box := lab.Busybox(t)
		const look = `echo "pid $$"; hostname; cat /etc/motd 2>/dev/null; ls / | tr "\n" " "; id -u`
		for name, args := range map[string][]string{
			"directory": {"--hostname", "web", box, "sh", "-c", look},
			"ephemeral": {"--hostname", "web", "--ephemeral", box, "sh", "-c", look},
			"read-only": {"--hostname", "web", "--read-only", "--tmpfs", "/tmp", box, "sh", "-c", look},
			"volume":    {"--hostname", "web", "-v", "/etc/passwd:/mnt/passwd:ro", box, "sh", "-c", look},
			"uts":       {"--hostname", "web", "--ns", "pid,mnt,uts", box, "sh", "-c", look},
		} {
			t.Run(name, func(t *testing.T) {
				env := append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
				run := exec.Command(lab.GCR(t), append([]string{"run"}, args...)...)
				run.Env = env
				want, err := run.Output()
				if err != nil {
					t.Fatal(err)
				}
				explain := exec.Command(lab.GCR(t), append([]string{"run", "--explain=shell"}, args...)...)
				explain.Env = env
				script, err := explain.Output()
				if err != nil {
					t.Fatal(err)
				}
				bash := exec.Command("bash", "-s")
				bash.Stdin = strings.NewReader(string(script))
				bash.Env = env
				var stderr strings.Builder
				bash.Stderr = &stderr
				got, err := bash.Output()
				if err != nil || string(got) != string(want) {
					t.Errorf("%v: the script's command says\n%s\ngcr's says\n%s\nstderr: %s\nscript:\n%s", err, got, want, stderr.String(), script)
				}
				if !strings.HasPrefix(string(want), "pid 1\nweb\n") {
					t.Errorf("gcr's command says %q", want)
				}
			})
		}
	})
}
