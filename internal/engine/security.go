package engine

import (
	"errors"
	"io/fs"
	"strings"
)

// buildSecurity reads --security-opt and sets what goes with the capabilities.
func (b *builder) buildSecurity() error {
	const flag = "--security-opt"
	const hint = "there are no-new-privileges[=true|false], seccomp=FILE|unconfined, apparmor=PROFILE, label=…, systempaths=unconfined"
	// An ordinary user's container gains nothing from set-user-id programs but their faults; root's keeps
	// them, as in Docker and Podman, since sudo and su are expected to work there.
	noNewPrivileges := b.h.rootless()
	seen := map[string]bool{}
	var labels []string
	for _, value := range b.o.SecurityOpt {
		key, v, hasValue := strings.Cut(value, "=")
		if !hasValue {
			// Docker's older spelling.
			key, v, hasValue = strings.Cut(value, ":")
		}
		if key != "label" {
			if seen[key] {
				return badValue(flag, value, key+" is given twice", "keep one of them")
			}
			seen[key] = true
		}
		if hasValue && v == "" {
			return badValue(flag, value, key+" has no value", hint)
		}
		switch key {
		case "no-new-privileges":
			switch v {
			case "", "true", "1":
				noNewPrivileges = true
			case "false", "0":
				noNewPrivileges = false
			default:
				return badValue(flag, value, quote(v)+" is neither true nor false", "")
			}
			continue
		case "seccomp", "apparmor", "label", "systempaths":
			if !hasValue {
				return badValue(flag, value, key+" has no value", hint)
			}
		default:
			return badValue(flag, value, "is not a security option", hint)
		}
		switch key {
		case "seccomp":
			if v != "unconfined" {
				if v = b.abs(v); v == "" {
					return badValue(flag, value, "is not a path", "")
				}
				if _, err := b.h.Stat(v); err != nil {
					e := &Error{Op: "read", Object: "seccomp profile " + quote(v), Flag: flag, Cause: cause(err)}
					if errors.Is(err, fs.ErrNotExist) {
						e.Cause, e.Hint = text("no such file"), "seccomp=unconfined runs without a filter"
					}
					return e
				}
			}
			b.config.Seccomp = v
		case "apparmor":
			if err := b.appArmor(v); err != nil {
				return err
			}
		case "label":
			if err := checkLabel(value, v); err != nil {
				return err
			}
			labels = append(labels, v)
		case "systempaths":
			if v != "unconfined" {
				return badValue(flag, value, "is not a value of systempaths", "systempaths=unconfined masks nothing")
			}
			b.unmasked = true
		}
	}
	if b.o.Privileged {
		if !seen["no-new-privileges"] {
			noNewPrivileges = false
		}
		if b.config.Seccomp == "" {
			b.config.Seccomp = "unconfined"
		}
		if b.config.AppArmor == "" {
			b.config.AppArmor = "unconfined"
		}
		if len(labels) == 0 {
			labels = []string{"disable"}
		}
		b.unmasked = true
	}
	err := b.seLinux(labels)
	if err != nil {
		return err
	}
	if b.config.Landlock, err = b.o.landlock(); err != nil {
		return err
	}
	if len(b.config.Landlock) > 0 {
		if seen["no-new-privileges"] && !noNewPrivileges {
			return conflict("--landlock", "no-new-privileges=false", "the kernel takes Landlock rules only where new privileges are forbidden", "leave one of them out")
		}
		noNewPrivileges = true
	}
	b.spec.Process.NoNewPrivileges = noNewPrivileges
	if b.set.has(nsMount) && !b.unmasked {
		b.spec.Linux.MaskedPaths = maskedPaths(b.h.Thermal)
		b.spec.Linux.ReadonlyPaths = readonlyPaths()
	}
	return nil
}

// checkLabel accepts the SELinux options of Docker and Podman.
func checkLabel(whole, v string) error {
	key, value, ok := strings.Cut(v, ":")
	switch key {
	case "disable", "nested":
		if !ok {
			return nil
		}
	case "user", "role", "type", "level", "filetype":
		if ok && value != "" {
			return nil
		}
	}
	return badValue("--security-opt", whole, "is not a label option", "use label=disable, label=nested, or label=user:U, role:R, type:T, level:L, filetype:T")
}
