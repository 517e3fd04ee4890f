package engine

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// nsSet is a set of namespaces, one bit each.
type nsSet uint8

const (
	nsPID nsSet = 1 << iota
	nsMount
	nsUser
	nsUTS
	nsIPC
	nsNet
	nsCgroup
	nsTime

	nsAll = nsTime | (nsTime - 1)
)

// namespaceNames lists the names for the help and for errors, in the order of nsTable.
const namespaceNames = "pid,mnt,user,uts,ipc,net,cgroup,time"

// nsTable has the name on the command line, that of the OCI specification, and the flag that turns
// one namespace off by itself.
var nsTable = [...]struct {
	set  nsSet
	name string
	oci  specs.LinuxNamespaceType
	flag string
}{
	{nsPID, "pid", specs.PIDNamespace, "--pid"},
	{nsMount, "mnt", specs.MountNamespace, ""},
	{nsUser, "user", specs.UserNamespace, "--userns"},
	{nsUTS, "uts", specs.UTSNamespace, "--uts"},
	{nsIPC, "ipc", specs.IPCNamespace, "--ipc"},
	{nsNet, "net", specs.NetworkNamespace, "--network"},
	{nsCgroup, "cgroup", specs.CgroupNamespace, "--cgroupns"},
	{nsTime, "time", specs.TimeNamespace, ""},
}

func (s nsSet) has(n nsSet) bool { return s&n != 0 }

// oci lists the namespaces as the specification does; all are new ones.
func (s nsSet) oci() []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	for _, n := range nsTable {
		if s.has(n.set) {
			out = append(out, specs.LinuxNamespace{Type: n.oci})
		}
	}
	return out
}

// parseNamespaces reads a list such as "pid,mnt". The names of the OCI specification, "mount" and
// "network", are understood as well. An empty list is empty: `--ns ""` isolates nothing.
func parseNamespaces(flag, list string) (nsSet, error) {
	var out nsSet
	if list == "" {
		return 0, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		found := nsSet(0)
		for _, n := range nsTable {
			if name == n.name || name == string(n.oci) {
				found = n.set
			}
		}
		if found == 0 {
			return 0, badValue(flag, name, "is not a namespace", "use some of "+namespaceNames)
		}
		out |= found
	}
	return out, nil
}

// namespaces decides what is isolated.
//
// --ns names it exactly, --without takes away. Without either it is everything but time, and the user
// namespace only for a caller who needs one: root has none by default, as in Docker and Podman.
func (o *Options) namespaces(h *Host) (nsSet, error) {
	if o.Namespaces.Given && o.Without.Given {
		return 0, conflict("--ns", "--without", "--ns already names exactly what is isolated", "keep one of them")
	}
	rootless := h.rootless()
	set := nsAll &^ nsTime // time: containers share the host's clocks everywhere in the field
	if !rootless {
		set &^= nsUser
	}
	var named, without nsSet
	var err error
	if o.Namespaces.Given {
		if named, err = parseNamespaces("--ns", o.Namespaces.Value); err != nil {
			return 0, err
		}
		set = named
		if rootless {
			// An ordinary user may make the other kinds only inside a user namespace of his own
			// (user_namespaces(7)), so it comes along.
			set |= nsUser
		}
	}
	if o.Without.Given {
		if without, err = parseNamespaces("--without", o.Without.Value); err != nil {
			return 0, err
		}
		set &^= without
		if rootless && without.has(nsUser) {
			return 0, needsUserNamespace("--without=user")
		}
	}
	for _, one := range []struct {
		ns    nsSet
		flag  string
		value string
	}{
		{nsPID, "--pid", o.PID},
		{nsIPC, "--ipc", o.IPC},
		{nsUTS, "--uts", o.UTS},
		{nsUser, "--userns", o.UserNS},
		{nsCgroup, "--cgroupns", o.CgroupNS},
		{nsNet, "--network", o.networkMode()},
	} {
		private := "private"
		if one.ns == nsUser && hasIDs(one.value) {
			private = one.value
		}
		if one.ns == nsNet && one.value != "" && one.value != "host" {
			private = one.value // the name of a network: it needs a namespace of its own
		}
		switch one.value {
		case "":
			continue
		case "host":
			if named.has(one.ns) {
				return 0, conflict(one.flag+"=host", "--ns "+o.Namespaces.Value, "one shares with the host what the other isolates", "keep one of them")
			}
			if one.ns == nsUser && rootless {
				return 0, needsUserNamespace("--userns=host")
			}
			set &^= one.ns
		case private:
			if without.has(one.ns) {
				return 0, conflict(one.flag+"="+private, "--without="+o.Without.Value, "one isolates what the other shares with the host", "keep one of them")
			}
			if o.Namespaces.Given && !named.has(one.ns) && !set.has(one.ns) {
				return 0, conflict(one.flag+"="+private, "--ns "+o.Namespaces.Value, "--ns names exactly what is isolated", "add it to the list of --ns")
			}
			set |= one.ns
		default:
			hint := "use host or " + private
			if one.ns == nsUser {
				hint = "use host, private, auto, keep-id or a map such as 0:100000:65536"
			}
			return 0, badValue(one.flag, one.value, "is not a mode that gcr knows", hint)
		}
	}
	return set, nil
}

func needsUserNamespace(flag string) error {
	return &Error{
		Op: "share", Object: "the host's user namespace", Flag: flag,
		Cause: text("an ordinary user can make the other namespaces only inside a user namespace of his own"),
		Hint:  "leave the flag out, or run gcr as root",
	}
}
