package engine

import (
	"strings"

	"github.com/spf13/pflag"
)

// Options are the flags and arguments of `gcr run`, as typed. The zero value asks for nothing in
// particular. Build reads and checks them; registering a flag checks nothing but its syntax.
type Options struct {
	// Rootfs names the root filesystem: "host", a name below a rootfs directory, or a path.
	Rootfs string
	// Command is the command and its arguments; empty for the default of the root filesystem.
	Command []string

	// Terminal.
	Interactive Switch
	TTY         Switch

	// Process.
	Env        []string // NAME=VALUE or NAME
	EnvFiles   []string // paths
	Workdir    string
	User       string // USER[:GROUP]
	GroupAdd   []string
	Entrypoint Optional
	Umask      string // octal
	StopSignal string
	OOMScore   Optional // -1000…1000
	Ulimits    []string // NAME=SOFT[:HARD]
	Init       bool

	// Files.
	Volumes   []string // SRC:DST[:OPTIONS]
	Mounts    []string // type=…,src=…,dst=…
	Tmpfs     []string // DST[:OPTIONS]
	ReadOnly  bool
	Ephemeral bool
	ShmSize   string // size, "64m"

	// Names.
	Name       string
	Hostname   string
	AddHosts   []string // NAME:IP
	DNS        []string
	DNSSearch  []string
	DNSOptions []string
	NoHosts    bool
	CIDFile    string
	Labels     []string // NAME=VALUE
	Annotate   []string // NAME=VALUE

	// Isolation.
	Namespaces Optional // --ns: names with commas
	Without    Optional // --without: names with commas
	PID        string   // host, private
	IPC        string
	UTS        string
	UserNS     string
	CgroupNS   string

	// Network.
	Networks       []string // NAME[:OPTIONS], none, host, container:ID, ns:PATH, pasta, slirp4netns
	Publish        []string // [[IP:]HOST:]CONTAINER[/PROTOCOL]
	PublishAll     bool
	Expose         []string
	IP, IP6        string
	MAC            string
	NetworkAliases []string

	// Privileges.
	CapAdd      []string
	CapDrop     []string
	SecurityOpt []string
	Landlock    []string // ro:DIR,rw:DIR
	Privileged  bool
	Sysctls     []string // KEY=VALUE
	Devices     []string // SRC[:DST[:rwm]]

	// Resources.
	PidsLimit         Optional
	Memory            string // size
	MemorySwap        string // size or -1
	MemoryReservation string // size
	CPUs              string // decimal
	CPUShares         Optional
	CPUSetCPUs        string // "0-2,5"

	// Images, for root filesystems that come from a registry.
	Pull     string
	Platform string

	// The run itself.
	Remove  Switch // --rm: the only mode
	Explain string // text, json, shell; empty to run
	Trace   bool
	Step    bool
	Verbose bool
	Quiet   bool
}

// Switch is a flag with three states: not given, on, off.
type Switch int8

// The states of a Switch.
const (
	Auto Switch = iota
	On
	Off
)

// Set implements pflag.Value.
func (s *Switch) Set(v string) error {
	switch v {
	case "true", "1":
		*s = On
	case "false", "0":
		*s = Off
	default:
		return text("is neither true nor false")
	}
	return nil
}

// String implements pflag.Value.
func (s *Switch) String() string {
	switch *s {
	case On:
		return "true"
	case Off:
		return "false"
	}
	return ""
}

// Type implements pflag.Value; "bool" makes the help print no argument.
func (s *Switch) Type() string { return "bool" }

// Optional is a text that may be given, and given empty.
type Optional struct {
	Value string
	Given bool
}

// text value for pflag, with the word that the help shows for it.
type optionalValue struct {
	*Optional
	kind string
}

func (o optionalValue) Set(v string) error { *o.Optional = Optional{v, true}; return nil }
func (o optionalValue) String() string     { return o.Value }
func (o optionalValue) Type() string       { return o.kind }

