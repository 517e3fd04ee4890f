// Package wire holds what the VM bench's host side and its guest side say to each other.
//
// The host writes one tar archive to a disk of the guest: the files the tasks need and, as "job.json", a
// [Job]. The guest answers on one virtio-serial port with [Event] values as lines of JSON, the last of which
// is Done; the host then answers with one byte, and the guest switches itself off.
//
//	json.NewEncoder(port).Encode(wire.Event{Task: 0, Stream: wire.Stdout, Data: p})
package wire

import "time"

// Names that both sides use.
const (
	// Port is the name of the virtio-serial port that carries the events.
	Port = "org.gcr.events"
	// JobFile is the name of the Job in the input archive.
	JobFile = "job.json"
	// InputDir is where the guest unpacks the input archive.
	InputDir = "/vm/in"
	// OutputDir is where tasks leave files for the host.
	OutputDir = "/vm/out"
	// UserName is the guest's ordinary user, whose uid and gid are UserID and whose subordinate ids begin
	// at 100000.
	UserName = "tester"
	UserID   = 1000
)

// Serial numbers of the guest's virtio disks, by which it tells them apart.
const (
	RootDisk    = "root"
	ModulesDisk = "modules"
	InputDisk   = "input"
)

// A Job is what a guest does between its boot and its end.
type Job struct {
	// Init is "plain" (the bench's own first process) or "systemd".
	Init string
	// Cgroup is the layout below /sys/fs/cgroup that a plain guest mounts: "v2", "v1" or "hybrid".
	Cgroup string
	// Tasks run one after the other.
	Tasks []Task
}

// An Identity says as whom, and from where in the process tree, a task runs.
type Identity string

// The identities a task can have. Manager and Login need a guest with systemd.
const (
	// Root is uid 0; under systemd in a transient service with a delegated cgroup.
	Root Identity = "root"
	// User is the ordinary user in whatever cgroup the guest's first process is in.
	User Identity = "user"
	// Manager is the ordinary user in a service of its own systemd user manager, its cgroup delegated.
	Manager Identity = "manager"
	// Login is the ordinary user in a login session, as after ssh: the cgroup belongs to root.
	Login Identity = "login"
)

// A Task is one command.
type Task struct {
	// Args is the command; Args[0] is looked up in PATH when it has no slash.
	Args []string
	// Dir is the working directory, below InputDir when relative.
	Dir string
	// Env is added to a clean environment, each entry "NAME=value".
	Env []string
	// As says who runs it.
	As Identity
	// Limit is the time after which the task is killed.
	Limit time.Duration
}

// A Stream says where an event's data belongs.
type Stream string

// The streams of a task, and of the guest as a whole.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
	// Output carries OutputDir as a tar archive, after the last task.
	Output Stream = "output"
)

// An Event is one line of what the guest says.
type Event struct {
	// Started is said once, when the guest's system is up.
	Started bool `json:",omitempty"`
	// Task is the index of the task that the event is about.
	Task int
	// Stream and Data carry output.
	Stream Stream `json:",omitempty"`
	Data   []byte `json:",omitempty"`
	// Ended is said once for each task, with Status (128+n after signal n) or, when it could not be
	// started or overran its limit, Error.
	Ended  bool   `json:",omitempty"`
	Status int    `json:",omitempty"`
	Error  string `json:",omitempty"`
	// Done is the last event.
	Done bool `json:",omitempty"`
}
