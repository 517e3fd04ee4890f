// Package lima_test checks the template of the Lima VM, gcr.lima.yaml, and what runs in it, provision.sh.
package lima_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../../"

// template lists the fields that a template may have, as documented for Lima v2.0 (templates/default.yaml and
// pkg/limatype/lima_yaml.go there) without those that are deprecated there. Decoded strictly: a field that is not
// here, or is of another type, is an error.
type template struct {
	Base               []locator         `yaml:"base"`
	MinimumLimaVersion string            `yaml:"minimumLimaVersion"`
	VMType             string            `yaml:"vmType"`
	VMOpts             map[string]any    `yaml:"vmOpts"`
	OS                 string            `yaml:"os"`
	Arch               string            `yaml:"arch"`
	Images             []image           `yaml:"images"`
	CPUs               int               `yaml:"cpus"`
	Memory             string            `yaml:"memory"`
	Disk               string            `yaml:"disk"`
	AdditionalDisks    []disk            `yaml:"additionalDisks"`
	Mounts             []mount           `yaml:"mounts"`
	MountTypesUnsup    []string          `yaml:"mountTypesUnsupported"`
	MountType          string            `yaml:"mountType"`
	MountInotify       bool              `yaml:"mountInotify"`
	SSH                ssh               `yaml:"ssh"`
	Firmware           firmware          `yaml:"firmware"`
	Audio              map[string]string `yaml:"audio"`
	Video              map[string]any    `yaml:"video"`
	Provision          []provision       `yaml:"provision"`
	UpgradePackages    bool              `yaml:"upgradePackages"`
	Containerd         containerd        `yaml:"containerd"`
	GuestInstallPrefix string            `yaml:"guestInstallPrefix"`
	Probes             []probe           `yaml:"probes"`
	PortForwards       []portForward     `yaml:"portForwards"`
	CopyToHost         []copyToHost      `yaml:"copyToHost"`
	Message            string            `yaml:"message"`
	Networks           []network         `yaml:"networks"`
	Env                map[string]string `yaml:"env"`
	Param              map[string]string `yaml:"param"`
	DNS                []string          `yaml:"dns"`
	HostResolver       hostResolver      `yaml:"hostResolver"`
	PropagateProxyEnv  bool              `yaml:"propagateProxyEnv"`
	CACerts            caCerts           `yaml:"caCerts"`
	Plain              bool              `yaml:"plain"`
	TimeZone           string            `yaml:"timezone"`
	NestedVirt         bool              `yaml:"nestedVirtualization"`
	User               user              `yaml:"user"`
}

type (
	// locator is a string, or a mapping with the fields url and digest.
	locator struct{ URL, Digest string }

	file struct {
		Location string `yaml:"location"`
		Arch     string `yaml:"arch"`
		Digest   string `yaml:"digest"`
	}
	kernel struct {
		file    `yaml:",inline"`
		Cmdline string `yaml:"cmdline"`
	}
	image struct {
		file   `yaml:",inline"`
		Kernel *kernel `yaml:"kernel"`
		Initrd *file   `yaml:"initrd"`
	}
	disk struct {
		Name   string   `yaml:"name"`
		Format bool     `yaml:"format"`
		FSType string   `yaml:"fsType"`
		FSArgs []string `yaml:"fsArgs"`
	}
	mount struct {
		Location   string         `yaml:"location"`
		MountPoint string         `yaml:"mountPoint"`
		Writable   bool           `yaml:"writable"`
		SSHFS      map[string]any `yaml:"sshfs"`
		NineP      map[string]any `yaml:"9p"`
		Virtiofs   map[string]any `yaml:"virtiofs"`
	}
	ssh struct {
		Address           string `yaml:"address"`
		LocalPort         int    `yaml:"localPort"`
		LoadDotSSHPubKeys bool   `yaml:"loadDotSSHPubKeys"`
		ForwardAgent      bool   `yaml:"forwardAgent"`
		ForwardX11        bool   `yaml:"forwardX11"`
		ForwardX11Trusted bool   `yaml:"forwardX11Trusted"`
	}
	firmware struct {
		LegacyBIOS bool             `yaml:"legacyBIOS"`
		Images     []map[string]any `yaml:"images"`
	}
	provision struct {
		Mode                            string  `yaml:"mode"`
		SkipDefaultDependencyResolution bool    `yaml:"skipDefaultDependencyResolution"`
		Script                          string  `yaml:"script"`
		File                            locator `yaml:"file"`
		Content                         string  `yaml:"content"`
		Overwrite                       bool    `yaml:"overwrite"`
		Owner                           string  `yaml:"owner"`
		Path                            string  `yaml:"path"`
		Permissions                     string  `yaml:"permissions"`
		Expression                      string  `yaml:"expression"`
		Format                          string  `yaml:"format"`
	}
	containerd struct {
		System   bool   `yaml:"system"`
		User     bool   `yaml:"user"`
		Archives []file `yaml:"archives"`
	}
	probe struct {
		Mode        string  `yaml:"mode"`
		Description string  `yaml:"description"`
		Script      string  `yaml:"script"`
		File        locator `yaml:"file"`
		Hint        string  `yaml:"hint"`
	}
	portForward struct {
		GuestIPMustBeZero bool   `yaml:"guestIPMustBeZero"`
		GuestIP           string `yaml:"guestIP"`
		GuestPort         int    `yaml:"guestPort"`
		GuestPortRange    [2]int `yaml:"guestPortRange"`
		GuestSocket       string `yaml:"guestSocket"`
		HostIP            string `yaml:"hostIP"`
		HostPort          int    `yaml:"hostPort"`
		HostPortRange     [2]int `yaml:"hostPortRange"`
		HostSocket        string `yaml:"hostSocket"`
		Proto             string `yaml:"proto"`
		Reverse           bool   `yaml:"reverse"`
		Ignore            bool   `yaml:"ignore"`
		Static            bool   `yaml:"static"`
	}
	copyToHost struct {
		Guest        string `yaml:"guest"`
		Host         string `yaml:"host"`
		DeleteOnStop bool   `yaml:"deleteOnStop"`
	}
	network struct {
		Lima       string `yaml:"lima"`
		Socket     string `yaml:"socket"`
		VZNAT      bool   `yaml:"vzNAT"`
		MACAddress string `yaml:"macAddress"`
		Interface  string `yaml:"interface"`
		Metric     uint32 `yaml:"metric"`
	}
	hostResolver struct {
		Enabled bool              `yaml:"enabled"`
		IPv6    bool              `yaml:"ipv6"`
		Hosts   map[string]string `yaml:"hosts"`
	}
	caCerts struct {
		RemoveDefaults bool     `yaml:"removeDefaults"`
		Files          []string `yaml:"files"`
		Certs          []string `yaml:"certs"`
	}
	user struct {
		Name    string `yaml:"name"`
		Comment string `yaml:"comment"`
		Home    string `yaml:"home"`
		Shell   string `yaml:"shell"`
		UID     uint32 `yaml:"uid"`
	}
)

