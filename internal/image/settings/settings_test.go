package settings_test

import (
	"strings"
	"testing"

	"gcr/internal/image/settings"
)

func TestParse(t *testing.T) {
	s, err := settings.Parse([]byte(`{"registries": {"a:5000": {"insecure": true}, "docker.io": {"mirrors": ["http://m:80", "n"]}}, "parallel": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"a:5000": true, "a": false, "m:80": true, "n": false, "docker.io": false, "localhost": true, "localhost:5000": true, "127.0.0.1:1": true, "127.8.8.8": true,
		"[::1]:5000": true, "10.0.0.1": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
	} {
		if s.PlainAllowed(host) != want {
			t.Errorf("plain HTTP to %s: %v", host, !want)
		}
	}
	if s.Parallel != 5 {
		t.Error(s.Parallel)
	}
	if s, err := settings.Parse(nil); err != nil || s.Parallel != 3 {
		t.Errorf("defaults: %+v %v", s, err)
	}
	for in, want := range map[string]string{
		`{"x": 1}`: "unknown field", `{}{}`: "follows", `{"parallel": 0}`: "between", `{"parallel": 65}`: "between", `[`: "", `{"registries": {"a/b": {}}}`: "HOST",
		`{"registries": {"a": {"mirrors": ["x/y"]}}}`: "registries.a.mirrors", `{"registries": {"": {}}}`: "HOST",
	} {
		if _, err := settings.Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", in, err, want)
		}
	}
}