// listValue collects the values of a flag that may be repeated. Commas mean nothing to it, unlike
// to pflag's slices, since values such as tmpfs options hold them.
type listValue struct {
	list *[]string
	kind string
}

func (l listValue) Set(v string) error { *l.list = append(*l.list, v); return nil }
func (l listValue) String() string     { return "" }
func (l listValue) Type() string       { return l.kind }

// textValue is a string flag with a word for the help.
type textValue struct {
	to   *string
	kind string
}

func (s textValue) Set(v string) error {
	if v == "" {
		return text("is empty; leave the flag out for the default")
	}
	*s.to = v
	return nil
}
func (s textValue) String() string { return *s.to }
func (s textValue) Type() string   { return s.kind }

// Register adds the flags of `gcr run` to fs. Flags end at the first word that is not one, so that
// those of the command in the container are left alone.
func (o *Options) Register(fs *pflag.FlagSet) {
	fs.SetInterspersed(false)
	fs.SortFlags = false
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name { // what docker and podman understand as well
		case "net":
			name = "network"
		case "net-alias":
			name = "network-alias"
		case "dns-opt":
			name = "dns-option"
		}
		return pflag.NormalizedName(name)
	})

	list := func(to *[]string, name, short, kind, usage string) {
		fs.VarP(listValue{to, kind}, name, short, usage)
	}
	str := func(to *string, name, short, kind, usage string) {
		fs.VarP(textValue{to, kind}, name, short, usage)
	}
	opt := func(to *Optional, name, kind, usage string) {
		fs.Var(optionalValue{to, kind}, name, usage)
	}
	tri := func(to *Switch, name, short, usage string) {
		fs.VarPF(to, name, short, usage).NoOptDefVal = "true"
	}

	tri(&o.Interactive, "interactive", "i", "pass standard input on (on a terminal: the default)")
	tri(&o.TTY, "tty", "t", "give the container a terminal (on a terminal: the default)")
	list(&o.Env, "env", "e", "NAME[=VALUE]", "set an environment variable; without a value, the caller's")
	list(&o.EnvFiles, "env-file", "", "FILE", "read environment variables from a file, one NAME[=VALUE] a line")
	str(&o.Workdir, "workdir", "w", "DIR", "working directory in the container")
	str(&o.User, "user", "u", "USER[:GROUP]", "names from the root filesystem's own passwd and group, or numbers")
	list(&o.GroupAdd, "group-add", "", "GROUP", "add a supplementary group")
	opt(&o.Entrypoint, "entrypoint", "PROGRAM", "run this program; the command becomes its arguments")
	str(&o.Umask, "umask", "", "OCTAL", "file mode creation mask (default 0022)")
	str(&o.StopSignal, "stop-signal", "", "SIGNAL", "signal that asks the command to end, sent in place of SIGTERM (default: the image's, or SIGTERM)")
	opt(&o.OOMScore, "oom-score-adj", "N", "how eagerly the kernel kills it when memory runs out, -1000 to 1000")
	list(&o.Ulimits, "ulimit", "", "NAME=SOFT[:HARD]", "resource limit, such as nofile=1024:4096; -1 is unlimited")
	fs.BoolVar(&o.Init, "init", false, "run an init as process 1 that passes signals on and reaps children")

	list(&o.Volumes, "volume", "v", "SRC:DST[:OPTIONS]", "bind a file or directory of the host: ro, rw, z, Z, rbind, rprivate, nosuid, …")
	list(&o.Mounts, "mount", "", "type=T,src=S,dst=D,...", "add a mount: type bind, tmpfs, …")
	list(&o.Tmpfs, "tmpfs", "", "DST[:OPTIONS]", "mount a tmpfs: size=64m, mode=1777, exec, …")
	fs.BoolVar(&o.ReadOnly, "read-only", false, "make the root filesystem read-only")
	fs.BoolVar(&o.Ephemeral, "ephemeral", false, "write to memory instead of the root filesystem or the disk; gone at exit")
	str(&o.ShmSize, "shm-size", "", "SIZE", "size of /dev/shm (default 64m)")

	str(&o.Name, "name", "", "NAME", "name of the container")
	str(&o.Hostname, "hostname", "", "NAME", "host name in the container (default: its id)")
	list(&o.AddHosts, "add-host", "", "NAME:IP", "add a line to /etc/hosts")
	list(&o.DNS, "dns", "", "IP", "name server")
	list(&o.DNSSearch, "dns-search", "", "DOMAIN", "search domain; . for none")
	list(&o.DNSOptions, "dns-option", "", "OPTION", "resolver option, such as ndots:2")
	fs.BoolVar(&o.NoHosts, "no-hosts", false, "leave /etc/hosts of the root filesystem alone")
	str(&o.CIDFile, "cidfile", "", "FILE", "write the container's id to a file")
	list(&o.Labels, "label", "l", "NAME[=VALUE]", "label the container")
	list(&o.Annotate, "annotation", "", "NAME=VALUE", "add an annotation to the OCI configuration")

	opt(&o.Namespaces, "ns", "LIST", "isolate exactly these: "+namespaceNames)
	opt(&o.Without, "without", "LIST", "isolate everything but these")
	str(&o.PID, "pid", "", "host|private", "process ids: the host's or its own")
	str(&o.IPC, "ipc", "", "host|private", "shared memory and message queues")
	str(&o.UTS, "uts", "", "host|private", "host name")
	str(&o.UserNS, "userns", "", "MODE", "users and privileges: host, private, auto (ids that nobody else has), keep-id, or CONTAINER:HOST:COUNT,...")
	str(&o.CgroupNS, "cgroupns", "", "host|private", "view of the cgroup hierarchy")

	list(&o.Networks, "network", "", "NAME[:OPTIONS]", "network: none, host, a name of gcr network ls, container:ID, ns:PATH (default: gcr0; without root: pasta)")
	list(&o.Publish, "publish", "p", "[[IP:]HOST:]PORT[/udp]", "let the host pass a port on to the container; ranges: 8000-8009:80-89")
	fs.BoolVarP(&o.PublishAll, "publish-all", "P", false, "publish every port that the image or --expose names, each on a free port of the host")
	list(&o.Expose, "expose", "", "PORT[/udp]", "name one more port for --publish-all; ranges: 8000-8009")
	str(&o.IP, "ip", "", "IP", "IPv4 address of the container")
	str(&o.IP6, "ip6", "", "IP", "IPv6 address of the container")
	str(&o.MAC, "mac-address", "", "MAC", "Ethernet address of the container")
	list(&o.NetworkAliases, "network-alias", "", "NAME", "one more name for containers of the same network")

	list(&o.CapAdd, "cap-add", "", "CAP", "add a capability, or ALL")
	list(&o.CapDrop, "cap-drop", "", "CAP", "drop a capability, or ALL")
	list(&o.Landlock, "landlock", "", "ro:DIR,rw:DIR,…", "let the command reach these files only; implies no-new-privileges")
	list(&o.SecurityOpt, "security-opt", "", "OPTION", "no-new-privileges[=BOOL], seccomp=FILE|unconfined, apparmor=PROFILE, label=…, systempaths=unconfined")
	fs.BoolVar(&o.Privileged, "privileged", false, "all capabilities and devices, nothing masked")
	list(&o.Sysctls, "sysctl", "", "KEY=VALUE", "set a kernel parameter of the container's namespaces")
	list(&o.Devices, "device", "", "SRC[:DST[:rwm]]", "give the container a device of the host")

	opt(&o.PidsLimit, "pids-limit", "N", "most processes and threads; -1 is unlimited")
	str(&o.Memory, "memory", "m", "SIZE", "memory limit, such as 512m or 2g")
	str(&o.MemorySwap, "memory-swap", "", "SIZE", "memory and swap together; -1 is unlimited swap")
	str(&o.MemoryReservation, "memory-reservation", "", "SIZE", "memory that the kernel tries to leave it")
	str(&o.CPUs, "cpus", "", "N", "CPU time in CPUs, such as 1.5")
	opt(&o.CPUShares, "cpu-shares", "N", "weight against others, 2 to 262144 (default 1024)")
	str(&o.CPUSetCPUs, "cpuset-cpus", "", "LIST", "CPUs to run on, such as 0-2,5")

	str(&o.Pull, "pull", "", "always|missing|newer|never", "when to fetch the image")
	str(&o.Platform, "platform", "", "OS/ARCH[/VARIANT]", "which of an image's platforms")

	tri(&o.Remove, "rm", "", "remove the container at exit (always so)")
	fs.VarPF(textValue{&o.Explain, "text|json|shell"}, "explain", "", "print what would be done, and do not run").NoOptDefVal = "text"
	fs.BoolVar(&o.Trace, "trace", false, "run, and tell each step as it happens")
	fs.BoolVar(&o.Step, "step", false, "stop before each step")
	fs.BoolVar(&o.Verbose, "verbose", false, "log also where there is no terminal")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "log nothing")
}

