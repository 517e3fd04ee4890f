package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"gcr/internal/rootfile"
)

// TestRefuses has a command line for every mistake that is looked for, and words that its error must have:
// the flag, the value and the way out.
func TestRefuses(t *testing.T) {
	root, user, tty := rootHost(), userHost(), onTerminal(rootHost())
	noModules, noPolicy := rootHost(), rootHost()
	noModules.AppArmor, noModules.SELinux = func() string { return "" }, func() string { return "" }
	noPolicy.SELinux = func() string { return "kernel" }
	single := userHost()
	single.SubUIDs = nil
	for _, c := range []struct {
		line string
		host *Host
		say  []string
	}{
		// Namespaces.
		{"--ns pid,foo ubuntu", root, []string{`parse "foo" (--ns)`, "pid,mnt,user,uts,ipc,net,cgroup,time"}},
		{"--ns pid,,mnt ubuntu", root, []string{`parse "" (--ns)`}},
		{"--without PID ubuntu", root, []string{`"PID" (--without)`, namespaceNames}},
		{"--ns pid --without mnt ubuntu", root, []string{"--ns with --without"}},
		{"--ns pid --pid host ubuntu", root, []string{"--pid=host with --ns pid"}},
		{"--without pid --pid private ubuntu", root, []string{"--pid=private with --without=pid"}},
		{"--ns pid --network none ubuntu", root, []string{"--network=none with --ns pid", "add it to the list"}},
		{"--pid container:x ubuntu", root, []string{`parse "container:x" (--pid)`, "use host or private"}},
		{"--network b/r ubuntu", root, []string{`"b/r" (--network)`, "letters, digits"}},
		{"--userns host ubuntu", user, []string{"(--userns=host)", "ordinary user", "as root"}},
		{"--without user ubuntu", user, []string{"(--without=user)"}},
		{"--userns sideways ubuntu", user, []string{`"sideways" (--userns)`}},

		// What needs a mount namespace.
		{"--without mnt -v /srv/data:/x ubuntu", root, []string{"--volume with no mount namespace", "add mnt"}},
		{"--ns pid --mount type=tmpfs,dst=/x ubuntu", root, []string{"--mount with no mount namespace"}},
		{"--ns pid --tmpfs /x ubuntu", root, []string{"--tmpfs with"}},
		{"--ns pid --read-only ubuntu", root, []string{"--read-only with"}},
		{"--ns pid --ephemeral ubuntu", root, []string{"--ephemeral with"}},
		{"--ns pid --device /dev/fuse ubuntu", root, []string{"--device with"}},
		{"--ns pid --dns 1.1.1.1 ubuntu", root, []string{"--dns with"}},
		{"--ns pid --add-host a:1.1.1.1 ubuntu", root, []string{"--add-host with"}},

		// Users.
		{"-u nobody-here ubuntu", root, []string{`find user "nobody-here" (--user)`, "is not in /etc/passwd"}},
		{"-u 1x ubuntu", root, []string{`parse "1x" (--user)`, "starts with a digit but is not a number"}},
		{"-u +1 ubuntu", root, []string{`parse "+1" (--user)`}},
		{"-u -1 ubuntu", root, []string{`parse "-1" (--user)`}},
		{"-u 4294967295 ubuntu", root, []string{"larger than the largest id, 4294967294"}},
		{"-u 4294967296 ubuntu", root, []string{"larger than the largest id"}},
		{"-u 0:4294967296 ubuntu", root, []string{`group "4294967296" is larger`}},
		{"-u root:nogroup ubuntu", root, []string{`group "nogroup" is not in /etc/group`}},
		{"-u far ubuntu", user, []string{`become user "far" (--user)`, "user id 200000 does not exist", "0 to 65536"}},
		{"-u alice ubuntu", single, []string{"user id 1000 does not exist", "/etc/subuid"}},
		{"--group-add nope ubuntu", root, []string{`find group "nope" (--group-add)`}},
		{"--group-add 12 ubuntu", single, []string{`add group "12" (--group-add)`, "/etc/subgid"}},
		{"--group-add 1:2 ubuntu", root, []string{`parse "1:2" (--group-add)`}},
		{"--umask 0888 ubuntu", root, []string{`parse "0888" (--umask)`, "octal"}},
		{"--umask +22 ubuntu", root, []string{`parse "+22" (--umask)`}},
		{"--umask 1777 ubuntu", root, []string{"--umask"}},

		// Process.
		{"-w home ubuntu", root, []string{`parse "home" (--workdir)`, "write /home"}},
		{"-e =x ubuntu", root, []string{`parse "=x" (--env)`, "has no name"}},
		{"--env-file none.list ubuntu", root, []string{"read none.list (--env-file): no such file"}},
		{"--env-file bad.list ubuntu", root, []string{"read bad.list (--env-file): line 2", "export"}},
		{"--stop-signal SIGFOO ubuntu", root, []string{`"SIGFOO" (--stop-signal)`}},
		{"--stop-signal 65 ubuntu", root, []string{`"65" (--stop-signal)`, "1 to 64"}},
		{"--stop-signal 0 ubuntu", root, []string{`"0" (--stop-signal)`}},
		{"-it ubuntu", root, []string{"attach standard input (--tty --interactive): it is not a terminal", "leave out -t"}},
		{"--oom-score-adj 1001 ubuntu", root, []string{`"1001" (--oom-score-adj)`, "-1000 to 1000"}},
		{"--oom-score-adj +5 ubuntu", root, []string{`"+5" (--oom-score-adj)`}},

		// Mounts.
		{"-v data:/data ubuntu", root, []string{`parse "data:/data" (--volume): named volumes are not there yet`, "./data:/data"}},
		{"-v /data ubuntu", root, []string{"has no destination"}},
		{"-v /a:/b:ro:rw ubuntu", root, []string{"more than two colons", "--mount"}},
		{"-v /srv/none:/x ubuntu", root, []string{`mount "/srv/none" on "/x" (--volume): the source does not exist on the host`, "mkdir -p /srv/none"}},
		{"-v ./none:/x ubuntu", root, []string{`"/home/me/src/none"`}},
		{"-v /srv/data:x ubuntu", root, []string{`the destination "x" is not an absolute path`, "write /x"}},
		{"-v /srv/data:/ ubuntu", root, []string{"hide the whole root filesystem"}},
		{"-v /srv/data:/a/.. ubuntu", root, []string{"hide the whole root filesystem"}},
		{"-v /srv/data: ubuntu", root, []string{"has no destination"}},
		{"-v :/x ubuntu", root, []string{"has no source"}},
		{"-v /srv/data:/x:ro,rw ubuntu", root, []string{"options ro and rw contradict each other"}},
		{"-v /srv/data:/x:ro,ro ubuntu", root, []string{"the option ro twice"}},
		{"-v /srv/data:/x:z,Z ubuntu", root, []string{"z and Z contradict"}},
		{"-v /srv/data:/x:shared,rslave ubuntu", root, []string{"shared and rslave contradict"}},
		{"-v /srv/data:/x:frobnicate ubuntu", root, []string{`unknown option "frobnicate"`, "ro, rw"}},
		{"-v /srv/data:/x: ubuntu", root, []string{`unknown option ""`}},
		{"-v /srv/data:/x -v /srv/file:/x/ ubuntu", root, []string{`mount "/srv/file:/x/" (--volume): /x is already the destination of --volume "/srv/data:/x"`}},
		{"-v /srv/data:/x --tmpfs /y/../x ubuntu", root, []string{`mount "/y/../x" (--tmpfs): /x is already`}},
		{"-v /srv/data:/proc ubuntu", root, []string{`mount "/proc" (--volume)`, "-v /proc:/proc"}},
		{"-v /srv/data:/proc/sys/kernel ubuntu", root, []string{"inside of /proc", "/proc/meminfo"}},
		{"--tmpfs /proc ubuntu", root, []string{"replace the kernel's /proc"}},
		{"--tmpfs /proc/../proc/self ubuntu", root, []string{"inside of /proc"}},
		{"--tmpfs /sys ubuntu", root, []string{"replace the kernel's /sys"}},
		{"--tmpfs x ubuntu", root, []string{`"x" (--tmpfs)`, "write /x"}},
		{"--tmpfs /x:size=lots ubuntu", root, []string{`parse "lots" (--tmpfs): is not a size`}},
		{"--tmpfs /x:size=101% ubuntu", root, []string{"share of memory"}},
		{"--tmpfs /x:mode=9 ubuntu", root, []string{"not octal"}},
		{"--tmpfs /x:uid=-1 ubuntu", root, []string{"uid"}},
		{"--tmpfs /x:rbind ubuntu", root, []string{`unknown option "rbind"`}},
		{"--tmpfs /x:mpol=x ubuntu", root, []string{`unknown option "mpol"`}},
		{"--mount src=/srv/data,dst=/x ubuntu", root, []string{"has no type"}},
		{"--mount type=overlay,dst=/x ubuntu", root, []string{`type "overlay" cannot be mounted by hand`}},
		{"--mount type=volume,src=v,dst=/x ubuntu", root, []string{"volume mounts are not there yet"}},
		{"--mount type=bind,dst=/x ubuntu", root, []string{"has no source"}},
		{"--mount type=bind,src=/srv/data ubuntu", root, []string{"has no destination"}},
		{"--mount type=bind,src=/srv/data,dst=/x,dst=/y ubuntu", root, []string{"says dst twice"}},
		{"--mount type=bind,src=/srv/data,dst=/x,readonly=maybe ubuntu", root, []string{"readonly=maybe"}},
		{"--mount type=bind,src=/srv/data,dst=/x,tmpfs-size=1m ubuntu", root, []string{"tmpfs-size does not go with type=bind"}},
		{"--mount type=bind,src=/srv/data,dst=/x,bind-propagation=ro ubuntu", root, []string{"bind-propagation=ro is not one"}},
		{"--mount type=bind,src=/srv/data,dst=/x,bind-nonrecursive=si ubuntu", root, []string{"bind-nonrecursive=si"}},
		{"--mount type=bind,src=/srv/data,dst=/x,bind-recursive=si ubuntu", root, []string{"bind-recursive=si"}},
		{"--mount type=bind,,dst=/x ubuntu", root, []string{"empty field"}},
		{"--mount type=tmpfs,src=/x,dst=/x ubuntu", root, []string{"a tmpfs has no source"}},
		{"--mount type=tmpfs,dst ubuntu", root, []string{"dst has no value"}},
		{"--shm-size 0 ubuntu", root, []string{`"0" (--shm-size): is nothing`}},
		{"--shm-size 1g --ipc host ubuntu", root, []string{"--shm-size with the host's IPC namespace"}},
		{"--shm-size 1g --tmpfs /dev/shm ubuntu", root, []string{"--shm-size with a mount on /dev/shm"}},

		// Names.
		{"--hostname a_b! ubuntu", root, []string{`"a_b!" (--hostname)`}},
		{"--hostname -x ubuntu", root, []string{"--hostname"}},
		{"--hostname " + strings.Repeat("a", 65) + " ubuntu", root, []string{"too long", "at most 64"}},
		{"--hostname x --uts host ubuntu", root, []string{"--hostname with the host's UTS namespace"}},
		{"--hostname x --without uts ubuntu", root, []string{"--hostname with the host's UTS namespace"}},
		{"--name -x- ubuntu", root, []string{`"-x-" (--name)`}},
		{"--name a/b ubuntu", root, []string{`"a/b" (--name)`}},
		{"--add-host db ubuntu", root, []string{`"db" (--add-host): is not NAME:IP`}},
		{"--add-host db:300.1.1.1 ubuntu", root, []string{`"300.1.1.1" is not an IP address`}},
		{"--add-host db:fe80::1%eth0 ubuntu", root, []string{"is not an IP address"}},
		{"--add-host a\\_b:1.1.1.1 ubuntu", root, []string{`the name "a b"`}},
		{"--network none --add-host h:host-gateway ubuntu", root, []string{"no gateway"}},
		{"--no-hosts --add-host a:1.1.1.1 ubuntu", root, []string{"--no-hosts with --add-host"}},
		{"--dns ns.example.org ubuntu", root, []string{`"ns.example.org" (--dns)`}},
		{"--dns-search a/b ubuntu", root, []string{`"a/b" (--dns-search)`}},
		{"--dns-search . --dns-search x ubuntu", root, []string{"no search domain"}},
		{"--dns-option a\\_b ubuntu", root, []string{`"a b" (--dns-option)`}},
		{"--label =x ubuntu", root, []string{`"=x" (--label)`}},
		{"--label a=1 --label a=2 ubuntu", root, []string{"has the value"}},
		{"--annotation a ubuntu", root, []string{`"a" (--annotation): is not NAME=VALUE`}},

		// Privileges.
		{"--cap-add NET_ADMN ubuntu", root, []string{`"NET_ADMN" (--cap-add): is not a capability; did you mean NET_ADMIN?`}},
		{"--cap-drop= ubuntu", root, []string{`"" (--cap-drop)`}},
		{"--cap-add chown --cap-drop CAP_CHOWN ubuntu", root, []string{"CAP_CHOWN is both added and dropped"}},
		{"--cap-add all --cap-drop all ubuntu", root, []string{"ALL is both added and dropped"}},
		{"--security-opt foo=bar ubuntu", root, []string{`"foo=bar" (--security-opt): is not a security option`, "seccomp=FILE|unconfined"}},
		{"--security-opt no-new-privileges=2 ubuntu", root, []string{"neither true nor false"}},
		{"--security-opt no-new-privileges --security-opt no-new-privileges=false ubuntu", root, []string{"given twice"}},
		{"--security-opt seccomp ubuntu", root, []string{"seccomp has no value"}},
		{"--security-opt seccomp=none.json ubuntu", root, []string{`seccomp profile "/home/me/src/none.json"`, "no such file"}},
		{"--security-opt label=foo ubuntu", root, []string{"is not a label option"}},
		{"--security-opt apparmor=mine ubuntu", noModules, []string{`apply apparmor profile "mine" (--security-opt): this kernel has no AppArmor`}},
		{"--security-opt label=type:t ubuntu", noModules, []string{"apply selinux label (--security-opt): this kernel has no SELinux"}},
		{"--security-opt label=type:t ubuntu", noPolicy, []string{"no SELinux policy is loaded"}},
		{"--security-opt systempaths=all ubuntu", root, []string{"systempaths"}},
		{"--sysctl kernel.core_pattern=|/bin/x ubuntu", root, []string{"parameter of the whole machine"}},
		{"--sysctl kernel.shmmax ubuntu", root, []string{"is not KEY=VALUE"}},
		{"--sysctl kernel.hostname=x ubuntu", root, []string{"use --hostname"}},
		{"--sysctl net.core.somaxconn=1 --network host ubuntu", root, []string{"--sysctl net.core.somaxconn with the host's net namespace"}},
		{"--sysctl kernel.shmmax=1 --without ipc ubuntu", root, []string{"the host's ipc namespace"}},
		{"--sysctl net/../kernel/core_pattern=x ubuntu", root, []string{"is not a parameter's name"}},
		{"--sysctl net..core=x ubuntu", root, []string{"is not a parameter's name"}},
		{"--sysctl kernel.shmmax=1 --sysctl kernel.shmmax=2 ubuntu", root, []string{"twice"}},
		{"--device fuse ubuntu", root, []string{`"fuse" (--device)`, "absolute path"}},
		{"--device vendor.com/gpu=0 ubuntu", root, []string{"CDI"}},
		{"--device /dev/none ubuntu", root, []string{`add device "/dev/none" (--device): it does not exist on the host`}},
		{"--device /srv/file ubuntu", root, []string{"it is not a device", "use -v"}},
		{"--device /srv/data ubuntu", root, []string{"no device in that directory"}},
		{"--device /dev/null ubuntu", root, []string{"every container has its own /dev/null"}},
		{"--device /dev/fuse:/dev/x:rwx ubuntu", root, []string{`access "rwx"`}},
		{"--device /dev/fuse:/dev/x:rr ubuntu", root, []string{`access "rr"`}},
		{"--device /dev/fuse:/proc/x ubuntu", root, []string{"cannot stand in /proc"}},
		{"--device /dev/fuse --device /dev/sda:/dev/fuse ubuntu", root, []string{"/dev/fuse is already the place"}},
		{"--device a:b:c:d ubuntu", root, []string{"more than two colons"}},

		// Limits.
		{"-m 64q ubuntu", root, []string{`"64q" (--memory): is not a size`, "512m"}},
		{"-m -1 ubuntu", root, []string{`"-1" (--memory)`}},
		{"-m 9223372036854775807g ubuntu", root, []string{"more than 2^63-1 bytes"}},
		{"-m 0 ubuntu", root, []string{"is nothing"}},
		{"--memory-swap 1g ubuntu", root, []string{`"1g" (--memory-swap)`, "--memory is not given"}},
		{"-m 1g --memory-swap 512m ubuntu", root, []string{"is less than --memory"}},
		{"-m 64m --memory-reservation 65m ubuntu", root, []string{"is more than --memory"}},
		{"--cpus 5 ubuntu", root, []string{`"5" (--cpus)`, "0.01 to 4"}},
		{"--cpus 0.001 ubuntu", root, []string{"--cpus"}},
		{"--cpus 1,5 ubuntu", root, []string{"--cpus"}},
		{"--cpu-shares 1 ubuntu", root, []string{`"1" (--cpu-shares)`, "2 to 262144"}},
		{"--cpuset-cpus 3-1 ubuntu", root, []string{`"3-1" (--cpuset-cpus)`}},
		{"--cpuset-cpus 0, ubuntu", root, []string{"--cpuset-cpus"}},
		{"--pids-limit many ubuntu", root, []string{`"many" (--pids-limit)`}},
		{"--pids-limit 99999999999999999999 ubuntu", root, []string{"out of range"}},
		{"--pids-limit 5 ubuntu", user, []string{"limit the container (--pids-limit): no cgroup is delegated to you", "systemd-run --user"}},
		{"-m 64m ubuntu", user, []string{"(--memory)", "run gcr as root"}},
		{"--cpus 1 ubuntu", user, []string{"(--cpus)"}},
		{"--ulimit files=3 ubuntu", root, []string{`"files" is not a resource`, "nofile"}},
		{"--ulimit nofile ubuntu", root, []string{"NAME=SOFT[:HARD]"}},
		{"--ulimit nofile=x ubuntu", root, []string{`soft limit "x"`}},
		{"--ulimit nofile=1:-2 ubuntu", root, []string{`hard limit "-2"`}},
		{"--ulimit nofile=5:4 ubuntu", root, []string{"above the hard limit"}},
		{"--ulimit nofile=5:6 --ulimit nofile=5:6 ubuntu", root, []string{"twice"}},
		{"--ulimit nofile=5000 ubuntu", user, []string{"your own hard limit is 4096", "CAP_SYS_RESOURCE"}},

		// The run.
		{"--explain=xml ubuntu", root, []string{`"xml" (--explain)`, "text, json, shell"}},
		{"--explain --trace ubuntu", root, []string{"--explain with --trace"}},
		{"--verbose --quiet ubuntu", root, []string{"--verbose with --quiet"}},
		{"--rm=false ubuntu", root, []string{"(--rm=false)"}},
		{"--pull sometimes ubuntu", root, []string{`"sometimes" (--pull)`, "always, missing"}},
		{"--platform arm64 ubuntu", root, []string{`"arm64" (--platform)`, "linux/arm64"}},
		{"--platform windows/amd64 ubuntu", root, []string{"Linux containers only"}},
		{"", root, []string{"no root filesystem named", "gcr run host sh"}},
		{"-it=maybe ubuntu", tty, []string{"neither true nor false"}},
		{"--name= ubuntu", root, []string{"is empty"}},
	} {
		config, err := build(t, c.line, c.host, ubuntu())
		if err == nil {
			t.Errorf("%s: taken for %+v", c.line, config.Spec.Process)
			continue
		}
		for _, word := range c.say {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s:\n  %v\n  does not say %q", c.line, err, word)
			}
		}
		if text := err.Error(); strings.ContainsAny(text, "\n\x00") || strings.Contains(text, "failed to") {
			t.Errorf("%s: not one clear line: %q", c.line, text)
		}
		// What pflag itself refuses, the syntax of a flag, is an error of pflag's and names the flag.
		if e := (*Error)(nil); !errors.As(err, &e) && !strings.Contains(err.Error(), "--") {
			t.Errorf("%s: %T %v", c.line, err, err)
		}
	}
}

