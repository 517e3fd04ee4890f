package engine

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gcr/internal/account"
)

// builder holds what Build works on.
type builder struct {
	o     *Options
	h     *Host
	root  *RootFS
	image *ImageConfig // nil where the container does not run in the root filesystem
	files Files        // of the root directory that the command will see

	set      nsSet
	ids      idMaps
	who      account.Identity
	hostname string
	unmasked bool
	rules    []specs.LinuxDeviceCgroup

	spec   *specs.Spec
	config *Config
}

// Build makes the configuration of one container. It changes nothing, and the same arguments give the same
// result. Errors are of type *Error.
func Build(o *Options, h *Host, root *RootFS) (*Config, error) {
	if err := o.checkRun(); err != nil {
		return nil, err
	}
	b := &builder{o: o, h: h, root: root}
	var err error
	if b.set, err = o.namespaces(h); err != nil {
		return nil, err
	}
	if b.ids, err = o.mapIDs(h, b.set.has(nsUser)); err != nil {
		return nil, err
	}
	b.spec = &specs.Spec{
		Version: "1.3.0",
		Process: &specs.Process{},
		Root:    &specs.Root{Path: "/"},
		Linux: &specs.Linux{
			Namespaces:  b.set.oci(),
			UIDMappings: b.ids.uid,
			GIDMappings: b.ids.gid,
		},
	}
	b.config = &Config{
		ID: hex.EncodeToString(h.Random[:]), Name: o.Name, Spec: b.spec,
		MapTool: b.ids.tool, DenySetgroups: b.ids.own && !b.ids.setgroups,
		Init: o.Init, StopSignal: sigTerm,
	}
	b.buildRoot()
	for _, step := range [...]func() error{
		b.buildNetwork, b.buildHostname, b.buildUser, b.buildTerminal, b.buildEnv, b.buildCommand, b.buildCwd,
		b.buildCapabilities, b.buildSecurity, b.buildMounts, b.buildDevices, b.buildSysctls, b.buildUlimits,
		b.buildResources, b.buildMetadata, b.checkArgs,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if o.Namespaces.Given && b.set.has(nsUser) && !strings.Contains(","+o.Namespaces.Value+",", ",user,") && o.UserNS == "" {
		b.note("a user namespace comes with --ns %s: an ordinary user can make the others only inside of one", o.Namespaces.Value)
	}
	if b.ids.note != "" {
		b.note("%s", b.ids.note)
	}
	return b.config, nil
}

// buildRoot decides which root directory the command sees: without a mount namespace, the host's, and then
// the image's configuration does not apply either.
func (b *builder) buildRoot() {
	if !b.set.has(nsMount) {
		b.files = b.h.Files
		b.config.Root = Root{Kind: RootNone, Path: "/"}
		return
	}
	b.files, b.image = b.root.Files, b.root.Image
	b.config.Root = Root{Kind: b.root.Kind, Path: b.root.Path}
	b.config.Shifted = b.ids.shifted
	if b.o.Ephemeral && b.root.Kind == RootDirectory {
		b.config.Root.Kind = RootEphemeral
	}
	b.spec.Root.Path = b.root.Path
	b.spec.Root.Readonly = b.o.ReadOnly
}

// buildCapabilities sets the bounding set, and the effective and permitted ones for root; another user
// starts without, as after an execve. Inheritable and ambient stay empty (CVE-2022-24769).
func (b *builder) buildCapabilities() error {
	set, note, err := b.o.capabilities(b.h, b.ids.own)
	if err != nil {
		return err
	}
	if note != "" {
		b.note("%s", note)
	}
	list := capabilityList(set)
	caps := &specs.LinuxCapabilities{Bounding: list}
	if b.who.UID == 0 {
		caps.Effective, caps.Permitted = slices.Clone(list), slices.Clone(list)
	}
	b.spec.Process.Capabilities = caps
	return nil
}

// buildMetadata sets labels, annotations and the stop signal.
func (b *builder) buildMetadata() error {
	labels, err := parseKeyValues("--label", b.o.Labels, false)
	if err != nil {
		return err
	}
	if b.image != nil {
		for k, v := range b.image.Labels {
			if _, set := labels[k]; !set {
				if labels == nil {
					labels = make(map[string]string, len(b.image.Labels))
				}
				labels[k] = v
			}
		}
	}
	b.config.Labels = labels
	if b.spec.Annotations, err = parseKeyValues("--annotation", b.o.Annotate, true); err != nil {
		return err
	}
	flag, value := "--stop-signal", b.o.StopSignal
	if value == "" && b.image != nil && b.image.StopSignal != "" {
		flag, value = "StopSignal of "+b.image.file, b.image.StopSignal
	}
	if value != "" {
		b.config.StopSignal, err = parseSignal(flag, value)
	}
	return err
}

// lastPingGroup is the highest group id that the kernel lets the container's network name: every id where
// there is no user namespace, otherwise the last that exists.
func (b *builder) lastPingGroup() string {
	if !b.ids.own {
		return "2147483647"
	}
	return strconv.FormatUint(min(uint64(lastID(&b.ids)), 1<<31-1), 10)
}

func newBox(rows, columns uint16) *specs.Box {
	return &specs.Box{Height: uint(rows), Width: uint(columns)}
}
