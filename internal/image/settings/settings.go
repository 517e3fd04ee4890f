// Package settings reads the one configuration file about images, registries.json:
//
//	{
//	  "registries": {
//	    "docker.io":         {"mirrors": ["mirror.example.com", "http://localhost:5000"]},
//	    "registry.lan:5000": {"insecure": true},
//	    "registry.example":  {"ca": "/etc/ssl/example.pem"}
//	  },
//	  "parallel": 3,
//	  "limits": {"layerBytes": 274877906944, "layerEntries": 10000000}
//	}
//
// The file of the user ($XDG_CONFIG_HOME/gcr/registries.json, usually ~/.config/gcr) wins over that of the machine
// (/etc/gcr/registries.json); GCR_REGISTRIES names another. A missing file means the defaults.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Settings is the content of the file.
type Settings struct {
	Registries map[string]Registry `json:"registries,omitempty"` // by host[:port]
	// Parallel is how many layers are downloaded and unpacked at a time; default 3.
	Parallel int    `json:"parallel,omitempty"`
	Limits   Limits `json:"limits"`
}

// Registry is what is to be known about one registry.
type Registry struct {
	// Mirrors are tried first, in order: "host[:port]", or "http://host[:port]" without TLS.
	Mirrors []string `json:"mirrors,omitempty"`
	// Insecure allows plain HTTP and certificates that cannot be verified. Loopback addresses may always speak HTTP.
	Insecure bool `json:"insecure,omitempty"`
	// CA is a file of PEM certificates to trust in addition.
	CA string `json:"ca,omitempty"`
}

// Limits against archives made to fill a disk; 0 means the default.
type Limits struct {
	LayerBytes   int64 `json:"layerBytes,omitempty"`
	LayerEntries int64 `json:"layerEntries,omitempty"`
}

// Path of the file that Load reads.
func Path() string {
	if p := os.Getenv("GCR_REGISTRIES"); p != "" {
		return p
	}
	if dir, err := os.UserConfigDir(); err == nil {
		p := filepath.Join(dir, "gcr", "registries.json")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return "/etc/gcr/registries.json"
}

// Load reads the file. An unknown field is an error: a misspelt "insecure" should not pass unnoticed.
func Load() (*Settings, error) {
	p := Path()
	b, err := os.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("GCR_REGISTRIES") == "" {
		return Parse(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	s, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read settings %s: %w", p, err)
	}
	return s, nil
}

// Parse reads the content of a file; nothing means the defaults.
func Parse(b []byte) (*Settings, error) {
	s := &Settings{Parallel: 3}
	if len(bytes.TrimSpace(b)) > 0 {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(s); err != nil {
			return nil, err
		}
		if _, err := d.Token(); err != io.EOF {
			return nil, errors.New("something follows the closing brace")
		}
	}
	if s.Parallel < 1 || s.Parallel > 64 {
		return nil, fmt.Errorf("parallel: %d is not between 1 and 64", s.Parallel)
	}
	for host, r := range s.Registries {
		if host == "" || strings.Contains(host, "/") {
			return nil, fmt.Errorf("registries: %q is not of the form HOST[:PORT]", host)
		}
		for _, m := range r.Mirrors {
			if _, _, err := Mirror(m); err != nil {
				return nil, fmt.Errorf("registries.%s.mirrors: %w", host, err)
			}
		}
	}
	return s, nil
}

// Mirror parts a mirror into host and whether it is reached without TLS.
func Mirror(m string) (host string, plain bool, err error) {
	host, plain = strings.CutPrefix(m, "http://")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/")
	if host == "" || strings.ContainsAny(host, "/ ") {
		return "", false, fmt.Errorf("%q is not of the form [http://]HOST[:PORT]", m)
	}
	return host, plain, nil
}

// PlainAllowed says whether host[:port] may be spoken to without TLS.
func (s *Settings) PlainAllowed(host string) bool { return s.Insecure(host) || Loopback(host) }

// Insecure says whether host[:port] was declared insecure, itself or as an http:// mirror.
func (s *Settings) Insecure(host string) bool {
	if s.Registries[host].Insecure {
		return true
	}
	for _, r := range s.Registries {
		for _, m := range r.Mirrors {
			if h, plain, _ := Mirror(m); plain && h == host {
				return true
			}
		}
	}
	return false
}

// Loopback says whether host[:port] is this machine.
func Loopback(host string) bool {
	h := host
	if x, _, err := net.SplitHostPort(host); err == nil {
		h = x
	}
	h = strings.Trim(h, "[]")
	if h == "localhost" {
		return true
	}
	ip := net.ParseIP(h)
	return ip != nil && ip.IsLoopback()
}
