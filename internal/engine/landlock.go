package engine

import (
	"path"
	"strings"
)

// LandlockRule opens a path of the container, and what lies below it, to a command under --landlock.
type LandlockRule struct {
	Path  string
	Write bool
}

// landlock reads the values of --landlock.
func (o *Options) landlock() ([]LandlockRule, error) {
	const flag = "--landlock"
	const hint = "write ro:DIR or rw:DIR, several with commas, for instance ro:/usr,rw:/tmp"
	var out []LandlockRule
	where := map[string]bool{}
	for _, value := range o.Landlock {
		for rule := range strings.SplitSeq(value, ",") {
			mode, dir, ok := strings.Cut(rule, ":")
			switch {
			case !ok || mode != "ro" && mode != "rw":
				return nil, badValue(flag, rule, "begins neither with ro: nor with rw:", hint)
			case !strings.HasPrefix(dir, "/"):
				return nil, badValue(flag, rule, "the path is not absolute", hint)
			case strings.ContainsAny(dir, "\x00\n"):
				return nil, badValue(flag, rule, "the path holds a NUL byte or a line break", "")
			}
			dir = path.Clean(dir)
			if where[dir] {
				return nil, badValue(flag, rule, dir+" is named twice", "keep one of them")
			}
			where[dir] = true
			out = append(out, LandlockRule{Path: dir, Write: mode == "rw"})
		}
	}
	return out, nil
}
