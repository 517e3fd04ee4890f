package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"strings"

	"gcr/internal/network"
)

// hostNames are the lines of /etc/hosts that every container has.
const hostNames = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// etcFiles makes /etc/resolv.conf, /etc/hosts and /etc/hostname.
func (b *builder) etcFiles() ([]File, error) {
	resolv, err := b.resolvConf()
	if err != nil {
		return nil, err
	}
	files := []File{
		{Name: "resolv.conf", Destination: "/etc/resolv.conf", Content: resolv, Mode: 0o644},
		{Name: "hostname", Destination: "/etc/hostname", Content: []byte(b.hostname + "\n"), Mode: 0o644},
	}
	added, err := b.addedHosts()
	if err != nil {
		return nil, err
	}
	if b.o.NoHosts {
		if len(added) > 0 {
			return nil, conflict("--no-hosts", "--add-host", "one leaves /etc/hosts alone, the other adds to it", "keep one of them")
		}
		return files, nil
	}
	var hosts []byte
	if b.set.has(nsNet) {
		// Of its own network a container knows loopback; 127.0.1.1 is Debian's place for the machine's
		// own name, so that localhost keeps 127.0.0.1 for itself.
		hosts = append([]byte(hostNames), "127.0.1.1\t"+b.hostname+"\n"...)
	} else {
		if hosts, err = b.h.ReadFile("/etc/hosts", maxHostFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Op: "read", Object: "/etc/hosts", Cause: cause(err), Hint: "--no-hosts does without"}
		}
		if n := len(hosts); n > 0 && hosts[n-1] != '\n' {
			hosts = append(hosts, '\n')
		}
		if len(hosts) == 0 {
			hosts = []byte(hostNames)
		}
		if b.set.has(nsUTS) {
			hosts = append(hosts, "127.0.1.1\t"+b.hostname+"\n"...)
		}
	}
	hosts = append(hosts, added...)
	return append(files, File{Name: "hosts", Destination: "/etc/hosts", Content: hosts, Mode: 0o644}), nil
}

// addedHosts makes lines of --add-host NAME:IP, or NAME=IP as newer Docker writes it.
func (b *builder) addedHosts() ([]byte, error) {
	const flag = "--add-host"
	var out []byte
	for _, value := range b.o.AddHosts {
		name, ip, ok := strings.Cut(value, "=")
		if !ok {
			name, ip, ok = strings.Cut(value, ":")
		}
		if !ok {
			return nil, badValue(flag, value, "is not NAME:IP", "for instance db:10.0.0.5")
		}
		if why := badHostname(name, 253); why != "" {
			return nil, badValue(flag, value, "the name "+quote(name)+" "+why, "")
		}
		if ip == "host-gateway" {
			if !b.set.has(nsNet) || b.config.Network.Mode == network.None {
				return nil, badValue(flag, value, "there is no gateway to the host without a network", "give an address")
			}
			b.config.GatewayNames = append(b.config.GatewayNames, name)
			continue
		}
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]"))
		if err != nil || addr.Zone() != "" {
			return nil, badValue(flag, value, quote(ip)+" is not an IP address", "for instance 10.0.0.5 or 2001:db8::5")
		}
		out = append(out, addr.String()+"\t"+name+"\n"...)
	}
	return out, nil
}

// badHostname says what is wrong with a host name: letters, digits, "-", "_" and "." as Linux and DNS take
// them, at most most bytes. An empty answer means nothing is.
func badHostname(name string, most int) string {
	if name == "" {
		return "is empty"
	}
	if len(name) > most {
		return "is too long"
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		switch {
		case alnum || c == '_':
		case i > 0 && (c == '-' || c == '.') && (c == '-' || name[i-1] != '.'):
		default:
			return "holds a character that no host name has in that place"
		}
	}
	return ""
}

// maxHostname is HOST_NAME_MAX of gethostname(2).
const maxHostname = 64

// buildHostname decides the name; without a UTS namespace it is the host's.
func (b *builder) buildHostname() error {
	if !b.set.has(nsUTS) {
		if b.o.Hostname != "" {
			return conflict("--hostname", "the host's UTS namespace", "it would rename the host", "leave one of them out")
		}
		b.hostname = b.h.Hostname
		return nil
	}
	b.hostname = b.config.ShortID()
	if b.o.Hostname != "" {
		if why := badHostname(b.o.Hostname, maxHostname); why != "" {
			return badValue("--hostname", b.o.Hostname, why, "letters, digits, - and ., at most 64")
		}
		b.hostname = b.o.Hostname
	}
	b.spec.Hostname = b.hostname
	return nil
}

// resolvConf makes resolv.conf(5) of the host's and the flags. With the host's network it is the host's as
// it stands; otherwise name servers on the host's loopback are left out, since they cannot be reached.
func (b *builder) resolvConf() ([]byte, error) {
	var servers, search, options []string
	for _, s := range b.o.DNS {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, badValue("--dns", s, "is not an IP address", "for instance 9.9.9.9")
		}
		servers = append(servers, addr.String())
	}
	noSearch := false
	for _, s := range b.o.DNSSearch {
		if s == "." {
			noSearch = true
			continue
		}
		if why := badHostname(strings.TrimSuffix(s, "."), 253); why != "" {
			return nil, badValue("--dns-search", s, why, "for instance example.org; . for none")
		}
		search = append(search, s)
	}
	if noSearch && len(search) > 0 {
		return nil, badValue("--dns-search", ".", "asks for no search domain, and others are given", "keep one of them")
	}
	for _, s := range b.o.DNSOptions {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return nil, badValue("--dns-option", s, "is not a resolver option", "for instance ndots:2; see resolv.conf(5)")
		}
		options = append(options, s)
	}
	if !b.set.has(nsNet) && len(servers)+len(search)+len(options) == 0 && !noSearch {
		return bytes.Clone(b.h.ResolvConf), nil
	}

	var out []byte
	line := func(words ...string) { out = append(out, strings.Join(words, " ")+"\n"...) }
	host := b.h.ResolvConf
	if b.set.has(nsNet) && onlyLoopback(host) && len(b.h.ResolvUpstream) > 0 {
		// systemd-resolved listens on the host's loopback; it keeps a file with the servers that it asks itself.
		host = b.h.ResolvUpstream
	}
	for raw := range strings.Lines(string(host)) {
		f := strings.Fields(raw)
		if len(f) < 2 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			if len(servers) == 0 && (!b.set.has(nsNet) || !isLoopback(f[1])) {
				line("nameserver", f[1])
			}
		case "search", "domain":
			if len(search) == 0 && !noSearch {
				line(f...)
			}
		case "options":
			if len(options) == 0 {
				line(f...)
			}
		case "sortlist":
			line(f...)
		}
	}
	if len(search) > 0 {
		line(append([]string{"search"}, search...)...)
	}
	for _, s := range servers {
		line("nameserver", s)
	}
	if len(options) > 0 {
		line(append([]string{"options"}, options...)...)
	}
	return out, nil
}

// onlyLoopback tells whether all name servers of a resolv.conf are on the host itself.
func onlyLoopback(conf []byte) bool {
	for raw := range strings.Lines(string(conf)) {
		if f := strings.Fields(raw); len(f) > 1 && f[0] == "nameserver" && !isLoopback(f[1]) {
			return false
		}
	}
	return true
}

// isLoopback tells whether a name server is on the host itself, as systemd-resolved's 127.0.0.53 is.
func isLoopback(server string) bool {
	addr, err := netip.ParseAddr(server)
	return err == nil && addr.Unmap().IsLoopback()
}
