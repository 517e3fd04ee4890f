package seccompcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := Command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	cmd.SilenceUsage = true
	err := cmd.Execute()
	return out.String(), err
}

func TestExplain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 2, "value": 511, "op": "SCMP_CMP_EQ"}]}]}`
	if err := os.WriteFile(file, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		stdin string
		want  []string
	}{
		{[]string{"explain", "default", "socket", "38"}, "", []string{"ERRNO EPERM: socket", "no entry for this call matches", "args[0] is 0x26"}},
		{[]string{"explain", "default", "mount", "--cap", "sys_admin"}, "", []string{"ALLOW: mount", "syscalls["}},
		{[]string{"explain", "default", "mount"}, "", []string{"ERRNO EPERM: mount"}},
		{[]string{"explain", file, "mkdirat", "-1", "0", "0777"}, "", []string{"ERRNO EPERM: mkdirat", "syscalls[0] (mkdirat, args[2] == 0x1ff)"}},
		{[]string{"explain", "-", "mkdirat", "0", "0", "1"}, profile, []string{"ALLOW: mkdirat", "not by", "args[2] is 0x1"}},
		{[]string{"explain", file}, "", []string{`unknown system call "no_such_call"`, "return ALLOW", "(mkdirat)"}},
		{[]string{"default"}, "", []string{`"defaultAction": "SCMP_ACT_ERRNO"`, `"date"`}},
	} {
		args := c.args
		for i, a := range args {
			if a == "-1" {
				// A negative number is no flag.
				args = append(append(append([]string{}, args[:1]...), "--"), append(append([]string{}, args[1:i]...), args[i:]...)...)
				break
			}
		}
		out, err := run(t, c.stdin, args...)
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v: no %q in\n%s", args, w, out)
			}
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`find system call "nope"`:        {"explain", "default", "nope"},
		`read argument 0: "x"`:           {"explain", "default", "read", "x"},
		"find architecture":              {"explain", "default", "read", "--arch", "vax"},
		"read seccomp profile: open /no": {"explain", "/no/such/file"},
		"(defaultAction): missing":       {"explain", "-"},
	} {
		_, err := run(t, "{}", args...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %s", args, err, want)
		}
	}
}
