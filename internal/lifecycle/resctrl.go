package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gcr/internal/plan"
	"gcr/internal/spec"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// resctrlRoot is where the resctrl file system is mounted (Documentation/filesystems/resctrl.rst).
const resctrlRoot = "/sys/fs/resctrl"

// openResctrl makes or finds the container's resctrl group (config-linux.md, "IntelRdt") and opens the file by which
// a process enters it. It returns nil when the configuration asks for none.
func (cr *creation) openResctrl() (*os.File, error) {
	if cr.spec.Linux == nil || cr.spec.Linux.IntelRdt == nil {
		return nil, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(resctrlRoot, &st); err != nil || st.Type != unix.RDTGROUP_SUPER_MAGIC {
		return nil, fmt.Errorf("make resctrl group (linux.intelRdt): there is no resctrl file system at %s; the processor must have RDT, and it is mounted by: mount -t resctrl resctrl %s", resctrlRoot, resctrlRoot)
	}
	g := resctrl{root: resctrlRoot, mkdir: func(dir string) error { return os.Mkdir(dir, 0o755) }}
	return g.open(cr.spec.Linux.IntelRdt, cr.o.ID, func(dir string) error {
		cr.c.rec.Resctrl = dir
		return cr.c.save()
	})
}

// resctrl is a mounted resctrl file system.
type resctrl struct {
	root  string
	mkdir func(dir string) error // which also brings the files of a group, as the kernel does
}

// open makes or finds the group of a container and opens its file tasks. Own is told the directory that belongs to
// this container alone before it is made; what goes wrong after that is removed with the container.
func (f resctrl) open(r *specs.LinuxIntelRdt, id string, own func(dir string) error) (*os.File, error) {
	writes := plan.Schemata(r)
	dir := filepath.Join(f.root, r.ClosID)
	_, err := os.Stat(dir)
	there := err == nil
	switch {
	case r.ClosID == "":
		// A group of this name that exists is what a creation left behind that was killed.
		dir = filepath.Join(f.root, id)
		if err := own(dir); err != nil {
			return nil, err
		}
		if err := f.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make resctrl group %s (linux.intelRdt): %w", dir, err)
		}
	case !there && len(writes) == 0:
		return nil, fmt.Errorf("enter resctrl group %s (linux.intelRdt.closID): there is none, and no schemata to make one with", dir)
	case !there:
		if err := f.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make resctrl group %s (linux.intelRdt.closID): %w", dir, err)
		}
	default:
		// The group is somebody else's too: its two older fields say what it must be, and are not written.
		if err := sameSchemata(dir, r); err != nil {
			return nil, err
		}
		writes = plan.Schemata(&specs.LinuxIntelRdt{Schemata: r.Schemata})
	}
	for _, text := range writes {
		if err := os.WriteFile(filepath.Join(dir, "schemata"), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("write schemata %q (linux.intelRdt): %w; %s/info/last_cmd_status says why", text, err, f.root)
		}
	}
	if r.EnableMonitoring {
		dir = filepath.Join(dir, "mon_groups", id)
		if r.ClosID != "" { // otherwise it goes with the group
			if err := own(dir); err != nil {
				return nil, err
			}
		}
		if err := f.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make monitoring group %s (linux.intelRdt.enableMonitoring): %w", dir, err)
		}
	}
	return os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
}

// UpdateResctrl writes new lines to the schemata of the container's resctrl group.
func (s Store) UpdateResctrl(id string, r *specs.LinuxIntelRdt) error {
	if err := spec.CheckIntelRdt(r); err != nil {
		return err
	}
	c, err := s.openLocked(id)
	if err != nil {
		return err
	}
	defer c.unlock()
	config, err := c.config()
	if err != nil {
		return err
	}
	if config.Linux == nil || config.Linux.IntelRdt == nil {
		return fmt.Errorf("update resctrl group (linux.intelRdt): the container has none")
	}
	return resctrl{root: resctrlRoot}.update(config.Linux.IntelRdt.ClosID, id, r)
}

func (f resctrl) update(class, id string, r *specs.LinuxIntelRdt) error {
	dir := filepath.Join(f.root, class)
	if class == "" {
		dir = filepath.Join(f.root, id)
	}
	for _, text := range plan.Schemata(r) {
		// Not made where it is missing: the kernel makes it with the group.
		schemata, err := os.OpenFile(filepath.Join(dir, "schemata"), os.O_WRONLY|os.O_TRUNC, 0)
		if err == nil {
			_, err = schemata.WriteString(text)
			err = errors.Join(err, schemata.Close())
		}
		if err != nil {
			return fmt.Errorf("write schemata %q (linux.intelRdt): %w; %s/info/last_cmd_status says why", text, err, f.root)
		}
	}
	return nil
}

// sameSchemata compares l3CacheSchema and memBwSchema with what an existing group has.
func sameSchemata(dir string, r *specs.LinuxIntelRdt) error {
	data, err := os.ReadFile(filepath.Join(dir, "schemata"))
	if err != nil {
		return fmt.Errorf("read resctrl group (linux.intelRdt.closID): %w", err)
	}
	has := schemata(string(data))
	for field, line := range map[string]string{"l3CacheSchema": r.L3CacheSchema, "memBwSchema": r.MemBwSchema} {
		for domain, want := range schemata(line) {
			if got := has[domain]; got != want {
				return fmt.Errorf("use resctrl group %s (linux.intelRdt.%s): it exists with %s=%s, not %s", dir, field, domain, got, want)
			}
		}
	}
	return nil
}

// schemata reads lines such as L3:0=7f0;1=1f as values by "L3:0" and "L3:1", without leading zeros.
func schemata(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		resource, domains, _ := strings.Cut(strings.TrimSpace(line), ":")
		for d := range strings.SplitSeq(domains, ";") {
			if id, value, ok := strings.Cut(strings.TrimSpace(d), "="); ok {
				value = strings.TrimLeft(strings.ToLower(strings.TrimSpace(value)), "0")
				out[resource+":"+strings.TrimSpace(id)] = value
			}
		}
	}
	return out
}

// removeResctrl removes the group that was made for this container alone.
func (c *Container) removeResctrl() {
	if c.rec.Resctrl == "" || !strings.HasPrefix(c.rec.Resctrl, resctrlRoot+"/") {
		return
	}
	if err := os.Remove(c.rec.Resctrl); err != nil && !os.IsNotExist(err) {
		c.store.warn("remove resctrl group %s: %v", c.rec.Resctrl, err)
	}
}
