package engine

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "1b": 1, "2B": 2, "1k": 1024, "1K": 1024, "1kb": 1024, "1KiB": 1024, "64m": 64 << 20, "1.5g": 3 << 29,
		"2t": 2 << 40, "0.5k": 512, "9223372036854775807": math.MaxInt64, "0001m": 1 << 20, "1.999999999g": 2147483646,
	} {
		if got, err := parseSize("--memory", in); err != nil || got != want {
			t.Errorf("%s: %d %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "0", "0m", "b", "k", "kb", "ib", "1ib", "-1", "+1", " 1", "1 ", "1 m", "1mm", "1bb", "1.m", ".5m", "1.2.3", "1e3", "0x10",
		"1p", "9223372036854775808", "8388608t", "99999999999999999999g", "1,5g", "1_000", "0.0000000001g", "٣m",
	} {
		if got, err := parseSize("--memory", in); err == nil {
			t.Errorf("%q was taken for %d", in, got)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]int{
		"15": 15, "TERM": 15, "SIGTERM": 15, "sigterm": 15, "int": 2, "SIGKILL": 9, "9": 9, "SYS": 31, "HUP": 1,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX": 64, "rtmax-30": 34, "64": 64, "POLL": 29, "IOT": 6,
	} {
		if got, err := parseSignal("--stop-signal", in); err != nil || got != want {
			t.Errorf("%s: %d %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0", "65", "-1", "SIG", "SIGSIGTERM", "RTMIN+31", "RTMIN+", "RTMAX-31", "RTMIN-1", "TERM ", "1x", "99999999999999999999"} {
		if got, err := parseSignal("--stop-signal", in); err == nil {
			t.Errorf("%q was taken for %d", in, got)
		}
	}
}

func lookup(name string) (string, bool) {
	v, ok := map[string]string{"LANG": "C", "EMPTY": ""}[name]
	return v, ok
}

func TestParseEnvFile(t *testing.T) {
	in := "\xef\xbb\xbf# comment\nA=1\n\n  B= two words \nC=\"quoted\"\nD=a=b\nE=\nLANG\nEMPTY\nNOT_SET\n\t# indented comment\r\nCR=x\r\nLAST=no newline"
	want := []string{"A=1", "B= two words ", `C="quoted"`, "D=a=b", "E=", "LANG=C", "EMPTY=", "CR=x", "LAST=no newline"}
	if got, err := parseEnvFile([]byte(in), lookup); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %v", got, err)
	}
	for in, say := range map[string]string{
		"A=1\nexport B=2": "line 2", "=x": "line 1 has no name", "A B=x": "holds a blank", "A =x": "holds a blank",
		"A=\xff": "not UTF-8", "A=1\x00": "NUL",
	} {
		if got, err := parseEnvFile([]byte(in), lookup); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

func TestSwitchesAndLists(t *testing.T) {
	parse := func(words ...string) (Options, []string, error) {
		var o Options
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		o.Register(fs)
		err := fs.Parse(words)
		return o, fs.Args(), err
	}
	o, args, err := parse("-it", "--tmpfs", "/a:size=1m,mode=700", "-e", "A=1,2", "--explain", "ubuntu", "-t=false", "ls")
	if err != nil || o.TTY != On || o.Interactive != On || o.Explain != "text" ||
		!reflect.DeepEqual(o.Tmpfs, []string{"/a:size=1m,mode=700"}) || !reflect.DeepEqual(o.Env, []string{"A=1,2"}) ||
		!reflect.DeepEqual(args, []string{"ubuntu", "-t=false", "ls"}) {
		t.Errorf("%+v %q %v", o, args, err)
	}
	if o, _, err := parse("--tty=false", "--explain=shell", "--ns=", "x"); err != nil || o.TTY != Off || o.Explain != "shell" || o.Namespaces != (Optional{"", true}) {
		t.Errorf("%+v %v", o, err)
	}
	if o, _, err := parse("x"); err != nil || !reflect.DeepEqual(o, Options{}) {
		t.Errorf("no flags: %+v %v", o, err)
	}
	if o, args, err := parse("--", "-x", "y"); err != nil || o.SetArgs(args) == nil {
		t.Errorf("%q %v", args, err)
	}
}

// Each flag that gcr promises is there, and its help has a word for its value.
func TestFlagsAreThere(t *testing.T) {
	var o Options
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.Register(fs)
	for _, name := range strings.Fields(`interactive tty env env-file workdir user volume mount tmpfs read-only hostname add-host dns
		dns-search dns-option cap-add cap-drop security-opt ulimit sysctl device privileged pid ipc uts userns cgroupns network
		entrypoint cidfile name init rm no-hosts ns without ephemeral pids-limit memory memory-swap memory-reservation cpus cpu-shares
		cpuset-cpus shm-size umask group-add oom-score-adj stop-signal label annotation pull platform explain trace step verbose quiet`) {
		f := fs.Lookup(name)
		if f == nil {
			t.Errorf("no --%s", name)
			continue
		}
		if f.Usage == "" || f.Value.Type() == "" {
			t.Errorf("--%s: usage %q, type %q", name, f.Usage, f.Value.Type())
		}
	}
	for short, long := range map[string]string{"i": "interactive", "t": "tty", "e": "env", "w": "workdir", "u": "user", "v": "volume", "m": "memory"} {
		if f := fs.ShorthandLookup(short); f == nil || f.Name != long {
			t.Errorf("-%s: %v", short, f)
		}
	}
}

func TestTerminal(t *testing.T) {
	pipe := func(in, out bool) *Host {
		h := onTerminal(rootHost())
		h.StdinTerminal, h.StdoutTerminal = in, out
		return h
	}
	for _, c := range []struct {
		line             string
		in, out          bool
		tty, interactive bool
	}{
		{"ubuntu id", true, true, true, true},
		{"ubuntu id", true, false, false, false},
		{"ubuntu id", false, true, false, false},
		{"-i ubuntu id", false, false, false, true},
		{"-t ubuntu id", false, false, true, false},
		{"-i ubuntu id", true, true, true, true},
		{"-t=false ubuntu id", true, true, false, true},
		{"-i=false ubuntu id", true, true, false, false},
		{"-it ubuntu id", true, false, true, true},
	} {
		config, err := build(t, c.line, pipe(c.in, c.out), ubuntu())
		if err != nil || config.Spec.Process.Terminal != c.tty || config.Interactive != c.interactive {
			t.Errorf("%+v: %+v %v", c, config, err)
		}
	}
}

func TestPlaceLeavesTheOriginalAlone(t *testing.T) {
	c, err := build(t, "-v /srv/data:/data ubuntu id", rootHost(), ubuntu())
	if err != nil {
		t.Fatal(err)
	}
	placed := c.Place("/run/gcr/1")
	n := 0
	for i, m := range placed.Mounts {
		if strings.HasPrefix(m.Source, "/run/gcr/1/") {
			n++
			if c.Spec.Mounts[i].Source != statePrefix+strings.TrimPrefix(m.Source, "/run/gcr/1/") {
				t.Errorf("%s became %s", c.Spec.Mounts[i].Source, m.Source)
			}
		} else if m.Source != c.Spec.Mounts[i].Source {
			t.Errorf("%s became %s", c.Spec.Mounts[i].Source, m.Source)
		}
	}
	if n != 3 || len(c.Files) != 3 {
		t.Errorf("%d placed, %d files", n, len(c.Files))
	}
}

// Build must not hand out memory that two containers would share (the mistake of CVE-2020-14370), nor
// change its input.
func TestBuildTwiceIsIndependent(t *testing.T) {
	root := redis()
	h := rootHost()
	one, err := build(t, "--label x=y redis", h, root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range one.Spec.Mounts {
		for j := range one.Spec.Mounts[i].Options {
			one.Spec.Mounts[i].Options[j] = "spoiled"
		}
	}
	one.Spec.Process.Args[0], one.Spec.Process.Env[0] = "spoiled", "spoiled"
	one.Spec.Process.Capabilities.Bounding[0] = "spoiled"
	one.Spec.Linux.MaskedPaths[0] = "spoiled"
	one.Labels["a"] = "spoiled"
	two, err := build(t, "--label x=y redis", h, root)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := build(t, "--label x=y redis", rootHost(), redis())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(two, fresh) {
		t.Error("what one container's configuration went through shows in the next one's")
	}
}
