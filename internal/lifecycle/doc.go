// Package lifecycle carries out the operations of the OCI runtime specification (runtime.md, "Operations") on
// containers that are kept in a directory:
//
//	store := lifecycle.Store{Root: "/run/gcrun"}
//	err := store.Create(lifecycle.CreateOptions{ID: "c1", Bundle: "/srv/bundle"})
//	err = store.Start("c1")
//	state, err := store.State("c1")
//	err = store.Kill("c1", unix.SIGTERM, false)
//	err = store.Delete("c1", false)
//
// # What is on disk
//
// Each container has a directory below Root: config.json as it was at creation, state.json, the lock, and the
// socket on which a created container waits for start. Files are written whole and renamed. state.json is written
// before a process or a cgroup exists, so whatever a killed command leaves is known and can be deleted.
//
// # What is true
//
// What a container is doing is asked of the kernel each time. A process is the container's when its id and its
// start time are those that were written down, so a reused process id is never mistaken for it. It is created and
// not running as long as /proc/PID/exe is the inode of the container's program. A zombie is stopped.
package lifecycle
