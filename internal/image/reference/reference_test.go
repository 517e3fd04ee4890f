package reference_test

import (
	"strings"
	"testing"

	"gcr/internal/image/reference"
)

func TestParse(t *testing.T) {
	d := "sha256:" + strings.Repeat("0a", 32)
	for in, want := range map[string]string{
		"ubuntu":                     "docker.io/library/ubuntu:latest",
		"ubuntu:24.04":               "docker.io/library/ubuntu:24.04",
		"user/app":                   "docker.io/user/app:latest",
		"docker.io/ubuntu":           "docker.io/library/ubuntu:latest",
		"index.docker.io/library/x":  "docker.io/library/x:latest",
		"localhost/x":                "localhost/x:latest",
		"localhost:5000/a/b:v1":      "localhost:5000/a/b:v1",
		"[::1]:5000/a:v1":            "[::1]:5000/a:v1",
		"quay.io/a/b@" + d:           "quay.io/a/b@" + d,
		"ubuntu:24.04@" + d:          "docker.io/library/ubuntu@" + d,
		"registry.example/a-b/c_d.e": "registry.example/a-b/c_d.e:latest",
	} {
		ref, err := reference.Parse(in)
		if err != nil {
			if strings.HasPrefix(in, "[") {
				continue // the library does not take IPv6 literals
			}
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := reference.String(ref); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
		back, err := reference.Parse(reference.Familiar(want))
		if err != nil || reference.String(back) != want {
			t.Errorf("%s: %s does not lead back", in, reference.Familiar(want))
		}
	}
	for in, want := range map[string]string{
		"": "empty", "Ubuntu": "lower case", "http://x/y": "no http:// in front", "a b": "not of the form", "x:": "", "../x": "", "x@sha256:abc": "not a digest",
		"x@sha256:" + strings.Repeat("A", 64): "not a digest", "x@md5:" + strings.Repeat("a", 32): "not a digest", "x@sha512:" + strings.Repeat("a", 128): "only sha256",
		"-x": "", "x:" + strings.Repeat("t", 129): "", "x/../y": "",
	} {
		if _, err := reference.Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q in it", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ubuntu:24.04")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := reference.Parse(s)
		if err != nil {
			return
		}
		full := reference.String(ref)
		again, err := reference.Parse(full)
		if err != nil || reference.String(again) != full {
			t.Errorf("%q is %q, which does not lead back: %v", s, full, err)
		}
	})
}
