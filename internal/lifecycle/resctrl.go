package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	r := cr.spec.Linux.IntelRdt
	var fs unix.Statfs_t
	if err := unix.Statfs(resctrlRoot, &fs); err != nil || fs.Type != unix.RDTGROUP_SUPER_MAGIC {
		return nil, fmt.Errorf("make resctrl group (linux.intelRdt): there is no resctrl file system at %s; the processor must have RDT, and it is mounted by: mount -t resctrl resctrl %s", resctrlRoot, resctrlRoot)
	}
	name := r.ClosID
	if name == "" {
		name = cr.o.ID
	}
	dir := filepath.Join(resctrlRoot, name)
	err := os.Mkdir(dir, 0o755)
	switch {
	case err == nil:
		if r.ClosID == "" {
			cr.c.rec.Resctrl = dir
			if err := cr.c.save(); err != nil {
				return nil, err
			}
		}
	case !os.IsExist(err):
		return nil, fmt.Errorf("make resctrl group %s (linux.intelRdt.closID): %w", dir, err)
	}
	lines := r.Schemata
	if len(lines) == 0 {
		for _, l := range []string{r.L3CacheSchema, r.MemBwSchema} {
			if l != "" {
				lines = append(lines, l)
			}
		}
	}
	if len(lines) > 0 {
		text := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "schemata"), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("write schemata %q (linux.intelRdt.schemata): %w; %s/info/last_cmd_status says why", text, err, resctrlRoot)
		}
	}
	tasks := dir
	if r.EnableMonitoring {
		mon := filepath.Join(dir, "mon_groups", cr.o.ID)
		if err := os.Mkdir(mon, 0o755); err != nil && !os.IsExist(err) {
			return nil, fmt.Errorf("make monitoring group %s (linux.intelRdt.enableMonitoring): %w", mon, err)
		}
		if cr.c.rec.Resctrl == "" {
			cr.c.rec.Resctrl = mon
		}
		tasks = mon
	}
	return os.OpenFile(filepath.Join(tasks, "tasks"), os.O_WRONLY, 0)
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
