package plan

import (
	"fmt"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Tree is a detached copy of a mount that the host side makes, for it needs rights that the program in its user
// namespace has not.
type Tree struct {
	Source    string
	Recursive bool
	Field     string
	// UIDMap and GIDMap, when set, show the owners of the files through an id map (mount_setattr(2),
	// MOUNT_ATTR_IDMAP, Linux 5.12); IDMapRecursive says the same of all mounts below.
	UIDMap, GIDMap []specs.LinuxIDMapping
	IDMapRecursive bool
	// Overlay, when set, is the root filesystem that the tree is: an overlay over directories whose owners are shown
	// through the id map.
	Overlay *Root
	// CopyUp is a path in the root filesystem Source: the tree is a tmpfs, mounted with the options Data (key and
	// value), that starts with what is at that path.
	CopyUp string
	Data   [][2]string
}

// idMaps checks the id maps of the root filesystem and of mounts and plans their trees.
func (b *builder) idMaps() error {
	if err := b.rootTree(); err != nil {
		return err
	}
	b.trees = map[int]int{}
	for i, m := range b.spec.Mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		o, err := parseOptions(m.Options)
		if err != nil {
			continue // reported when the mount itself is planned
		}
		if o.remount {
			continue
		}
		bind := o.bind || m.Type == "bind"
		if o.copyUp && m.Type == "tmpfs" && b.in.Host.SysAdmin && !b.in.Host.UserNamespace && b.in.Root.Path != "" {
			t := Tree{Source: b.in.Root.Path, Field: field, CopyUp: path.Clean("/" + m.Destination)}
			for _, d := range o.data {
				t.Data = append(t.Data, [2]string{d.key, d.value})
			}
			for _, f := range o.superblock {
				if f == "iversion" {
					continue // tmpfs does as it wants
				}
				t.Data = append(t.Data, [2]string{f, ""})
			}
			b.trees[i] = b.addTree(t)
			continue
		}
		maps := len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0
		if !maps && o.idmap == "" {
			if bind && m.Source != "" && b.plan.CloneFlags&unix.CLONE_NEWUSER != 0 && b.in.Host.SysAdmin {
				b.trees[i] = b.addTree(Tree{Source: m.Source, Recursive: o.recursive, Field: field})
			}
			continue
		}
		t := Tree{Source: m.Source, Recursive: o.recursive, Field: field, UIDMap: m.UIDMappings, GIDMap: m.GIDMappings, IDMapRecursive: o.idmap == "ridmap"}
		switch {
		case !bind:
			return fieldError(field+".uidMappings", "plan idmapped mount on "+m.Destination, "only bind mounts can have an id map", "add the option bind")
		case maps && (len(m.UIDMappings) == 0 || len(m.GIDMappings) == 0):
			return fieldError(field+".gidMappings", "plan idmapped mount on "+m.Destination, "uidMappings and gidMappings must be given together", "")
		case !maps && len(b.plan.UIDMap) == 0:
			return fieldError(field+".options", "plan idmapped mount on "+m.Destination, "there is no id map: the mount has no uidMappings, and the container has no new user namespace", "")
		case !b.in.Host.SysAdmin:
			return fieldError(field, "plan idmapped mount on "+m.Destination, "it needs CAP_SYS_ADMIN on the host", "")
		}
		if !maps {
			t.UIDMap, t.GIDMap = b.plan.UIDMap, b.plan.GIDMap
		}
		b.trees[i] = b.addTree(t)
	}
	return nil
}

func (b *builder) addTree(t Tree) int {
	b.plan.Trees = append(b.plan.Trees, t)
	return b.addFD(FD{Kind: FDTree, Index: len(b.plan.Trees) - 1})
}

// rootTree plans the root filesystem of a container that sees its owners through an id map.
func (b *builder) rootTree() error {
	r := b.in.Root
	if !r.IDMap {
		return nil
	}
	const what = "map the owners of the root filesystem"
	switch {
	case b.plan.CloneFlags&unix.CLONE_NEWUSER == 0 || b.plan.CloneFlags&unix.CLONE_NEWNS == 0:
		return fieldError("linux.namespaces", what, "there is no new user and mount namespace whose id map could be used", "")
	case !b.in.Host.SysAdmin:
		return fieldError("root.path", what, "it needs CAP_SYS_ADMIN on the host", "")
	case len(r.Host) > 0, r.Upper != "":
		return fieldError("root.path", what, "this kind of root filesystem cannot have an id map", "")
	}
	t := Tree{Source: r.Path, Recursive: true, Field: "root.path", UIDMap: b.plan.UIDMap, GIDMap: b.plan.GIDMap}
	if len(r.Lower) > 0 {
		t.Source, t.Overlay = r.Lower[0], &b.in.Root
	}
	b.root = b.addTree(t)
	return nil
}