// Values that words split at blanks cannot carry.
func TestRefusesControlCharacters(t *testing.T) {
	for _, words := range [][]string{
		{"--sysctl", "net.core.somaxconn=1\nkernel.core_pattern=x", "ubuntu"},
		{"--hostname", "a\nb", "ubuntu"},
		{"--dns-search", "a\nnameserver 6.6.6.6", "ubuntu"},
		{"--dns-option", "a\nnameserver 6.6.6.6", "ubuntu"},
		{"--add-host", "a\n6.6.6.6 bank:1.1.1.1", "ubuntu"},
		{"-u", "root\n", "ubuntu"},
		{"--name", "a\n", "ubuntu"},
		{"-v", "/srv/no\nne:/x", "ubuntu"},
	} {
		config, err := buildWords(words, rootHost(), ubuntu())
		if err == nil || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q: %v %v", words, config, err)
		}
	}
}

func TestRefusesLongArguments(t *testing.T) {
	long := strings.Repeat("x", 200000)
	for _, c := range []struct {
		words []string
		say   string
	}{
		{[]string{"-e", "A=" + long, "ubuntu", "id"}, `set environment variable "A" (--env): is 200002 bytes long, the kernel takes at most 131071`},
		{[]string{"ubuntu", "echo", long}, `run "echo" (argument 1): is 200000 bytes long`},
	} {
		if _, err := buildWords(c.words, rootHost(), ubuntu()); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%v", err)
		}
	}
	// 200,000 bytes in many variables are fine with the usual stack limit and too much with a small one.
	var words []string
	for i := range 2000 {
		words = append(words, "-e", fmt.Sprintf("V%d=%s", i, long[:95]))
	}
	words = append(words, "ubuntu", "id")
	if _, err := buildWords(words, rootHost(), ubuntu()); err != nil {
		t.Error(err)
	}
	small := append([]string{"--ulimit", "stack=65536"}, words...)
	if _, err := buildWords(small, rootHost(), ubuntu()); err == nil || !strings.Contains(err.Error(), "a quarter of the stack limit") {
		t.Errorf("%v", err)
	}
}

