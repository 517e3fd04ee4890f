package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gcr/test/vm/debian"
)

// keyring has the keys that Debian's archive is signed with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// An archive is apt with sources and state of its own: the host's apt is neither used nor changed, and any
// architecture can be asked for.
type archive struct {
	options []string
}

// openArchive makes the state directory below dir and fetches the package lists.
func openArchive(ctx context.Context, dir, arch string, suites []string) (*archive, error) {
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("find Debian's signing keys: %w (install the package debian-archive-keyring)", err)
	}
	var sources strings.Builder
	for _, suite := range suites {
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, debian.Mirror("/etc/apt"), suite)
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	list, status := filepath.Join(dir, "etc/sources.list"), filepath.Join(dir, "status")
	if err := os.WriteFile(list, []byte(sources.String()), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	a := &archive{options: []string{
		"-qq",
		"-o", "APT::Architecture=" + arch, "-o", "APT::Architectures::=" + arch, "-o", "Acquire::Languages=none",
		"-o", "Dir::State::lists=" + filepath.Join(dir, "lists"), "-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "Dir::Etc::sourcelist=" + list,
		"-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::preferencesparts=/dev/null",
		"-o", "APT::Sandbox::User=root",
	}}
	_, err := runTool(ctx, "", "apt-get", append(a.options, "update")...)
	return a, err
}

// show returns the fields called field of a package's records.
func (a *archive) show(ctx context.Context, pkg, field string) ([]string, error) {
	text, err := runTool(ctx, "", "apt-cache", append(a.options, "show", pkg)...)
	if err != nil {
		return nil, err
	}
	var values []string
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, field+": "); ok {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values, nil
}

// unpack downloads a package and unpacks its files into dir, which apt and dpkg call neither installing nor
// configuring: no script of the package runs.
func (a *archive) unpack(ctx context.Context, pkg, dir string) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), "deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if _, err := runTool(ctx, temp, "apt-get", append(a.options, "download", pkg)...); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(temp, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("download %s: got %d packages", pkg, len(debs))
	}
	_, err = runTool(ctx, "", "dpkg-deb", "-x", debs[0], dir)
	return err
}
