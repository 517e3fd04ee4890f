package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gcr/internal/launch"
	"gcr/internal/network"
	"gcr/internal/plan"
	"gcr/internal/state"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// buildNetwork reads the flags about networks. Without any of them a container with a network namespace gets
// the default network; --ns asks for namespaces and nothing else, so there it stays alone.
func (b *builder) buildNetwork() error {
	o := b.o
	for _, v := range o.Expose {
		if strings.Contains(v, ":") {
			return badValue("--expose", v, "names a port of the host", "-p "+v+" publishes it; --expose takes a port of the container, such as 80")
		}
		if _, err := network.ParsePorts("--expose", v); err != nil {
			return err
		}
	}
	req, err := network.ParseRequest(network.Flags{
		Networks: o.Networks, Publish: o.Publish, All: o.PublishAll, Exposed: b.exposedPorts(),
		IP: o.IP, IP6: o.IP6, MAC: o.MAC, Aliases: o.NetworkAliases,
	})
	if err != nil {
		return err
	}
	if req.Mode == network.Container && len(o.DNS)+len(o.DNSSearch)+len(o.DNSOptions)+len(o.AddHosts) > 0 {
		return conflict("--dns, --add-host and their kin", "--network container:"+req.Target, "name servers and host names are those of that container", "give them to that one")
	}
	switch {
	case !b.set.has(nsNet):
		if len(req.Ports) > 0 || len(req.Attach) > 0 {
			return conflict("-p, --ip and their kin", "the host's network", "there is no network of its own that they could be about", "leave one of them out")
		}
		req.Mode = network.HostNet
	case req.Mode == network.Default && o.Namespaces.Given && len(o.Networks) == 0 && len(req.Ports) == 0:
		req.Mode = network.None
	}
	b.config.Network = req
	return nil
}

// exposedPorts are the ports that the image and --expose say the container serves, each once.
func (b *builder) exposedPorts() []string {
	all := map[string]bool{}
	add := func(port string) {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		all[port] = true
	}
	if b.image != nil {
		for p := range b.image.ExposedPorts {
			add(p)
		}
	}
	for _, p := range b.o.Expose {
		add(p)
	}
	return slices.Sorted(maps.Keys(all))
}

// networkMode is what --network means for the namespace: host, anything else for one of its own, or empty when it
// was not given.
func (o *Options) networkMode() string {
	if len(o.Networks) == 0 {
		return ""
	}
	for _, n := range o.Networks {
		if n == "host" {
			return "host"
		}
	}
	return o.Networks[0]
}

// planNetwork finds out how the container will be connected. It changes nothing.
func (r *run) planNetwork(in *plan.Input) error {
	req := r.cfg.Network
	switch req.Mode {
	case network.Container:
		dir, err := r.findContainer(req.Target)
		if err != nil {
			return err
		}
		return r.joinNetwork(in.Spec, dir)
	case network.Path:
		if _, err := os.Stat(req.Target); err != nil {
			return &Error{Op: "join", Object: "network namespace " + req.Target, Flag: "--network", Cause: cause(err), Hint: "ip netns add NAME makes one, at /run/netns/NAME"}
		}
		setNetworkPath(in.Spec, req.Target)
		return nil
	}
	p, err := network.NewPlan(network.Caller{Rootless: r.host.rootless() || r.host.inUserNamespace()}, req)
	if err != nil {
		return err
	}
	r.net = p
	r.notes = append(r.notes, p.Notes...)
	r.lacking = append(r.lacking, p.Lacking...)
	if !p.Connected() {
		return nil
	}
	in.Network = &plan.Network{
		Info:   plan.Info{What: p.What(), Why: p.Why(), Man: p.Man(), Field: "linux.namespaces"},
		Detail: p.Detail(), Shell: p.Shell(), Enter: p.Enter(), Held: p.Held(),
	}
	r.resolver()
	return nil
}

// resolver sees that the container has a name server that it can reach.
func (r *run) resolver() {
	for i := range r.cfg.Files {
		f := &r.cfg.Files[i]
		if f.Name != "resolv.conf" || bytes.Contains(f.Content, []byte("nameserver ")) {
			continue
		}
		if dns := r.net.DNS(); dns.IsValid() {
			f.Content = append(f.Content, "nameserver "+dns.String()+"\n"...)
			continue
		}
		r.cfg.Notes = append(r.cfg.Notes, "no name server: those of the host are on its loopback, where the container does not reach them; give one with --dns")
	}
}

func setNetworkPath(spec *specs.Spec, path string) {
	for i := range spec.Linux.Namespaces {
		if ns := &spec.Linux.Namespaces[i]; ns.Type == specs.NetworkNamespace {
			ns.Path = path
		}
	}
}

