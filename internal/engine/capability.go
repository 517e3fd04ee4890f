package engine

import (
	"fmt"
	"slices"
	"strings"
)

// capability is a number of capabilities(7).
type capability uint8

const (
	capSetgid      capability = 6
	capSetuid      capability = 7
	capSysAdmin    capability = 21
	capSysResource capability = 24
	capSetfcap     capability = 31
)

// capabilityNames has the name of each capability at its number, as of Linux 5.9, the last to add one.
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

const allCapabilities = 1<<len(capabilityNames) - 1

// defaultCapabilities are Docker's fourteen: AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD,
// NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT.
const defaultCapabilities uint64 = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<13 | 1<<18 |
	1<<27 | 1<<29 | 1<<31

// parseCapabilities reads the values of --cap-add or --cap-drop: names in any case, with or without CAP_,
// several with commas, or ALL.
func parseCapabilities(flag string, values []string) (set uint64, all bool, err error) {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			name := strings.TrimPrefix(strings.ToUpper(one), "CAP_")
			if strings.EqualFold(one, "all") {
				all = true
				continue
			}
			n := slices.Index(capabilityNames[:], name)
			if n < 0 {
				hint := "capabilities(7) lists them, for instance NET_ADMIN; ALL is all of them"
				for _, c := range capabilityNames {
					if name != "" && editDistance(name, c) <= 2 {
						hint = "did you mean " + c + "?"
						break
					}
				}
				return 0, false, badValue(flag, one, "is not a capability", hint)
			}
			set |= 1 << n
		}
	}
	return set, all, nil
}

// capabilities decides what the container may do. own says that it has a user namespace of its own, where
// every capability exists; otherwise it gets none that gcr itself cannot hand on.
func (o *Options) capabilities(h *Host, own bool) (set uint64, note string, err error) {
	add, addAll, err := parseCapabilities("--cap-add", o.CapAdd)
	if err != nil {
		return 0, "", err
	}
	drop, dropAll, err := parseCapabilities("--cap-drop", o.CapDrop)
	if err != nil {
		return 0, "", err
	}
	if both := add & drop; both != 0 || addAll && dropAll {
		name := "ALL"
		if both != 0 {
			name = strings.Join(capabilityList(both), ", ")
		}
		return 0, "", conflict("--cap-add", "--cap-drop", name+" is both added and dropped", "keep one of them")
	}
	set = defaultCapabilities
	if dropAll {
		set = 0
	}
	if addAll || o.Privileged {
		set = allCapabilities
		if dropAll {
			set = 0
		}
	}
	set = (set | add) &^ drop
	if own {
		return set, "", nil
	}
	missing := uint64(0)
	for n := range capabilityNames {
		if set>>n&1 != 0 && !h.InBounding(n) {
			missing |= 1 << n
		}
	}
	if asked := missing & add; asked != 0 {
		return 0, "", &Error{
			Op: "add", Object: strings.Join(capabilityList(asked), ", "), Flag: "--cap-add",
			Cause: text("gcr itself may not have it (its bounding set lacks it)"),
			Hint:  "run gcr outside of the container or service that took it away",
		}
	}
	if missing != 0 {
		note = fmt.Sprintf("without %s: gcr itself may not have it", strings.Join(capabilityList(missing), ", "))
	}
	return set &^ missing, note, nil
}

// capabilityList names the members of a set in the order of their numbers.
func capabilityList(set uint64) []string {
	out := []string{}
	for n, name := range capabilityNames {
		if set>>n&1 != 0 {
			out = append(out, "CAP_"+name)
		}
	}
	return out
}