// SetArgs takes what follows the flags: ROOTFS [COMMAND [ARG…]].
func (o *Options) SetArgs(args []string) error {
	if len(args) == 0 {
		return &Error{
			Op: "run", Object: "a container", Cause: text("no root filesystem named"),
			Hint: "try: gcr run host sh",
		}
	}
	o.Rootfs, o.Command = args[0], args[1:]
	if strings.HasPrefix(o.Rootfs, "-") && len(o.Rootfs) > 1 {
		return &Error{
			Op: "find", Object: "root filesystem " + quote(o.Rootfs), Cause: text("starts with a dash"),
			Hint: "write ./" + o.Rootfs + " for a directory of that name",
		}
	}
	return nil
}

// checkRun refuses values of the flags that steer the run itself.
func (o *Options) checkRun() error {
	oneOf := func(flag, value string, of ...string) error {
		if value == "" {
			return nil
		}
		for _, v := range of {
			if v == value {
				return nil
			}
		}
		return badValue(flag, value, "is not a value of this flag", "use one of "+strings.Join(of, ", "))
	}
	if err := oneOf("--explain", o.Explain, "text", "json", "shell"); err != nil {
		return err
	}
	if err := oneOf("--pull", o.Pull, "always", "missing", "newer", "never"); err != nil {
		return err
	}
	if err := checkPlatform(o.Platform); err != nil {
		return err
	}
	if o.Remove == Off {
		return &Error{
			Op: "keep", Object: "the container", Flag: "--rm=false",
			Cause: text("a container of gcr run ends with its command"),
			Hint:  "leave the flag out; what it writes to a rootfs directory stays there",
		}
	}
	if o.Verbose && o.Quiet {
		return conflict("--verbose", "--quiet", "one asks for the log, the other for none", "keep one of them")
	}
	if o.Explain != "" && (o.Trace || o.Step) {
		return conflict("--explain", "--trace or --step", "--explain runs nothing that could be watched", "keep one of them")
	}
	if o.Name != "" {
		if err := checkContainerName(o.Name); err != nil {
			return err
		}
	}
	return nil
}

func checkPlatform(p string) error {
	if p == "" {
		return nil
	}
	parts := strings.Split(p, "/")
	good := len(parts) == 2 || len(parts) == 3
	for _, part := range parts {
		good = good && part != ""
		for _, c := range part {
			good = good && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
		}
	}
	if !good {
		return badValue("--platform", p, "is not OS/ARCH or OS/ARCH/VARIANT", "for instance linux/arm64")
	}
	if parts[0] != "linux" {
		return badValue("--platform", p, "gcr runs Linux containers only", "for instance linux/"+parts[1])
	}
	return nil
}

// checkContainerName accepts what Docker does: a letter or digit, then letters, digits and "_.-".
func checkContainerName(name string) error {
	if len(name) > 255 {
		return badValue("--name", name, "is longer than 255 bytes", "")
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return badValue("--name", name, "a name is a letter or digit, then letters, digits, _ . or -", "")
		}
	}
	return nil
}
