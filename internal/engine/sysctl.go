package engine

import (
	"strings"
)

// ipcSysctls are the kernel.* parameters that each IPC namespace has its own of.
const ipcSysctls = " kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni kernel.shm_rmid_forced kernel.auto_msgmni kernel.msg_next_id kernel.sem_next_id kernel.shm_next_id "

// sysctlNamespace returns the namespace that a parameter belongs to, zero when it is the whole machine's.
func sysctlNamespace(key string) nsSet {
	switch {
	case strings.HasPrefix(key, "net."):
		return nsNet
	case strings.HasPrefix(key, "fs.mqueue."), strings.Contains(ipcSysctls, " "+key+" "):
		return nsIPC
	case key == "kernel.domainname":
		return nsUTS
	}
	return 0
}

// buildSysctls reads --sysctl KEY=VALUE. Only parameters of a namespace that the container has for itself
// are taken; a value stays on one line, since a second one was once a second parameter (CVE-2022-0811).
func (b *builder) buildSysctls() error {
	const flag = "--sysctl"
	out := map[string]string{}
	for _, arg := range b.o.Sysctls {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" || value == "" {
			return badValue(flag, arg, "is not KEY=VALUE", "for instance net.core.somaxconn=1024")
		}
		for i := 0; i < len(key); i++ {
			c := key[i]
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '@' || c == '/' && i > 0 {
				continue
			}
			if c == '.' && i > 0 && key[i-1] != '.' && key[i-1] != '/' && i < len(key)-1 && key[i+1] != '/' {
				continue
			}
			return badValue(flag, arg, "the key "+quote(key)+" is not a parameter's name", "for instance net.core.somaxconn")
		}
		for i := 0; i < len(value); i++ {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return badValue(flag, arg, "the value holds a control character or a line break", "write one value on one line")
			}
		}
		if _, dup := out[key]; dup {
			return badValue(flag, arg, "the key is given twice", "")
		}
		switch ns := sysctlNamespace(key); {
		case key == "kernel.hostname":
			return badValue(flag, arg, "the host name has a flag of its own", "use --hostname")
		case ns == 0:
			return badValue(flag, arg, "is a parameter of the whole machine, not of a container", "set it on the host as root: sysctl -w "+key+"=…; containers have net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* and kernel.domainname")
		case !b.set.has(ns):
			return conflict(flag+" "+key, "the host's "+ns.name()+" namespace", "it would change the host", "leave one of them out")
		}
		out[key] = value
	}
	if b.set.has(nsNet) && b.who.UID != 0 {
		// As in Docker and Podman, a user who is not root may listen below port 1024 and use ping, in a
		// network that is the container's alone. Root may anyway, by its capabilities.
		if _, set := out["net.ipv4.ip_unprivileged_port_start"]; !set {
			out["net.ipv4.ip_unprivileged_port_start"] = "0"
		}
		if _, set := out["net.ipv4.ping_group_range"]; !set {
			out["net.ipv4.ping_group_range"] = "0 " + b.lastPingGroup()
		}
	}
	if len(out) > 0 {
		b.spec.Linux.Sysctl = out
	}
	return nil
}

// name is the command line's name of a single namespace.
func (s nsSet) name() string {
	for _, n := range nsTable {
		if n.set == s {
			return n.name
		}
	}
	return ""
}
