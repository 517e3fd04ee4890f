package plan

import (
	"fmt"
	"strings"
)

// checkText refuses texts with a NUL byte: the kernel would take each only up to there, and so see another path
// or name than the one that was checked.
func (b *builder) checkText() error {
	check := func(field, s string) error {
		if strings.IndexByte(s, 0) < 0 {
			return nil
		}
		return fieldError(field, "read configuration", fmt.Sprintf("%q holds a NUL byte", s), "")
	}
	checkAll := func(field string, list []string) error {
		for i, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return check(fmt.Sprintf("%s[%d]", field, i), s)
			}
		}
		return nil
	}
	p, l := b.spec.Process, b.spec.Linux
	for _, err := range []error{
		check("root.path", b.in.Root.Path),
		check("hostname", b.spec.Hostname), check("domainname", b.spec.Domainname), check("process.cwd", p.Cwd),
		checkAll("process.args", p.Args), checkAll("process.env", p.Env),
		checkAll("linux.maskedPaths", l.MaskedPaths), checkAll("linux.readonlyPaths", l.ReadonlyPaths),
	} {
		if err != nil {
			return err
		}
	}
	for i, m := range b.spec.Mounts {
		for _, f := range []struct{ name, value string }{{"destination", m.Destination}, {"type", m.Type}, {"source", m.Source}} {
			if strings.IndexByte(f.value, 0) >= 0 {
				return check(fmt.Sprintf("mounts[%d].%s", i, f.name), f.value)
			}
		}
	}
	for i, d := range l.Devices {
		if strings.IndexByte(d.Path, 0) >= 0 {
			return check(fmt.Sprintf("linux.devices[%d].path", i), d.Path)
		}
	}
	return nil
}
