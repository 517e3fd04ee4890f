// Package systemd makes systemd the owner of a container's cgroup: a transient scope unit around the
// container's first process, made over D-Bus, with the resources as unit properties, so that systemd neither
// touches the group's files behind our back nor loses the limits when it reloads.
//
//	unit, err := systemd.ParsePath("machine.slice:gcr:c1", "c1", systemd.System)
//	bus, err := systemd.Connect(ctx, systemd.System)          // only now, not at start-up
//	defer bus.Close()
//	facts := systemd.Facts{CgroupVersion: 2, Version: bus.Version()}
//	props, err := systemd.Properties(resources, facts)
//	path, err := bus.StartScope(ctx, unit, pid, facts, props) // "/machine.slice/gcr-c1.scope"
//
// The path then goes to cgroup.Compile with Options.Joined: the files carry the limits, as without systemd,
// and the properties keep systemd in step. Delete stops the unit.
//
// Every call is bounded: a bus that does not answer gives an error after [Patience].
package systemd
