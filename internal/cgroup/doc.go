// Package cgroup puts a container into control groups: it turns the resources of an OCI config into an
// ordered list of file writes, applies the list, and later measures, updates, freezes, kills and removes
// the group.
//
// The way of the data is the same as everywhere in GCR: facts about the host and the wish of the config
// go into a pure function, whose result can be printed, compared and tested; a thin layer applies it.
//
//	host, err := cgroup.Detect()                                  // reads /proc/self/{mountinfo,cgroup}
//	plan, err := cgroup.Compile(host, "/mygroup", resources, cgroup.Options{ID: "c1"})
//	fmt.Print(plan)                                               // what --explain shows
//	group, err := plan.Create()                                   // mkdir and write; takes everything back on error
//	defer group.Close()
//
// The container's first process gets into the group without a migration (moving an existing process by
// cgroup.procs waits for an RCU grace period, 10 to 16 ms): where [Group.CgroupFD] is not -1 it is passed
// to clone3 with CLONE_INTO_CGROUP, and the process itself writes "0" to each of [Group.TaskFiles], which
// are there on cgroup v1 only.
//
//	stats, err := group.Stats()
//	err = group.Update(newResources)                              // a refused value leaves the old ones
//	err = group.Freeze(ctx); err = group.Thaw(ctx)
//	err = group.Kill(ctx, unix.SIGKILL)
//	err = group.Delete(ctx)
//
// A later process finds the group again through the JSON of [Group.State] and [Load].
//
// cgroup v1 and v2 are two implementations side by side, chosen once by [Host.Version]; the files whose
// names begin with v1_ can be dropped one day. docs/cgroups.md has the table of files and conversions.
package cgroup
