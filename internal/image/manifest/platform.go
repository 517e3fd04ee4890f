package manifest

import (
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Host is the platform that containers on this machine are for.
func Host() v1.Platform {
	return normal(v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform reads "os/arch[/variant]", or an architecture alone; "" gives Host.
func ParsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return Host(), nil
	}
	f := strings.Split(strings.ToLower(s), "/")
	for _, x := range f {
		if x == "" || x[0] == '.' || strings.Trim(x, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
			return v1.Platform{}, fmt.Errorf("read platform %q: it is not of the form OS/ARCH[/VARIANT], like linux/arm64", s)
		}
	}
	p := v1.Platform{OS: "linux"}
	switch len(f) {
	case 1:
		p.Architecture = f[0]
	case 3:
		p.Variant = f[2]
		fallthrough
	case 2:
		p.OS, p.Architecture = f[0], f[1]
	default:
		return v1.Platform{}, fmt.Errorf("read platform %q: it is not of the form OS/ARCH[/VARIANT], like linux/arm64", s)
	}
	return normal(p), nil
}

// normal writes the names that uname(1) has as those of the image-spec (GOARCH), and fills the variant in that an
// architecture has by default.
func normal(p v1.Platform) v1.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf", "armv7l":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "i386", "i686":
		p.Architecture = "386"
	}
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	if p.Architecture == "amd64" && p.Variant == "v1" {
		p.Variant = ""
	}
	if p.Architecture == "arm" && p.Variant == "" {
		p.Variant = "v7"
	}
	return p
}

// Matches says how well an image for have runs where want is asked for: 0 not at all, more is better.
func Matches(have, want v1.Platform) int {
	have, want = normal(have), normal(want)
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return 0
	}
	if have.Variant == want.Variant {
		return 100
	}
	if have.Variant == "" {
		return 50
	}
	// A machine runs what was built for an older variant: v5 on v7, never v3 on v1.
	if len(have.Variant) == 2 && len(want.Variant) == 2 && have.Variant < want.Variant {
		return int(have.Variant[1]-'0') + 1
	}
	return 0
}

// PlatformString is "os/arch[/variant]".
func PlatformString(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Select finds the image for a platform in an index. An entry without platform, as tools for one platform write it,
// is taken when it is the only one.
func Select(ix *v1.Index, want v1.Platform) (v1.Descriptor, error) {
	best, score := v1.Descriptor{}, 0
	var have []string
	var usable []v1.Descriptor
	for _, d := range ix.Manifests {
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		usable = append(usable, d)
		if d.Platform == nil {
			continue
		}
		have = append(have, PlatformString(normal(*d.Platform)))
		if s := Matches(*d.Platform, want); s > score {
			best, score = d, s
		}
	}
	if score > 0 {
		return best, nil
	}
	if len(usable) == 1 && usable[0].Platform == nil {
		return usable[0], nil
	}
	if len(have) == 0 {
		return best, fmt.Errorf("image has nothing for %s", PlatformString(want))
	}
	return best, fmt.Errorf("image has nothing for %s; it is there for %s", PlatformString(want), strings.Join(have, ", "))
}
