// Package reference reads the names of images as people write them: "ubuntu" is docker.io/library/ubuntu:latest.
//
//	ref, err := reference.Parse("ubuntu")
//	reference.String(ref)   // docker.io/library/ubuntu:latest
//	reference.Familiar(ref) // ubuntu:latest
//
// The grammar is that of the OCI distribution-spec v1.1 ("Pulling manifests") and of Docker.
package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// Docker Hub under the name that people use, and under the one that its API has.
const (
	Hub    = "docker.io"
	hubAPI = "index.docker.io"
)

// Parse reads a name with optional registry, tag and digest. With a digest the tag has no meaning and is dropped.
func Parse(s string) (name.Reference, error) {
	if s == "" {
		return nil, errors.New("read image name: it is empty")
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if _, err := Digest(s[i+1:]); err != nil {
			return nil, fmt.Errorf("read image name %q: %w", s, err)
		}
	}
	ref, err := name.ParseReference(s)
	if err != nil {
		if strings.ToLower(s) != s && !strings.Contains(s, "@") {
			return nil, fmt.Errorf("read image name %q: repository names are lower case", s)
		}
		if strings.Contains(s, "://") {
			return nil, fmt.Errorf("read image name %q: a name has no %s:// in front", s, s[:strings.Index(s, "://")])
		}
		return nil, fmt.Errorf("read image name %q: it is not of the form [HOST[:PORT]/]NAME[:TAG][@DIGEST]", s)
	}
	if !validHost(ref.Context().RegistryStr()) || !validPath(ref.Context().RepositoryStr()) {
		return nil, fmt.Errorf("read image name %q: it is not of the form [HOST[:PORT]/]NAME[:TAG][@DIGEST]", s)
	}
	return ref, nil
}

// validHost keeps out what is no host name or address; the library looks less closely.
func validHost(h string) bool {
	if h == "" || strings.Contains(h, "..") {
		return false
	}
	for i, c := range []byte(h) {
		switch {
		case isAlnum(c) || (c >= 'A' && c <= 'Z'):
		case c == '[' || c == ']' || c == ':':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return true
}

// validPath is the grammar of repository names (OCI distribution-spec v1.1, "Pulling manifests"): components of lower
// case letters and digits, inside which ".", "_", "__" or hyphens separate.
func validPath(p string) bool {
	for _, c := range strings.Split(p, "/") {
		if c == "" || !isAlnum(c[0]) || !isAlnum(c[len(c)-1]) {
			return false
		}
		for i := 0; i < len(c); {
			if isAlnum(c[i]) {
				i++
				continue
			}
			n := i
			for n < len(c) && c[n] == c[i] {
				n++
			}
			ok := c[i] == '-' || (c[i] == '.' && n-i == 1) || (c[i] == '_' && n-i <= 2)
			if !ok || !isAlnum(c[n]) {
				return false
			}
			i = n
		}
	}
	return true
}

func isAlnum(c byte) bool { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') }

// Digest checks a digest before it is used for anything, above all as part of a path (CVE-2024-3727): only sha256,
// 64 lower case hexadecimal digits.
func Digest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%.80q is not a digest (sha256:<64 hexadecimal digits>)", s)
	}
	if d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("digest algorithm %s is not supported; only sha256 is", d.Algorithm())
	}
	return d, nil
}

// String is the full name.
func String(ref name.Reference) string {
	sep := ":"
	if _, ok := ref.(name.Digest); ok {
		sep = "@"
	}
	return Repository(ref.Context()) + sep + ref.Identifier()
}

// Repository is the full name without tag or digest.
func Repository(r name.Repository) string { return Host(r.Registry) + "/" + r.RepositoryStr() }

// Host is the registry of a name, with docker.io for Docker Hub.
func Host(r name.Registry) string {
	if r.RegistryStr() == hubAPI {
		return Hub
	}
	return r.RegistryStr()
}

// Familiar is the shortest form that Parse reads back as the same.
func Familiar(full string) string {
	s := strings.TrimPrefix(full, Hub+"/")
	if s != full {
		s = strings.TrimPrefix(s, "library/")
	}
	return s
}

// Split parts a full name in repository and tag, as tables show it. Without tag it is "<none>".
func Split(full string) (repo, tag string) {
	if i := strings.IndexByte(full, '@'); i >= 0 {
		return Familiar(full[:i]), "<none>"
	}
	if i := strings.LastIndexByte(full, ':'); i > strings.LastIndexByte(full, '/') {
		return Familiar(full[:i]), full[i+1:]
	}
	return Familiar(full), "<none>"
}
