package engine

import "strings"

// appArmor asks for a profile. Docker's option is quiet where the kernel has no AppArmor; who names a profile wants to be
// confined, and is told that he would not be.
func (b *builder) appArmor(profile string) error {
	b.config.AppArmor = profile
	b.spec.Process.ApparmorProfile = profile
	if profile == "unconfined" || b.h.AppArmor != nil && b.h.AppArmor() != "" {
		return nil
	}
	return &Error{
		Op: "apply", Object: "apparmor profile " + quote(profile), Flag: "--security-opt", Cause: text("this kernel has no AppArmor"),
		Hint: "leave it out, or boot with AppArmor (kernel parameter security=apparmor)",
	}
}

// seLinux makes the contexts of the command and of the file systems that are mounted for it: gcr's own, in which
// --security-opt label=… exchanges parts.
func (b *builder) seLinux(parts []string) error {
	b.config.SELinux = parts
	exchange := map[string]string{}
	for _, p := range parts {
		if key, value, ok := strings.Cut(p, ":"); ok {
			exchange[key] = value
		}
	}
	if len(exchange) == 0 {
		return nil // label=disable and label=nested change nothing: there is no label by default
	}
	own := ""
	if b.h.SELinux != nil {
		own = b.h.SELinux()
	}
	context := strings.SplitN(own, ":", 4)
	if len(context) < 3 {
		e := &Error{Op: "apply", Object: "selinux label", Flag: "--security-opt", Cause: text("this kernel has no SELinux"), Hint: "leave label=… out, or boot with SELinux (kernel parameters security=selinux selinux=1)"}
		if own != "" {
			e.Cause, e.Hint = text("no SELinux policy is loaded"), "see load_policy(8)"
		}
		return e
	}
	for i, key := range []string{"user", "role", "type"} {
		if v := exchange[key]; v != "" {
			context[i] = v
		}
	}
	if v := exchange["level"]; v != "" {
		context = append(context[:3], v)
	}
	b.spec.Process.SelinuxLabel = strings.Join(context, ":")
	if v := exchange["filetype"]; v != "" {
		context[1], context[2] = "object_r", v // the role of everything that is no process
		b.spec.Linux.MountLabel = strings.Join(context, ":")
	}
	return nil
}
