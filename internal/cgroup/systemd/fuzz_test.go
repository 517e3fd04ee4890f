package systemd

import (
	"strings"
	"testing"
)

// FuzzAnnotations holds that whatever an annotation asks for is refused in words or becomes a property with a name of
// letters, and that spans of time are never negative or wrapped.
func FuzzAnnotations(f *testing.F) {
	for _, s := range [][2]string{
		{"TimeoutStopUSec", "uint64 5000000"},
		{"TimeoutStopSec", "90"},
		{"TimeoutStopSec", "-1"},
		{"TimeoutStopSec", "1e300"},
		{"CollectMode", "'inactive-or-failed'"},
		{"A.b", "['a', 'b']"},
		{"Xyz", "(1, {'a': <@ay []>})"},
		{"", "\x00"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		p, err := Annotations(map[string]string{"org.systemd.property." + name: value, name: value})
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("refused without a word")
			}
			return
		}
		for _, one := range p {
			if one.Name == "" || strings.TrimFunc(one.Name, letter) != "" {
				t.Errorf("%q becomes a property %q", name, one.Name)
			}
			if strings.HasSuffix(name, "Sec") && !strings.HasSuffix(name, "USec") {
				if n, ok := one.Value.Value().(uint64); !ok || n > maxSeconds*1e6 {
					t.Errorf("%s=%q becomes %v", name, value, one.Value)
				}
			}
		}
	})
}