// brokenFiles fails in a way of the test's choosing.
type brokenFiles struct{ err error }

func (f brokenFiles) ReadFile(path string, max int64) ([]byte, error) {
	return nil, &fs.PathError{Op: "read", Path: path, Err: f.err}
}

func (f brokenFiles) Stat(path string) (rootfile.Info, error) {
	return rootfile.Info{}, &fs.PathError{Op: "stat", Path: path, Err: f.err}
}

func TestRefusesBrokenRootfs(t *testing.T) {
	r := ubuntu()
	r.Files = brokenFiles{rootfile.ErrNotRegular}
	if _, err := build(t, "ubuntu id", rootHost(), r); err == nil || err.Error() != "read /etc/passwd of the root filesystem: not a regular file; it has to be a regular file that gcr may read" {
		t.Errorf("%v", err)
	}
	r.Files = fakeFiles{}
	if _, err := build(t, "ubuntu", rootHost(), r); err == nil || !strings.Contains(err.Error(), `run a shell in "ubuntu": it has no /bin/sh; name a command`) {
		t.Errorf("%v", err)
	}
	if c, err := build(t, "ubuntu /app", rootHost(), r); err != nil || c.Spec.Process.Env[2] != "HOME=/" {
		t.Errorf("a root filesystem without /etc: %v", err)
	}
	for field, image := range map[string]*ImageConfig{
		"User of /x.json":       {User: "1x", file: "/x.json"},
		"WorkingDir of /x.json": {WorkingDir: "rel", file: "/x.json"},
		"StopSignal of /x.json": {StopSignal: "SIGX", file: "/x.json"},
		"NAME=VALUE":            {Env: []string{"=x"}, file: "/x.json"},
		"(/x.json)":             {Env: []string{"A=1\x00B=2"}, file: "/x.json"},
	} {
		r := ubuntu()
		r.Image = image
		if _, err := build(t, "ubuntu id", rootHost(), r); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestCapAddBeyondOwnBoundingSet(t *testing.T) {
	h := rootHost()
	h.InBounding = bounding(allCapabilities &^ (1 << capSysResource))
	if _, err := build(t, "--cap-add SYS_RESOURCE ubuntu id", h, ubuntu()); err == nil || !strings.Contains(err.Error(), "add CAP_SYS_RESOURCE (--cap-add): gcr itself may not have it") {
		t.Errorf("%v", err)
	}
	if c, err := build(t, "--cap-add SYS_RESOURCE --userns private ubuntu id", h, ubuntu()); err != nil || len(c.Spec.Process.Capabilities.Bounding) != 15 {
		t.Errorf("with a user namespace of its own: %v", err)
	}
}