func (l *locator) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&l.URL)
	}
	return n.Decode((*struct{ URL, Digest string })(l))
}

// parse decodes a template strictly.
func parse(text []byte) (template, error) {
	var t template
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return t, d.Decode(&t)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTemplate(t *testing.T) {
	text := read(t, "gcr.lima.yaml")
	lima, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	// Lima runs the file with the interpreter of its first line, and takes "{{" in it for its own templates.
	if len(lima.Provision) != 1 || lima.Provision[0].Mode != "system" || lima.Provision[0].File.URL != "provision.sh" {
		t.Errorf("provision is %+v, want provision.sh, run by root", lima.Provision)
	}
	if script := read(t, "provision.sh"); !strings.HasPrefix(script, "#!") || strings.Contains(script, "{{") {
		t.Error("provision.sh: want an interpreter line, and no {{")
	}
	// The field provision[].file came with this version.
	if lima.MinimumLimaVersion != "1.1.0" {
		t.Errorf("minimumLimaVersion is %q, want 1.1.0", lima.MinimumLimaVersion)
	}
	for _, p := range lima.Probes {
		if !strings.HasPrefix(p.Script, "#!") {
			t.Errorf("probe %q: no interpreter line", p.Description)
		}
	}

	arches := []string{}
	for _, i := range lima.Images {
		arches = append(arches, i.Arch)
		debian := map[string]string{"aarch64": "arm64", "x86_64": "amd64"}[i.Arch]
		want := "https://cloud-images.ubuntu.com/releases/jammy/release/ubuntu-22.04-server-cloudimg-" + debian + ".img"
		if i.Location != want {
			t.Errorf("image for %s is %s, want %s", i.Arch, i.Location, want)
		}
	}
	slices.Sort(arches)
	if !slices.Equal(arches, []string{"aarch64", "x86_64"}) {
		t.Errorf("images for %v, want for aarch64 and x86_64", arches)
	}

	shared := mount{Location: "{{.Param.Project}}", MountPoint: "{{.Home}}/gcr", Writable: true}
	if len(lima.Mounts) != 1 || lima.Mounts[0].Location != shared.Location || lima.Mounts[0].MountPoint != shared.MountPoint || !lima.Mounts[0].Writable {
		t.Errorf("mounts are %+v, want %+v", lima.Mounts, shared)
	}
	// Each parameter is defined and, since Lima insists on it, used.
	var used []string
	for _, m := range regexp.MustCompile(`\{\{\.Param\.(\w+)\}\}`).FindAllStringSubmatch(text, -1) {
		used = append(used, m[1])
		if _, ok := lima.Param[m[1]]; !ok {
			t.Errorf("parameter %s is not defined", m[1])
		}
	}
	for name := range lima.Param {
		if !slices.Contains(used, name) {
			t.Errorf("parameter %s is not used", name)
		}
	}
	// Sizes are in the units of docker/go-units.
	for _, size := range []string{lima.Memory, lima.Disk} {
		if !regexp.MustCompile(`^\d+([KMGT]i?B)$`).MatchString(size) {
			t.Errorf("size %q", size)
		}
	}
}

// TestTemplateMistakes shows that the check is strict.
func TestTemplateMistakes(t *testing.T) {
	for _, text := range []string{
		"image: []", "images: {}", "cpus: many", "mounts: [{location: /a, mountpoint: /b}]", "provision: [{mode: system, scripts: x}]",
		"containerd: {rootless: true}", "images: [{location: a, architecture: x}]", "cpus: 1\ncpus: 2",
	} {
		if _, err := parse([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