// pidFile holds the process id of the first process, in the state directory.
const pidFile = "pid"

// joinNetwork makes the container share the network of another one, and its names.
func (r *run) joinNetwork(spec *specs.Spec, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	pid := 0
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	// The network's own record has it earlier, before the command runs.
	if rec, rerr := network.ReadRecord(dir); rerr == nil && rec.PID != 0 {
		pid, err = rec.PID, nil
	}
	if err != nil {
		return &Error{Op: "join", Object: "the network of container " + filepath.Base(dir), Flag: "--network", Cause: text("it has not started yet")}
	}
	if r.host.rootless() {
		return &Error{
			Op: "join", Object: "the network of container " + filepath.Base(dir), Flag: "--network",
			Cause: text("without root each container is in a user namespace of its own, and may not enter one that belongs to another"),
			Hint:  "run gcr as root for this",
		}
	}
	setNetworkPath(spec, fmt.Sprintf("/proc/%d/ns/net", pid))
	for i := range r.cfg.Files {
		f := &r.cfg.Files[i]
		if f.Name != "hosts" && f.Name != "resolv.conf" {
			continue
		}
		if content, err := os.ReadFile(filepath.Join(dir, f.Name)); err == nil {
			f.Content = content
		}
	}
	return nil
}

// findContainer finds the state directory of a running container by its name or the beginning of its id.
func (r *run) findContainer(name string) (string, error) {
	missing := &Error{Op: "find", Object: "container " + quote(name), Flag: "--network", Cause: text("no container of that name or id is running")}
	if name == "" || strings.ContainsAny(name, "/") || name[0] == '.' {
		return "", missing
	}
	root := r.stateRoot()
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", &Error{Op: "find", Object: "container " + quote(name), Flag: "--network", Cause: cause(err)}
	}
	found := ""
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if e.Name() == name && state.Alive(path) {
			return path, nil
		}
		if (strings.HasPrefix(e.Name(), name) || len(name) > 12 && strings.HasPrefix(name, e.Name())) && len(e.Name()) == 12 && state.Alive(path) {
			if found != "" {
				missing.Cause = text("several containers have an id that begins so")
				return "", missing
			}
			found = path
		}
	}
	if found == "" {
		return "", missing
	}
	return found, nil
}

// connect leases what the container needs of the network, once it has a state directory.
func (r *run) connect(opts *launch.Options) error {
	if r.net == nil || !r.net.Connected() {
		return nil
	}
	names := []string{r.cfg.Spec.Hostname}
	if r.cfg.Name != "" && r.cfg.Name != names[0] {
		names = append(names, r.cfg.Name)
	}
	if id := r.cfg.ShortID(); id != names[0] {
		names = append(names, id)
	}
	if names[0] == "" {
		names = names[1:]
	}
	con, err := r.net.Allocate(network.Identity{ID: r.cfg.ID, Dir: r.path, Names: names})
	if err != nil {
		return err
	}
	r.undo = append(r.undo, func() {
		if err := con.Release(); err != nil {
			r.note(err.Error())
		}
	})
	con.Note = r.note
	if !r.o.Quiet {
		// Nobody could know them otherwise.
		for _, p := range con.Chosen() {
			r.note("published " + p.String())
		}
	}
	con.OnDeath = func(said string) {
		r.note(fmt.Sprintf("the container has lost its network: %s ended: %s", r.net.Mode, said))
	}
	opts.SetUpNetwork = con.Attach
	var gateway string
	if len(r.net.Defs) > 0 {
		gateway = r.net.Defs[0].Gateway4.String()
		if !r.net.Defs[0].Gateway4.IsValid() {
			gateway = r.net.Defs[0].Gateway6.String()
		}
	}
	for i := range r.cfg.Files {
		f := &r.cfg.Files[i]
		if f.Name != network.HostsFile {
			continue
		}
		if own := con.Hosts(r.cfg.Spec.Hostname); own != "" && r.cfg.Spec.Hostname != "" {
			f.Content = bytes.Replace(f.Content, []byte("127.0.1.1\t"+r.cfg.Spec.Hostname+"\n"), []byte(own), 1)
		}
		for _, n := range r.cfg.GatewayNames {
			if gateway == "" {
				return &Error{Op: "add", Object: "host " + n, Flag: "--add-host", Cause: text("the host has no address in a network by " + string(r.net.Mode)), Hint: "give an address"}
			}
			f.Content = append(f.Content, gateway+"\t"+n+"\n"...)
		}
	}
	opts.Files = fileList(r.cfg.Files)
	return nil
}

// CleanUp takes away what a killed gcr has left of a container outside its state directory.
func CleanUp(dir string) error {
	return errors.Join(network.Clean(dir), cleanCgroup(dir))
}
